"""The tracer of a container: metrics are folded from events as they pass, then some are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, cast

import msgspec

from admf.engine.batch import Batch
from admf.engine.block import Block
from admf.engine.errors import Problem, RegistryError, did_you_mean
from admf.engine.events import Envelope, Event, EventRegistry, event_name
from admf.engine.journal import Journal
from admf.engine.retention import RetentionPolicy
from admf.engine.trace_log import EventLog

__all__ = ["EventTracer", "Sink", "TraceEnd", "TracerSummary", "resolve_types"]


class Sink(Protocol):
    """An accumulator that events are folded into as they pass."""

    @property
    def types(self) -> frozenset[type[Event]]:
        """Event classes it folds, each with its subclasses."""
        ...

    def fold(self, event: Event | Block[Any]) -> None:
        """Take the next event or block."""
        ...


class TracerSummary(msgspec.Struct, frozen=True):
    """What became of the traced events; ``observed`` is always ``retained`` + ``dropped``.

    Args:
        policy: Name of the retention policy.
        observed: Events traced; a block of n counts n.
        retained: Events kept at this moment.
        dropped: Events that were not kept, or not for good.
        by_type: Events traced, by event name.
        overflowed: Those of the dropped events that a cap forced out.
    """

    policy: str
    observed: int
    retained: int
    dropped: int
    by_type: dict[str, int]
    overflowed: int = 0


class TraceEnd(msgspec.Struct, frozen=True):
    """What a log says at its end.

    Args:
        elsewhere: Events that were traced and are not in a log of all events, by event name.
    """

    elsewhere: dict[str, int]


class _Route(msgspec.Struct, frozen=True):
    """Where events of one concrete class go.

    Args:
        traced_as: None for untraced ones.
        log: None for ones that are not logged.
    """

    folds: tuple[Callable[[Event | Block[Any]], None], ...]
    traced_as: str | None
    log: Callable[[Envelope], None] | None


class EventTracer:
    """Folds events into its sinks, then counts the traced ones and hands them to its policy.

    Args:
        traced: Event classes to trace, each with its subclasses.
        policy: Keeps or drops the traced events.
        sinks: Accumulators, fed in this order whether or not an event is traced.
        policy_name: Name of the policy in the summary; the name of its class by default.
        log: Keeps the events that it wants, traced or not, or in the end those that are retained.

    Attributes:
        types: Every class that the tracer wants to see.
        policy: The retention policy.
    """

    def __init__(
        self,
        traced: Iterable[type[Event]],
        policy: RetentionPolicy,
        sinks: Sequence[Sink] = (),
        *,
        policy_name: str = "",
        log: EventLog | None = None,
    ) -> None:
        self._traced = tuple(traced)
        self._sinks = tuple(sinks)
        self._policy_name = policy_name or type(policy).__name__
        self._routes: dict[type[Event], _Route] = {}
        self._by_type: dict[str, int] = {}
        self._log = log
        self._logged: tuple[type[Event], ...] = () if log is None else tuple(log.types)
        self.policy = policy
        # isinstance(policy, TakesBatches) would take longer than to call it
        self._observe_batch: Callable[[Batch], None] | None = getattr(policy, "observe_batch", None)
        sink_types = (sink.types for sink in self._sinks)
        self.types = frozenset(self._traced).union(self._logged, *sink_types)

    def record(self, envelope: Envelope) -> None:
        """Take an event or a block; one that nobody here wants is ignored."""
        event: Event | Block[Any] = envelope.event
        if isinstance(event, Block):
            cls, count = event.cls, len(event)
        else:
            cls, count = type(event), 1
        route = self._routes.get(cls) or self._new_route(cls)
        for fold in route.folds:
            fold(event)
        name = route.traced_as
        if name is not None:
            self._by_type[name] = self._by_type.get(name, 0) + count
            self.policy.observe(envelope)
        if route.log is not None:
            route.log(envelope)

    def record_batch(self, batch: Batch, first: int, cause: int) -> None:
        """Take a batch, with the same outcome as its single events one after the other.

        Args:
            batch: The events.
            first: Sequence number of the first.
            cause: Sequence number of what caused those that follow from none in the batch.
        """
        routes = [self._routes.get(it.cls) or self._new_route(it.cls) for it in batch.blocks]
        for block, route in zip(batch.blocks, routes, strict=True):
            for fold in route.folds:
                fold(block)
            name = route.traced_as
            if name is not None:
                self._by_type[name] = self._by_type.get(name, 0) + len(block)
        self._observe(batch, first, cause)
        logs = [route.log for route in routes]
        if any(logs):
            codes: list[int] = batch.order.tolist()
            for code, envelope in zip(codes, batch.envelopes(first, cause), strict=True):
                log = logs[code]
                if log is not None:
                    log(envelope)

    def summary(self) -> TracerSummary:
        """Return the counts up to now."""
        return TracerSummary(
            policy=self._policy_name,
            observed=sum(self._by_type.values()),
            retained=self.policy.retained_count,
            dropped=self.policy.dropped,
            by_type=dict(sorted(self._by_type.items())),
            overflowed=self.policy.overflowed,
        )

    def trace(self) -> Journal | None:
        """Return the file of the log, which is completed when it is made durable; None without."""
        return None if self._log is None else self._log.file(self._complete_log)

    def drop_sinks(self) -> None:
        """Let go of the sinks; events from now on are traced and logged, but not folded."""
        self._sinks = ()
        replace = msgspec.structs.replace
        self._routes = {cls: replace(route, folds=()) for cls, route in self._routes.items()}

    def release(self) -> None:
        """Remove the files that are no results, once the results are written; idempotent.

        Raises:
            StorageError: A file cannot be removed.
        """
        if self._log is not None:
            self._log.release()

    def size_bytes(self) -> int:
        """Estimate the memory of what is kept, at a cost that does not grow with it."""
        return self.policy.size_bytes() + (0 if self._log is None else self._log.size_bytes())

    def _observe(self, batch: Batch, first: int, cause: int) -> None:
        """Show the traced events of a batch to the policy, as a whole if it takes them so."""
        traced = batch.of(self._traced)
        if traced is None:
            return
        if self._observe_batch is not None:
            self._observe_batch(traced)
            return
        for envelope in batch.envelopes(first, cause):
            if isinstance(envelope.event, self._traced):
                self.policy.observe(envelope)

    def _complete_log(self) -> None:
        log = cast("EventLog", self._log)
        kept = self.policy.retained() if log.store == "retained" else ()
        logged = {event_name(cls) for cls, route in self._routes.items() if route.log is not None}
        elsewhere = {name: n for name, n in sorted(self._by_type.items()) if name not in logged}
        log.complete(kept, TraceEnd(elsewhere))

    def _new_route(self, cls: type[Event]) -> _Route:
        route = self._routes[cls] = _Route(
            folds=tuple(sink.fold for sink in self._sinks if issubclass(cls, tuple(sink.types))),
            traced_as=event_name(cls) if issubclass(cls, self._traced) else None,
            log=self._log.record if self._log and issubclass(cls, self._logged) else None,
        )
        return route


def resolve_types(
    names: Iterable[str], registry: EventRegistry, *, strict: bool = False
) -> tuple[tuple[type[Event], ...], tuple[Problem, ...]]:
    """Look up the event classes of ``event_tracing``.

    Args:
        names: Event names as the user wrote them.
        registry: The known events.
        strict: Refuse unknown names instead of reporting them.

    Returns:
        The classes in the order of their names, each once, and one warning per unknown name.

    Raises:
        RegistryError: Names are unknown and ``strict`` is set; carries one problem for each.
    """
    wanted = tuple(dict.fromkeys(names))
    classes = tuple(registry.resolve(name) for name in wanted if name in registry)
    unknown = tuple(_unknown(name, registry) for name in wanted if name not in registry)
    if unknown and strict:
        raise RegistryError(unknown)
    return classes, unknown


def _unknown(name: str, registry: EventRegistry) -> Problem:
    hint = did_you_mean(name, registry.names())
    message = f"unknown event {name!r}{hint}; known are {', '.join(registry.names())}"
    return Problem(message, field="event_tracing")

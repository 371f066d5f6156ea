"""Which traced events are kept: the policies and the settings that choose one.

A policy sees the traced events one envelope at a time and keeps a bounded number of them. An event
with a ``correlation_field`` belongs to the correlation named by that field's value (None: to none);
a correlation is open from its first event to the one whose class ``closes`` it.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Annotated, Generic, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import msgspec
from msgspec import Meta

from admf.engine.batch import Batch
from admf.engine.batch_correlations import Correlations, correlations_of
from admf.engine.block import Block
from admf.engine.errors import RegistryError, did_you_mean
from admf.engine.events import Envelope, Event, event_name
from admf.engine.footprint import estimate_bytes
from admf.engine.ring import Ring

__all__ = [
    "BUILT_IN_POLICIES",
    "MAX_EVENTS_PER_CORRELATION",
    "MAX_OPEN_CORRELATIONS",
    "CorrelationId",
    "Minimal",
    "OnComplete",
    "OpenCorrelation",
    "PolicyFactory",
    "RetentionPolicy",
    "SlidingWindow",
    "TakesBatches",
    "TraceStore",
    "TracingConfig",
    "TradeComplete",
    "make_policy",
]

MAX_OPEN_CORRELATIONS = 1_024
MAX_EVENTS_PER_CORRELATION = 256

CorrelationId: TypeAlias = str | int
TraceStore: TypeAlias = Literal["none", "retained", "all"]
OnComplete: TypeAlias = Callable[[CorrelationId, list[Event]], None]
V = TypeVar("V")


class TracingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is traced and how much of it is kept.

    Args:
        event_tracing: Names of the event types to trace.
        retention_policy: Name of the policy.
        sliding_window_size: Events of each type that ``sliding_window`` keeps.
        store: What of the events becomes a file beside the results: ``none``, ``retained`` for what
            the policy keeps to the end, or ``all`` of them, in the order in which they came.
    """

    event_tracing: tuple[str, ...] = ()
    retention_policy: str = "trade_complete"
    sliding_window_size: Annotated[int, Meta(gt=0)] = 1000
    store: TraceStore = "none"


class RetentionPolicy(Protocol):
    """Keeps or drops each traced event; every count is in events, a block of n counting n."""

    @property
    def retained_count(self) -> int:
        """Length of `retained`."""
        ...

    @property
    def dropped(self) -> int:
        """Events that were observed and are not retained."""
        ...

    @property
    def overflowed(self) -> int:
        """Those of the dropped events that a cap forced out."""
        ...

    def observe(self, envelope: Envelope) -> None:
        """Take an event or a block; the policy's bound holds again when this returns."""
        ...

    def retained(self) -> list[Event]:
        """Return what is kept; within a type, in the order of ``ts``."""
        ...

    def size_bytes(self) -> int:
        """Estimate the memory of what is kept, at a cost that does not grow with it."""
        ...


@runtime_checkable
class TakesBatches(Protocol):
    """A `RetentionPolicy` that takes a batch without having it made into single events."""

    def observe_batch(self, batch: Batch) -> None:
        """Take a batch; the outcome is that of its single events in their order."""
        ...


PolicyFactory: TypeAlias = Callable[[TracingConfig], RetentionPolicy]


class OpenCorrelation(Event, frozen=True, gc=False, tag="OPEN_CORRELATION"):
    """The latest state of a correlation that has not closed; ``ts`` is that of its last event.

    Args:
        first_ts: Nanoseconds UTC of its first event.
        last_event: Name of its last event.
        count: Events so far.
    """

    correlation_id: CorrelationId
    first_ts: int
    last_event: str
    count: int


class _ByCorrelation(ABC, Generic[V]):
    """Sorts events into open correlations; keeps a ``V`` of each, the least recently seen first."""

    def __init__(self, max_open: int) -> None:
        self._max_open = max_open
        self._open: OrderedDict[CorrelationId, V] = OrderedDict()
        self._observed = 0
        self._overflowed = 0

    @property
    @abstractmethod
    def retained_count(self) -> int:
        """Length of what `retained` returns."""

    @property
    def dropped(self) -> int:
        """Events that were observed and are not retained."""
        return self._observed - self.retained_count

    @property
    def overflowed(self) -> int:
        """Events that a cap forced out."""
        return self._overflowed

    def observe(self, envelope: Envelope) -> None:
        """Take an event or a block; events without a correlation are dropped at once."""
        event: Event | Block[Event] = envelope.event
        if not isinstance(event, Block):
            self._observed += 1
            self._assign(event)
            return
        self._observed += len(event)
        if event.cls.correlation_field is not None:
            for single in event.events():
                self._assign(single)

    def observe_batch(self, batch: Batch) -> None:
        """Take a batch; of correlations that close in it, no single events are made."""
        self._observed += len(batch)
        found = correlations_of(batch)
        if found is None or not self._has_room(found):
            for event in batch:
                self._assign(event)
            return
        for correlation_id in found.closed_among(self._open):
            self._forget(correlation_id)
        for event in found.staying:
            self._assign(event)

    def _has_room(self, found: Correlations) -> bool:
        """Whether no cap can be reached by the events of a batch, in whatever order they come."""
        room = self._max_open - len(self._open)
        return len(found.ids) <= room or found.most_open() <= room

    def _assign(self, event: Event) -> None:
        field = event.correlation_field
        correlation_id: CorrelationId | None = None if field is None else getattr(event, field)
        if correlation_id is None:
            return
        if event.closes:
            self._close(correlation_id, event)
            return
        self._follow(correlation_id, event)
        self._open.move_to_end(correlation_id)
        if len(self._open) > self._max_open:
            self._evict(self._open.popitem(last=False)[1])

    @abstractmethod
    def _follow(self, correlation_id: CorrelationId, event: Event) -> None:
        """Open the correlation or add to it; it is in ``_open`` afterwards."""

    def _close(self, correlation_id: CorrelationId, _event: Event, /) -> None:
        """End the correlation, which need not be open."""
        self._forget(correlation_id)

    @abstractmethod
    def _forget(self, correlation_id: CorrelationId, /) -> V | None:
        """Let go of the correlation, if it is open."""

    @abstractmethod
    def _evict(self, state: V, /) -> None:
        """Count a correlation that the cap forced out."""


class TradeComplete(_ByCorrelation[list[Event]]):
    """``trade_complete``: keeps the events of open correlations until they close.

    A correlation that never closes is capped: further events of a full one are dropped, and beyond
    ``max_open`` the least recently seen one goes, with its events.

    Args:
        on_complete: Called with the id of a correlation and its events, the closing one last, when
            it closes. Events that a cap forced out are missing.
        max_open: Open correlations.
        max_events: Events of one correlation.
    """

    def __init__(
        self,
        on_complete: OnComplete | None = None,
        *,
        max_open: int = MAX_OPEN_CORRELATIONS,
        max_events: int = MAX_EVENTS_PER_CORRELATION,
    ) -> None:
        super().__init__(max_open)
        self._max_events = max_events
        self._on_complete = on_complete
        self._retained_count = 0

    @property
    def retained_count(self) -> int:
        """Events of open correlations."""
        return self._retained_count

    def retained(self) -> list[Event]:
        """Return the events of the open correlations in the order of ``ts``."""
        return sorted(chain.from_iterable(self._open.values()), key=_ts)

    def size_bytes(self) -> int:
        """Estimate the memory of the kept events."""
        events = chain.from_iterable(self._open.values())
        return sys.getsizeof(self._open) + estimate_bytes(events, self._retained_count)

    def _follow(self, correlation_id: CorrelationId, event: Event) -> None:
        held = self._open.setdefault(correlation_id, [])
        if len(held) < self._max_events:
            held.append(event)
            self._retained_count += 1
        else:
            self._overflowed += 1

    def _has_room(self, found: Correlations) -> bool:
        longest = max(map(len, self._open.values()), default=0) + found.most_events
        return (
            self._on_complete is None and longest <= self._max_events and super()._has_room(found)
        )

    def _close(self, correlation_id: CorrelationId, event: Event, /) -> None:
        held = self._forget(correlation_id)
        if self._on_complete is not None:
            self._on_complete(correlation_id, [*held, event])

    def _forget(self, correlation_id: CorrelationId, /) -> list[Event]:
        held = self._open.pop(correlation_id, [])
        self._retained_count -= len(held)
        return held

    def _evict(self, state: list[Event], /) -> None:
        self._retained_count -= len(state)
        self._overflowed += len(state)


class Minimal(_ByCorrelation[OpenCorrelation]):
    """``minimal``: keeps the latest state of each open correlation, and no events.

    The state stands for the last event of its correlation; the earlier ones count as dropped.
    Beyond ``max_open`` the least recently seen correlation goes.

    Args:
        max_open: Open correlations.
    """

    def __init__(self, *, max_open: int = MAX_OPEN_CORRELATIONS) -> None:
        super().__init__(max_open)
        self._names: dict[type[Event], str] = {}

    @property
    def retained_count(self) -> int:
        """Open correlations."""
        return len(self._open)

    def retained(self) -> list[Event]:
        """Return one `OpenCorrelation` for each open correlation, in the order of ``ts``."""
        return sorted(self._open.values(), key=_ts)

    def size_bytes(self) -> int:
        """Estimate the memory of the states."""
        return sys.getsizeof(self._open) + estimate_bytes(self._open.values(), len(self._open))

    def _follow(self, correlation_id: CorrelationId, event: Event) -> None:
        cls = type(event)
        name = self._names.get(cls) or self._names.setdefault(cls, event_name(cls))
        last = self._open.get(correlation_id)
        first_ts, count = (event.ts, 0) if last is None else (last.first_ts, last.count)
        self._open[correlation_id] = OpenCorrelation(
            event.ts, correlation_id, first_ts, name, count + 1
        )

    def _forget(self, correlation_id: CorrelationId, /) -> OpenCorrelation | None:
        return self._open.pop(correlation_id, None)

    def _evict(self, _state: OpenCorrelation, /) -> None:
        self._overflowed += 1


class SlidingWindow:
    """``sliding_window``: keeps the last events of each type, in one ring buffer per type.

    Args:
        size: Events of each type.

    Raises:
        ValueError: ``size`` is less than one.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a sliding window keeps at least one event, not {size}")
        self._size = size
        self._rings: dict[type[Event], Ring] = {}
        self._observed = 0

    @property
    def retained_count(self) -> int:
        """Events in all rings."""
        return sum(ring.count for ring in self._rings.values())

    @property
    def dropped(self) -> int:
        """Events that were observed and are not retained."""
        return self._observed - self.retained_count

    @property
    def overflowed(self) -> int:
        """Always 0: the size of the window is its policy, not a cap on it."""
        return 0

    def observe(self, envelope: Envelope) -> None:
        """Take an event or a block; at most ``size`` events of its type remain."""
        event: Event | Block[Event] = envelope.event
        if isinstance(event, Block):
            self._observed += len(event)
            self._ring(event.cls).extend(event)
        else:
            self._observed += 1
            self._ring(type(event)).append(event)

    def observe_batch(self, batch: Batch) -> None:
        """Take a batch: the rings of its types do not depend on each other."""
        for block in batch.by_appearance():
            self._observed += len(block)
            self._ring(block.cls).extend(block)

    def retained(self) -> list[Event]:
        """Return the events type by type, in the order of arrival."""
        return list(chain.from_iterable(self._rings.values()))

    def size_bytes(self) -> int:
        """Estimate the memory of the kept events and blocks."""
        return sum(ring.size_bytes() for ring in self._rings.values())

    def _ring(self, cls: type[Event]) -> Ring:
        ring = self._rings.get(cls)
        if ring is None:
            ring = self._rings[cls] = Ring(self._size)
        return ring


BUILT_IN_POLICIES: Mapping[str, PolicyFactory] = MappingProxyType(
    {
        "trade_complete": lambda _config: TradeComplete(),
        "sliding_window": lambda config: SlidingWindow(config.sliding_window_size),
        "minimal": lambda _config: Minimal(),
    }
)


def make_policy(
    config: TracingConfig, policies: Mapping[str, PolicyFactory] = BUILT_IN_POLICIES
) -> RetentionPolicy:
    """Return a new policy of the configured name.

    Raises:
        RegistryError: No policy has this name; the message names the known ones.
    """
    name = config.retention_policy
    if name not in policies:
        hint = did_you_mean(name, policies)
        raise RegistryError(
            f"unknown retention policy {name!r}{hint}; known are {', '.join(policies)}"
        )
    return policies[name](config)


def _ts(event: Event) -> int:
    return event.ts

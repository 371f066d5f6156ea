"""The events of a run as they happen, for whoever looks on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Self

from admf.engine.batch import Batch
from admf.engine.bus import EventTypes
from admf.engine.events import Envelope, Event
from admf.engine.observation import Tap, Told, told_by
from admf.engine.queues import Overflow
from admf.engine.window import ExecutionWindow

__all__ = ["EventHub", "RunEvent", "RunEvents"]


class RunEvent(Envelope, frozen=True, gc=False):
    """An event of a run, and where in it.

    Args:
        phase: Name of the phase.
        window_id: The execution window; empty if it is the phase's only one.
        lane: The lane that published it, e.g. ``lane_001``; empty if it concerns the whole window.
            `seq` and `cause` count in the lane.
    """

    phase: str
    window_id: str
    lane: str


class RunEvents:
    """An async iterator over events of all windows of a run, which ends with the run.

    Use it as a context manager, plain or async, so that nothing is held for an observer who has
    left; `Run.events` makes it.

    Args:
        types: Event classes; subclasses match too.
        maxsize: Events held for a slow observer.
        overflow: What happens beyond that; see `Run.events`.
    """

    def __init__(self, types: EventTypes, maxsize: int, overflow: Overflow) -> None:
        self.types = frozenset([types] if isinstance(types, type) else types)
        self._tap: Tap[RunEvent] = Tap(maxsize, overflow)

    @property
    def dropped(self) -> int:
        """Events that the overflow policy dropped."""
        return self._tap.dropped

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more events."""
        return self._tap.is_closed

    def close(self) -> None:
        """Take no more events, and let a run go on that waits."""
        self._tap.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RunEvent:
        """Return the next event.

        Raises:
            QueueFullError: The policy is ``fail`` and the observer was too slow.
        """
        return await anext(self._tap)

    def attach(self, phase: str, window: ExecutionWindow) -> None:
        """Look on at a window as well."""
        if not self.is_closed:
            window.bus.observe(_WindowObserver(self.types, self._tap, phase, window))

    def end(self) -> None:
        """Let the iteration end once all that is held was read."""
        self._tap.close(keep=True)


class _WindowObserver:
    """Looks on at a window, and says of each event which one it was."""

    def __init__(
        self,
        types: frozenset[type[Event]],
        tap: Tap[RunEvent],
        phase: str,
        window: ExecutionWindow,
    ) -> None:
        self.types = types
        self._classes = tuple(types)
        self._tap = tap
        self._phase = phase
        self._window_id = window.spec.window_id
        self._root = len(window.bus.name) + 1

    @property
    def must_wait(self) -> bool:
        return self._tap.must_wait

    async def wait_for_room(self) -> None:
        await self._tap.wait_for_room()

    def observe(self, scope: str, envelope: Envelope) -> None:
        lane = scope[self._root :]
        self._tap.put(
            told_by(envelope, lambda single: self._placed(single, lane), newest=self._tap.coalesces)
        )

    def observe_batch(self, scope: str, batch: Batch, first: int, cause: int) -> None:
        lane = scope[self._root :]
        count = sum(len(it) for it in batch.blocks if issubclass(it.cls, self._classes))

        def make(start: int) -> Iterator[RunEvent]:
            envelopes = batch.envelopes(first, cause)
            wanted = (it for it in envelopes if isinstance(it.event, self._classes))
            return (self._placed(it, lane) for it in islice(wanted, start, None))

        self._tap.put(Told(count, make))

    def _placed(self, envelope: Envelope, lane: str) -> RunEvent:
        return RunEvent(
            envelope.seq,
            envelope.cause,
            envelope.source,
            envelope.event,
            self._phase,
            self._window_id,
            lane,
        )


class EventHub:
    """Brings the windows of a run and those who look on together, whoever comes first."""

    def __init__(self) -> None:
        self._streams: list[RunEvents] = []
        self._windows: list[tuple[str, ExecutionWindow]] = []
        self._is_over = False

    def open(self, types: EventTypes, maxsize: int, overflow: Overflow) -> RunEvents:
        """Return the events from now on; see `Run.events`."""
        stream = RunEvents(types, maxsize, overflow)
        if self._is_over:
            stream.end()
            return stream
        self._streams = [it for it in self._streams if not it.is_closed]
        self._streams.append(stream)
        for phase, window in self._windows:
            if not window.bus.closed:
                stream.attach(phase, window)
        return stream

    def opened(self, phase: str, window: ExecutionWindow) -> None:
        """Show a window that is about to start."""
        self._windows = [it for it in self._windows if not it[1].bus.closed]
        self._windows.append((phase, window))
        for stream in self._streams:
            stream.attach(phase, window)

    def close(self) -> None:
        """End all iterations, since the run is over."""
        self._is_over = True
        for stream in self._streams:
            stream.end()
        self._streams.clear()
        self._windows.clear()

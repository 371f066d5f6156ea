"""Where the events of a live session enter an execution window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import anyio
import msgspec

from admf.engine.bus import Bus
from admf.engine.container import Container, ContainerState
from admf.engine.events import Event, Published
from admf.engine.handover import described
from admf.engine.results import WindowResults
from admf.engine.tracer import EventTracer

__all__ = ["Intake", "IntakeRecord"]


class IntakeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a window's commit record says, under ``intake``, of the events it has taken.

    Args:
        events: How many.
        first_position: The source's position at the first one; None if there was none. Windows of a
            session follow each other without a gap, so whoever gets events again after a crash
            leaves out those up to the last position of the last window that is complete.
        last_position: The source's position at the last one.
        first_ts: Time of the first one, ns UTC.
        last_ts: Time of the last one.
        carried: What the containers took over from the window before, by their ids.
        left: What they leave to the next one, by their places (see `ExecutionWindow.places`), as
            far as it is data.
    """

    events: int = 0
    first_position: Any = None
    last_position: Any = None
    first_ts: int | None = None
    last_ts: int | None = None
    carried: Mapping[str, Any] = {}
    left: Mapping[str, Any] = {}


class _Mark:
    """Stands in the line of what is to be published, and tells when all before is handled."""

    def __init__(self) -> None:
        self.reached = anyio.Event()


class Intake(Container):
    """Publishes what a session hands to it, each event once the one before has been handled.

    A topology whose windows are to follow each other adds one, and its report::

        intake = builder.add(Intake("intake", scope=builder.bus))
        builder.add_report(intake.report)

    Subclasses that publish something else, such as time steps for single bars, override `assemble`,
    `complete` and `may_end_before`.

    Args:
        container_id: Names the container, and the source of its events.
        scope: The bus it lives on.
        room: Events that may wait before the session, and with it the source, has to.
        tracer: Records the events of the scope.
        depends_on: Ids of the containers that must be running before this one starts.

    Attributes:
        is_over: Whether the run has ended, so that nothing may be put any more.
    """

    def __init__(
        self,
        container_id: str = "intake",
        *,
        scope: Bus,
        room: int = 1_024,
        tracer: EventTracer | None = None,
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, "data", scope=scope, tracer=tracer, depends_on=depends_on)
        self._room = room
        self._waiting: deque[Published | _Mark] = deque()
        self._walks = False
        self._leaving = False
        self.is_over = False
        self._at_end: list[Callable[[], object]] = []
        self._more = anyio.Event()
        self._less = anyio.Event()
        self._count = 0
        self._first: tuple[object, int] | None = None
        self._last: tuple[object, int] | None = None
        self._carried: Mapping[str, object] = {}
        self._leaves: Callable[[], Mapping[str, Any]] = dict

    # -- hooks ------------------------------------------------------------------------------------

    def assemble(self, event: Event) -> Iterable[Published]:
        """Return what is to be published now that an event was taken."""
        return (event,)

    def complete(self) -> Iterable[Published]:
        """Return what was held back, since nothing may come in this window that belongs to it."""
        return ()

    def may_end_before(self, event: Event | None) -> bool:  # noqa: ARG002 - for subclasses
        """Whether the window may end between what it has taken and an event.

        Args:
            event: The next one; None if it is not known yet.
        """
        return True

    def admit(self, item: Published) -> None:
        """Publish the next event or block: all before it has been handled."""
        self.scope.publish(item, self.id)

    # -- what the session does --------------------------------------------------------------------

    @property
    def taken(self) -> int:
        """Events taken so far."""
        return self._count

    @property
    def last_position(self) -> object:
        """The source's position at the last event taken; None before the first."""
        return None if self._last is None else self._last[0]

    @property
    def is_full(self) -> bool:
        """Whether whoever has more events is to wait for room."""
        return len(self._waiting) >= self._room and not self.is_over

    @property
    def is_settled(self) -> bool:
        """Whether all that was taken has been handled, or never will be, since the run is over."""
        return self.is_over or not (self._waiting or self._walks)

    async def wait_for_room(self) -> None:
        """Return once fewer events wait than there is room for, or none is published any more."""
        while self.is_full:
            self._less = anyio.Event()
            await self._less.wait()

    def put(self, event: Event, position: object) -> None:
        """Take an event.

        Args:
            event: The event.
            position: Where the source stands after it.
        """
        self._last = (position, event.ts)
        self._first = self._first or self._last
        self._count += 1
        self._waiting.extend(self.assemble(event))
        self._go_on()

    async def settle(self) -> None:
        """Return when all that was taken is completed and handled, or the run is over."""
        if not self.is_over:
            await self._complete().reached.wait()

    def when_over(self, act: Callable[[], object]) -> None:
        """Have something done when the run ends."""
        self._at_end.append(act)

    def leave(self) -> None:
        """Let the run come to its end once all that was taken is completed and handled."""
        self._leaving = True
        self._complete()

    def take_note(self, carried: Mapping[str, object]) -> None:
        """Have the commit record say what the containers of the window have taken over."""
        self._carried = carried

    def have_told(self, leaves: Callable[[], Mapping[str, Any]]) -> None:
        """Have the commit record say what the containers leave, as this returns it by then."""
        self._leaves = leaves

    async def report(self, results: WindowResults) -> Mapping[str, object]:  # noqa: ARG002 - see `Report`
        """Return what the commit record says of the intake."""
        first, last = self._first or (None, None), self._last or (None, None)
        record = IntakeRecord(
            events=self._count,
            first_position=first[0],
            last_position=last[0],
            first_ts=first[1],
            last_ts=last[1],
            carried={name: described(state) for name, state in self._carried.items()},
            left=self._leaves(),
        )
        return {"intake": record}

    # -- the container ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Publish what comes, until the session lets it leave."""
        try:
            while not (self._leaving and self.is_settled):
                await self._more.wait()
                await self.until_resumed()
                self._more = anyio.Event()
                self._begin_walk()
                await self.scope.drain()
        finally:
            self.is_over = True
            self._wake_all()

    async def on_stop(self) -> None:
        """Publish what was taken and still waits: the bus is drained after this."""
        self._complete()

    def _complete(self) -> _Mark:
        mark = _Mark()
        self._waiting.extend(self.complete())
        self._waiting.append(mark)
        self._go_on()
        return mark

    def _go_on(self) -> None:
        self._begin_walk()  # a drain that is under way sees to it at once
        self._more.set()

    def _begin_walk(self) -> None:
        if self._waiting and not self._walks and self.state is not ContainerState.PAUSED:
            self._walks = True
            self.scope.advance(self._walk(), cause=0)

    def _walk(self) -> Iterator[None]:
        """Publish what waits; the bus resumes this when all before has been handled."""
        try:
            while self._waiting and self.state is not ContainerState.PAUSED:
                item = self._waiting.popleft()
                if isinstance(item, _Mark):
                    item.reached.set()
                    continue
                self.admit(item)
                if len(self._waiting) < self._room:
                    self._less.set()
                yield
        finally:
            self._walks = False

    def _wake_all(self) -> None:
        """Let nobody wait for what will not be handled in the run."""
        self._less.set()
        for act in self._at_end:
            act()
        for item in self._waiting:
            if isinstance(item, _Mark):
                item.reached.set()

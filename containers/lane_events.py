"""What the containers of a lane tell each other: over their bus, or from hand to hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from admf.containers.event_batches import Told, batch_of
from admf.containers.events import (
    Cancel,
    Fill,
    Order,
    PortfolioUpdate,
    PositionClose,
    PositionOpen,
    Reject,
    Signal,
)
from admf.engine.batch import Batch
from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.container import Container
from admf.engine.events import Event
from admf.engine.subscription import Subscription
from admf.engine.tracer import EventTracer

__all__ = ["LaneEvents", "LaneMember"]

E = TypeVar("E", bound=Event)

_NONE = -1
_FEW = 12
"""Events that are shown one by one, since to make columns of them would take longer."""

_TOLD_AT_ONCE = 4_096
"""Events that wait to be shown, some 800 KiB."""

LANE_TYPES: tuple[type[Event], ...] = (
    Signal,
    Order,
    Reject,
    Cancel,
    Fill,
    PositionOpen,
    PositionClose,
    PortfolioUpdate,
)


class LaneEvents:
    """The way of a lane's own events to its containers and tracers.

    Over the bus, an event reaches everybody who subscribed before the next one is made. If nobody
    but the lane's own containers did, they are told directly: by plain calls, in the same order, at
    a tenth of the cost. The tracers get these events with the same numbers and causes, many of them
    at a time as a `Batch`, and before the marks of the steps in which they happened.

    Args:
        scope: The lane's bus.
        directly: Whether events may be handed on directly; if not, all go over the bus.
    """

    def __init__(self, scope: Bus, *, directly: bool = True) -> None:
        self.scope = scope
        self.direct = False
        self._directly = directly
        self._handlers: dict[type[Event], list[Callable[[Any], None]]] = {}
        self._own: list[Subscription] = []
        self._queue: deque[Told] = deque()
        self._told: list[Told] = []
        self._cause = _NONE

    def add(self, cls: type[E], handler: Callable[[E], None], subscription: Subscription) -> None:
        """Let one of the lane's containers have events of a class, either way."""
        self._handlers.setdefault(cls, []).append(handler)
        self._own.append(subscription)

    def end(self) -> None:
        """Let go of the lane's containers, which hold this in turn."""
        self._handlers.clear()
        self._own.clear()

    def begin(self) -> bool:
        """Decide which way the next events take; return whether it is the direct one."""
        self.direct = self._directly and not self.scope.reaches_others(LANE_TYPES, self._own)
        return self.direct

    def publish(self, event: Event, source: str) -> None:
        """Tell an event, once all that was told before has reached everybody."""
        if self.direct:
            self._queue.append((event, self._cause, source))
        else:
            self.scope.publish(event, source=source)

    def publish_block(self, block: Block[Any] | Batch, source: str = "") -> None:
        """Tell events that none of the lane's own containers waits for."""
        if self.direct:
            self.show()  # what was published before comes before
            self.scope.record(block, source)
        elif isinstance(block, Block):
            self.scope.publish(block, source=source)

    def settle(self) -> None:
        """Hand on directly what was published, and what that leads to."""
        queue, told, handlers = self._queue, self._told, self._handlers
        try:
            while queue:
                item = queue.popleft()
                self._cause = len(told)
                told.append(item)
                event = item[0]
                for handle in handlers.get(event.__class__, ()):
                    handle(event)
        finally:
            self._cause = _NONE
        if len(told) >= _TOLD_AT_ONCE:
            self._show()

    def show(self) -> None:
        """Show the tracers all that was published till now, once it has reached everybody."""
        self.settle()
        self._show()

    def give_up(self) -> None:
        """Show what was published to the tracers, but to no container any more."""
        self._told.extend(self._queue)
        self._queue.clear()
        self._show()

    def _show(self) -> None:
        """Show the tracers what was told since they were shown something last."""
        told, self._told = self._told, []
        if len(told) < _FEW:
            first = self.scope.next_seq
            for event, cause, source in told:
                self.scope.record(event, source, None if cause == _NONE else first + cause)
            return
        self.scope.record(batch_of(told))


class LaneMember(Container):
    """A container of a lane.

    Args:
        container_id: Names the container, its results file and its source on the bus.
        role: What it does.
        config: Its settings.
        events: The lane's events.
        tracer: Records them.
        depends_on: Ids of the containers that must be running before this one starts.
    """

    def __init__(
        self,
        container_id: str,
        role: str,
        config: msgspec.Struct | None = None,
        *,
        events: LaneEvents,
        tracer: EventTracer | None = None,
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(
            container_id, role, config, scope=events.scope, tracer=tracer, depends_on=depends_on
        )
        self.events = events

    def publish(self, event: Event) -> None:
        """Tell the lane an event."""
        self.events.publish(event, self.id)

    def listen(self, cls: type[E], handler: Callable[[E], None]) -> None:
        """Have each event of a class in the lane, until the release."""
        self.events.add(cls, handler, self.subscribe(cls, handler))

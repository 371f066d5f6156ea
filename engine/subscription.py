"""A subscriber's place on the bus, and its accounts."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from admf.engine.block import Block, is_block
from admf.engine.events import Event
from admf.engine.queues import BoundedQueue, Overflow, weight

if TYPE_CHECKING:
    from admf.engine.bus import Bus

__all__ = ["Handler", "Mailbox", "OnError", "Subscription", "SubscriptionStats"]

Handler: TypeAlias = Callable[[Any], Awaitable[None] | None]
OnError: TypeAlias = Literal["propagate", "isolate"]


class Mailbox(msgspec.Struct, frozen=True):
    """Asks for a bounded queue and a worker, so that a slow handler does not hold the bus.

    Args:
        maxsize: Events the queue holds at most.
        overflow: What happens when it is full; only ``block`` is lossless.
    """

    maxsize: Annotated[int, Meta(ge=1)] = 1000
    overflow: Overflow = "block"


class SubscriptionStats(msgspec.Struct, frozen=True):
    """One subscription's events: accepted = handled + dropped + dead_lettered + queued."""

    accepted: int
    handled: int
    dropped: int
    dead_lettered: int
    queued: int


class Subscription:
    """One handler's subscription; made by ``Bus.subscribe``.

    Attributes:
        name: Names the handler in errors, dead letters and statistics.
        types: Event classes it matches, subclasses included.
        key: Value of the events' ``key_field`` it wants; None for all.
        takes_blocks: Whether the handler is called with blocks or with single events.
    """

    __slots__ = (
        "_bus",
        "accepted",
        "active",
        "dead_lettered",
        "handled",
        "handler",
        "is_async",
        "key",
        "name",
        "on_error",
        "on_put",
        "queue",
        "takes_blocks",
        "types",
        "working",
    )

    def __init__(
        self,
        bus: Bus,
        types: tuple[type[Event], ...],
        handler: Handler,
        *,
        name: str,
        takes_blocks: bool,
        key: object,
        queue: BoundedQueue | None,
        on_error: OnError,
    ) -> None:
        self._bus = bus
        self.types = types
        self.handler = handler
        self.name = name
        self.takes_blocks = takes_blocks
        self.key = key
        self.on_error = on_error
        self.queue = queue
        self.on_put: Callable[[], None] = _nothing
        self.is_async = _is_async(handler)
        self.active = True
        self.working = False
        self.accepted = 0
        self.handled = 0
        self.dead_lettered = 0

    def __repr__(self) -> str:
        return f"<Subscription {self.name}>"

    def cancel(self) -> None:
        """Take no event that is published from now on; what was published before still arrives."""
        if self.active:
            self.active = False
            self._bus.unsubscribe(self)

    def payloads(self, item: Event | Block[Any]) -> Iterable[tuple[int, Any]]:
        """Yield what the handler is to be called with, each with its offset from the item's seq."""
        if is_block(item):
            return self._from_block(item)
        if self.key is not None and getattr(item, str(item.key_field)) != self.key:
            return ()
        if self.takes_blocks:
            return ((0, Block[Any].of([item])),)
        return ((0, item),)

    def _from_block(self, block: Block[Any]) -> Iterable[tuple[int, Any]]:
        field = block.cls.key_field
        wanted = None if self.key is None else block.column(str(field)) == self.key
        if self.takes_blocks:
            part = block if wanted is None else block.select(wanted)
            return ((0, part),) if len(part) else ()
        events = enumerate(block.events())
        return events if wanted is None else (pair for pair in events if wanted[pair[0]])

    def count_handled(self, payload: object) -> None:
        """Book an event or block as accepted and handled."""
        count = weight(payload)
        self.accepted += count
        self.handled += count

    def count_dead_lettered(self, payload: object) -> None:
        """Book an event or block as accepted and dead-lettered."""
        count = weight(payload)
        self.accepted += count
        self.dead_lettered += count

    @property
    def stats(self) -> SubscriptionStats:
        """The accounts as of now."""
        self._bus.settle_accounts()
        return SubscriptionStats(
            accepted=self.accepted,
            handled=self.handled,
            dropped=0 if self.queue is None else self.queue.dropped,
            dead_lettered=self.dead_lettered,
            queued=0 if self.queue is None else self.queue.size,
        )


def _nothing() -> None:
    """Stand in until a mailbox worker or a stream wants to be told of new items."""


def _is_async(handler: Handler) -> bool:
    call = getattr(handler, "__call__", None)  # noqa: B004 - the bound method itself is inspected
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)

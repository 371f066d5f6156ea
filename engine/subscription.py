"""A subscriber's place on the bus, and its accounts."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Hashable, Iterable
from itertools import compress
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from admf.engine.block import Block, is_block
from admf.engine.events import Event, Published
from admf.engine.queues import BoundedQueue, Overflow, weight

if TYPE_CHECKING:
    from admf.engine.bus import Bus
    from admf.engine.delivery import DeadLetter

__all__ = ["Handler", "Judge", "Mailbox", "OnError", "Subscription", "SubscriptionStats"]

Handler: TypeAlias = Callable[[Any], Awaitable[None] | None]
OnError: TypeAlias = Literal["propagate", "isolate"]
Judge: TypeAlias = "Callable[[DeadLetter], OnError]"
"""Decides about a failure of a handler once it has occurred."""


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
        queue: What waits for the handler's worker, or for a stream's observer.
        is_async: Whether what the handler returns is always to be awaited.
        is_plain: Whether the handler needs no more than to be called with every event.
        is_stream: Whether an observer outside the bus takes the events. What becomes of them is
            then no part of the bus's trace, which must not depend on who looks on.
    """

    __slots__ = (
        "_bus",
        "accepted",
        "active",
        "dead_lettered",
        "handled",
        "handler",
        "is_async",
        "is_plain",
        "is_stream",
        "key",
        "name",
        "on_error",
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
        key: Hashable,
        queue: BoundedQueue | None,
        on_error: OnError | Judge,
        is_stream: bool = False,
    ) -> None:
        self._bus = bus
        self.types = types
        self.handler = handler
        self.name = name
        self.takes_blocks = takes_blocks
        self.key = key
        self.on_error = on_error
        self.queue = queue
        self.is_stream = is_stream
        self.is_async = _is_async(handler)
        self.is_plain = not (self.is_async or takes_blocks or queue is not None) and key is None
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

    def end(self) -> None:
        """Take no event any more; what waits in a mailbox is dropped, in a stream can be read."""
        self.active = False
        if self.queue is not None:
            self.queue.close()
            if not self.is_stream:
                self.queue.clear()

    def rows(self, item: Published) -> Iterable[tuple[int, Any]]:
        """Yield what the handler is to be called with, each with its offset from the item's seq."""
        if is_block(item):
            return self._from_block(item)
        return ((0, Block[Any].of([item]) if self.takes_blocks else item),)

    def _from_block(self, block: Block[Any]) -> Iterable[tuple[int, Any]]:
        field = block.cls.key_field
        wanted = None if self.key is None else block.rows_where(str(field), self.key)
        if self.takes_blocks:
            part = block if wanted is None else block.select(wanted)
            return ((0, part),) if len(part) else ()
        return enumerate(block) if wanted is None else compress(enumerate(block), wanted)

    def count_handled(self, payload: object) -> None:
        """Book an event or block as handled."""
        count = weight(payload)
        self.handled += count
        if self.queue is None:  # otherwise it was accepted when it was queued
            self.accepted += count

    def count_dead_lettered(self, payload: object) -> None:
        """Book an event or block as dead-lettered."""
        count = weight(payload)
        self.dead_lettered += count
        if self.queue is None:
            self.accepted += count

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


def _is_async(handler: Handler) -> bool:
    if isinstance(handler, (FunctionType, MethodType)):  # there is no more to them
        return inspect.iscoroutinefunction(handler)
    call = getattr(handler, "__call__", None)  # noqa: B004 - the bound method itself is inspected
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)

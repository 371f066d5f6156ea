"""What stands in a scope's queue, and what becomes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import msgspec

from admf.engine.block import Block
from admf.engine.errors import WindowError
from admf.engine.events import Envelope, Event
from admf.engine.subscription import Subscription

if TYPE_CHECKING:
    from admf.engine.scope import Scope

__all__ = [
    "FROM_ABOVE",
    "DeadLetter",
    "Delivery",
    "Exported",
    "Interlude",
    "QueueItem",
    "TableChange",
    "Target",
]

QueueItem: TypeAlias = tuple[Any, int, str]
"""What was published, the seq of the event that caused it or `FROM_ABOVE`, the publisher's id."""

FROM_ABOVE = -1
"""The cause of an event that the parent scope passed down, and that must not go up again."""

Target: TypeAlias = "Subscription | Scope"


class DeadLetter(msgspec.Struct, frozen=True):
    """An event whose handler raised."""

    subscriber: str
    seq: int
    event: Event | Block[Any]
    error: BaseException


class TableChange:
    """A queued change of the subscription table: it takes effect between two sequence numbers."""

    __slots__ = ("apply",)

    def __init__(self, apply: Callable[[], object]) -> None:
        self.apply = apply


class Interlude:
    """Queued work that the dispatch of a scope waits for, between two sequence numbers.

    Args:
        work: What to do; if it is interrupted, the next drain does it again.
        tell: Called when it is done.
        cause: Number of the event that what it publishes follows from.

    Attributes:
        over: Whether it is done, or not wanted any more.
        seq: The last sequence number before it.
    """

    __slots__ = ("_limit", "cause", "over", "seq", "tell", "work")

    def __init__(
        self, work: Callable[[], Awaitable[None]], tell: Callable[[], None], cause: int = 0
    ) -> None:
        self.work = work
        self.tell = tell
        self.cause = cause
        self.over = False
        self.seq = 0
        self._limit = anyio.CancelScope()

    async def do(self, seq: int) -> None:
        """Do the work, unless it is not wanted any more; ``seq`` is the last number given."""
        self.seq = seq
        if not self.over:
            with anyio.CancelScope() as self._limit:
                try:
                    await self.work()
                except WindowError:
                    self.over = True
                    raise
                self.over = True
                self.tell()

    def withdraw(self) -> None:
        """Let it not be done, if it is not yet."""
        if not self.over:
            self.over = True
            self._limit.cancel()


class Exported:
    """An event on its way up from the scope it was published in."""

    __slots__ = ("event", "origin")

    def __init__(self, event: Event | Block[Any], origin: Scope) -> None:
        self.event = event
        self.origin = origin


class Delivery(msgspec.Struct):
    """An event on its way to its targets; an interrupted one goes on where it stopped.

    Args:
        envelope: The event, or the block of events.
        targets: Subscriptions and child scopes, in the order in which they get it.
        position: The target that has its turn.
        row: How many of the payloads for that target it has had.
    """

    envelope: Envelope
    targets: tuple[Target, ...]
    position: int = 0
    row: int = 0

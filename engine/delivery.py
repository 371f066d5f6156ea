"""What stands in a scope's queue, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from admf.engine.block import Block
from admf.engine.events import Envelope, Event
from admf.engine.subscription import Subscription

if TYPE_CHECKING:
    from admf.engine.scope import Scope

__all__ = [
    "FROM_ABOVE",
    "DeadLetter",
    "Delivery",
    "Exported",
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

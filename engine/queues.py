"""The bounded queue behind mailboxes and streams."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Literal, TypeAlias, get_args

import anyio

from admf.engine.block import Block, is_block
from admf.engine.errors import QueueFullError
from admf.engine.events import Envelope, Event

__all__ = ["BoundedQueue", "Overflow", "weight"]

Overflow: TypeAlias = Literal["block", "drop_oldest", "drop_newest", "coalesce", "fail"]


def weight(item: object) -> int:
    """Return how many events an event or block stands for."""
    return item.length if is_block(item) else 1


class BoundedQueue:
    """Holds envelopes in the order of their sequence numbers until they are handled.

    The head is taken, handled and only then removed, so that an interrupted handler loses nothing:
    the interrupted head is the next to be taken again.

    Args:
        maxsize: Greatest number of envelopes that wait; the head that was taken comes on top.
        overflow: What a full queue does. ``block`` makes the publisher's drain wait; ``coalesce``
            keeps the newest event of each class and key, and drops the oldest when all differ;
            ``fail`` raises.

    Attributes:
        size: Events held, the head included; a block counts each of its own.
        dropped: Events dropped.
        closed: Whether its reader wants no more; what is queued can still be taken.
        error: What closed it, if that was a failure.

    Raises:
        ValueError: ``maxsize`` is not positive, or there is no such policy.
    """

    __slots__ = (
        "_head",
        "_item",
        "_items",
        "_room",
        "closed",
        "dropped",
        "error",
        "maxsize",
        "overflow",
        "size",
    )

    def __init__(self, maxsize: int, overflow: Overflow) -> None:
        if maxsize < 1:
            raise ValueError(f"maxsize must be at least 1, got {maxsize}")
        if overflow not in get_args(Overflow):
            raise ValueError(f"overflow must be one of {get_args(Overflow)}, got {overflow!r}")
        self.maxsize = maxsize
        self.overflow = overflow
        self.dropped = 0
        self.size = 0
        self.closed = False
        self.error: BaseException | None = None
        self._items: OrderedDict[Hashable, Envelope] = OrderedDict()
        self._head: Envelope | None = None
        self._room: anyio.Event | None = None  # made only when somebody waits
        self._item: anyio.Event | None = None

    @property
    def full(self) -> bool:
        """Whether nothing more fits."""
        return len(self._items) >= self.maxsize

    async def wait_for_room(self) -> None:
        """Wait until the queue is not full, or is closed."""
        while self.full and not self.closed:
            self._room = self._room or anyio.Event()
            await self._room.wait()

    async def wait_for_item(self) -> None:
        """Wait until the queue is not empty, or is closed."""
        while not (self.size or self.closed):
            self._item = self._item or anyio.Event()
            await self._item.wait()

    def put(self, envelope: Envelope) -> Envelope | None:
        """Add an envelope and return the one that was dropped for it, which may be itself.

        Raises:
            QueueFullError: The queue is full and its policy is ``fail`` or ``block``.
        """
        key = self._key(envelope)
        dropped = self._items.pop(key, None)
        if dropped is None and self.full:
            dropped = self._make_room(envelope)
        self.size += weight(envelope.event)
        if dropped is not None:
            self._count_drop(dropped)
        if dropped is not envelope:
            self._items[key] = envelope
            self._announce_item()
        return dropped

    def take(self) -> Envelope | None:
        """Return the head, which stays queued until `done`; None when the queue is empty."""
        if self._head is None and self._items:
            self._head = self._items.popitem(last=False)[1]
            self._announce_room()
        return self._head

    def done(self) -> None:
        """Remove the head that was taken."""
        if self._head is not None:
            self.size -= weight(self._head.event)
            self._head = None

    def clear(self) -> None:
        """Drop all envelopes but the head that was taken."""
        for envelope in self._items.values():
            self._count_drop(envelope)
        self._items.clear()

    def close(self, error: BaseException | None = None) -> None:
        """Let whoever waits go on, the readers with ``error`` once they have read what is left."""
        self.closed = True
        self.error = error
        self._announce_room()
        self._announce_item()

    def _announce_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def _announce_item(self) -> None:
        if self._item is not None:
            self._item.set()
            self._item = None

    def _key(self, envelope: Envelope) -> Hashable:
        event: Event | Block[Any] = envelope.event
        if self.overflow != "coalesce" or is_block(event):
            return envelope.seq
        key: Hashable = getattr(event, event.key_field) if event.key_field else None
        return event.__class__, key

    def _make_room(self, newest: Envelope) -> Envelope:
        if self.overflow in ("fail", "block"):
            raise QueueFullError(f"the queue is full ({self.maxsize} events)")
        if self.overflow == "drop_newest":
            return newest
        return self._items.popitem(last=False)[1]

    def _count_drop(self, envelope: Envelope) -> None:
        count = weight(envelope.event)
        self.size -= count
        self.dropped += count

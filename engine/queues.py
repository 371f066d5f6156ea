"""The bounded queue behind mailboxes and streams."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Literal, TypeAlias

import anyio

from admf.engine.block import Block, is_block
from admf.engine.errors import QueueFullError
from admf.engine.events import Envelope, Event

__all__ = ["BoundedQueue", "Overflow", "weight"]

Overflow: TypeAlias = Literal["block", "drop_oldest", "drop_newest", "coalesce", "fail"]


def weight(item: object) -> int:
    """Return how many events an event or block stands for."""
    return len(item) if is_block(item) else 1


class BoundedQueue:
    """Holds at most ``maxsize`` envelopes, in the order of their sequence numbers.

    The head is taken, handled and only then removed, so that an interrupted handler loses nothing:
    the interrupted head is the next to be taken again.

    Args:
        maxsize: Greatest number of envelopes, the one being handled included.
        overflow: What a full queue does. ``block`` makes the publisher's drain wait; ``coalesce``
            keeps the newest event of each class and key, and drops the oldest when all differ;
            ``fail`` raises.
    """

    __slots__ = ("_head", "_items", "_room", "dropped", "maxsize", "overflow", "size")

    def __init__(self, maxsize: int, overflow: Overflow) -> None:
        if maxsize < 1:
            raise ValueError(f"maxsize must be at least 1, got {maxsize}")
        self.maxsize = maxsize
        self.overflow = overflow
        self.dropped = 0
        self.size = 0
        self._items: OrderedDict[Hashable, Envelope] = OrderedDict()
        self._head: Envelope | None = None
        self._room = anyio.Event()

    def __len__(self) -> int:
        return len(self._items) + (self._head is not None)

    @property
    def full(self) -> bool:
        """Whether nothing more fits."""
        return len(self) >= self.maxsize

    async def wait_for_room(self) -> None:
        """Wait until the queue is not full."""
        while self.full:
            self._room = anyio.Event()
            await self._room.wait()

    def put(self, envelope: Envelope) -> int:
        """Add an envelope and return how many events were dropped for it.

        Raises:
            QueueFullError: The queue is full and its policy is ``fail`` or ``block``.
        """
        before = self.dropped
        key = self._key(envelope)
        if key in self._items:
            self._drop(self._items.pop(key))
        elif self.full and not self._make_room():
            self.dropped += weight(envelope.event)
            return self.dropped - before
        self._items[key] = envelope
        self.size += weight(envelope.event)
        return self.dropped - before

    def take(self) -> Envelope | None:
        """Return the head, which stays queued until `done`; None when the queue is empty."""
        if self._head is None and self._items:
            self._head = self._items.popitem(last=False)[1]
        return self._head

    def done(self) -> None:
        """Remove the head that was taken."""
        if self._head is not None:
            self.size -= weight(self._head.event)
            self._head = None
            self._room.set()

    def _key(self, envelope: Envelope) -> Hashable:
        event: Event | Block[Any] = envelope.event
        if self.overflow != "coalesce" or is_block(event):
            return envelope.seq
        key: Hashable = getattr(event, event.key_field) if event.key_field else None
        return event.__class__, key

    def _make_room(self) -> bool:
        if self.overflow in ("fail", "block"):
            raise QueueFullError(f"the queue is full ({self.maxsize} events)")
        if self.overflow == "drop_newest" or not self._items:
            return False
        self._drop(self._items.popitem(last=False)[1])
        return True

    def _drop(self, envelope: Envelope) -> None:
        count = weight(envelope.event)
        self.size -= count
        self.dropped += count

"""The bounded queue behind mailboxes and streams."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sized
from typing import Any, Literal, TypeAlias, get_args

import anyio

from admf.engine.block import Block, is_block
from admf.engine.errors import QueueFullError
from admf.engine.events import Envelope, Event

__all__ = ["BoundedQueue", "CoalescingQueue", "Overflow", "bounded_queue", "weight"]

Overflow: TypeAlias = Literal["block", "drop_oldest", "drop_newest", "coalesce", "fail"]


def weight(item: object) -> int:
    """Return how many events an event or block stands for."""
    return item.length if type(item) is Block else 1


def bounded_queue(maxsize: int, overflow: Overflow) -> BoundedQueue:
    """Return an empty queue.

    Args:
        maxsize: Greatest number of envelopes that wait.
        overflow: What a full queue does. ``block`` makes the publisher's drain wait; ``coalesce``
            keeps the newest event of each class and key, and drops the oldest when all differ;
            ``fail`` raises.

    Raises:
        ValueError: ``maxsize`` is not positive, or there is no such policy.
    """
    if maxsize < 1:
        raise ValueError(f"maxsize must be at least 1, got {maxsize}")
    if overflow not in get_args(Overflow):
        raise ValueError(f"overflow must be one of {get_args(Overflow)}, got {overflow!r}")
    kind = CoalescingQueue if overflow == "coalesce" else BoundedQueue
    return kind(maxsize, overflow)


class BoundedQueue:
    """Holds envelopes in the order of their sequence numbers until they are handled.

    The head is taken, handled and only then removed, so that an interrupted handler loses nothing:
    the interrupted head is the next to be taken again. `bounded_queue` makes one.

    Attributes:
        size: Events held, the head included; a block counts each of its own.
        dropped: Events dropped.
        closed: Whether its reader wants no more; what is queued can still be taken.
        error: What closed it, if that was a failure.
    """

    __slots__ = (
        "_append",
        "_has_item",
        "_has_room",
        "_head",
        "_pop",
        "_waiting",
        "closed",
        "dropped",
        "error",
        "maxsize",
        "overflow",
        "size",
    )

    def __init__(self, maxsize: int, overflow: Overflow) -> None:
        self.maxsize = maxsize  # the head that was taken comes on top of it
        self.overflow = overflow
        self.dropped = 0
        self.size = 0
        self.closed = False
        self.error: BaseException | None = None
        waiting: deque[Envelope] = deque()
        self._waiting: Sized = waiting
        self._append: Callable[[Envelope], None] = waiting.append
        self._pop: Callable[[], Envelope] = waiting.popleft
        self._head: Envelope | None = None
        self._has_room: anyio.Event | None = None  # made only when somebody waits for it
        self._has_item: anyio.Event | None = None

    @property
    def full(self) -> bool:
        """Whether nothing more fits."""
        return len(self._waiting) >= self.maxsize

    @property
    def must_wait(self) -> bool:
        """Whether the publisher has to `wait_for_room`."""
        return len(self._waiting) >= self.maxsize and self.overflow == "block"

    async def wait_for_room(self) -> None:
        """Wait until the queue is not full, or is closed."""
        while self.full and not self.closed:
            self._has_room = self._has_room or anyio.Event()
            await self._has_room.wait()

    async def wait_for_item(self) -> None:
        """Wait until the queue is not empty, or is closed."""
        while not (self.size or self.closed):
            self._has_item = self._has_item or anyio.Event()
            await self._has_item.wait()

    def put(self, envelope: Envelope) -> Envelope | None:
        """Add an envelope and return the one that was dropped for it, which may be itself.

        Raises:
            QueueFullError: The queue is full and its policy is ``fail`` or ``block``.
        """
        dropped = self._make_room(envelope) if len(self._waiting) >= self.maxsize else None
        self.size += weight(envelope.event)
        if dropped is not envelope:
            self._append(envelope)
            self._announce_item()
        if dropped is not None:
            self._count_drop(dropped)
        return dropped

    def take(self) -> Envelope | None:
        """Return the head, which stays queued until `done`; None when the queue is empty."""
        if self._head is None and len(self._waiting):
            self._head = self._pop()
            self._announce_room()
        return self._head

    def done(self) -> None:
        """Remove the head that was taken."""
        if self._head is not None:
            self.size -= weight(self._head.event)
            self._head = None

    def clear(self) -> None:
        """Drop all envelopes but the head that was taken."""
        while len(self._waiting):
            self._count_drop(self._pop())

    def close(self, error: BaseException | None = None) -> None:
        """Let whoever waits go on, the readers with ``error`` once they have read what is left."""
        self.closed = True
        self.error = self.error or error
        self._announce_room()
        self._announce_item()

    def _make_room(self, newest: Envelope) -> Envelope:
        if self.overflow in ("fail", "block"):
            raise QueueFullError(f"the queue is full ({self.maxsize} events)")
        return newest if self.overflow == "drop_newest" else self._pop()

    def _count_drop(self, envelope: Envelope) -> None:
        count = weight(envelope.event)
        self.size -= count
        self.dropped += count

    def _announce_room(self) -> None:
        if self._has_room is not None:
            self._has_room.set()
            self._has_room = None

    def _announce_item(self) -> None:
        if self._has_item is not None:
            self._has_item.set()
            self._has_item = None


class CoalescingQueue(BoundedQueue):
    """Keeps the newest event of each class and key alone; blocks are kept as they are."""

    __slots__ = ("_newest",)

    def __init__(self, maxsize: int, overflow: Overflow) -> None:
        super().__init__(maxsize, overflow)
        self._newest: OrderedDict[Hashable, Envelope] = OrderedDict()
        self._waiting = self._newest
        self._append = self._keep
        self._pop = self._pop_oldest

    def put(self, envelope: Envelope) -> Envelope | None:
        """Add an envelope and return the one that was dropped for it."""
        replaced = self._newest.pop(_key(envelope), None)
        if replaced is None:
            return super().put(envelope)
        self._keep(envelope)  # at the end, where its sequence number belongs
        self.size += 1
        self._count_drop(replaced)
        return replaced

    def _keep(self, envelope: Envelope) -> None:
        self._newest[_key(envelope)] = envelope

    def _pop_oldest(self) -> Envelope:
        return self._newest.popitem(last=False)[1]


def _key(envelope: Envelope) -> Hashable:
    event: Event | Block[Any] = envelope.event
    if is_block(event):
        return envelope.seq
    key: Hashable = getattr(event, event.key_field) if event.key_field else None
    return event.__class__, key

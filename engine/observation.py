"""Looking on from outside: all events of a bus and its scopes, for one who may be slow."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from itertools import islice, starmap
from typing import Any, Generic, Protocol, Self, TypeVar, get_args

import anyio
import anyio.lowlevel

from admf.engine.batch import Batch
from admf.engine.block import Block, is_block
from admf.engine.errors import QueueFullError
from admf.engine.events import Envelope, Event
from admf.engine.queues import Overflow

__all__ = ["EventObserver", "Tap", "Told", "told_by"]

E = TypeVar("E", bound=Envelope)

_AT_ONCE = 64
"""Events that a reader takes before others in the event loop have their turn."""


class EventObserver(Protocol):
    """Looks on at a bus and the scopes below it; see ``Bus.observe``. Nothing here raises."""

    @property
    def types(self) -> frozenset[type[Event]]:
        """Classes of the events to see, subclasses included."""
        ...

    def observe(self, scope: str, envelope: Envelope) -> None:
        """See an event or block, in the scope in which it was published."""
        ...

    def observe_batch(self, scope: str, batch: Batch, first: int, cause: int) -> None:
        """See a batch; ``first`` and ``cause`` as for `Batch.envelopes`."""
        ...

    @property
    def must_wait(self) -> bool:
        """Whether the bus is to wait before it goes on."""
        ...

    async def wait_for_room(self) -> None:
        """Return when it may go on."""
        ...


class Told(Generic[E]):
    """Some events, which are made when somebody reads them.

    Args:
        count: How many.
        make: Returns them from one on, that of the given number counted from 0.
        left_out: Events that are not among them, since newer ones took their place.
    """

    __slots__ = ("_events", "_make", "_start", "left", "left_out")

    def __init__(
        self, count: int, make: Callable[[int], Iterator[E]], *, left_out: int = 0
    ) -> None:
        self.left = count
        self.left_out = left_out
        self._make = make
        self._start = 0
        self._events: Iterator[E] | None = None

    def skip(self, count: int) -> None:
        """Pass over the next ones."""
        self.left -= count
        if self._events is None:
            self._start += count
        else:
            self._events = islice(self._events, count, None)

    def take(self) -> E:
        """Return the next one."""
        if self._events is None:
            self._events = self._make(self._start)
        self.left -= 1
        return next(self._events)


def told_by(envelope: Envelope, make: Callable[[Envelope], E], *, newest: bool = False) -> Told[E]:
    """Return the events of an envelope.

    Args:
        envelope: The event, or the block of events.
        make: Returns what a single one is to be.
        newest: Of a block, only the last event of each key.
    """
    if not is_block(envelope.event):
        return Told(1, lambda _: iter((make(envelope),)))
    block: Block[Any] = envelope.event

    def single(row: int, event: Event) -> E:
        return make(Envelope(envelope.seq + row, envelope.cause, envelope.source, event))

    def rows(start: int) -> Iterator[E]:
        return starmap(single, enumerate(block.slice(start, len(block)), start))

    def chosen(start: int) -> Iterator[E]:
        return (single(row, block.slice(row, row + 1).events()[0]) for row in last[start:])

    if not newest:
        return Told(len(block), rows)
    last = _last_rows(block)
    return Told(len(last), chosen, left_out=len(block) - len(last))


def _last_rows(block: Block[Any]) -> list[int]:
    """Return the last row of each key, in their order."""
    field = block.cls.key_field
    if field is None:
        return [len(block) - 1]
    return sorted({key: row for row, key in enumerate(block.listed(field))}.values())


class Tap(Generic[E]):
    """Holds events for a reader, not many more than it is to.

    With ``block``, what one turn of the bus tells is held whatever it is, and the bus then waits; a
    block of a thousand events is held as one.

    Args:
        maxsize: Events held for a slow reader.
        overflow: What happens beyond that. ``coalesce`` keeps the newest event of each class and
            key, and drops the oldest when all differ; ``fail`` ends the reading with an error.

    Attributes:
        dropped: Events that were dropped.
        is_closed: Whether it takes no more.

    Raises:
        ValueError: ``maxsize`` is not positive, or there is no such policy.
    """

    def __init__(self, maxsize: int, overflow: Overflow) -> None:
        if maxsize < 1:
            raise ValueError(f"maxsize must be at least 1, got {maxsize}")
        if overflow not in get_args(Overflow):
            raise ValueError(f"overflow must be one of {get_args(Overflow)}, got {overflow!r}")
        self.dropped = 0
        self._maxsize = maxsize
        self._overflow = overflow
        self._told: deque[Told[E]] = deque()
        self._newest: OrderedDict[Hashable, E] = OrderedDict()
        self._size = 0
        self.is_closed = False
        self._error: QueueFullError | None = None
        self._changed: anyio.Event | None = None  # made only when somebody waits
        self._taken_at_once = 0

    @property
    def must_wait(self) -> bool:
        """Whether who tells it is to wait."""
        return self._overflow == "block" and self._size >= self._maxsize and not self.is_closed

    async def wait_for_room(self) -> None:
        """Wait until it holds less, or is closed."""
        while self.must_wait:
            await self._change()

    @property
    def coalesces(self) -> bool:
        """Whether it wants only the newest event of each class and key."""
        return self._overflow == "coalesce"

    def put(self, told: Told[E]) -> None:
        """Hold events, and drop what the policy says."""
        if self.is_closed:
            return
        if self.coalesces:
            self._coalesce(told)
        else:
            self._append(told)
        self._announce()

    def close(self, *, keep: bool = False) -> None:
        """Take no more; what is held can be read only if it is to be kept."""
        self.is_closed = True
        if not keep:
            self._told.clear()
            self._newest.clear()
            self._size = 0
        self._announce()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        """Return the next event.

        Raises:
            QueueFullError: The policy is ``fail`` and the reader was too slow.
        """
        self._taken_at_once = (self._taken_at_once + 1) % _AT_ONCE
        if not self._taken_at_once:
            await anyio.lowlevel.checkpoint()
        while not self._size:
            if self._error is not None:
                raise self._error
            if self.is_closed:
                raise StopAsyncIteration
            await self._change()
        found = self._take()
        self._announce()
        return found

    def _take(self) -> E:
        self._size -= 1
        if self.coalesces:
            return self._newest.popitem(last=False)[1]
        head = self._told[0]
        event = head.take()
        if not head.left:
            self._told.popleft()
        return event

    def _append(self, told: Told[E]) -> None:
        excess = max(self._size + told.left - self._maxsize, 0)
        if excess and self._overflow == "fail":
            self._error = QueueFullError(f"the reader was too slow for {self._maxsize} events")
            self.close(keep=True)
            return
        if excess and self._overflow == "drop_newest":
            told.left -= excess
            self.dropped += excess
        if told.left:
            self._told.append(told)
            self._size += told.left
        if excess and self._overflow == "drop_oldest":
            self._drop_oldest(excess)

    def _drop_oldest(self, excess: int) -> None:
        self.dropped += excess
        self._size -= excess
        while excess:
            head = self._told[0]
            count = min(excess, head.left)
            head.skip(count)
            excess -= count
            if not head.left:
                self._told.popleft()

    def _coalesce(self, told: Told[E]) -> None:
        count = told.left + told.left_out
        before = self._size
        while told.left:
            envelope = told.take()
            key = _key(envelope.event)
            self._newest.pop(key, None)
            self._newest[key] = envelope
        while len(self._newest) > self._maxsize:
            self._newest.popitem(last=False)
        self._size = len(self._newest)
        self.dropped += before + count - self._size

    async def _change(self) -> None:
        self._changed = self._changed or anyio.Event()
        await self._changed.wait()

    def _announce(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


def _key(event: Event) -> Hashable:
    key: Hashable = getattr(event, event.key_field) if event.key_field else None
    return event.__class__, key

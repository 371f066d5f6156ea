"""Writes event logs: the events of a container as a file of frames.

The same input gives the same bytes, whatever the size of the blocks that it came in. So what
depends on that size is not in a log:

* Its numbers are those of the log, from 1, and not those of the bus, where what comes from above
  takes numbers too, a block of n at once. A ``cause``, or a ``failed_seq``, is the number of that
  event in the log; it is 0 if that is neither in its frame nor in the one before.
* Events that come once in a time step, such as PORTFOLIO_UPDATE, are columns without numbers, cut
  after each `ROWS_PER_FRAME` rows from the first on. How they lie among the other events depends on
  the blocks, and so they stand behind them; meanwhile they wait in a file of their own.
* WINDOW_START and WINDOW_END are left out: they tell when it was computed.

`admf.engine.trace_frames` tells what the frames hold, `admf.engine.trace_reader` reads them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
from msgspec import Raw, structs
from numpy.typing import NDArray

from admf.engine.block import Block, event_class, is_block
from admf.engine.errors import StorageError, TornFileError
from admf.engine.events import Envelope, Event, HandlerFailed, WindowEnd, WindowStart, event_name
from admf.engine.frames import FrameWriter
from admf.engine.journal import Journal
from admf.engine.overflow import Overflow
from admf.engine.trace_frames import (
    FORMAT,
    ColumnsFrame,
    EndFrame,
    EventsFrame,
    HeadFrame,
    LogStore,
    column_types,
    pack,
)

__all__ = ["EVENTS_PER_FRAME", "ROWS_PER_FRAME", "EventLog"]

EVENTS_PER_FRAME = 256
"""Events that wait in memory, about 50 KiB."""

ROWS_PER_FRAME = 1_024
"""Rows of columns that wait in memory, 8 KiB for each column."""

_READ_AT_ONCE = 8
_EVENT_BYTES = 200


class EventLog:
    """Writes a log; of what it is given, a bounded part waits in memory.

    Args:
        journal: The file, which is made when there is something to write.
        overflow: Has files in which columns wait until the log is complete.
        store: Whether events are logged as they pass, or those that a policy retains at the end.
        about: What the log says of itself: anything that has a msgpack form.
        types: Event classes to log as they pass, each with its subclasses.
        columns: Event classes that become columns: all of their fields are int or float.

    Raises:
        ValueError: A field of ``columns`` is neither.
    """

    def __init__(
        self,
        journal: Journal,
        overflow: Overflow,
        *,
        store: LogStore,
        about: object,
        types: Iterable[type[Event]] = (),
        columns: Sequence[type[Event]] = (),
    ) -> None:
        self.store: LogStore = store
        self.types = frozenset(types)
        self._journal = journal
        self._writer = FrameWriter(journal)
        self._about = about
        self._columns = {cls: _Rows(cls, overflow) for cls in columns}
        self._odd: frozenset[type[object]] = frozenset([Block, *columns])
        self._events: list[Envelope] = []
        self._written = 0
        self._numbers: dict[int, int] = {}  # by the bus's numbers, of the last frame
        self._broken: StorageError | None = None
        self._complete = False

    def record(self, envelope: Envelope) -> None:
        """Take an event, or a block of events.

        Raises:
            StorageError: It cannot be written. The log takes nothing more then, and `complete`
                raises as well.
        """
        if type(envelope.event) in self._odd:
            self._attempt(partial(self._take, envelope))
            return
        self._events.append(envelope)
        if len(self._events) >= EVENTS_PER_FRAME:
            self._attempt(self._write_events)

    def complete(self, kept: Iterable[Event] = (), about: object = None) -> None:
        """Write what waits, and the end; does nothing if that was done. Takes time.

        Args:
            kept: Events to write before the end.
            about: What to say at the end.

        Raises:
            StorageError: It cannot be written, or something could not before.
        """
        if not self._complete:
            self._attempt(partial(self._finish, kept, about))
        if self._broken is not None:
            raise self._broken
        self._complete = True

    def file(self, complete: Callable[[], None]) -> Journal:
        """Return the file, which calls ``complete`` before it is made durable."""
        return _LogFile(self._journal, complete)

    def release(self) -> None:
        """Remove what waited, and the log itself unless it is complete; idempotent.

        Raises:
            StorageError: A file cannot be removed.
        """
        for rows in self._columns.values():
            rows.discard()
        if not self._complete:
            self._journal.discard()

    def size_bytes(self) -> int:
        """Estimate the memory of what waits."""
        rows = sum(rows.size_bytes for rows in self._columns.values())
        return rows + _EVENT_BYTES * (len(self._events) + len(self._numbers))

    def _attempt(self, write: Callable[[], None]) -> None:
        """Write; once that fails, nothing more is written, nor kept for it."""
        try:
            if self._broken is None:
                write()
        except StorageError as error:
            self._broken = StorageError(f"the log of events is not whole: {error}")
            raise
        finally:
            if self._broken is not None:
                self._events.clear()

    def _take(self, envelope: Envelope) -> None:
        event: Event | Block[Any] = envelope.event
        rows = self._columns.get(event_class(event))
        if rows is not None:
            rows.add(event)
        elif is_block(event):
            for offset, single in enumerate(event):
                self.record(structs.replace(envelope, seq=envelope.seq + offset, event=single))
        else:
            self.record(envelope)

    def _write_events(self) -> None:
        first = self._written + 1
        numbers = {it.seq: number for number, it in enumerate(self._events, first) if it.seq}
        known = self._numbers | numbers
        rows = [(known.get(it.cause, 0), it.source, _told(it.event, known)) for it in self._events]
        self._write(pack(EventsFrame(first, rows)))
        self._written += len(rows)
        self._numbers = numbers
        self._events.clear()

    def _finish(self, kept: Iterable[Event], about: object) -> None:
        for event in kept:
            if not isinstance(event, (WindowStart, WindowEnd)):
                self._take(Envelope(0, 0, "", event))
        if self._events:
            self._write_events()
        for rows in self._columns.values():
            for payloads in rows.payloads():
                self._write(*payloads)
        counts = {event_name(cls): rows.count for cls, rows in self._columns.items()}
        self._write(pack(EndFrame(self._written, counts, Raw(pack(about)))))
        self._writer.end()

    def _write(self, *payloads: bytes) -> None:
        head: tuple[bytes, ...] = ()
        if not self._journal.size:
            head = (pack(HeadFrame(FORMAT, self.store, Raw(pack(self._about)))),)
        self._writer.append(*head, *payloads)


def _told(event: Event, numbers: Mapping[int, int]) -> Event:
    if type(event) is HandlerFailed:
        return structs.replace(event, failed_seq=numbers.get(event.failed_seq, 0))
    return event


class _LogFile:
    """The file of a log: made durable, it is complete."""

    def __init__(self, journal: Journal, complete: Callable[[], None]) -> None:
        self._journal = journal
        self._complete = complete

    @property
    def size(self) -> int:
        return self._journal.size

    def append(self, data: bytes) -> None:
        self._journal.append(data)

    def read(self, start: int, count: int) -> bytes:
        return self._journal.read(start, count)

    def sync(self) -> None:
        self._complete()
        self._journal.sync()

    def discard(self) -> None:
        self._journal.discard()


class _Rows:
    """Events of one class as columns; full frames of them wait in a file.

    Attributes:
        count: Events so far.
    """

    def __init__(self, cls: type[Event], overflow: Overflow) -> None:
        self.count = 0
        self._name = event_name(cls)
        self._waiting = _Waiting(overflow, f"trace_{self._name.lower()}")
        self._filled = 0
        self._columns: dict[str, NDArray[Any]] = {
            name: np.empty(ROWS_PER_FRAME, dtype) for name, dtype in column_types(cls).items()
        }

    @property
    def size_bytes(self) -> int:
        return sum(column.nbytes for column in self._columns.values())

    def add(self, item: Event | Block[Any]) -> None:
        if is_block(item):
            self._extend({name: item.column(name) for name in self._columns}, len(item))
        else:
            for name, column in self._columns.items():
                column[self._filled] = getattr(item, name)
            self._fill(1)

    def payloads(self) -> Iterator[list[bytes]]:
        """Yield the frames, some at a time; no more events may follow."""
        yield from self._waiting.batches()
        if self._filled:
            yield [self._payload()]

    def discard(self) -> None:
        self._waiting.discard()

    def _extend(self, values: Mapping[str, NDArray[Any]], count: int) -> None:
        done = 0
        while done < count:
            part = min(count - done, ROWS_PER_FRAME - self._filled)
            for name, column in self._columns.items():
                column[self._filled : self._filled + part] = values[name][done : done + part]
            done += part
            self._fill(part)

    def _fill(self, rows: int) -> None:
        self._filled += rows
        self.count += rows
        if self._filled == ROWS_PER_FRAME:
            self._waiting.append(self._payload())
            self._filled = 0

    def _payload(self) -> bytes:
        values = {name: column[: self._filled].tobytes() for name, column in self._columns.items()}
        return pack(ColumnsFrame(self._name, self.count - self._filled, values))


class _Waiting:
    """Payloads that wait in a file of their own: uncompressed, since that is for their last one."""

    def __init__(self, overflow: Overflow, name: str) -> None:
        self._overflow = overflow
        self._name = name
        self._journal: Journal | None = None
        self._sizes: list[tuple[int, int]] = []

    def append(self, payload: bytes) -> None:
        if self._journal is None:
            self._journal = self._overflow.journal(self._name)
        self._journal.append(payload)
        self._sizes.append((len(payload), zlib.crc32(payload)))

    def batches(self) -> Iterator[list[bytes]]:
        place = 0
        for first in range(0, len(self._sizes), _READ_AT_ONCE):
            sizes = self._sizes[first : first + _READ_AT_ONCE]
            total = sum(size for size, _ in sizes)
            yield self._split(self._read(place, total), sizes)
            place += total

    def discard(self) -> None:
        if self._journal is not None:
            self._journal.discard()

    def _read(self, start: int, count: int) -> bytes:
        journal = cast("Journal", self._journal)
        content = journal.read(start, count)
        while len(content) < count and (more := journal.read(start + len(content), count)):
            content += more
        return content

    def _split(self, content: bytes, sizes: Sequence[tuple[int, int]]) -> list[bytes]:
        parts: list[bytes] = []
        start = 0
        for size, checksum in sizes:
            parts.append(content[start : start + size])
            start += size
            if zlib.crc32(parts[-1]) != checksum:
                raise TornFileError(
                    f"what waited in {self._name!r} is not as it was written; "
                    "look after the disk and run again"
                )
        return parts

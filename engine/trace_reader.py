"""Reads event logs, and lets none pass that is not whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

import msgspec
import numpy as np

from admf.engine.block import Block
from admf.engine.errors import StorageError, TornFileError
from admf.engine.events import Envelope, Event, event_name
from admf.engine.frames import FrameReader, Read
from admf.engine.trace_frames import (
    FORMAT,
    ColumnsFrame,
    EndFrame,
    EventsFrame,
    Frame,
    HeadFrame,
    LogStore,
    column_types,
    unpack,
)

__all__ = ["EventLogReader"]

T = TypeVar("T")


class EventLogReader:
    """Reads a log from its beginning to its end, a frame at a time.

    Args:
        read: Returns the content of the file.
        size: Of the file, bytes.
        classes: The event classes that may be in it.

    Attributes:
        store: What the log holds; known once the reading has begun, as `about` is.
    """

    def __init__(self, read: Read, size: int, classes: Iterable[type[Event]]) -> None:
        self.store: LogStore = "all"
        self._frames = FrameReader(read, size)
        self._classes = {event_name(cls): cls for cls in classes}
        self._head: msgspec.Raw | None = None
        self._end: msgspec.Raw | None = None
        self._next = 1
        self._rows: dict[str, int] = {}

    def about(self, kind: type[T]) -> T:
        """Return what the log says of itself.

        Raises:
            TornFileError: That is not it, or the log is cut before it.
        """
        if self._head is None:
            next(self._payloads(), None)
        return cast("T", unpack(self._head or b"", kind))

    def about_end(self, kind: type[T]) -> T:
        """Return what the log says at its end, once it has been read.

        Raises:
            TornFileError: That is not it.
        """
        return cast("T", unpack(self._end or b"", kind))

    def __iter__(self) -> Iterator[Envelope]:
        """Yield the events in their order, then the columns as blocks; each call begins anew.

        Nothing is to be made of them before the last has come: only then is it known whether the
        log is whole.

        Raises:
            TornFileError: The log is damaged, cut, or was not completed.
            StorageError: It cannot be read, or is of another version.
        """
        self._next, self._rows = 1, {}
        end: EndFrame | None = None
        for frame in self._payloads():
            if end is not None or isinstance(frame, HeadFrame):
                raise TornFileError("its frames are not those of a log of events")
            if isinstance(frame, EventsFrame):
                yield from self._events(frame)
            elif isinstance(frame, ColumnsFrame):
                yield self._block(frame)
            else:
                end = frame
        self._check(end)

    def _payloads(self) -> Iterator[Frame]:
        """Yield the frames behind the head."""
        frames = iter(self._frames)
        first = next(frames, None)
        if first is None:
            raise TornFileError(self._frames.damage or "it is cut off at its beginning")
        self._begin(first)
        for payload in frames:
            yield unpack(payload, Frame)

    def _begin(self, payload: bytes) -> None:
        found = unpack(payload, dict[str, Any]).get("format")
        if isinstance(found, int) and found != FORMAT:
            raise StorageError(
                f"it has format {found}, which this version does not know (it writes {FORMAT}): "
                "read it with the version of admf that wrote it"
            )
        head = unpack(payload, HeadFrame)
        self.store, self._head = head.store, head.about

    def _events(self, frame: EventsFrame) -> Iterator[Envelope]:
        if frame.first != self._next or self._rows:
            raise TornFileError(f"events before number {frame.first} are missing")
        for cause, source, fields in frame.rows:
            yield Envelope(self._next, cause, source, self._event(fields))
            self._next += 1

    def _event(self, fields: dict[str, Any]) -> Event:
        make: Callable[..., Event] = self._class(str(fields.pop("event", "")))
        try:
            return make(**{name: _field(value) for name, value in fields.items()})
        except TypeError as error:
            raise StorageError(f"it was written by another version of admf: {error}") from error

    def _block(self, frame: ColumnsFrame) -> Envelope:
        cls = self._class(frame.event)
        if frame.first != self._rows.get(frame.event, 0):
            raise TornFileError(f"rows of {frame.event} before {frame.first} are missing")
        try:
            columns = {
                name: np.frombuffer(frame.values[name], dtype)
                for name, dtype in column_types(cls).items()
            }
            block = Block(cls, columns)
        except (KeyError, ValueError) as error:
            raise TornFileError(f"columns of {frame.event} do not fit: {error}") from error
        self._rows[frame.event] = frame.first + len(block)
        return Envelope(0, 0, "", block)

    def _class(self, name: str) -> type[Event]:
        if name not in self._classes:
            raise StorageError(f"it holds events {name!r}, which are not known here")
        return self._classes[name]

    def _check(self, end: EndFrame | None) -> None:
        """Raise unless all has been read that was ever written."""
        if not self._frames.whole or end is None:
            cut = "it is cut, or its writer did not come to its end"
            raise TornFileError(self._frames.damage or cut)
        rows = {name: count for name, count in end.columns.items() if count}
        if end.events != self._next - 1 or rows != self._rows:
            raise TornFileError("its end tells of more, or less, than is there")
        self._end = end.about


def _field(value: Any) -> Any:
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value

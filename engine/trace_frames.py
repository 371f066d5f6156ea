"""The frames of an event log, as msgpack.

They stand in this order (see `admf.engine.frames` for what is around each)::

    {frame: head, format: 1, store: all | retained, about: ...}
    {frame: events, first: number, rows: [[cause, source, {event: NAME, ts: ..., ...}], ...]}
    {frame: columns, event: NAME, first: row, values: {ts: int64, equity: float64, ...}}
    {frame: end, events: count, columns: {NAME: rows}, about: ...}

Columns are little-endian. What the writer says ``about`` the log is up to the application.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast

import msgspec
import numpy as np

from admf.engine.errors import StorageError, TornFileError
from admf.engine.events import Event, event_name

__all__ = [
    "FORMAT",
    "ColumnsFrame",
    "EndFrame",
    "EventsFrame",
    "Frame",
    "HeadFrame",
    "LogStore",
    "column_types",
    "pack",
    "unpack",
]

FORMAT = 1

LogStore: TypeAlias = Literal["all", "retained"]

_DTYPES: Mapping[object, str] = MappingProxyType({int: "<i8", float: "<f8"})


class HeadFrame(msgspec.Struct, frozen=True, tag_field="frame", tag="head"):
    """The first frame.

    Args:
        store: Whether the log holds all events, or those that a policy retained.
    """

    format: int
    store: LogStore
    about: msgspec.Raw


class EventsFrame(msgspec.Struct, frozen=True, tag_field="frame", tag="events"):
    """Events in their order: cause, source and fields of each; ``first`` is a number, from 1 on."""

    first: int
    rows: list[tuple[int, str, Any]]


class ColumnsFrame(msgspec.Struct, frozen=True, tag_field="frame", tag="columns"):
    """Events of one class, a column for each field; ``first`` is a row, from 0 on."""

    event: str
    first: int
    values: dict[str, bytes]


class EndFrame(msgspec.Struct, frozen=True, tag_field="frame", tag="end"):
    """The last frame: how many events there are, and how many rows of each class."""

    events: int
    columns: dict[str, int]
    about: msgspec.Raw


Frame: TypeAlias = HeadFrame | EventsFrame | ColumnsFrame | EndFrame


def column_types(cls: type[Event]) -> dict[str, str]:
    """Return the type of each column of an event class, as numpy names it.

    Raises:
        ValueError: A field is neither int nor float.
    """
    types = {field.name: field.type for field in msgspec.structs.fields(cls)}
    if odd := [name for name, kind in types.items() if kind not in _DTYPES]:
        raise ValueError(f"field {odd[0]!r} of {event_name(cls)} is neither int nor float")
    return {name: _DTYPES[kind] for name, kind in types.items()}


def pack(value: object) -> bytes:
    """Return a frame, or a part of one, as msgpack.

    Raises:
        StorageError: Something in it has no such form.
    """
    try:
        return msgspec.msgpack.encode(value, enc_hook=_plain)
    except (TypeError, ValueError, OverflowError) as error:
        raise StorageError(f"an event cannot be written to the log: {error}") from error


def unpack(content: bytes | msgspec.Raw, kind: Any) -> Any:
    """Return a frame, or a part of one, as ``kind``.

    Raises:
        TornFileError: It is none.
    """
    try:
        return msgspec.msgpack.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TornFileError(f"its content is not that of a log of events: {error}") from error


def _plain(value: object) -> object:
    """Return a number of numpy as one of Python, as it would be written to a result file."""
    if isinstance(value, np.generic):
        return cast("object", value.item())
    raise TypeError(f"objects of type {type(value).__name__} are not supported")

"""Computes the results of a portfolio once more, from its event log alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import msgspec
import numpy as np

from admf.containers.lane_log import STORED_EVENTS, LaneTracing
from admf.engine.block import Block, Column
from admf.engine.differences import briefly, differences
from admf.engine.encoding import iter_json
from admf.engine.errors import StorageError, TornFileError
from admf.engine.events import Envelope, Event, event_name
from admf.engine.frames import Read
from admf.engine.packing import SEAL_FIELD, Packer
from admf.engine.registry import Registry
from admf.engine.trace_reader import EventLogReader
from admf.engine.tracer import TraceEnd

__all__ = ["log_reader", "recompute", "replay_document"]

Fields: TypeAlias = dict[str, msgspec.Raw]

_AT_ONCE = 1_024
_LONGEST_SHOWN = 60


def log_reader(read: Read, size: int) -> EventLogReader:
    """Return a reader of a portfolio's log; see `admf.engine.trace_reader.EventLogReader`."""
    return EventLogReader(read, size, STORED_EVENTS)


def recompute(log: EventLogReader, registry: Registry) -> dict[str, object]:
    """Return what a portfolio's tracer contributes to its file, by the names of the fields.

    Traced events that are not in the log (BAR, FEATURES, WINDOW_START and WINDOW_END) only count:
    the retention policy gets empty events in their place. That is enough for the built-in policies,
    and for any that does not look into them.

    Args:
        log: A log of all events.
        registry: Holds the retention policies of others.

    Returns:
        The fields as `iter_json` takes them, those of histories to be read once.

    Raises:
        TornFileError: The log is damaged or not complete.
        StorageError: It holds the retained events only, or cannot be read.
        ConfigError: Its retention policy is not known here.
    """
    lane = log.about(LaneTracing)
    if log.store != "all":
        raise StorageError("it holds only what was retained: set 'trace: {store: all}'")
    tracer = lane.tracer(registry)
    for envelope in log:
        tracer.record(envelope)
    for envelope in _stand_ins(log.about_end(TraceEnd)):
        tracer.record(envelope)
    found = tracer.results()
    return {**found.figures(), **found.histories()}


def replay_document(text: bytes, log: EventLogReader, registry: Registry) -> str:
    """Compare a portfolio's file with what comes out of its log.

    Args:
        text: The file as it was written, uncompressed and whole.
        log: Its log.
        registry: Holds the retention policies of others.

    Returns:
        The first difference, or an empty text if the file made of its own other fields and of those
        that the log gives has the same bytes.

    Raises:
        TornFileError: The log is damaged, not complete, or of another container.
        StorageError: It holds the retained events only, or cannot be read.
        ConfigError: Its retention policy is not known here.
    """
    stored: Fields = msgspec.json.decode(text, type=Fields)
    stored.pop(SEAL_FIELD)
    owner = log.about(LaneTracing).container_id
    if msgspec.json.decode(stored["container_id"]) != owner:
        raise TornFileError(f"it is that of {owner!r}")
    found = {name: _encoded(name, value) for name, value in recompute(log, registry).items()}
    if _sealed({**stored, **found}) == text:
        return ""
    return _first_difference(stored, found)


def _stand_ins(end: TraceEnd) -> Iterator[Envelope]:
    """Yield as many empty events as were traced and are not in the log."""
    classes = {event_name(cls): cls for cls in STORED_EVENTS}
    for name, count in end.elsewhere.items():
        if name not in classes:
            raise StorageError(f"it tells of events {name!r}, which are not known here")
        for start in range(0, count, _AT_ONCE):
            yield Envelope(0, 0, "", _empty(classes[name], min(_AT_ONCE, count - start)))


def _empty(cls: type[Event], count: int) -> Block[Event]:
    columns: dict[str, Column] = dict.fromkeys(cls.__struct_fields__)
    return Block(cls, {**columns, "ts": np.zeros(count, dtype=np.int64)})


def _encoded(name: str, value: object) -> msgspec.Raw:
    """Return a field's value as it would be written."""
    text = b"".join(iter_json({name: value}, name))
    return msgspec.json.decode(text, type=Fields)[name]


def _sealed(fields: Mapping[str, object]) -> bytes:
    packer = Packer()
    parts = [packer.add(text) for text in iter_json(fields, "the file made of the log")]
    return b"".join([*parts, packer.finish()])


def _first_difference(stored: Fields, found: Fields) -> str:
    told = {name: msgspec.json.decode(text) for name, text in stored.items() if name in found}
    given = {name: msgspec.json.decode(text) for name, text in found.items()}
    for path, says, gives in differences(told, given):
        return f"{path}: the file says {briefly(says)}, its log gives {briefly(gives)}"
    return "the file was not written by this version of admf"

"""Which correlations of a batch are over by its end, found without making single events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.engine.batch import Batch
from admf.engine.block import Block, DictionaryColumn
from admf.engine.events import Event

__all__ = ["Correlations", "correlations_of"]

Places: TypeAlias = NDArray[np.int64]


class Correlations(NamedTuple):
    """The correlations of a batch, each of whose events have the same id.

    Args:
        ids: All ids that may occur.
        most_events: Events of the id that has most of them.
        closed: Ids whose last event closes them.
        staying: The events of all others, in their order.
    """

    ids: tuple[str, ...]
    most_events: int
    closed: frozenset[str]
    staying: Iterable[Event]


class _Part(NamedTuple):
    """The events of a class that has a correlation: their ids, and their places in the batch."""

    block: Block[Any]
    codes: NDArray[np.integer[Any]]
    places: Places


def correlations_of(batch: Batch) -> Correlations | None:
    """Return the correlations of a batch whose ids are columns over the same values.

    Returns:
        None if they are not, or if an event follows the one that closes its correlation.
    """
    parts: list[_Part] = []
    ids: tuple[str, ...] | None = None
    for code, block in enumerate(batch.blocks):
        if block.cls.correlation_field is None:
            continue
        column = block.columns[block.cls.correlation_field]
        if not isinstance(column, DictionaryColumn) or (ids is not None and column.values != ids):
            return None
        ids = column.values
        parts.append(_Part(block, column.codes, np.flatnonzero(batch.order == code)))
    if ids is None:
        return Correlations((), 0, frozenset(), ())
    return _sorted_out(parts, ids)


def _sorted_out(parts: list[_Part], ids: tuple[str, ...]) -> Correlations | None:
    last = np.full(len(ids), -1)
    closing = np.full(len(ids), -1)
    counts = np.zeros(len(ids), dtype=np.int64)
    for part in parts:
        counts += np.bincount(part.codes, minlength=len(ids))
        last[part.codes] = np.maximum(last[part.codes], part.places)
        if part.block.cls.closes:
            if len(np.unique(part.codes)) < len(part.codes):
                return None
            closing[part.codes] = part.places
    closed = closing >= 0
    if not np.array_equal(last[closed], closing[closed]):
        return None
    found = frozenset(ids[index] for index in np.flatnonzero(closed).tolist())
    return Correlations(ids, int(counts.max()), found, _staying(parts, closed))


def _staying(parts: list[_Part], closed: NDArray[np.bool_]) -> Iterator[Event]:
    """Yield the events of the ids that are not closed, in their order."""
    streams: list[Iterator[tuple[int, Event]]] = []
    for part in parts:
        rows = ~closed[part.codes]
        if rows.any():
            events: list[Event] = part.block.select(rows).events()
            streams.append(zip(part.places[rows].tolist(), events, strict=True))
    return (event for _, event in merge(*streams, key=_place))


def _place(placed: tuple[int, Event]) -> int:
    return placed[0]

"""Which correlations of a batch are over by its end, found without making single events."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from heapq import merge
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.engine.batch import Batch
from admf.engine.block import Block, DictionaryColumn
from admf.engine.events import Event

__all__ = ["Correlations", "correlations_of"]

Places: TypeAlias = NDArray[np.int64]

_NEVER = np.iinfo(np.int64).max
_FEW = 8
"""Ids that are looked up one by one."""


class Correlations(NamedTuple):
    """The correlations of a batch, each of whose events have the same id.

    Args:
        ids: All ids that may occur.
        most_events: No id has more events than this.
        most_open: Returns how many of them are open at once.
        closed: bool (ids,), whether the last event of each closes it.
        staying: The events of all others, in their order.
    """

    ids: tuple[str, ...]
    most_events: int
    most_open: Callable[[], int]
    closed: NDArray[np.bool_]
    staying: Iterable[Event]

    def closed_among(self, known: Collection[object]) -> list[str]:
        """Return those of some ids that are closed in the batch."""
        if len(known) < _FEW:
            found = [it for it in known if isinstance(it, str) and it in self.ids]
            return [it for it in found if self.closed[self.ids.index(it)]]
        closed = {self.ids[index] for index in np.flatnonzero(self.closed).tolist()}
        return [it for it in known if isinstance(it, str) and it in closed]


class _Ids(NamedTuple):
    """The events of a class that has a correlation, and their ids."""

    block: Block[Any]
    codes: NDArray[np.integer[Any]]
    number: int


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
    found: list[_Ids] = []
    ids: tuple[str, ...] | None = None
    for code, block in enumerate(batch.blocks):
        if block.cls.correlation_field is None:
            continue
        column = block.columns[block.cls.correlation_field]
        if not isinstance(column, DictionaryColumn) or (
            ids is not None and column.values is not ids and column.values != ids
        ):
            return None
        ids = column.values
        found.append(_Ids(block, column.codes, code))
    if ids is None:
        return Correlations((), 0, int, np.zeros(0, dtype=np.bool_), ())
    closed = _closed(found, ids) if batch.in_turn else None
    if closed is None or not closed[:-1].all():
        return _sorted_out(_with_places(found, batch), ids)
    staying = () if closed[-1] else _staying(_with_places(found, batch), closed)
    return Correlations(ids, _most_events(found), _one, closed, staying)


def _with_places(found: list[_Ids], batch: Batch) -> list[_Part]:
    order = batch.order
    return [_Part(block, codes, (order == code).nonzero()[0]) for block, codes, code in found]


def _one() -> int:
    """Return how many correlations are open at once if one is closed before the next begins."""
    return 1


def _closed(found: list[_Ids], ids: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which of the ids have an event that closes, bool (ids,)."""
    closed = np.zeros(len(ids), dtype=np.bool_)
    for block, codes, _ in found:
        if block.cls.closes:
            closed[codes] = True
    return closed


def _most_events(found: list[_Ids]) -> int:
    return int(np.bincount(np.concatenate([codes for _, codes, _ in found])).max())


def _sorted_out(parts: list[_Part], ids: tuple[str, ...]) -> Correlations | None:
    closing = np.full(len(ids), _NEVER)
    closes = 0
    for part in parts:
        if part.block.cls.closes:
            closing[part.codes] = part.places
            closes += len(part.codes)
    closed = closing != _NEVER
    codes = np.concatenate([part.codes for part in parts])
    places = np.concatenate([part.places for part in parts])
    if np.count_nonzero(closed) != closes or (places > closing[codes]).any():
        return None
    most = int(np.bincount(codes).max())
    most_open = partial(_most_open, parts, closing)
    staying = () if closed[codes].all() else _staying(parts, closed)
    return Correlations(ids, most, most_open, closed, staying)


def _most_open(parts: list[_Part], closing: Places) -> int:
    """Return how many are open at once, at most: those that have begun and are not closed yet."""
    begins = np.full(len(closing), _NEVER)
    for part in parts:
        codes, places = part.codes[::-1], part.places[::-1]  # so that the first one is set last
        begins[codes] = np.minimum(begins[codes], places)
    begun = np.arange(1, len(begins) + 1)
    ended = np.searchsorted(np.sort(closing), np.sort(begins))
    return int((begun - ended).max(initial=0))


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

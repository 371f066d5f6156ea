"""Batches of events that were made one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from admf.engine.batch import Batch
from admf.engine.block import Block, DictionaryColumn
from admf.engine.events import Event, event_name

__all__ = ["Told", "batch_of"]

Told: TypeAlias = tuple[Event, int, str]
"""An event, the place of the one that it follows from (-1 for none), and the publisher's id."""


def batch_of(told: Sequence[Told]) -> Batch:
    """Return events as a batch.

    Args:
        told: The events, in their order; those of a type have the same publisher.

    Raises:
        ValueError: A type of events has two publishers.
    """
    events, causes, sources = zip(*told, strict=True)
    classes = list(map(type, events))
    codes = {cls: code for code, cls in enumerate(dict.fromkeys(classes))}
    by_type: list[list[Event]] = [[] for _ in codes]
    order = bytes(map(codes.__getitem__, classes))
    for code, event in zip(order, events, strict=True):
        by_type[code].append(event)
    return Batch(
        _blocks(by_type),
        np.frombuffer(order, dtype=np.uint8),
        causes=np.array(causes),
        sources=list(_publishers(zip(classes, sources, strict=True)).values()),
    )


def _publishers(found: Iterable[tuple[type[Event], str]]) -> dict[type[Event], str]:
    """Return who publishes each type of events, in their order."""
    publishers: dict[type[Event], str] = {}
    for cls, source in dict.fromkeys(found):
        if cls in publishers:
            both = f"{publishers[cls]} and by {source}"
            raise ValueError(f"{event_name(cls)} is published by {both}")
        publishers[cls] = source
    return publishers


def _blocks(by_type: list[list[Event]]) -> list[Block[Event]]:
    """Return a block for each type; the correlations of all are columns over the same ids."""
    ids: dict[str, int] = {}
    blocks: list[Block[Event]] = []
    found: list[tuple[int, str, NDArray[np.int64]]] = []
    for place, events in enumerate(by_type):
        blocks.append(Block.holding(events))
        field = events[0].correlation_field
        if field is not None:
            found.append((place, field, _codes(blocks[place], field, ids)))
    values = tuple(ids)
    for place, field, codes in found:
        columns = {**blocks[place].columns, field: DictionaryColumn(codes, values)}
        blocks[place] = Block(blocks[place].cls, columns)
    return blocks


def _codes(block: Block[Event], field: str, ids: dict[str, int]) -> NDArray[np.int64]:
    """Return the places of a column's values among ids, to which new ones are added."""
    column = block.columns[field]
    if not isinstance(column, DictionaryColumn):  # all rows are of one correlation
        column = DictionaryColumn(np.zeros(len(block), np.int32), (cast("str", column),))
    places = [ids.setdefault(name, len(ids)) for name in column.values]
    codes: NDArray[np.int64] = np.array(places)[column.codes]
    return codes

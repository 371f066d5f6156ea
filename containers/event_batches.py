"""Batches of events that were made one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np

from admf.engine.batch import Batch
from admf.engine.block import Block, DictionaryColumn
from admf.engine.events import Event

__all__ = ["Told", "batches_of"]

Told: TypeAlias = tuple[Event, int, str]
"""An event, the place of the one that it follows from (-1 for none), and the publisher's id."""


def batches_of(told: Sequence[Told]) -> Iterator[Batch]:
    """Yield events as batches in which all events of a type have the same publisher.

    Args:
        told: The events, in their order.
    """
    start = 0
    while start < len(told):
        stop = _same_publishers(told, start)
        yield _batch(told[start:stop], start)
        start = stop


def _same_publishers(told: Sequence[Told], start: int) -> int:
    """Return the first place at which a type of events has another publisher than before."""
    publishers: dict[type[Event], str] = {}
    for place in range(start, len(told)):
        event, _, source = told[place]
        if publishers.setdefault(event.__class__, source) != source:
            return place
    return len(told)


def _batch(told: Sequence[Told], first: int) -> Batch:
    by_type: dict[type[Event], list[Event]] = {}
    codes: dict[type[Event], int] = {}
    sources: list[str] = []
    order = bytearray()
    for event, _, source in told:
        cls = event.__class__
        if cls not in codes:
            codes[cls] = len(codes)
            by_type[cls] = []
            sources.append(source)
        by_type[cls].append(event)
        order.append(codes[cls])
    causes = np.array([cause for _, cause, _ in told]) - first
    return Batch(
        _blocks(list(by_type.values())),
        np.frombuffer(order, dtype=np.uint8),
        causes=np.maximum(causes, -1),
        sources=sources,
    )


def _blocks(by_type: list[list[Event]]) -> list[Block[Event]]:
    """Return a block for each type; the correlations of all are columns over the same ids."""
    ids: dict[str, int] = {}
    blocks: list[Block[Event]] = []
    columns: list[tuple[int, str, list[int]]] = []
    for place, events in enumerate(by_type):
        blocks.append(Block.of(events))
        field = events[0].correlation_field
        if field is not None:
            names: list[str] = [getattr(event, field) for event in events]
            columns.append((place, field, [ids.setdefault(name, len(ids)) for name in names]))
    values = tuple(ids)
    for place, field, known in columns:
        column = DictionaryColumn(np.array(known), values)
        blocks[place] = Block(blocks[place].cls, {**blocks[place].columns, field: column})
    return blocks

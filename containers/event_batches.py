"""Batches of events that were made one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

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
    by_type: dict[type[Event], list[Event]] = {}
    codes: dict[type[Event], int] = {}
    sources: list[str] = []
    order = bytearray()
    for event, _, source in told:
        cls = event.__class__
        code = codes.setdefault(cls, len(codes))
        if code == len(sources):
            by_type[cls] = []
            sources.append(source)
        elif sources[code] != source:
            raise ValueError(f"{event_name(cls)} is published by {sources[code]} and by {source}")
        by_type[cls].append(event)
        order.append(code)
    return Batch(
        _blocks(list(by_type.values())),
        np.frombuffer(order, dtype=np.uint8),
        causes=np.array([cause for _, cause, _ in told]),
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

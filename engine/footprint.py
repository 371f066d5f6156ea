"""How much memory events and blocks take."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice
from typing import Any, cast

from admf.engine.block import Block
from admf.engine.events import Event

__all__ = ["estimate_bytes"]

_SAMPLE = 32
_ARRAY_HEADER_BYTES = 112


def estimate_bytes(pieces: Iterable[Event | Block[Any]], count: int) -> int:
    """Measure the first events and blocks and scale to ``count`` events.

    The estimate is exact for few pieces, and its cost does not grow with their number. A value that
    several events share counts for each of them, so it errs on the high side.
    """
    sampled_bytes = sampled = 0
    for piece in islice(pieces, _SAMPLE):
        sampled_bytes += _size_of(piece)
        sampled += len(piece) if isinstance(piece, Block) else 1
    return sampled_bytes * count // sampled if sampled else 0


def _size_of(value: object) -> int:
    if isinstance(value, Block):
        return value.size_bytes + _ARRAY_HEADER_BYTES * len(value.columns)
    size = sys.getsizeof(value)
    if isinstance(value, Event):
        size += sum(_size_of(getattr(value, name)) for name in value.__struct_fields__)
    elif isinstance(value, tuple):
        size += sum(map(_size_of, cast("tuple[object, ...]", value)))
    return size

"""Chunks of exactly 1,024 rows, whatever portions the rows arrive in.

Floating-point sums depend on how their terms are grouped. Accumulators therefore fold chunks that
are counted from the first row, so that a result does not depend on the size of the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CHUNK",
    "ChunkBuffer",
    "Floats",
    "by_chunk",
    "changes",
    "run_edges",
    "running_sum",
]

CHUNK = 1024

_STEP = 128
"""Rows by which a buffer grows."""

Floats: TypeAlias = NDArray[np.float64]


class ChunkBuffer:
    """Collects rows and hands them on in whole chunks.

    It has hardly more memory than its rows need, so that a thousand of them are small.

    Args:
        columns: Values in a row.
    """

    __slots__ = ("_filled", "_rows")

    def __init__(self, columns: int) -> None:
        self._rows = np.empty((columns, 0))
        self._filled = 0

    def extend(self, *columns: Floats) -> Iterator[tuple[Floats, ...]]:
        """Add rows; yield the columns of one or more whole chunks at a time.

        Args:
            columns: float64 (n,) each.
        """
        count = len(columns[0])
        start = min(CHUNK - self._filled, count) if self._filled else 0
        if start:
            self._keep(columns, 0, start)
            if self._filled == CHUNK:
                yield self._taken()
        stop = count - (count - start) % CHUNK
        if stop > start:
            yield tuple(column[start:stop] for column in columns)
        if stop < count:
            self._keep(columns, stop, count)

    def copied(self) -> ChunkBuffer:
        """Return a buffer with the same rows, which goes on by itself."""
        copied = ChunkBuffer(len(self._rows))
        copied._rows = self._rows[:, : self._filled].copy()
        copied._filled = self._filled
        return copied

    def rest(self) -> tuple[Floats, ...] | None:
        """Return the columns of the chunk that is not complete yet, if it has rows."""
        return tuple(self._rows[:, : self._filled]) if self._filled else None

    def _keep(self, columns: tuple[Floats, ...], start: int, stop: int) -> None:
        filled = self._filled + stop - start
        if filled > self._rows.shape[1]:
            self._grow(filled)
        for kept, column in zip(self._rows, columns, strict=True):
            kept[self._filled : filled] = column[start:stop]
        self._filled = filled

    def _grow(self, rows: int) -> None:
        larger = np.empty((len(self._rows), -(-rows // _STEP) * _STEP))
        larger[:, : self._filled] = self._rows[:, : self._filled]
        self._rows = larger

    def _taken(self) -> tuple[Floats, ...]:
        taken, self._rows = self._rows, np.empty((len(self._rows), 0))
        self._filled = 0
        return tuple(taken)


def by_chunk(values: Floats) -> Floats:
    """View whole chunks, or one incomplete chunk, as rows of a matrix.

    Args:
        values: float64 (n,), n a multiple of `CHUNK` or less than it.

    Returns:
        float64 (chunks, n / chunks).
    """
    return values.reshape(-1, min(len(values), CHUNK))


def running_sum(total: float, values: Floats) -> float:
    """Return the total plus the sum of each chunk, added one after the other.

    Args:
        total: Sum of the chunks before.
        values: float64 (n,), whole chunks, or one incomplete chunk.
    """
    for chunk in np.add.reduce(by_chunk(values), axis=1).tolist():
        total += chunk
    return total


def changes(values: Floats, before: float) -> Floats:
    """Return each value over the one before it, float64 (n,).

    Args:
        values: float64 (n,), at least one.
        before: What comes before the first.
    """
    found = np.empty(len(values))
    found[0] = values[0] / before
    np.divide(values[1:], values[:-1], out=found[1:])
    return found


def run_edges(values: NDArray[Any]) -> NDArray[np.intp]:
    """Return where the runs of equal values begin, and then where the last one ends.

    Args:
        values: (n,), at least one.
    """
    turns = (values[1:] != values[:-1]).nonzero()[0]
    edges = np.empty(len(turns) + 2, dtype=np.intp)
    edges[0], edges[-1] = 0, len(values)
    np.add(turns, 1, out=edges[1:-1])
    return edges

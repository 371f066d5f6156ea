"""From every mark to one sample a day."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.metrics.chunks import Floats
from admf.containers.times import DAY_NS

__all__ = ["DaySampler", "Times"]

Times: TypeAlias = NDArray[np.int64]


class DaySampler:
    """Picks the last row of each UTC day; a day's row is known when the next day begins."""

    def __init__(self) -> None:
        self._day = 0
        self._open: tuple[float, ...] | None = None

    def take(self, ts: Times, *columns: Floats) -> tuple[Floats, ...]:
        """Take the next rows and return those that turned out to be the last of their day.

        Args:
            ts: int64 (n,), ns UTC, ascending.
            columns: float64 (n,) each, or () for a value that all rows share.

        Returns:
            The same columns, for the days that ended.
        """
        first, last = int(ts[0]) // DAY_NS, int(ts[-1]) // DAY_NS
        rows = _last_of_days(ts, first, last)
        ended = tuple(it[rows] if it.ndim else np.repeat(it, len(rows)) for it in columns)
        if self._open is not None and self._day != first:
            ended = tuple(
                np.concatenate(([value], column))
                for value, column in zip(self._open, ended, strict=True)
            )
        self._day = last
        self._open = tuple(float(it[-1] if it.ndim else it) for it in columns)
        return ended

    def rest(self) -> tuple[Floats, ...] | None:
        """Return the last row so far, whose day has not ended."""
        return None if self._open is None else tuple(np.array([v]) for v in self._open)


def _last_of_days(ts: Times, first: int, last: int) -> NDArray[np.intp]:
    """Return the last row of each day that has rows, from the first to before the last day."""
    if last - first > len(ts):
        days = ts // DAY_NS
        return np.flatnonzero(days[1:] != days[:-1])
    midnights = np.arange(first + 1, last + 1) * DAY_NS
    rows = ts.searchsorted(midnights) - 1
    known = rows[1:] != rows[:-1]
    return rows if known.all() else rows[np.append(known, True)]

"""From every mark to one sample a day."""

from __future__ import annotations

import numpy as np

from admf.containers.metrics.chunks import Floats

__all__ = ["DaySampler"]


class DaySampler:
    """Picks the last row of each UTC day; a day's row is known when the next day begins."""

    def __init__(self) -> None:
        self._open: tuple[float, ...] | None = None

    def take(self, days: Floats, *columns: Floats) -> tuple[Floats, ...]:
        """Take the next rows and return those that turned out to be the last of their day.

        Args:
            days: float64 (n,), number of the UTC day, ascending.
            columns: float64 (n,) each.

        Returns:
            The same columns, for the days that ended.
        """
        last_of_day = days[1:] != days[:-1]
        ended = tuple(column[:-1][last_of_day] for column in columns)
        if self._open is not None and self._open[0] != days[0]:
            ended = tuple(
                np.concatenate(([value], column))
                for value, column in zip(self._open[1:], ended, strict=True)
            )
        self._open = tuple(float(column[-1]) for column in (days, *columns))
        return ended

    def rest(self) -> tuple[Floats, ...] | None:
        """Return the last row so far, whose day has not ended."""
        return None if self._open is None else tuple(np.array([v]) for v in self._open[1:])

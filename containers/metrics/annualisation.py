"""How many returns make a year, and over which interval one return is taken."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.containers.times import days_of

__all__ = ["Annualisation", "Interval", "annualisation_of", "infer_annualisation"]

Interval: TypeAlias = Literal["bar", "day"]

_COARSER_THAN_DAILY = ((300, 1.0), (80, 4.0), (20, 12.0), (5, 52.0))
"""Least median spacing in days of yearly, quarterly, monthly and weekly bars; returns a year."""

_SATURDAY = 5
_DAY_ZERO_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""


class Annualisation(msgspec.Struct, frozen=True):
    """The returns that the ratio metrics are made of.

    Args:
        periods_per_year: Returns in a year.
        interval: ``bar``: one return per mark; ``day``: one return per UTC day that has marks,
            from the last mark of each.
    """

    periods_per_year: float = 252.0
    interval: Interval = "day"

    def return_count(self, ts: NDArray[np.int64]) -> int:
        """Return how many returns there are of marks at these times.

        Args:
            ts: int64 (n,), ns UTC, ascending.
        """
        return len(ts) if self.interval == "bar" else len(days_of(ts))


def infer_annualisation(
    ts: NDArray[np.int64], periods_per_year: float | None = None
) -> Annualisation:
    """Return what the user asked for, or what fits the calendar of the data.

    An explicit ``periods_per_year`` means one return per bar. Otherwise returns are daily, 252 a
    year, or 365 if the data trade on Saturdays (on at least half as many as a full week would
    have; Sundays prove nothing, since currency markets open on them in UTC). Bars that are coarser
    than daily, by the median distance between days, count 52, 12, 4 or 1 a year.

    Args:
        ts: int64 (n,), the whole time line of the data (not of one window), ns UTC, ascending.
        periods_per_year: The user's figure, if any.
    """
    if periods_per_year is not None:
        return Annualisation(periods_per_year, "bar")
    return annualisation_of(days_of(ts))


def annualisation_of(days: NDArray[np.int64]) -> Annualisation:
    """Return what fits the calendar of data; see `infer_annualisation`.

    Args:
        days: int64 (n,), the UTC days that have bars, counted from 1970-01-01, ascending.
    """
    if len(days) > 1:
        spacing = float(np.median(np.diff(days)))
        for least, periods in _COARSER_THAN_DAILY:
            if spacing >= least:
                return Annualisation(periods)
    saturdays = np.count_nonzero((days + _DAY_ZERO_WEEKDAY) % 7 == _SATURDAY)
    return Annualisation(365.0 if saturdays * 14 >= max(len(days), 1) else 252.0)

"""Time zones: between the clock on the wall and nanoseconds UTC.

Conventions for a wall clock that was put forward or back: a time that it skipped does not exist,
but a day whose midnight was skipped begins at its first instant. A time that it showed twice is
the first occurrence, until the times step back within the repeated stretch: from there on it is
the second.
"""

from __future__ import annotations

import zoneinfo
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.times import DAY_NS, SECOND_NS
from admf.engine.errors import ConfigError, Problem, did_you_mean

if TYPE_CHECKING:
    import polars as pl

__all__ = ["check_timezone", "day_starts", "local_days", "to_utc"]

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

_HOUR_NS: Final = 3600 * SECOND_NS


def check_timezone(timezone: str) -> None:
    """Refuse a name that is not in the time zone database.

    Raises:
        ConfigError: The zone is unknown; the message names a near one.
    """
    import polars as pl

    try:
        pl.Series([0]).cast(pl.Datetime("ns")).dt.replace_time_zone(timezone)
    except pl.exceptions.PolarsError:
        hint = did_you_mean(timezone, zoneinfo.available_timezones())
        message = f"unknown time zone {timezone!r}{hint}; use an IANA name such as America/New_York"
        raise ConfigError([Problem(message, field="data.timezone")]) from None


def to_utc(wall: IntArray, timezone: str) -> tuple[IntArray, BoolArray]:
    """Place times of a wall clock on the UTC time line.

    Args:
        wall: int64 (n,), nanoseconds since 1970-01-01 00:00 on the wall, in the source's order.
        timezone: A known IANA name.

    Returns:
        int64 (n,), nanoseconds UTC, and bool (n,), whether the zone's clocks ever showed that time.
    """
    if timezone == "UTC":
        return wall, np.ones(len(wall), dtype=np.bool_)
    first, exists = _occurrence(wall, timezone, "earliest")
    second, _ = _occurrence(wall, timezone, "latest")
    ts = np.where(_has_stepped_back(wall, first != second), second, first)
    skipped_midnight = ~exists & (wall % DAY_NS == 0)
    if skipped_midnight.any():
        moved, found = to_utc(wall[skipped_midnight] + _HOUR_NS, timezone)
        ts[skipped_midnight], exists[skipped_midnight] = moved, found
    return ts, exists


def local_days(ts: IntArray, timezone: str) -> IntArray:
    """Return the calendar day of each time in a zone, in days since 1970-01-01.

    Args:
        ts: int64 (n,), nanoseconds UTC.
        timezone: A known IANA name.
    """
    import polars as pl

    if timezone == "UTC":
        return ts // DAY_NS
    instants = pl.Series(ts).cast(pl.Datetime("ns", "UTC"))
    days = instants.dt.convert_time_zone(timezone).dt.date().to_physical()
    return days.to_numpy().astype(np.int64)


def day_starts(days: IntArray, timezone: str) -> IntArray:
    """Return the first instant of each calendar day in a zone, int64 (n,), nanoseconds UTC."""
    unique, index = np.unique(days, return_inverse=True)
    return to_utc(unique * DAY_NS, timezone)[0][index]


def _occurrence(
    wall: IntArray, timezone: str, which: Literal["earliest", "latest"]
) -> tuple[IntArray, BoolArray]:
    import polars as pl

    naive: pl.Series = pl.Series(wall).cast(pl.Datetime("ns"))
    placed = naive.dt.replace_time_zone(timezone, ambiguous=which, non_existent="null")
    instants = placed.dt.convert_time_zone("UTC").to_physical()
    return instants.fill_null(0).to_numpy(writable=True), ~placed.is_null().to_numpy()


def _has_stepped_back(wall: IntArray, repeated: BoolArray) -> BoolArray:
    """Say for each row whether its stretch of repeated times has stepped back up to there."""
    change = np.diff(wall, prepend=wall[0])
    goes_on = repeated & np.roll(repeated, 1) & (np.abs(change) < DAY_NS)
    goes_on[0] = False
    steps = np.cumsum(goes_on & (change <= 0))
    at_start = np.maximum.accumulate(np.where(repeated & ~goes_on, steps, 0))
    return repeated & (steps > at_start)

"""Bar sizes, and bars made of finer bars."""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.containers.market_data import Bars
from admf.containers.times import DAY_NS, SECOND_NS
from admf.containers.zones import day_starts, local_days
from admf.engine.errors import ConfigError, Problem

__all__ = ["Timeframe", "infer_timeframe", "resample", "timeframe_of"]

IntArray: TypeAlias = NDArray[np.int64]
Unit: TypeAlias = Literal["s", "m", "h", "d", "w", "mo"]

_UNIT_NS: Final[dict[str, int]] = {
    "s": SECOND_NS,
    "m": 60 * SECOND_NS,
    "h": 3600 * SECOND_NS,
    "d": DAY_NS,
    "w": 7 * DAY_NS,
    "mo": 31 * DAY_NS,
}
_PATTERN: Final = re.compile(r"([1-9]\d{0,3})(s|m|h|d|w|mo|M)")
_FEWEST_BARS: Final = 4
_MONDAY_OFFSET: Final = 3


class Timeframe(msgspec.Struct, frozen=True):
    """The size of a bar: ``5m``, ``1h``, ``1d``, ``1w``, ``1mo``.

    Args:
        count: Number of units.
        unit: Seconds, minutes, hours, days, weeks or months.
    """

    count: int
    unit: Unit

    @classmethod
    def parse(cls, text: str) -> Timeframe:
        """Read a timeframe; ``M`` is another name of ``mo``.

        Raises:
            ConfigError: The text is not a timeframe, or is a day or more in smaller units.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise _refused(
                f"{text!r} is not a timeframe; write a number and one of s, m, h, d, w, mo, "
                "for example 5m, 1h, 1d, 1w or 1mo"
            )
        unit = cast("Unit", match[2].replace("M", "mo"))
        timeframe = cls(int(match[1]), unit)
        if unit in {"s", "m", "h"} and timeframe.longest_ns >= DAY_NS:
            raise _refused(f"{text!r} is a day or longer; write it in days, for example 1d")
        return timeframe

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    @property
    def longest_ns(self) -> int:
        """Nanoseconds of the longest bar of this size; a month has up to 31 days."""
        return self.count * _UNIT_NS[self.unit]


def infer_timeframe(ts: IntArray) -> Timeframe | None:
    """Return the timeframe that the median distance of the bars stands for.

    Args:
        ts: int64 (n,), nanoseconds UTC, increasing.

    Returns:
        None if there are fewer than four bars or the distance is no whole number of seconds.
    """
    return timeframe_of(None if len(ts) < _FEWEST_BARS else int(np.median(np.diff(ts))))


def timeframe_of(spacing: int | None) -> Timeframe | None:
    """Return the timeframe that a median distance of bars, in nanoseconds, stands for.

    Returns:
        None if the distance is not known, or is no whole number of seconds.
    """
    if spacing is None:
        return None
    if 28 * DAY_NS <= spacing <= 31 * DAY_NS:
        return Timeframe(1, "mo")
    units = cast("tuple[Unit, ...]", ("w", "d", "h", "m", "s"))
    for unit in units:
        if spacing >= _UNIT_NS[unit] and spacing % _UNIT_NS[unit] == 0:
            return Timeframe(spacing // _UNIT_NS[unit], unit)
    return None


def resample(bars: Bars, timeframe: Timeframe, timezone: str) -> Bars:
    """Join bars into larger ones: first open, highest high, lowest low, last close, summed volume.

    A bar carries the time at which its bin begins. Bins of days, weeks (from Monday) and months
    follow the calendar of the zone, several of them counted from 1970; smaller bins are counted
    from each midnight of the zone, so the last one of a day may be short.

    Args:
        bars: At least one bar.
        timeframe: Size of the larger bars.
        timezone: A known IANA name.

    Returns:
        The larger bars, one for each bin that has bars.
    """
    labels = _bin_starts(bars.ts, timeframe, timezone)
    first = np.flatnonzero(np.diff(labels, prepend=labels[0] - 1))
    last = np.append(first[1:], len(bars)) - 1
    return Bars(
        bars.symbol,
        labels[first],
        bars.open[first],
        np.maximum.reduceat(bars.high, first),
        np.minimum.reduceat(bars.low, first),
        bars.close[last],
        np.add.reduceat(bars.volume, first),
    )


def _bin_starts(ts: IntArray, timeframe: Timeframe, timezone: str) -> IntArray:
    days = local_days(ts, timezone)
    if timeframe.unit in {"s", "m", "h"}:
        midnight = day_starts(days, timezone)
        return midnight + (ts - midnight) // timeframe.longest_ns * timeframe.longest_ns
    return day_starts(_first_days(days, timeframe), timezone)


def _first_days(days: IntArray, timeframe: Timeframe) -> IntArray:
    """Return the first day of the bin of each day, in days since 1970-01-01, a Thursday."""
    if timeframe.unit == "mo":
        months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        first = months // timeframe.count * timeframe.count
        return first.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    if timeframe.unit == "w":
        length = 7 * timeframe.count
        return (days + _MONDAY_OFFSET) // length * length - _MONDAY_OFFSET
    return days // timeframe.count * timeframe.count


def _refused(message: str) -> ConfigError:
    return ConfigError([Problem(message, field="data.timeframe")])

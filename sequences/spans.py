"""Lengths of time: bars, calendar months, days of a time zone's calendar, or hours and less."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.containers.times import DAY_NS, SECOND_NS
from admf.containers.zones import day_starts, local_days, to_utc
from admf.engine.errors import ConfigError, Problem
from admf.sequences.config import Span

__all__ = ["Length", "Unit", "coarsest", "instants", "parse_span", "wall_clock"]

IntArray: TypeAlias = NDArray[np.int64]
Unit: TypeAlias = Literal["bars", "Y", "M", "w", "d", "h", "min", "s"]

_MONTHS: Final = {"Y": 12, "M": 1}
_DAYS: Final = {"w": 7, "d": 1}
_ELAPSED_NS: Final = {"h": 3600 * SECOND_NS, "min": 60 * SECOND_NS, "s": SECOND_NS}
_COARSEST_FIRST: Final = (*_MONTHS, *_DAYS, *_ELAPSED_NS)
_SPELLINGS: Final = {unit: unit for unit in _COARSEST_FIRST} | {"W": "w", "D": "d", "H": "h"}
_NEAR_UNITS: Final = {
    "Y": ("y", "yr", "yrs", "year", "years"),
    "M": ("mo", "mon", "month", "months"),
    "w": ("wk", "week", "weeks"),
    "d": ("day", "days"),
    "h": ("hr", "hrs", "hour", "hours"),
    "min": ("min", "mins", "minute", "minutes"),
    "s": ("s", "sec", "secs", "second", "seconds"),
}
_PATTERN: Final = re.compile(rf"([0-9]{{1,9}})({'|'.join(_SPELLINGS)})")
_NEAR_PATTERN: Final = re.compile(r"\s*([0-9]{1,9})[\s_-]*([A-Za-z]*)\.?\s*")
_MONDAY_OFFSET: Final = 3
_LAST_DAY: Final = 106_749
"""Days from 1970 to the last one that is surely held by nanoseconds in an int64, in any zone."""


class Length(msgspec.Struct, frozen=True):
    """A length of time; `parse_span` reads one.

    Days, weeks, months and years are those of a time zone's calendar, so that a day is 23 or 25
    hours long where the clocks change; hours and less are time that elapses.

    Args:
        count: Number of units, 0 or more.
        unit: ``bars`` (time steps), ``Y``, ``M``, ``w``, ``d``, ``h``, ``min`` or ``s``.
    """

    count: int
    unit: Unit

    def __str__(self) -> str:
        if self.in_bars:
            return "1 bar" if self.count == 1 else f"{self.count} bars"
        return f"{self.count}{self.unit}"

    @property
    def in_bars(self) -> bool:
        """Whether it counts bars, so that only a time line can tell how long it lasts."""
        return self.unit == "bars"

    @property
    def is_zero(self) -> bool:
        """Whether it is no time at all."""
        return self.count == 0

    def after(self, ts: int, timezone: str) -> int:
        """Return the time that lies this much later.

        The wall clock of the zone shows the same time of day, unless the length is in hours or
        less; a day that the month does not have becomes its last. What `instants` says of skipped
        and repeated times holds; the first instant of a day stays that, whatever the clock shows.

        Args:
            ts: Nanoseconds UTC.
            timezone: A known IANA name.

        Returns:
            Nanoseconds UTC; at most the last day of int64 nanoseconds, in the year 2262.

        Raises:
            ValueError: The length is in bars, and not zero.
        """
        return int(self.after_each(_one(ts), timezone)[0])

    def before(self, ts: int, timezone: str) -> int:
        """Return the time that lies this much earlier, down to the year 1677; see `after`."""
        return int(self.after_each(_one(ts), timezone, times=-1)[0])

    def after_each(self, ts: IntArray, timezone: str, times: IntArray | int = 1) -> IntArray:
        """Return `after` of many times, which costs little more than one.

        Args:
            ts: int64 (n,), nanoseconds UTC.
            timezone: A known IANA name.
            times: How often the length is added, if not once: a number, or int64 (n,).
        """
        if self.is_zero:
            return ts
        if self.in_bars:
            raise ValueError(f"{self} are no time; count them on a time line")
        counts = np.full(len(ts), self.count, dtype=np.int64) * times
        if self.unit in _ELAPSED_NS:
            return _add_elapsed(ts, counts, _ELAPSED_NS[self.unit])
        day, time_of_day = _days_and_times(ts, timezone)
        if self.unit in _MONTHS:
            moved = _add_months(day, counts * _MONTHS[self.unit])
        else:
            moved = day + counts * _DAYS[self.unit]
        return instants(np.clip(moved, -_LAST_DAY, _LAST_DAY) * DAY_NS + time_of_day, timezone)

    def unit_start(self, ts: int, timezone: str) -> int:
        """Return the first instant of the year, month, week (from Monday) or day of a time.

        Args:
            ts: Nanoseconds UTC.
            timezone: A known IANA name.

        Returns:
            Nanoseconds UTC; if the unit is hours or less, the first instant of the day.
        """
        day = int(local_days(_one(ts), timezone)[0])
        if self.unit in _MONTHS:
            date = np.datetime64(day, "D").astype(f"datetime64[{self.unit}]")
            day = int(date.astype("datetime64[D]").astype(np.int64))
        elif self.unit == "w":  # 1970-01-01 was a Thursday
            day = (day + _MONDAY_OFFSET) // 7 * 7 - _MONDAY_OFFSET
        return int(day_starts(_one(day), timezone)[0])


def parse_span(span: Span, field: str) -> Length:
    """Read a length of time from an experiment.

    Args:
        span: A number of bars, or a whole number and a unit: ``Y`` years, ``M`` months, ``w``
            weeks, ``d`` days, ``h`` hours, ``min`` minutes or ``s`` seconds; ``W``, ``D`` and
            ``H`` are other names.
        field: Dotted path of the setting, for the message.

    Raises:
        ConfigError: The text is not a length, or the number is negative.
    """
    if isinstance(span, int):
        if span < 0:
            message = f"{span} is negative; write a number of bars of 0 or more"
            raise ConfigError([Problem(message, field)])
        return Length(span, "bars")
    match = _PATTERN.fullmatch(span)
    if match is None:
        message = (
            f"{span!r} is not a length of time{_hint(span)}; write a number of bars, or a whole "
            "number and one of Y, M (months), w, d, h, min, s, for example 6M or 2w"
        )
        raise ConfigError([Problem(message, field)])
    return Length(int(match[1]), cast("Unit", _SPELLINGS[match[2]]))


def coarsest(lengths: Iterable[Length]) -> Length:
    """Return the one in the coarsest unit, years before months; at least one, none in bars."""
    return min(lengths, key=lambda length: _COARSEST_FIRST.index(length.unit))


def wall_clock(ts: IntArray, timezone: str) -> IntArray:
    """Return what the clocks of a zone show.

    Args:
        ts: int64 (n,), nanoseconds UTC.
        timezone: A known IANA name.

    Returns:
        int64 (n,), nanoseconds since 1970-01-01 00:00 on the wall.
    """
    import polars as pl

    if timezone == "UTC":
        return ts
    instants = pl.Series(ts).cast(pl.Datetime("ns", "UTC")).dt.convert_time_zone(timezone)
    return instants.dt.replace_time_zone(None).to_physical().to_numpy()


def instants(wall: IntArray, timezone: str) -> IntArray:
    """Return the instants at which the clocks of a zone show times.

    Of a time that they show twice it is the first; a midnight that they skip is the first instant
    of its day; another time that they skip comes a day after the same time of the day before.

    Args:
        wall: int64 (n,), nanoseconds since 1970-01-01 00:00 on the wall, in any order.
        timezone: A known IANA name.

    Returns:
        int64 (n,), nanoseconds UTC.
    """
    unique, index = np.unique(wall, return_inverse=True)
    ts, exists = to_utc(unique, timezone)
    if not exists.all():
        ts[~exists] = instants(unique[~exists] - DAY_NS, timezone) + DAY_NS
    return ts[index]


def _days_and_times(ts: IntArray, timezone: str) -> tuple[IntArray, IntArray]:
    day, time_of_day = np.divmod(wall_clock(ts, timezone), DAY_NS)
    if time_of_day.any():  # a day whose midnight was skipped begins at one o'clock, say
        time_of_day[day_starts(day, timezone) == ts] = 0
    return day, time_of_day


def _add_months(day: IntArray, months: IntArray) -> IntArray:
    """Move days, in days since 1970-01-01, at most to the last day of the month."""
    month = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    moved = _first_day(month + months) + day - _first_day(month)
    last = _first_day(month + months + 1) - 1
    return np.where(moved < last, moved, last)


def _first_day(month: IntArray) -> IntArray:
    return month.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def _add_elapsed(ts: IntArray, counts: IntArray, unit_ns: int) -> IntArray:
    latest = _LAST_DAY * DAY_NS
    rough = ts + counts * float(unit_ns)  # does not overflow
    limit = np.where(rough < 0, -latest, latest)
    return np.where(np.abs(rough) < latest, ts + counts * unit_ns, limit)


def _hint(text: str) -> str:
    match = _NEAR_PATTERN.fullmatch(text)
    if match is None:
        return ""
    count, word = int(match[1]), match[2]
    if word == "m":
        return f" (did you mean {count}M for months or {count}min for minutes?)"
    if word.lower() in {"", "bar", "bars"}:
        return f" (bars are written {count}, without unit and quotes)"
    near = [unit for unit, words in _NEAR_UNITS.items() if word.lower() in words]
    unit = _SPELLINGS.get(word, near[0] if near else "")
    return f" (did you mean {count}{unit}?)" if unit else ""


def _one(value: int) -> IntArray:
    return np.array([value], dtype=np.int64)

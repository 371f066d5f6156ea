"""Times as sources write them, read as int64 nanoseconds UTC.

Read are ISO 8601 text (``2024-01-31``, ``2024-01-31T09:30:00.25-05:00``, ``20240131``), dates,
datetimes and epoch numbers. Epoch numbers are seconds, milliseconds, microseconds or nanoseconds by
the largest magnitude in the column: below 1e11, 1e14, 1e17, or above; if all have eight digits that
start with 19, 20 or 21, they are dates such as 20240131. A time without a UTC offset belongs to the
zone that is given (see `admf.containers.zones`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.faults import Fault, shown
from admf.containers.times import DAY_NS, SECOND_NS
from admf.containers.zones import to_utc
from admf.engine.errors import ConfigError, Problem

if TYPE_CHECKING:
    import polars as pl

__all__ = ["parse_bound", "parse_times"]

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

_LIMIT_NS: Final = 106_749 * DAY_NS
_UNITS_NS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000}
_EPOCHS: Final = ((1e11, SECOND_NS), (1e14, _UNITS_NS["ms"]), (1e17, _UNITS_NS["us"]))
_FIRST_DATE, _LAST_DATE = 19_000_101, 21_991_231
_NUMBER: Final = r"^-?\d+(?:\.\d+)?$"
_ISO: Final = (
    r"^(?P<year>\d{4})-?(?P<month>\d{2})-?(?P<day>\d{2})"
    r"(?:[Tt ] *(?P<hour>\d{2}):?(?P<minute>\d{2})"
    r"(?::?(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r" ?(?P<offset>[Zz]|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?)?$"
)


class _Moments(NamedTuple):
    """Times as read: ``ns`` is UTC where ``aware``, else the wall clock's; unread rows are 0."""

    ns: IntArray
    read: BoolArray
    aware: BoolArray


def parse_times(
    column: pl.Series, timezone: str, ends: pl.Series | None = None
) -> tuple[IntArray, list[Fault]]:
    """Read a column of times.

    Args:
        column: Text, dates, datetimes or numbers, named as in its source.
        timezone: IANA name of the zone of times that have no offset.
        ends: The least and the largest time of the source, if the column is a piece of it: what
            numbers mean depends on these.

    Returns:
        int64 (n,), nanoseconds UTC, of use only if there are no faults; and the faults.
    """
    moments = _moments(column) if ends is None else _within(column, ends)
    if not moments.read.all():
        rows = np.flatnonzero(~moments.read)
        return moments.ns, [Fault(column.name, rows, lambda row: _unread(column[row]))]
    if moments.aware.all():
        return moments.ns, []
    if moments.aware.any():
        return moments.ns, [_mixed(column, moments.aware)]
    ts, exists = to_utc(moments.ns, timezone)
    if exists.all():
        return ts, []
    return ts, [
        Fault(column.name, np.flatnonzero(~exists), lambda row: _skipped(column[row], timezone))
    ]


def parse_bound(text: str, timezone: str, field: str) -> tuple[int, bool]:
    """Read an ISO 8601 day or instant from an experiment.

    Args:
        text: For example ``2024-01-31`` or ``2024-01-31T09:30:00Z``.
        timezone: Zone of a day, and of an instant without an offset.
        field: Dotted path of the setting, for the message.

    Returns:
        Nanoseconds UTC (of a day: of its first instant), and whether it is a day.

    Raises:
        ConfigError: The text is neither, or the zone's clocks skipped that instant.
    """
    import polars as pl

    parts = _iso_parts(pl.Series([text]))
    moments = _from_iso(parts)
    if not moments.read[0]:
        raise ConfigError([Problem(_unread(text), field=field)])
    if moments.aware[0]:
        return int(moments.ns[0]), False
    ts, exists = to_utc(moments.ns, timezone)
    if not exists[0]:
        raise ConfigError([Problem(_skipped(text, timezone), field=field)])
    return int(ts[0]), parts["hour"][0] is None


def _within(column: pl.Series, ends: pl.Series) -> _Moments:
    """Read a piece of a column as the whole is read."""
    import polars as pl

    found, rows = _moments(pl.concat([column, ends])), slice(len(column))
    return _Moments(found.ns[rows], found.read[rows], found.aware[rows])


def _moments(column: pl.Series) -> _Moments:
    import polars as pl

    dtype = column.dtype
    if isinstance(dtype, pl.Datetime):
        moments = _from_integers(column.to_physical(), _UNITS_NS[dtype.time_unit])
        return moments._replace(aware=np.full(len(column), dtype.time_zone is not None))
    if dtype == pl.Date:
        return _from_integers(column.to_physical(), DAY_NS)._replace(aware=_none(column))
    if dtype.is_integer():
        return _from_epoch(column.cast(pl.Int64, strict=False))
    if dtype.is_float():
        return _from_float_epoch(column.cast(pl.Float64))
    if dtype == pl.String:
        return _from_text(column.str.strip_chars())
    return _Moments(np.zeros(len(column), dtype=np.int64), _none(column), _none(column))


def _from_text(column: pl.Series) -> _Moments:
    import polars as pl

    if 2 * (column.str.contains(_NUMBER).sum() or 0) <= len(column):
        return _from_iso(_iso_parts(column))
    if column.str.contains(".", literal=True).any():
        return _from_float_epoch(column.cast(pl.Float64, strict=False))
    return _from_epoch(column.cast(pl.Int64, strict=False))


def _from_epoch(column: pl.Series) -> _Moments:
    import polars as pl

    if column.is_between(_FIRST_DATE, _LAST_DATE).all() and column.null_count() < len(column):
        return _from_iso(_iso_parts(column.cast(pl.String)))
    return _from_integers(column, _epoch_unit(column))


def _from_integers(column: pl.Series, unit_ns: int) -> _Moments:
    import polars as pl

    values = column.cast(pl.Int64).fill_null(_LIMIT_NS).to_numpy()
    limit = _LIMIT_NS // unit_ns
    read = (values > -limit) & (values < limit)
    return _Moments(np.where(read, values, 0) * unit_ns, read, np.ones(len(values), dtype=np.bool_))


def _from_float_epoch(column: pl.Series) -> _Moments:
    import polars as pl

    per_microsecond = _epoch_unit(column) / 1_000
    microseconds = (column * per_microsecond).round().cast(pl.Int64, strict=False)
    return _from_integers(microseconds, 1_000)


def _epoch_unit(column: pl.Series) -> int:
    import polars as pl

    values: Any = column.cast(pl.Float64).abs().max()
    largest = float(values or 0)
    return next((unit for limit, unit in _EPOCHS if largest < limit), 1)


def _iso_parts(column: pl.Series) -> pl.DataFrame:
    return column.str.extract_groups(_ISO).struct.unnest()


def _from_iso(parts: pl.DataFrame) -> _Moments:
    import polars as pl

    def padded(name: str, digits: int) -> pl.Expr:
        return pl.col(name).fill_null("0").str.pad_end(digits, "0")

    clock = [padded(name, 2) for name in ("hour", "minute", "second")]
    sign = pl.when(pl.col("offset").str.starts_with("-")).then(-1).otherwise(1)
    digits = pl.col("offset").str.replace_all(r"\D", "").str.pad_end(4, "0").cast(pl.Int64)
    read = parts.select(
        seconds=pl.concat_str("year", "month", "day", *clock, separator=" ")
        .str.to_datetime("%Y %m %d %H %M %S", strict=False, time_unit="ms")
        .dt.epoch("s"),
        nanoseconds=padded("fraction", 9).cast(pl.Int64),
        offset=sign * (digits // 100 * 3600 + digits % 100 * 60),
        aware=pl.col("offset").is_not_null(),
    )
    whole = _from_integers(read["seconds"], SECOND_NS)
    rest = read["nanoseconds"] - read["offset"].fill_null(0) * SECOND_NS
    aware = read["aware"].to_numpy()
    return _Moments(np.where(whole.read, whole.ns + rest.to_numpy(), 0), whole.read, aware)


def _none(column: pl.Series) -> BoolArray:
    return np.zeros(len(column), dtype=np.bool_)


def _unread(value: object) -> str:
    if value is None or not str(value).strip():
        return "is empty; every row needs its time"
    return (
        f"{shown(value)} is not a time between 1678 and 2261; write ISO 8601 (2024-01-31, "
        "2024-01-31T09:30:00Z) in every row, or epoch numbers in every row"
    )


def _skipped(value: object, timezone: str) -> str:
    return (
        f"{shown(str(value))} does not exist in {timezone}, where the clocks were put forward; "
        "write times with their UTC offset, or correct the time zone"
    )


def _mixed(column: pl.Series, aware: BoolArray) -> Fault:
    other = int(np.argmax(aware != aware[0]))
    has, lacks = (column[0], column[other]) if aware[0] else (column[other], column[0])
    message = (
        f"{shown(lacks)} has no UTC offset, yet {shown(has)} has one; "
        "write all times with an offset or none"
    )
    return Fault(column.name, np.array([other], dtype=np.intp), lambda _: message)

"""Turns a table into bars, or says everything that is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.faults import Fault, fault_error, shown
from admf.containers.market_data import Bars
from admf.containers.tables import Table
from admf.containers.timestamps import parse_times
from admf.engine.errors import DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["checked_bars"]

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

_PRICES: Final = ("open", "high", "low", "close")
_TOLERANCE: Final = 1e-9
"""Fraction of the price by which rounding may carry a price beyond the bar's range."""


def checked_bars(symbol: str, table: Table, timezone: str) -> Bars:
    """Return the bars of a table.

    Times must increase; prices must be finite and above zero, with open and close from low to high;
    volumes must be finite and not negative. Without a volume column all volumes are 0.

    Args:
        symbol: Name of the symbol.
        table: Its unchecked bars.
        timezone: IANA name of the zone of times that have no offset.

    Raises:
        DataError: Rows cannot be used; names the first few, with place, column and value.
    """
    ts, faults = parse_times(table.frame[table.time], timezone, table.ends)
    if not faults:
        faults = _order_faults(ts, table)
    columns: dict[str, FloatArray] = {}
    for name in _PRICES:
        columns[name], found = _numbers(table.frame[name])
        faults += found
    if "volume" in table.frame.columns:
        columns["volume"], found = _numbers(table.frame["volume"])
        faults += found
    faults += _range_faults(columns)
    if faults:
        raise _error(faults, table)
    columns.setdefault("volume", np.zeros(len(ts)))
    return Bars(symbol, ts, **columns)


def _error(faults: list[Fault], table: Table) -> DataError:
    rows = table.frame["row"].to_list()
    return fault_error(faults, table.source, lambda at: table.places([rows[each] for each in at]))


def _numbers(column: pl.Series) -> tuple[FloatArray, list[Fault]]:
    """Return a column as numbers, NaN where it is at fault, and the fault if there is one."""
    import polars as pl

    if column.dtype == pl.String:
        column = column.str.strip_chars()
    if column.dtype == pl.String or column.dtype.is_numeric():
        numbers = column.cast(pl.Float64, strict=False)
    else:
        numbers = pl.repeat(None, len(column), dtype=pl.Float64, eager=True)
    values: FloatArray = numbers.fill_null(np.nan).to_numpy(writable=True)
    too_low = values < 0 if column.name == "volume" else values <= 0
    bad = np.flatnonzero(~np.isfinite(values) | too_low)
    if not len(bad):
        return values, []
    values[bad] = np.nan
    return values, [Fault(column.name, bad, lambda row: _why_not(column[row], numbers[row]))]


def _why_not(raw: object, number: float | None) -> str:
    if raw is None or raw == "":
        return "is empty; write a number, or remove the row"
    if number is None:
        return f"{shown(raw)} is not a number; write it like 1234.5"
    if math.isnan(number):
        return "is NaN; write a number, or remove the row"
    if math.isinf(number):
        return f"{shown(raw)} is infinite; write a number, or remove the row"
    if number == 0:
        return f"{raw} is zero, but a price must be above zero; correct it, or remove the row"
    return f"{raw} is negative; correct it, or remove the row"


def _range_faults(columns: Mapping[str, FloatArray]) -> list[Fault]:
    """Return bars whose prices contradict each other; a bad price is NaN and compares false."""
    high, low = columns["high"], columns["low"]
    slack = _TOLERANCE * high
    upside_down = high < low - slack
    faults = [Fault("high", np.flatnonzero(upside_down), partial(_upside_down, columns))]
    for name in ("open", "close"):
        price = columns[name]
        outside = ((price > high + slack) | (price < low - slack)) & ~upside_down
        faults.append(Fault(name, np.flatnonzero(outside), partial(_outside, columns, name)))
    return [fault for fault in faults if len(fault.rows)]


def _upside_down(columns: Mapping[str, FloatArray], row: int) -> str:
    high, low = float(columns["high"][row]), float(columns["low"][row])
    return f"{high} is below low {low}; correct the bar, or check which column is which"


def _outside(columns: Mapping[str, FloatArray], name: str, row: int) -> str:
    price, low, high = (float(columns[each][row]) for each in (name, "low", "high"))
    return f"{price} lies outside the bar's range, {low} to {high}; correct the bar"


def _order_faults(ts: IntArray, table: Table) -> list[Fault]:
    rows = np.flatnonzero(np.diff(ts) <= 0) + 1
    times = table.frame[table.time]
    describe = partial(_out_of_order, ts, times)
    return [Fault(times.name, rows, describe)] if len(rows) else []


def _out_of_order(ts: IntArray, times: pl.Series, row: int) -> str:
    time, before = str(times[row]), str(times[row - 1])
    if ts[row] == ts[row - 1]:
        return f"{time} comes twice; keep one bar per symbol and time"
    return f"{time} comes after {before}; sort the rows by time, oldest first"

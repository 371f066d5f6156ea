"""Turns a long table into bars on disk, checked piece by piece."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.bar_checks import checked_bars
from admf.containers.long_tables import LongTable
from admf.containers.market_data import Bars
from admf.containers.resampling import Timeframe, timeframe_of
from admf.containers.scratch import Scratch
from admf.containers.tables import Table
from admf.engine.errors import DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["LongBars", "long_bars"]

IntArray: TypeAlias = NDArray[np.int64]

_DTYPES: Mapping[str, type[np.int64 | np.float64]] = {
    "ts": np.int64,
    **dict.fromkeys(("open", "high", "low", "close", "volume"), np.float64),
}


class LongBars(NamedTuple):
    """Bars on disk.

    Args:
        bars: The bars.
        timeframe: What their median distance stands for, as `infer_timeframe` finds it.
    """

    bars: Bars
    timeframe: Timeframe | None


def long_bars(table: LongTable, timezone: str, scratch: Scratch) -> LongBars | None:
    """Return the bars of a long table; they are those of the whole table.

    Args:
        table: The unchecked bars.
        timezone: IANA name of the zone of times that have no offset.
        scratch: Where the bars go.

    Returns:
        None if this needs the whole table: to say all that is wrong with it, or to know what its
        times mean.

    Raises:
        DataError: There is no room for the bars.
    """
    numbers = table.dtype.is_numeric()
    ends = table.ends() if numbers else None
    if not numbers and not _speak_for_themselves(table.dtype, timezone):
        return None
    with ExitStack() as files:
        columns = {
            name: files.enter_context(closing(scratch.column(_DTYPES[name]))) for name in _DTYPES
        }
        spacings, last = _Spacings(), None
        for piece in table.pieces(ends):
            bars = _checked(table.symbol, piece, timezone, last)
            if bars is None:
                return None
            spacings.take(bars.ts, last)
            last = bars.ts[-1]
            for name, column in columns.items():
                column.append(getattr(bars, name))
        if last is None:
            return None
        found = Bars(table.symbol, **{name: column.array() for name, column in columns.items()})
    return LongBars(found, timeframe_of(spacings.median))


def _checked(symbol: str, piece: Table, timezone: str, last: np.int64 | None) -> Bars | None:
    """Return the bars of a piece that come after a time; None if they cannot be used."""
    try:
        bars = checked_bars(symbol, piece, timezone)
    except DataError:
        return None
    return bars if last is None or bars.ts[0] > last else None


def _speak_for_themselves(dtype: pl.DataType, timezone: str) -> bool:
    """Whether times that are no numbers mean the same in a piece of their table as in the whole.

    Text is read by what most rows look like, and hours that a clock shows twice by those around.
    """
    import polars as pl

    if isinstance(dtype, pl.Datetime):
        return dtype.time_zone is not None or timezone == "UTC"
    return dtype == pl.Date


class _Spacings:
    """The distances between bars, by how often each occurs."""

    def __init__(self) -> None:
        self._values: IntArray = np.empty(0, dtype=np.int64)
        self._counts: IntArray = np.empty(0, dtype=np.int64)

    def take(self, ts: IntArray, last: np.int64 | None) -> None:
        """Take the times of the next bars, and that of the bar before them."""
        times = ts if last is None else np.append(last, ts)
        values, counts = np.unique(np.diff(times), return_counts=True)
        values = np.concatenate((self._values, values))
        self._values, places = np.unique(values, return_inverse=True)
        counts = np.concatenate((self._counts, counts))
        self._counts = np.zeros(len(self._values), dtype=np.int64)
        np.add.at(self._counts, places, counts)

    @property
    def median(self) -> int | None:
        """Their median; None if there are fewer than three."""
        count = int(self._counts.sum())
        if count < 3:
            return None
        upto = np.cumsum(self._counts)
        middle = np.searchsorted(upto, [(count - 1) // 2, count // 2], side="right")
        return int(np.mean(self._values[middle]))

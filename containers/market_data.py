"""Bars of all symbols as arrays on one merged time line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from admf.containers.events import Bar
from admf.containers.metrics.annualisation import Annualisation, annualisation_of
from admf.containers.scratch import Column, MemoryColumn, Scratch
from admf.containers.times import DAY_NS, days_of, distinct
from admf.engine.block import Block, DictionaryColumn
from admf.engine.errors import DataError, did_you_mean

__all__ = ["Bars", "MarketData"]

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

_COLUMNS: Final = ("ts", "open", "high", "low", "close", "volume")
_FINGERPRINTS_KEPT: Final = 64
_AT_ONCE: Final = 262_144
_SATURDAY: Final = 5
_SUNDAY: Final = 6


class Bars:
    """The bars of one symbol; arrays are contiguous and read-only, a slice is a view.

    Args:
        symbol: Name of the symbol.
        ts: int64 (n,), nanoseconds UTC, strictly increasing.
        open: float64 (n,), quote currency; ``high``, ``low`` and ``close`` likewise.
        volume: float64 (n,), units.

    Raises:
        ValueError: The arrays differ in length.
    """

    __slots__ = ("close", "high", "low", "open", "symbol", "ts", "volume")

    def __init__(
        self,
        symbol: str,
        ts: ArrayLike,
        open: ArrayLike,  # noqa: A002 - the name of the column
        high: ArrayLike,
        low: ArrayLike,
        close: ArrayLike,
        volume: ArrayLike,
    ) -> None:
        self.symbol = symbol
        self.ts: IntArray = _frozen(ts, np.int64)
        self.open: FloatArray = _frozen(open, np.float64)
        self.high: FloatArray = _frozen(high, np.float64)
        self.low: FloatArray = _frozen(low, np.float64)
        self.close: FloatArray = _frozen(close, np.float64)
        self.volume: FloatArray = _frozen(volume, np.float64)
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of {symbol} differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.ts)

    def __getitem__(self, rows: slice) -> Bars:
        return Bars(
            self.symbol,
            self.ts[rows],
            self.open[rows],
            self.high[rows],
            self.low[rows],
            self.close[rows],
            self.volume[rows],
        )

    def __repr__(self) -> str:
        return f"<{len(self)} Bars of {self.symbol}>"


class MarketData:
    """Bars of several symbols on one merged time line; never changed after it was made.

    A time step is all bars of the same ``ts``. Symbols that are only looked at, as a benchmark is,
    add no time steps and appear in no block.

    Args:
        bars: Bars of the traded symbols, in the order in which they are handled within a time step.
        extras: Bars of symbols that are looked at but not traded.
        timeframe: Bar size, e.g. ``1d``; None if it is not known.
        scratch: Where the arrays are if they are on disk; None if they are in memory.

    Attributes:
        symbols: The traded symbols.
        extra_symbols: The symbols that are looked at but not traded.
        scratch: Where the arrays are if they are on disk.
        ts: int64 (steps,), the unique times of the traded symbols' bars, sorted.
        steps: Number of time steps.

    Raises:
        ValueError: There is no bar, a symbol comes twice, or its times do not increase.
    """

    def __init__(
        self,
        bars: Sequence[Bars],
        *,
        extras: Sequence[Bars] = (),
        timeframe: str | None = None,
        scratch: Scratch | None = None,
    ) -> None:
        self.scratch = scratch
        self._check(bars, extras)
        self._bars = {each.symbol: each for each in (*bars, *extras)}
        self.symbols = tuple(each.symbol for each in bars)
        self.extra_symbols = tuple(each.symbol for each in extras)
        self.timeframe = timeframe
        self.ts: IntArray = _frozen(self._merged([each.ts for each in bars]), np.int64)
        self.steps = len(self.ts)
        self._part_fingerprints: dict[tuple[int, int], str] = {}

    def __repr__(self) -> str:
        return f"<MarketData of {', '.join(self.symbols)}: {self.steps} steps>"

    def drop(self) -> None:
        """Let go of the memory of arrays that are on disk, till somebody looks at them again."""
        if self.scratch is not None:
            self.scratch.drop()

    def new_column(self, dtype: DTypeLike = np.float64) -> Column:
        """Return a new column as long as the bars, to be written where these are."""
        return MemoryColumn(dtype) if self.scratch is None else self.scratch.column(dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of all bars."""
        return sum(getattr(it, name).nbytes for it in self._bars.values() for name in _COLUMNS)

    def bars(self, symbol: str) -> Bars:
        """Return all bars of a symbol, traded or extra.

        Raises:
            DataError: The symbol is not there; the message says which are.
        """
        try:
            return self._bars[symbol]
        except KeyError:
            known = ", ".join(self._bars)
            hint = did_you_mean(symbol, self._bars)
            raise DataError(f"no symbol {symbol!r}{hint}; there are {known}") from None

    def bar_range(self, symbol: str, step_start: int, step_stop: int) -> tuple[int, int]:
        """Return start and stop of the time steps' bars in the symbol's own arrays."""
        times = self.bars(symbol).ts
        return self._index(times, step_start), self._index(times, step_stop)

    def step_range(self, start_ts: int | None, end_ts: int | None) -> tuple[int, int]:
        """Return start and stop of the time steps in ``[start_ts, end_ts)``, ns UTC.

        None stands for the first step, or for the end of the data.
        """
        start = 0 if start_ts is None else int(np.searchsorted(self.ts, start_ts))
        stop = self.steps if end_ts is None else int(np.searchsorted(self.ts, end_ts))
        return start, max(start, stop)

    def block(self, step_start: int, step_stop: int) -> Block[Bar]:
        """Return the bars of a range of time steps, sorted by time and the order of symbols."""
        parts = [
            self._bars[symbol][slice(*self.bar_range(symbol, step_start, step_stop))]
            for symbol in self.symbols
        ]
        if len(parts) == 1:
            columns = {name: getattr(parts[0], name) for name in _COLUMNS}
            return Block(Bar, {"symbol": self.symbols[0], **columns})
        order = np.argsort(np.concatenate([part.ts for part in parts]), kind="stable")
        codes = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        columns = {name: _joined(parts, name)[order] for name in _COLUMNS}
        return Block(Bar, {"symbol": DictionaryColumn(codes[order], self.symbols), **columns})

    def part(self, step_start: int, step_stop: int) -> MarketData:
        """Return the bars of a range of time steps as market data of their own.

        What lies outside cannot be seen from there; the arrays are views. Of extra symbols it has
        the bars from the first of the time steps to the last.

        Raises:
            ValueError: The range has no time steps.
        """
        span = self.ts[step_start:step_stop]
        if not len(span):
            raise ValueError(f"there are no time steps from {step_start} to {step_stop}")
        parts = {name: _between(bars, span[0], span[-1]) for name, bars in self._bars.items()}
        return MarketData(
            [parts[name] for name in self.symbols],
            extras=[parts[name] for name in self.extra_symbols],
            timeframe=self.timeframe,
            scratch=self.scratch,
        )

    def last_closes(
        self, symbol: str, step_start: int = 0, step_stop: int | None = None
    ) -> FloatArray:
        """Return the latest close known at each time step, or at each of a range of them.

        Returns:
            float64 (steps,), quote currency; NaN before the symbol's first bar.
        """
        bars = self.bars(symbol)
        index = np.searchsorted(bars.ts, self.ts[step_start:step_stop], side="right") - 1
        closes = np.full(len(index), np.nan)
        closes[index >= 0] = bars.close[index[index >= 0]]
        return closes

    def fingerprint_of(self, step_start: int, step_stop: int) -> str:
        """Return the `fingerprint` of a part; those that were asked for last are remembered."""
        steps = (step_start, step_stop)
        if steps == (0, self.steps):
            return self.fingerprint
        found = self._part_fingerprints.pop(steps, None) or self.part(*steps).fingerprint
        self._part_fingerprints[steps] = found
        if len(self._part_fingerprints) > _FINGERPRINTS_KEPT:
            del self._part_fingerprints[next(iter(self._part_fingerprints))]
        return found

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the symbols and their arrays, whichever source they came from."""
        digest = hashlib.sha256()
        for symbol, bars in self._bars.items():
            role = "traded" if symbol in self.symbols else "extra"
            digest.update(f"{role}\0{symbol}\0{len(bars)}\0".encode())
            for piece in self._pieces(bars.ts):
                digest.update(piece.astype("<i8").data)
            for name in _COLUMNS[1:]:
                for piece in self._pieces(getattr(bars, name)):
                    # adding 0.0 makes -0.0 the same volume as 0.0
                    digest.update(np.add(piece, 0.0).astype("<f8").data)
        return digest.hexdigest()

    @cached_property
    def days(self) -> IntArray:
        """int64 (days,), the UTC days that have time steps, counted from 1970-01-01."""
        return self.days_between(0, self.steps)

    def days_between(self, step_start: int, step_stop: int) -> IntArray:
        """Return the UTC days that have time steps in a range of these, as `days`."""
        days = [days_of(piece) for piece in self._pieces(self.ts[step_start:step_stop])]
        return distinct(np.concatenate([np.empty(0, dtype=np.int64), *days]))

    @property
    def day_count(self) -> int:
        """Number of UTC days that have time steps."""
        return len(self.days)

    def annualisation_for(self, periods_per_year: float | None) -> Annualisation:
        """Return the returns that the user asked for, or that fit the calendar of the data.

        See `infer_annualisation`.
        """
        if periods_per_year is not None:
            return Annualisation(periods_per_year, "bar")
        return self._annualisation

    @cached_property
    def _annualisation(self) -> Annualisation:
        return annualisation_of(self.days)

    @cached_property
    def trades_on_weekends(self) -> bool:
        """Whether there are bars on Saturdays and on Sundays, UTC.

        One of the two is not enough: Monday's first bars east of Greenwich fall on Sunday UTC, and
        Friday's last ones west of it on Saturday.
        """
        weekdays = (self.ts // DAY_NS + 3) % 7
        return bool(np.any(weekdays == _SATURDAY) and np.any(weekdays == _SUNDAY))

    def _pieces(self, column: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield a column bit by bit; of one that is on disk, no more is in memory at a time."""
        for start in range(0, len(column), _AT_ONCE):
            yield column[start : start + _AT_ONCE]
            self.drop()

    def _check(self, bars: Sequence[Bars], extras: Sequence[Bars]) -> None:
        names = [each.symbol for each in (*bars, *extras)]
        if len(set(names)) != len(names):
            raise ValueError(f"symbols must differ, got {names}")
        if not any(len(each) for each in bars):
            raise ValueError("market data needs at least one bar")
        for each in (*bars, *extras):
            if not self._increases(each.ts):
                raise ValueError(f"times of {each.symbol} do not increase")

    def _increases(self, ts: IntArray) -> bool:
        before = ts[:0]
        for piece in self._pieces(ts):
            if np.any(np.diff(piece) <= 0) or np.any(piece[0] <= before):
                return False
            before = piece[-1:].copy()
        return True

    def _merged(self, times: Sequence[IntArray]) -> IntArray:
        """Return times that each increase as one such array."""
        if len(times) == 1:
            return times[0]
        with closing(self.new_column(np.int64)) as merged:
            for part in self._merged_parts(times):
                merged.append(part)
                self.drop()
            return merged.array()

    @staticmethod
    def _merged_parts(times: Sequence[IntArray]) -> Iterator[IntArray]:
        places = [0] * len(times)
        while left := [(ts, at) for ts, at in zip(times, places, strict=True) if at < len(ts)]:
            # up to there, all of them are known
            edge = min(int(ts[min(at + _AT_ONCE, len(ts)) - 1]) for ts, at in left)
            stops = [int(np.searchsorted(ts, edge, side="right")) for ts in times]
            parts = [ts[at:to] for ts, at, to in zip(times, places, stops, strict=True)]
            yield distinct(np.sort(np.concatenate(parts), kind="stable"))
            places = stops

    def _index(self, times: IntArray, step: int) -> int:
        edge = int(self.ts[step]) if step < self.steps else int(self.ts[-1]) + 1
        return int(np.searchsorted(times, edge))


def _frozen(values: ArrayLike, dtype: type[np.int64 | np.float64]) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(values, dtype=dtype, order="C").view()
    array.flags.writeable = False
    return array


def _between(bars: Bars, first: np.int64, last: np.int64) -> Bars:
    start, stop = np.searchsorted(bars.ts, first), np.searchsorted(bars.ts, last, side="right")
    return bars[int(start) : int(stop)]


def _joined(parts: Sequence[Bars], name: str) -> NDArray[Any]:
    return np.concatenate([getattr(part, name) for part in parts])

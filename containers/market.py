"""What all lanes of a window share: the bars, the features and where the window lies in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from admf.containers.account import Position
from admf.containers.bar_table import BarTable
from admf.containers.events import Bar
from admf.containers.features import FeatureStore, FeatureWindow
from admf.containers.market_data import Bars, MarketData
from admf.containers.metrics.annualisation import Interval
from admf.containers.target_changes import TargetChanges
from admf.containers.times import iso_utc
from admf.engine.block import Block

__all__ = ["Market", "Quotes"]


class Market:
    """One window of market data, shared by the lanes of the window.

    Args:
        data: The bars of the whole data set.
        features: The features of these bars, or of a part of them that holds the window.
        start_step: First time step of the window.
        stop_step: The step after its last.
        benchmark: Symbol to compare with, traded or extra.

    Attributes:
        target_changes: What lanes with the same strategy share, by its configuration and symbol.
    """

    def __init__(
        self,
        data: MarketData,
        features: FeatureStore,
        *,
        start_step: int,
        stop_step: int,
        benchmark: str | None = None,
    ) -> None:
        self.data = data
        self.features = features
        self.start_step = start_step
        self.stop_step = stop_step
        self.symbols = data.symbols
        self.target_changes: dict[tuple[bytes, str], TargetChanges] = {}
        self._benchmark_symbol = benchmark
        self._benchmark: tuple[BarTable, NDArray[np.float64]] | None = None
        self._table: BarTable | None = None
        self._position_ids: dict[str, list[str]] = {}
        first, last = data.ts[start_step], data.ts[stop_step - 1]
        self._feature_steps = features.market_data.step_range(int(first), int(last) + 1)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the window's own bars, and of nothing that comes after them."""
        return self.data.fingerprint_of(self.start_step, self.stop_step)

    @cached_property
    def description(self) -> Mapping[str, object]:
        """What result files say about the bars of the window."""
        return {
            "symbols": self.symbols,
            "benchmark": self._benchmark_symbol,
            "timeframe": self.data.timeframe,
            "start": iso_utc(int(self.ts[0])),
            "end": iso_utc(int(self.ts[-1])),
            "bars": len(self.ts),
            "fingerprint": self.fingerprint,
        }

    @property
    def ts(self) -> NDArray[np.int64]:
        """int64 (steps,), the time steps of the window."""
        return self.data.ts[self.start_step : self.stop_step]

    def bars(self, symbol: str) -> Bars:
        """Return a symbol's bars in the window."""
        return self.data.bars(symbol)[slice(*self._range(symbol))]

    def feature_window(self, symbol: str, first: int = 0, stop: int | None = None) -> FeatureWindow:
        """Return the features of a symbol's bars in the window, or of some of these.

        Args:
            symbol: The symbol.
            first: First bar, counted from the window's beginning.
            stop: The bar after the last; None for all that there are.
        """
        start, end = self.features.market_data.bar_range(symbol, *self._feature_steps)
        return self.features.window(symbol, start + first, end if stop is None else start + stop)

    def table(self, block: Block[Bar]) -> BarTable:
        """Return a published block as a table; the lanes ask for it one after the other."""
        table = self._table
        if table is None or table.block is not block:
            table = self._table = self._next_table(block, table)
        return table

    def benchmark_closes(self, table: BarTable, steps: slice) -> NDArray[np.float64] | float:
        """Return the benchmark's latest close at some steps, float64 (steps,), NaN without one."""
        symbol = self._benchmark_symbol
        if symbol is None:
            return math.nan
        if self._benchmark is None or self._benchmark[0] is not table:
            first = self.start_step + table.first_step
            closes = self.data.last_closes(symbol, first, first + table.steps)
            self._benchmark = (table, closes)
        return self._benchmark[1][steps]

    @cached_property
    def return_counts(self) -> Mapping[Interval, int]:
        """How many returns there are of marks at each step, by what a return is taken of."""
        days = self.data.days_between(self.start_step, self.stop_step)
        return {"bar": len(self.ts), "day": len(days)}

    def closes_before(self, symbol: str, ts: int, count: int) -> NDArray[np.float64]:
        """Return a symbol's last ``count`` closes (or fewer) of bars before a time.

        They reach back as far as indicators do.
        """
        bars = self.features.market_data.bars(symbol)
        stop = int(np.searchsorted(bars.ts, ts))
        return bars.close[max(0, stop - count) : stop]

    def close_before(self, symbol: str) -> float | None:
        """Return a symbol's last close before the window; None if it has no bar there."""
        start, _ = self._range(symbol)
        return float(self.data.bars(symbol).close[start - 1]) if start else None

    def begins_with(self, symbol: str) -> bool:
        """Whether a symbol has a bar at the first time step of the window."""
        bars = self.bars(symbol)
        return len(bars) > 0 and bool(bars.ts[0] == self.ts[0])

    def first_bar(self, table: BarTable) -> int:
        """Return the place of a block's first bar in the data, if one symbol is traded."""
        return self.start_step + table.first_step

    def position_ids(self, symbol: str, first: int, count: int) -> list[str]:
        """Return the ids of positions in a symbol by their number; the lanes share the texts."""
        known = self._position_ids.setdefault(symbol, [])
        for number in range(len(known), first + count):
            known.append(f"{symbol}-{number}")
        return known[first : first + count]

    def best_price(self, position: Position) -> float:
        """Return the best price before the window that a trailing stop of a position has seen.

        Of the bar in which it was entered between open and close only the close is known to have
        come after the entry.
        """
        bars = self.data.bars(position.symbol)
        entry = int(np.searchsorted(bars.ts, position.entry_ts, side="right")) - 1
        stop, _ = self._range(position.symbol)
        rows = slice(max(entry, 0) + (position.entry_moment != "open"), stop)
        seen = [position.opening_price]
        if position.entry_moment == "intrabar" and entry >= 0:
            seen.append(float(bars.close[entry]))
        if position.direction > 0:
            return max(*seen, float(bars.high[rows].max(initial=seen[0])))
        return min(*seen, float(bars.low[rows].min(initial=seen[0])))

    def _range(self, symbol: str) -> tuple[int, int]:
        return self.data.bar_range(symbol, self.start_step, self.stop_step)

    def _next_table(self, block: Block[Bar], before: BarTable | None) -> BarTable:
        first = 0 if before is None else before.first_step + before.steps
        if before is None:
            known = {name: self.close_before(name) for name in self.symbols}
            closes = {name: close for name, close in known.items() if close is not None}
        else:
            closes = {name: before.last_close(name, before.steps - 1) for name in self.symbols}
        return BarTable(
            block,
            self.symbols,
            first_step=first,
            closes_before=closes,
            window_steps=self.stop_step - self.start_step,
        )


class Quotes:
    """The price of each symbol as a lane knows it at its place in the bars.

    Attributes:
        table: The block the lane is in.
        step: The time step the lane is at.
        closed: Whether the step's bars are closed; before that only their opens are known.
    """

    __slots__ = ("closed", "step", "table")

    def __init__(self) -> None:
        self.table: BarTable | None = None
        self.step = 0
        self.closed = False

    def move_to(self, table: BarTable, step: int, *, closed: bool) -> None:
        """Set the place."""
        self.table, self.step, self.closed = table, step, closed

    @property
    def here(self) -> BarTable:
        """The block the lane is in.

        Raises:
            LookupError: No bar has arrived yet.
        """
        if self.table is None:
            raise LookupError("no bar has arrived yet")
        return self.table

    @property
    def ts(self) -> int:
        """Time of the step, ns UTC."""
        ts: int = self.here.ts.item(self.step)
        return ts

    def price(self, symbol: str) -> float:
        """Return the latest price: this step's close or open, or else the last close before."""
        table = self.here
        row = -1 if self.closed else table.row_at(symbol, self.step)
        return table.open_price(row) if row >= 0 else table.last_close(symbol, self.step)

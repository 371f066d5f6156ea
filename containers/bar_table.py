"""A block of bars in the form in which lanes walk through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.events import Bar
from admf.containers.order_search import SymbolBars
from admf.containers.orders import BarPrices
from admf.engine.block import Block, DictionaryColumn

__all__ = ["BarTable"]

Rows: TypeAlias = NDArray[np.int64]

BARS_AT_ONCE = 2_048
"""Bars that are made into single events in one go."""


class BarTable:
    """One block of bars by time step and symbol; made once and shared by all lanes.

    Args:
        block: The bars, sorted by time and, within a time step, by the order of ``symbols``.
        symbols: The traded symbols.
        first_step: Index of the block's first time step within the window.
        closes_before: Last close of each symbol before the block, for those that have one.
        window_steps: Number of time steps of the window.

    Attributes:
        ts: int64 (steps,), the time of each step.
        steps: Number of time steps.
        is_last: Whether the window ends with this block.
        features: Indicators at the bars of a symbol as plain numbers, by the symbol and by how
            strategies ask for them; the first lane that needs one puts it there for all.
    """

    def __init__(
        self,
        block: Block[Bar],
        symbols: tuple[str, ...],
        *,
        first_step: int,
        closes_before: Mapping[str, float],
        window_steps: int,
    ) -> None:
        self.block = block
        self.symbols = symbols
        self.first_step = first_step
        self._closes_before = closes_before
        self._is_dense = isinstance(block.columns["symbol"], str)
        starts = np.arange(len(block)) if self._is_dense else _first_rows(block.ts)
        self.ts: NDArray[np.int64] = block.ts if self._is_dense else block.ts[starts]
        self.steps = len(starts)
        self.is_last = first_step + self.steps >= window_steps
        self._starts: Sequence[int] = range(len(block) + 1)
        if not self._is_dense:
            self._starts = [*starts.tolist(), len(block)]
        self._row_at = self._rows_by_symbol(starts)
        self._bars: tuple[int, list[Bar]] = (-1, [])
        self._bars_of: dict[str, SymbolBars] = {}
        self.features: dict[object, list[float]] = {}
        self._last_row = self._row_at
        if not self._is_dense:
            followed = ((name, np.maximum.accumulate(it)) for name, it in self._row_at.items())
            self._last_row = dict(followed)

    def rows(self, step: int) -> range:
        """Return the rows of a time step."""
        return range(self._starts[step], self._starts[step + 1])

    def first_row(self, step: int) -> int:
        """Return the first row of a time step; of the one after the last, the number of rows."""
        return self._starts[step]

    def row_at(self, symbol: str, step: int) -> int:
        """Return the row of a symbol's bar at a time step; -1 if it has none."""
        return int(self._row_at[symbol][step])

    def last_close(self, symbol: str, step: int) -> float:
        """Return a symbol's latest close at the end of a step; NaN before its first bar."""
        row = int(self._last_row[symbol][step])
        if row < 0:
            return self._closes_before.get(symbol, np.nan)
        close: float = self._columns["close"].item(row)
        return close

    def open_price(self, row: int) -> float:
        """Return the open of a row."""
        price: float = self._columns["open"].item(row)
        return price

    def closes(self, symbol: str) -> NDArray[np.float64]:
        """Return a symbol's latest close at the end of each step, float64 (steps,)."""
        return self._closes[symbol]

    def rows_of(self, symbol: str) -> NDArray[np.int64]:
        """Return all rows of a symbol, int64 (bars,)."""
        rows = self._row_at[symbol]
        return rows if self._is_dense else rows[rows >= 0]

    def bars_of(self, symbol: str) -> SymbolBars:
        """Return the bars of one symbol."""
        found = self._bars_of.get(symbol)
        if found is None:
            found = self._bars_of[symbol] = self._symbol_bars(symbol)
        return found

    def bar_from(self, symbol: str, step: int) -> int:
        """Return the place among a symbol's bars of its first one from a time step on."""
        return step if self._is_dense else int(np.searchsorted(self.bars_of(symbol).step, step))

    @cached_property
    def steps_of_rows(self) -> Sequence[int]:
        """The time step of each row, as plain numbers."""
        steps: list[int] = [] if self._is_dense else self.step_of_row.tolist()
        return range(self.steps) if self._is_dense else steps

    @cached_property
    def places(self) -> Sequence[int]:
        """The place of each row among its symbol's bars of the block; empty if it is the row."""
        if self._is_dense:
            return ()
        places = np.empty(len(self.block), dtype=np.int64)
        for symbol in self._row_at:
            rows = self.rows_of(symbol)
            places[rows] = np.arange(len(rows))
        listed: list[int] = places.tolist()
        return listed

    @cached_property
    def step_of_row(self) -> NDArray[np.int64]:
        """int64 (rows,), the time step of each row."""
        if self._is_dense:
            return self._row_at[self.symbols[0]]
        return np.repeat(np.arange(self.steps), np.diff(self._starts))

    def bars_around(self, row: int) -> tuple[int, list[Bar]]:
        """Return some bars as single events, a row's among them, and the row of the first.

        Those that were made last are kept. All at once, they would take some 256 bytes each, and
        would be gone from the processor's cache by the time that they are looked at.
        """
        first = row - row % BARS_AT_ONCE
        if first != self._bars[0]:
            self._bars = first, self.block.slice(first, first + BARS_AT_ONCE).events()
        return self._bars

    @cached_property
    def symbol(self) -> list[str]:
        """The symbol of each row."""
        column = self.block.columns["symbol"]
        return [column] * len(self.block) if isinstance(column, str) else self._symbol_list()

    def prices(self, row: int) -> BarPrices:
        """Return the prices of a row."""
        return BarPrices(*(self._columns[name].item(row) for name in BarPrices._fields))

    def _symbol_bars(self, symbol: str) -> SymbolBars:
        prices = self._columns.values()
        if self._is_dense:
            return SymbolBars(self._row_at[symbol], self.block.ts, *prices)
        rows = self.rows_of(symbol)
        chosen = (column[rows] for column in prices)
        return SymbolBars(self.step_of_row[rows], self.block.ts[rows], *chosen)

    @cached_property
    def _columns(self) -> dict[str, NDArray[np.float64]]:
        return {name: self.block.column(name) for name in BarPrices._fields}

    @cached_property
    def _closes(self) -> dict[str, NDArray[np.float64]]:
        closes = self._columns["close"]
        if self._is_dense:
            return dict.fromkeys(self._row_at, closes)
        filled: dict[str, NDArray[np.float64]] = {}
        for name, rows in self._last_row.items():
            before = self._closes_before.get(name, np.nan)
            filled[name] = np.where(rows >= 0, closes[np.maximum(rows, 0)], before)
        return filled

    def _symbol_list(self) -> list[str]:
        symbols: list[str] = self.block.column("symbol").tolist()
        return symbols

    def _rows_by_symbol(self, starts: Rows) -> dict[str, Rows]:
        column = self.block.columns["symbol"]
        if isinstance(column, str):
            return {column: starts}
        if not isinstance(column, DictionaryColumn):
            raise TypeError("the symbols of a bar block are one name or a dictionary column")
        found: dict[str, Rows] = {}
        for code, name in enumerate(column.values):
            own = np.flatnonzero(column.codes == code)
            found[name] = np.full(self.steps, -1)
            found[name][self.step_of_row[own]] = own
        return found


def _first_rows(ts: NDArray[np.int64]) -> Rows:
    """Return the first row of each time."""
    return np.flatnonzero(np.diff(ts, prepend=ts[0] - 1))

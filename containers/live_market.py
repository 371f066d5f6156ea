"""What the lanes of a live window share: the bars as far as they have come."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admf.containers.account import Position
from admf.containers.bar_history import BarHistory
from admf.containers.bar_table import BarTable
from admf.containers.events import Bar
from admf.containers.features import FeatureSpec, FeatureWindow
from admf.containers.market import Market
from admf.containers.market_data import Bars
from admf.containers.metrics.annualisation import Interval
from admf.containers.times import iso_utc
from admf.engine.block import Block

__all__ = ["LiveMarket"]

_NEVER = 2**62
"""Time steps of a window whose end nobody knows."""


class LiveMarket(Market):
    """One window of a live session; all that depends on data that have an end is overridden.

    Args:
        history: The bars up to now, which all windows of the session share.

    Attributes:
        history: The bars up to now.
    """

    def __init__(self, history: BarHistory) -> None:  # there is no data to begin the base with
        self.history = history
        self.symbols = history.symbols
        self.target_changes = {}
        self._described: dict[str, Any] = {
            "symbols": history.symbols,
            "benchmark": None,
            "timeframe": None,
            "start": None,
            "end": None,
            "bars": 0,
        }
        self._table: BarTable | None = None

    @cached_property
    def description(self) -> Mapping[str, object]:
        """What result files say about the bars of the window; it follows them."""
        return self._described

    def table(self, block: Block[Bar]) -> BarTable:
        """Return a published time step as a table; the lanes ask for it one after the other."""
        if self._table is None or self._table.block is not block:
            self._table = BarTable(
                block,
                self.symbols,
                first_step=self.history.steps - 1,
                closes_before=self.history.closes_before,
                window_steps=_NEVER,
            )
            self._describe(iso_utc(int(block.ts[0])))
        return self._table

    def close_before(self, symbol: str) -> float | None:
        """Return a symbol's latest close; None before its first bar."""
        return self.history.last_close(symbol)

    def begins_with(self, symbol: str) -> bool:
        """Whether a carried position is taken at the price that was paid, until a bar comes."""
        return symbol in self.symbols

    def bars(self, symbol: str) -> Bars:
        """Return a symbol's bars of the session, as many as are kept."""
        return self.history.live_bars(symbol)

    def feature_window(self, symbol: str, first: int = 0, stop: int | None = None) -> FeatureWindow:
        """Return the features of these bars, or of some of them."""
        count = len(self.bars(symbol))
        rows = slice(first - count, None if stop is None else stop - count)
        return FeatureWindow(self.history, symbol, rows)

    def latest(self, symbol: str, spec: FeatureSpec) -> float:
        """Return an indicator at a symbol's latest bar, NaN while it warms up."""
        value: float = self.history.column(symbol, spec).item(-1)
        return value

    def closes_before(self, symbol: str, ts: int, count: int) -> NDArray[np.float64]:
        """Return a symbol's last ``count`` closes (or fewer) of bars before a time."""
        bars = self.history.bars(symbol)
        stop = int(np.searchsorted(bars.ts, ts))
        return bars.close[max(0, stop - count) : stop]

    def benchmark_closes(self, table: BarTable, steps: slice) -> float:  # noqa: ARG002
        """Return NaN: there is no benchmark."""
        return math.nan

    def best_price(self, position: Position) -> float:
        """Return the best price that a trailing stop of a position has seen before the session.

        Of a position that a session begins with, no more is known than what was paid for it.
        """
        return position.opening_price

    @cached_property
    def return_counts(self) -> Mapping[Interval, int]:
        """How many returns the window will have: nobody knows."""
        return {"bar": 0, "day": 0}

    def _describe(self, time: str) -> None:
        self._described["start"] = self._described["start"] or time
        self._described["end"] = time
        self._described["bars"] += 1

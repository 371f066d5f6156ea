"""The portfolio of a live lane: its account goes on from window to window."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from admf.containers.account import Position
from admf.containers.bar_table import BarTable
from admf.containers.config import CarriedAccount
from admf.containers.events import Fill
from admf.containers.live_market import LiveMarket
from admf.containers.marks import Marks
from admf.containers.metrics.tracer import MetricsEventTracer
from admf.containers.portfolio import PortfolioContainer

__all__ = ["Excursion", "LivePortfolio", "PortfolioState"]


class Excursion(msgspec.Struct):
    """How far the price went while a position was open, up to the last complete time step.

    Args:
        low: Lowest price since the entry; None before the first bar that counts.
        high: Highest price likewise.
        bars: Bars after that of the entry.
    """

    low: float | None = None
    high: float | None = None
    bars: int = 0

    def take(self, low: float, high: float) -> None:
        """Take in the range of a bar."""
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)


class PortfolioState(msgspec.Struct, frozen=True):
    """What a portfolio leaves to the next window: positions carry over.

    Args:
        account: Cash and positions.
        equity: At the last closes, quote currency; the next window's metrics begin there.
        prices: Last close of each symbol that is held.
        excursions: By symbol, of the positions.
    """

    account: CarriedAccount
    equity: float
    prices: dict[str, float]
    excursions: dict[str, Excursion]


class LivePortfolio(PortfolioContainer):
    """Owns a live lane's account and the tracer of its metrics, which are those of one window.

    Excursions of positions are kept up bar by bar, since the bars themselves are not kept.

    Args:
        container_id: Id, e.g. ``portfolio_001``.
        make_tracer: Returns a tracer that begins with an equity, for a window that goes on.
        options: As for `PortfolioContainer`.
    """

    _market: LiveMarket

    state_type = PortfolioState

    def __init__(
        self,
        container_id: str,
        *,
        make_tracer: Callable[[float], MetricsEventTracer],
        equity: float,
        **options: Any,
    ) -> None:
        super().__init__(container_id, tracer=make_tracer(equity), **options)
        self._make_tracer = make_tracer
        self._equity = equity
        self._prices: Mapping[str, float] = {}
        self._excursions_of: dict[str, Excursion] = {}

    def hand_over(self) -> PortfolioState:
        """Return what the next window needs to go on."""
        positions = self.account.positions
        return PortfolioState(
            account=self.account.carried(),
            equity=self.account.equity(self._price),
            prices={symbol: self._price(symbol) for symbol in positions},
            excursions={symbol: self._excursion(symbol) for symbol in positions},
        )

    def take_over(self, state: PortfolioState) -> None:
        """Go on from where the window before ended; its metrics begin with the equity of then."""
        self.account.resume(state.account)
        self._prices, self._excursions_of = state.prices, dict(state.excursions)
        self._marks = Marks(self.account)
        self._marked = self._market.history.steps
        self._metrics = self._make_tracer(state.equity)
        self.replace_tracer(self._metrics)

    def mark(self, table: BarTable, stop: int) -> None:
        """Publish the value at the close of a time step, and follow the excursions."""
        if self._marked - table.first_step >= stop:
            return
        super().mark(table, stop)
        for symbol, position in self.account.positions.items():
            row = table.row_at(symbol, stop - 1)
            if row >= 0:
                self._follow(position, table, row)

    def _follow(self, position: Position, table: BarTable, row: int) -> None:
        excursion, bar = self._excursion(position.symbol), table.prices(row)
        is_entry = int(table.block.ts[row]) == position.entry_ts
        if not (is_entry and position.entry_moment == "close"):
            excursion.take(bar.low, bar.high)
        excursion.bars += not is_entry

    def _excursion(self, symbol: str) -> Excursion:
        return self._excursions_of.setdefault(symbol, Excursion())

    def _excursions(self, position: Position, fill: Fill) -> tuple[float, float, int]:
        """Return MAE, MFE and the bars held, as `PortfolioContainer` defines them."""
        seen, bars = self._excursions_of.pop(fill.symbol, Excursion()), 0
        table = self._quotes.here
        row = table.row_at(fill.symbol, self._quotes.step)
        if row >= 0:
            is_entry = int(table.block.ts[row]) == position.entry_ts
            bars = 0 if is_entry else seen.bars + 1
            if fill.moment == "close" and not (is_entry and position.entry_moment == "close"):
                seen.take(table.prices(row).low, table.prices(row).high)
        else:
            bars = seen.bars
        low = fill.price if seen.low is None else min(seen.low, fill.price)
        high = fill.price if seen.high is None else max(seen.high, fill.price)
        down, up = low / position.entry_price - 1, high / position.entry_price - 1
        mae, mfe = (down, up) if position.direction > 0 else (-up, -down)
        return min(mae, 0.0), max(mfe, 0.0), bars

    def _price(self, symbol: str) -> float:
        if self._quotes.table is not None:
            price = self._quotes.price(symbol)
            if not math.isnan(price):
                return price
        return self._prices.get(symbol, self.account.positions[symbol].entry_price)

    def _last_price(self, position: Position) -> float:
        return self._price(position.symbol)

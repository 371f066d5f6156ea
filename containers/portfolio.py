"""The portfolio: books fills, announces positions, marks the equity, and reports the lane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.containers.account import Account, Position
from admf.containers.bar_table import BarTable
from admf.containers.config import PortfolioConfig
from admf.containers.events import Fill, PortfolioUpdate, PositionClose, PositionOpen, Reject
from admf.containers.market import Market, Quotes
from admf.containers.metrics.history import Trade
from admf.containers.metrics.tracer import MetricsEventTracer
from admf.containers.times import iso_utc
from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.container import Container
from admf.engine.results import Document

__all__ = ["OpenPosition", "PortfolioContainer"]


class OpenPosition(msgspec.Struct, frozen=True):
    """A position that was still open when the window ended, marked at the last close."""

    id: str
    symbol: str
    side: str
    quantity: float
    entry_time: str
    entry_price: float
    last_price: float
    unrealized_pnl: float
    commission: float


class PortfolioContainer(Container):
    """Owns a lane's account and the tracer of its metrics.

    Args:
        container_id: Id, e.g. ``portfolio_001``.
        config: Capital and sizing.
        scope: The lane's scope.
        tracer: Folds the lane's events into metrics, trades and the equity curve.
        market: The window's market data.
        quotes: The lane's place in it.
        parameters: The strategy's parameters, defaults included.
        head: What the result file says about the lane besides its results.
    """

    def __init__(
        self,
        container_id: str,
        config: PortfolioConfig,
        *,
        scope: Bus,
        tracer: MetricsEventTracer,
        market: Market,
        quotes: Quotes,
        parameters: Mapping[str, object],
        head: Mapping[str, object],
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(
            container_id, "portfolio", config, scope=scope, tracer=tracer, depends_on=depends_on
        )
        self.account = Account(config.initial_capital)
        self._metrics = tracer
        self._market = market
        self._quotes = quotes
        self._parameters = parameters
        self._head = head
        self._marks = _Marks(self.account)
        self._rejects: Counter[str] = Counter()

    async def on_start(self) -> None:
        """Book every fill of the lane, and count what was refused."""
        self.subscribe(Fill, self._on_fill)
        self.subscribe(Reject, self._on_reject)

    @property
    def parameters(self) -> Mapping[str, object]:
        """The strategy's parameters, defaults included."""
        return self._parameters

    @property
    def rejects(self) -> Mapping[str, int]:
        """Refused orders by reason."""
        return dict(sorted(self._rejects.items()))

    def metrics(self) -> Mapping[str, float | None]:
        """Return the metrics up to now."""
        return self._metrics.metrics().values

    def trades(self) -> list[Trade]:
        """Return the closed trades that are kept."""
        return self._metrics.trades()

    def _on_reject(self, reject: Reject) -> None:
        self._rejects[reject.reason] += 1

    def _on_fill(self, fill: Fill) -> None:
        opens = fill.symbol not in self.account.positions
        position = self.account.apply(fill)
        self._marks.note(self._quotes.step)
        if opens:
            opened = PositionOpen(
                fill.ts,
                fill.symbol,
                position.position_id,
                fill.order_id,
                position.side,
                fill.quantity,
                fill.price,
                fill.commission,
            )
            self.scope.publish(opened, source=self.id)
        elif position.quantity == 0.0:
            self.scope.publish(self._closed(position, fill), source=self.id)

    def _closed(self, position: Position, fill: Fill) -> PositionClose:
        mae, mfe, bars_held = self._excursions(position, fill)
        return PositionClose(
            ts=fill.ts,
            symbol=fill.symbol,
            position_id=position.position_id,
            side=position.side,
            quantity=position.entered,
            entry_ts=position.entry_ts,
            entry_price=position.entry_price,
            exit_price=position.exit_price,
            pnl=position.pnl,
            return_fraction=position.pnl / position.entry_value,
            commission=position.commission,
            bars_held=bars_held,
            mae=mae,
            mfe=mfe,
            exit_reason=fill.reason,
        )

    def _excursions(self, position: Position, fill: Fill) -> tuple[float, float, int]:
        """Return MAE, MFE (fractions of the entry price) and the bars held.

        The ranges of the bars in between count whole; so does the entry bar's unless the entry was
        at its close, and the exit bar's if the exit was at its close. The exit price always counts.
        """
        bars = self._market.data.bars(fill.symbol)
        times = (position.entry_ts, fill.ts)  # at the window's end, the last bar may lie before
        entry_bar, exit_bar = (np.searchsorted(bars.ts, times, side="right") - 1).tolist()
        start = entry_bar + (position.entry_moment == "close")
        stop = exit_bar + (fill.moment == "close")
        low = float(bars.low[start:stop].min(initial=fill.price))
        high = float(bars.high[start:stop].max(initial=fill.price))
        down, up = low / position.entry_price - 1, high / position.entry_price - 1
        mae, mfe = (down, up) if position.direction > 0 else (-up, -down)
        return min(mae, 0.0), max(mfe, 0.0), exit_bar - entry_bar

    def mark(self, table: BarTable, steps: int) -> None:
        """Publish the value at the close of the first ``steps`` steps of a block, as one block."""
        if not steps:
            return
        cash, holdings = self._marks.take(steps)
        equity, exposure = cash.copy(), np.zeros(steps)
        for symbol in filter(holdings.__contains__, self._market.symbols):  # always in this order
            quantities = holdings[symbol]
            value = np.where(quantities == 0.0, 0.0, quantities * table.closes(symbol)[:steps])
            equity += value
            exposure += np.abs(value)
        columns = {
            "ts": table.ts[:steps],
            "equity": equity,
            "cash": cash,
            "exposure": exposure,
            "benchmark": self._market.benchmark_closes(table)[:steps],
        }
        self.scope.publish(Block(PortfolioUpdate, columns), source=self.id)

    def results(self) -> Document:
        """Return metrics, trades, open positions and the equity curve of the lane."""
        found = self._metrics.results()
        body: dict[str, object] = {
            "role": self.role,
            **self._head,
            "parameters": self._parameters,
            "status": self.status,
            "error": None if self.error is None else str(self.error),
            "periods_per_year": found.metrics.periods_per_year,
            "return_interval": found.metrics.interval,
            "tracer": found.tracer,
            "metrics": found.metrics.values,
            "approximate": found.metrics.approximate,
            "rejects": self.rejects,
            "open_positions": [self._open_position(it) for it in self.account.positions.values()],
            "trades": found.trades,
            "equity_curve": found.equity_curve,
        }
        return Document(self.id, body)

    def _open_position(self, position: Position) -> OpenPosition:
        price = self._quotes.price(position.symbol)
        value = position.direction * position.quantity * price
        cost = position.direction * (position.entry_value - position.exit_value)
        return OpenPosition(
            id=position.position_id,
            symbol=position.symbol,
            side=position.side,
            quantity=position.quantity,
            entry_time=iso_utc(position.entry_ts),
            entry_price=position.entry_price,
            last_price=price,
            unrealized_pnl=value - cost - position.commission,
            commission=position.commission,
        )


class _Marks:
    """Cash and positions after each step of a block that had fills."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._steps = [-1]
        self._cash = [account.cash]
        self._holdings: dict[str, list[float]] = {}

    def note(self, step: int) -> None:
        """Remember the account as it is at the end of a step, as far as we know."""
        if step != self._steps[-1]:
            self._steps.append(step)
            self._cash.append(0.0)
            for quantities in self._holdings.values():
                quantities.append(0.0)
        self._cash[-1] = self._account.cash
        for symbol in self._account.positions:
            self._holdings.setdefault(symbol, [0.0] * len(self._steps))
        for symbol, quantities in self._holdings.items():
            quantities[-1] = self._account.quantity(symbol)

    def take(self, steps: int) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """Return cash and units of each symbol at each step of a block, and begin the next."""
        lengths = np.diff(np.array([*self._steps, steps]).clip(0))
        cash = np.repeat(np.array(self._cash), lengths)
        held = {s: np.repeat(np.array(q), lengths) for s, q in self._holdings.items()}
        self._steps, self._cash = [-1], [self._account.cash]
        kept = {s: self._account.quantity(s) for s in self._holdings if self._account.quantity(s)}
        self._holdings = {symbol: [quantity] for symbol, quantity in kept.items()}
        return cash, held

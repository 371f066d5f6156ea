"""The portfolio: books fills, announces positions, marks the equity, and reports the lane."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.containers.account import Account, Position
from admf.containers.array_legs import Legs
from admf.containers.bar_table import BarTable
from admf.containers.config import (
    CarriedAccount,
    CarriedTargets,
    LaneConfig,
    PortfolioConfig,
    StrategyConfig,
)
from admf.containers.events import Fill, PortfolioUpdate, PositionClose, PositionOpen
from admf.containers.lane_events import LaneEvents, LaneMember
from admf.containers.market import Market, Quotes
from admf.containers.marks import AccountSteps, Marks
from admf.containers.metrics.history import Trade
from admf.containers.metrics.portfolio import MetricsResult
from admf.containers.metrics.tracer import MetricsEventTracer
from admf.containers.times import iso_utc
from admf.engine.batch import Batch
from admf.engine.block import Block
from admf.engine.results import Document

__all__ = ["OpenPosition", "PortfolioContainer", "parameters_shown"]

Floats: TypeAlias = NDArray[np.float64]

MARKS_AT_ONCE = 32_768
"""Steps that are marked at once, so that what is made of them stays in the processor's cache."""


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


class PortfolioContainer(LaneMember):
    """Owns a lane's account and the tracer of its metrics.

    Args:
        container_id: Id, e.g. ``portfolio_001``.
        config: Capital and sizing.
        events: The lane's events.
        tracer: Folds the lane's events into metrics, trades and the equity curve.
        account: Cash and positions; from now on only the portfolio changes them.
        market: The window's market data.
        quotes: The lane's place in it.
        lane: The lane's settings.
        strategy: The strategy with its parameters, defaults included.
        head: What the result file says about the lane besides its results.

    Attributes:
        account: The lane's cash and positions.
        lane_id: Id of the lane.
        pruned_at: Time of the last mark, ns UTC, if the lane was given up early; otherwise None.
    """

    def __init__(
        self,
        container_id: str,
        config: PortfolioConfig,
        *,
        events: LaneEvents,
        tracer: MetricsEventTracer,
        account: Account,
        market: Market,
        quotes: Quotes,
        lane: LaneConfig,
        strategy: StrategyConfig,
        head: Mapping[str, object],
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(
            container_id, "portfolio", config, events=events, tracer=tracer, depends_on=depends_on
        )
        self.account = account
        self.lane_id = lane.lane_id
        self.pruned_at: int | None = None
        self._metrics = tracer
        self._market = market
        self._quotes = quotes
        self._lane = lane
        self._strategy = strategy
        self._head = head
        self._marks = Marks(account)
        self._marked = 0
        self._targets: Mapping[str, float] | None = None
        for position in account.positions.values():
            tracer.entered(position.position_id, position.entry_equity)

    async def on_start(self) -> None:
        """Book every fill of the lane."""
        self.listen(Fill, self._on_fill)

    async def on_release(self) -> None:
        """Remove what left memory for the time of the window, and untie the lane."""
        self.events.end()
        self._metrics.release()

    @property
    def parameters(self) -> Mapping[str, object]:
        """The strategy's parameters, defaults included, and settings of the parameter space."""
        return parameters_shown(self._strategy, self._lane)

    @property
    def rejects(self) -> Mapping[str, int]:
        """Refused orders by reason."""
        return self._metrics.rejects()

    @property
    def activity(self) -> Mapping[str, int]:
        """How many signals, orders, cancels and fills there were, whatever is traced."""
        return self._metrics.activity()

    def metrics(self) -> MetricsResult:
        """Return the metrics up to now."""
        return self._metrics.metrics()

    def metric(self, name: str) -> float | None:
        """Return one metric up to now.

        Raises:
            KeyError: There is no such metric.
        """
        return self._metrics.metric(name)

    def trades(self) -> Iterator[Trade]:
        """Return the closed trades that are kept."""
        return self._metrics.trades()

    def series(self) -> Mapping[str, object]:
        """Return every mark and every closed trade, as fields of `LaneSeries`.

        Raises:
            LookupError: The tracer does not keep them.
        """
        return self._metrics.series()

    def carried_account(self) -> CarriedAccount:
        """Return what the lane holds, for another window to begin with."""
        wanted = None
        if self._targets is not None:
            wanted = CarriedTargets(strategy=self._strategy, targets=dict(self._targets))
        return self.account.carried(wanted)

    def reach_end(self, targets: Mapping[str, float]) -> None:
        """Take note of what a columnar strategy wants, and has got, at the end of the window."""
        self._targets = targets

    def prune(self) -> None:
        """Take note that the lane is given up at the step it is at."""
        self.pruned_at = self._quotes.ts

    def book_all(
        self,
        symbol: str,
        legs: Legs,
        batch: Batch,
        position_ids: Sequence[str],
        position: Position | None,
    ) -> None:
        """Publish and book many fills of one symbol.

        Args:
            symbol: What was traded.
            legs: The fills.
            batch: The events that they are, and those that led to them.
            position_ids: Ids of the positions that they open.
            position: The position after them, if there is one.
        """
        if self._metrics.keeps_series:
            equity = legs.cash[:-1][legs.opening].tolist()
            for entry in zip(position_ids, equity, strict=True):
                self._metrics.entered(*entry)
        self.events.publish_block(batch)
        opening = legs.opening
        held = np.zeros(len(legs.row))
        held[opening] = legs.sign[opening] * legs.quantity[opening]
        self._marks.note_all(legs.row, legs.cash[1:], symbol, held)
        cash, opened = float(legs.cash[-1]), len(position_ids)
        self.account.settle(cash, symbol, position, opened=opened)

    def _on_fill(self, fill: Fill) -> None:
        opens = fill.symbol not in self.account.positions
        equity = self.account.equity(self._quotes.price) if opens else 0.0
        position = self.account.apply(fill)
        self._marks.note(self._quotes.step)
        if opens:
            position.entry_equity = equity
            self._metrics.entered(position.position_id, equity)
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
            self.publish(opened)
        elif position.quantity == 0.0:
            self.publish(self._closed(position, fill))

    def _closed(self, position: Position, fill: Fill) -> PositionClose:
        mae, mfe, bars_held = self._excursions(position, fill)
        pnl = position.pnl
        return PositionClose(
            fill.ts,
            fill.symbol,
            position.position_id,
            position.side,
            position.entered,
            position.entry_ts,
            position.entry_price,
            position.exit_price,
            pnl,
            pnl / position.entry_value,
            position.commission,
            bars_held,
            mae,
            mfe,
            fill.reason,
        )

    def _excursions(self, position: Position, fill: Fill) -> tuple[float, float, int]:
        """Return MAE, MFE (fractions of the entry price) and the bars held.

        The ranges of the bars in between count whole; so does the entry bar's unless the entry was
        at its close, and the exit bar's if the exit was at its close. The exit price always counts.
        Of a position that was carried from before the data, all bars up to the exit count.
        """
        bars, low, high = self._market.data.bars(fill.symbol), fill.price, fill.price
        entry_bar = int(bars.ts.searchsorted(position.entry_ts, "right")) - 1
        exit_bar = int(bars.ts.searchsorted(fill.ts, "right")) - 1  # the window may end without one
        start = max(entry_bar + (position.entry_moment == "close"), 0)
        stop = exit_bar + (fill.moment == "close")
        if start < stop:  # it takes half the time to find where the extremes are
            lows, highs = bars.low[start:stop], bars.high[start:stop]
            low = min(low, lows.item(lows.argmin()))
            high = max(high, highs.item(highs.argmax()))
        entry_price = position.entry_price
        down, up = low / entry_price - 1, high / entry_price - 1
        mae, mfe = (down, up) if position.direction > 0 else (-up, -down)
        return min(mae, 0.0), max(mfe, 0.0), exit_bar - entry_bar

    def mark(self, table: BarTable, stop: int) -> None:
        """Publish the value at the close of the steps of a block before ``stop``, as blocks.

        What has been marked is not marked again.
        """
        start = self._marked - table.first_step
        if start >= stop:
            return
        self._marked = table.first_step + stop
        steps = self._marks.take()
        for rows in _portions(start, stop):
            self._mark(table, rows, steps)

    def _mark(self, table: BarTable, rows: slice, steps: AccountSteps) -> None:
        cash, holdings = steps.between(rows.start, rows.stop)
        held = [symbol for symbol in self._market.symbols if symbol in holdings]
        values = [_value(holdings[symbol], table.closes(symbol)[rows]) for symbol in held]
        equity = sum(values, cash)  # always in this order
        exposure = sum(map(np.abs, values[1:]), np.abs(values[0])) if values else 0.0
        columns = {
            "ts": table.ts[rows],
            "equity": equity,
            "cash": cash,
            "exposure": exposure,
            "benchmark": self._market.benchmark_closes(table, rows),
        }
        self.events.publish_block(Block(PortfolioUpdate, columns), self.id)

    def results(self) -> Document:
        """Return what the lane came to: metrics, trades, open positions, the equity curve."""
        self._metrics.conclude()
        found = self._metrics.results()
        body: dict[str, object] = {
            "role": self.role,
            **self._head,
            "parameters": self.parameters,
            "status": self.status,
            "error": None if self.error is None else str(self.error),
            "pruned_at": None if self.pruned_at is None else iso_utc(self.pruned_at),
            **found.figures(),
            "open_positions": [self._open_position(it) for it in self.account.positions.values()],
            **found.histories(),
        }
        return Document(self.id, body, self._metrics.trace())

    def _open_position(self, position: Position) -> OpenPosition:
        price = self._last_price(position)
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

    def _last_price(self, position: Position) -> float:
        if self._quotes.table is not None:
            return self._quotes.price(position.symbol)
        before = self._market.close_before(position.symbol)  # no bar has arrived in this window
        return position.entry_price if before is None else before


def _portions(start: int, stop: int) -> Iterator[slice]:
    """Yield the steps that are marked at once; a short rest is, with those before it."""
    while stop - start > MARKS_AT_ONCE * 3 // 2:
        yield slice(start, start + MARKS_AT_ONCE)
        start += MARKS_AT_ONCE
    yield slice(start, stop)


def _value(quantity: Floats, close: Floats) -> Floats:
    """Return what is held is worth; nothing held is worth nothing even before the first close."""
    value = np.multiply(quantity, close)
    if math.isnan(value[0]):  # after the first close, there is one for each step
        value[np.isnan(value) & (quantity == 0.0)] = 0.0
    return value


def parameters_shown(strategy: StrategyConfig, lane: LaneConfig) -> dict[str, object]:
    """Return the strategy's parameters, and the lane's settings of the parameter space."""
    settings = {name: it for name, it in lane.parameters.items() if "." in name}
    return {**strategy.params, **settings}

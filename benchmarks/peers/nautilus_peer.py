"""NautilusTrader: bars made beforehand, no logs; orders fill at the deciding bar's close.

That close is the next bar's open, so the outcome is the same. It keeps no equity bar by bar, and
its own analysis takes longer than making the equity from its positions, which is done here.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TraderId, Venue
from nautilus_trader.model.instruments import Equity
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.model.position import Position
from nautilus_trader.trading.strategy import Strategy
from walk import CAPITAL, START_S, UNITS, Work, arguments, closes, lanes, measure, ohlc, one_lane

(bars,) = arguments()
VENUE = Venue("SIM")
INSTRUMENT = InstrumentId(Symbol("X"), VENUE)
BARS = BarType.from_str("X.SIM-1-MINUTE-LAST-EXTERNAL")
PRECISION = 6


class Cross(Strategy):
    """The cross."""

    def __init__(self) -> None:
        super().__init__(StrategyConfig())
        ((fast, slow),) = lanes(1)
        self.fast, self.slow = SimpleMovingAverage(fast), SimpleMovingAverage(slow)
        self.held = False

    def on_start(self) -> None:
        for indicator in (self.fast, self.slow):
            self.register_indicator_for_bars(BARS, indicator)
        self.subscribe_bars(BARS)

    def on_bar(self, bar: Bar) -> None:
        if not self.slow.initialized:
            return
        above = self.fast.value > self.slow.value
        if above == self.held:
            return
        self.held = above
        side = OrderSide.BUY if above else OrderSide.SELL
        self.submit_order(
            self.order_factory.market(INSTRUMENT, side, Quantity.from_int(int(UNITS)))
        )


def prepare(size: int) -> Work:
    values = closes(size)
    columns = [[Price(price, PRECISION) for price in it.tolist()] for it in ohlc(values)]
    times = ((START_S + 60 * np.arange(1, size + 1)) * 1_000_000_000).tolist()
    volume = Quantity.from_int(1_000_000)
    made = [Bar(BARS, *row, volume, ts, ts) for *row, ts in zip(*columns, times, strict=True)]
    return partial(work, made, values)


def work(made: list[Bar], close: np.ndarray) -> dict[str, Any]:
    config = BacktestEngineConfig(
        trader_id=TraderId("BENCH-1"),
        logging=LoggingConfig(bypass_logging=True),
        run_analysis=False,
    )
    engine = BacktestEngine(config)
    engine.add_venue(
        VENUE,
        OmsType.NETTING,
        AccountType.CASH,
        [Money(CAPITAL, USD)],
        base_currency=USD,
    )
    engine.add_instrument(
        Equity(
            INSTRUMENT,
            Symbol("X"),
            Currency.from_str("USD"),
            PRECISION,
            Price(1e-6, PRECISION),
            Quantity.from_int(1),
            0,
            0,
            maker_fee=Decimal(0),
            taker_fee=Decimal(0),
        )
    )
    engine.add_data(made)
    engine.add_strategy(Cross())
    engine.run()
    found = outcome(engine, made, close)
    engine.dispose()
    return found


def outcome(engine: BacktestEngine, made: list[Bar], close: np.ndarray) -> dict[str, Any]:
    positions = [*engine.cache.position_snapshots(), *engine.cache.positions()]
    equity = equity_of(positions, close)
    cash = engine.portfolio.account(VENUE).balance_total(USD).as_double()
    held = sum(it.signed_qty for it in engine.cache.positions_open())
    final_equity = cash + held * made[-1].close.as_double()
    return one_lane(final_equity, sum(it.is_closed for it in positions), equity)


def equity_of(positions: list[Position], close: np.ndarray) -> np.ndarray:
    units, cash = np.zeros(len(close)), np.zeros(len(close))
    for it in positions:
        size = it.peak_qty.as_double()
        opened = bar_at(it.ts_opened)
        units[opened] += size
        cash[opened] -= size * it.avg_px_open
        if it.is_closed:
            closed = bar_at(it.ts_closed)
            units[closed] -= size
            cash[closed] += size * it.avg_px_close
    return CAPITAL + np.cumsum(cash) + np.cumsum(units) * close


def bar_at(ts_ns: int) -> int:
    return (ts_ns // 1_000_000_000 - START_S) // 60 - 1


measure(prepare, bars, 500)

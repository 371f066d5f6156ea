"""backtrader, fed from lists, with everything preloaded and computed in one run.

Its own analyzers of drawdown and Sharpe ratio take half as long again as all else; so the strategy
notes its equity, and numpy does the rest.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import backtrader as bt
import numpy as np
from walk import CAPITAL, START_S, UNITS, Work, arguments, closes, lanes, measure, ohlc, one_lane

(bars,) = arguments()
DAYS_TO_1970 = 719_163.0


class Lists(bt.feed.DataBase):
    """Hands over bars that are in memory."""

    def __init__(self, rows: list[tuple[float, ...]]) -> None:
        super().__init__()
        self.rows = iter(rows)

    def _load(self) -> bool:
        row = next(self.rows, None)
        if row is None:
            return False
        to = self.lines
        to.datetime[0], to.open[0], to.high[0], to.low[0], to.close[0] = row
        to.volume[0] = to.openinterest[0] = 1.0
        return True


class Cross(bt.Strategy):
    params = (("fast", 10), ("slow", 50))

    def __init__(self) -> None:
        self.fast = bt.ind.SMA(self.data.close, period=self.p.fast)
        self.slow = bt.ind.SMA(self.data.close, period=self.p.slow)
        self.held = False
        self.equity: list[float] = []
        self.closed: list[Any] = []

    def prenext(self) -> None:
        self.equity.append(CAPITAL)

    def next(self) -> None:
        self.equity.append(self.broker.getvalue())
        above = self.fast[0] > self.slow[0]
        if above == self.held:
            return
        self.held = above
        if above:
            self.buy(size=UNITS)
        else:
            self.close()

    def notify_trade(self, trade: Any) -> None:
        if trade.isclosed:
            self.closed.append((trade.dtopen, trade.dtclose, trade.price, trade.pnl))


def prepare(size: int) -> Work:
    days = DAYS_TO_1970 + (START_S + 60 * np.arange(size)) / 86_400
    columns = (days, *ohlc(closes(size)))
    return partial(work, list(zip(*(column.tolist() for column in columns), strict=True)))


def work(rows: list[tuple[float, ...]]) -> dict[str, Any]:
    cerebro = bt.Cerebro(stdstats=False, preload=True, runonce=True, exactbars=False)
    cerebro.broker.set_cash(CAPITAL)
    cerebro.adddata(Lists(rows))
    ((fast, slow),) = lanes(1)
    cerebro.addstrategy(Cross, fast=fast, slow=slow)
    (found,) = cerebro.run()
    return one_lane(cerebro.broker.get_value(), len(found.closed), np.array(found.equity))


measure(prepare, bars, 500)

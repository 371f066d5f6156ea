"""backtrader, fed from lists, with everything preloaded and computed in one run."""

from __future__ import annotations

from functools import partial
from typing import Any

import backtrader as bt
import numpy as np
from walk import CAPITAL, START_S, UNITS, Work, arguments, closes, lanes, measure, opens

(bars,) = arguments()


class Lists(bt.feed.DataBase):
    """Hands over bars that are in memory."""

    def __init__(self, rows: list[tuple[float, ...]]) -> None:
        super().__init__()
        self.rows = iter(rows)

    def _load(self) -> bool:
        row = next(self.rows, None)
        if row is None:
            return False
        names = ("datetime", "open", "high", "low", "close", "volume", "openinterest")
        for name, value in zip(names, row, strict=True):
            getattr(self.lines, name)[0] = value
        return True


class Cross(bt.Strategy):
    params = (("fast", 10), ("slow", 50))

    def __init__(self) -> None:
        self.fast = bt.ind.SMA(self.data.close, period=self.p.fast)
        self.slow = bt.ind.SMA(self.data.close, period=self.p.slow)
        self.closed: list[Any] = []

    def next(self) -> None:
        if self.fast[0] > self.slow[0]:
            if not self.position:
                self.buy(size=UNITS)
        elif self.position:
            self.close()

    def notify_trade(self, trade: Any) -> None:
        if trade.isclosed:
            self.closed.append((trade.dtopen, trade.dtclose, trade.price, trade.pnl))


def prepare(size: int) -> Work:
    values = closes(size)
    first = opens(values)
    days = bt.date2num(bt.num2date(719163.0)) + START_S / 86_400 + np.arange(size) / 1_440
    columns = (days, first, np.maximum(first, values), np.minimum(first, values), values)
    ones = np.ones(size).tolist()
    rows = list(zip(*(column.tolist() for column in columns), ones, ones, strict=True))
    return partial(work, rows)


def work(rows: list[tuple[float, ...]]) -> dict[str, Any]:
    cerebro = bt.Cerebro(stdstats=False, preload=True, runonce=True, exactbars=False)
    cerebro.broker.set_cash(CAPITAL)
    cerebro.adddata(Lists(rows))
    ((fast, slow),) = lanes(1)
    cerebro.addstrategy(Cross, fast=fast, slow=slow)
    cerebro.addanalyzer(bt.analyzers.SharpeRatio, timeframe=bt.TimeFrame.Days)
    cerebro.addanalyzer(bt.analyzers.DrawDown)
    (found,) = cerebro.run()
    return {"equity": cerebro.broker.get_value(), "trades": len(found.closed)}


measure(prepare, bars, 500)

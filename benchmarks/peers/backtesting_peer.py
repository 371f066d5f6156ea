"""backtesting.py: one lane after the other, orders only where the state changes."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy
from walk import CAPITAL, START_S, UNITS, Work, arguments, closes, lanes, measure, ohlc

warnings.simplefilter("ignore")
bars, count = arguments()


def sma(values: np.ndarray, period: int) -> np.ndarray:
    """Return the simple moving average, NaN where it is not known yet."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    found = np.full(len(values), np.nan)
    found[period - 1 :] = (sums[period:] - sums[:-period]) / period
    return found


class Cross(Strategy):
    fast = 10
    slow = 50

    def init(self) -> None:
        close = np.asarray(self.data.Close)
        above = np.nan_to_num(sma(close, self.fast) - sma(close, self.slow)) > 0.0
        self.above = self.I(lambda: above.astype(float), plot=False)
        self.held = 0.0

    def next(self) -> None:
        above = self.above[-1]
        if above == self.held:
            return
        self.held = above
        if above:
            self.buy(size=int(UNITS))
        else:
            self.position.close()


def prepare(size: int) -> Work:
    index = pd.to_datetime(START_S + 60 * np.arange(size), unit="s")
    prices = dict(zip(("Open", "High", "Low", "Close"), ohlc(closes(size)), strict=True))
    return partial(work, pd.DataFrame(prices | {"Volume": np.ones(size)}, index))


def work(data: pd.DataFrame) -> dict[str, Any]:
    found = []
    for fast, slow in lanes(count):
        stats = Backtest(data, Cross, cash=CAPITAL, commission=0.0).run(fast=fast, slow=slow)
        drawdown = stats["Max. Drawdown [%]"] / 100.0
        trades = len(stats["_trades"])
        found.append((stats["Equity Final [$]"], trades, stats["Sharpe Ratio"], drawdown))
    equity, trades, sharpe, drawdown = (
        np.array(it, dtype=float) for it in zip(*found, strict=True)
    )
    return {
        "equity": float(equity.sum()),
        "trades": int(trades.sum()),
        "sharpe": float(sharpe.mean()),
        "max_drawdown": float(drawdown.mean()),
    }


measure(prepare, bars, 500)

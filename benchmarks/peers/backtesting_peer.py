"""backtesting.py: one lane after the other."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy
from walk import CAPITAL, START_S, UNITS, Work, arguments, closes, lanes, measure, opens, sma

warnings.simplefilter("ignore")
bars, count = arguments()


class Cross(Strategy):
    fast = 10
    slow = 50

    def init(self) -> None:
        close = np.asarray(self.data.Close)
        above = np.nan_to_num(sma(close, self.fast) - sma(close, self.slow)) > 0.0
        self.above = self.I(lambda: above.astype(float), plot=False)

    def next(self) -> None:
        if self.above[-1]:
            if not self.position:
                self.buy(size=int(UNITS))
        elif self.position:
            self.position.close()


def prepare(size: int) -> Work:
    values = closes(size)
    first = opens(values)
    index = pd.to_datetime(START_S + 60 * np.arange(size), unit="s")
    columns = {
        "Open": first,
        "High": np.maximum(first, values),
        "Low": np.minimum(first, values),
        "Close": values,
        "Volume": np.ones(size),
    }
    return partial(work, pd.DataFrame(columns, index))


def work(data: pd.DataFrame) -> dict[str, Any]:
    equity, trades = 0.0, 0
    for fast, slow in lanes(count)[: 5 if count > 1 else 1]:
        test = Backtest(data, Cross, cash=CAPITAL, commission=0.0)
        stats = test.run(fast=fast, slow=slow)
        equity += float(stats["Equity Final [$]"])
        trades += len(stats["_trades"])
        assert stats["Sharpe Ratio"] is not None
        assert stats["Max. Drawdown [%]"] is not None
    return {"equity": equity, "trades": trades}


measure(prepare, bars, 500)

"""vectorbt: some lanes at once, with either of its engines.

Prices have no gaps to fill, and room is made for the orders that there are at most.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import vectorbt as vbt
from walk import CAPITAL, START_S, UNITS, Work, arguments, closes, lanes, measure, opens

bars, count, at_once = arguments()
vbt.settings["engine"] = sys.argv[-1]
BARS_AN_ORDER = 8


def portfolio(close: pd.Series, price: pd.Series, pairs: list[tuple[int, int]]) -> Any:
    fast = vbt.MA.run(close, [pair[0] for pair in pairs]).ma.values.reshape(len(close), -1)
    slow = vbt.MA.run(close, [pair[1] for pair in pairs]).ma.values.reshape(len(close), -1)
    held = np.zeros(fast.shape, dtype=bool)
    held[1:] = (fast > slow)[:-1]  # known at the close, traded at the next open
    return vbt.Portfolio.from_signals(
        close,
        held,
        ~held,
        price=price,
        size=UNITS,
        init_cash=CAPITAL,
        freq="1min",
        fillna_close=False,
        max_orders=held.size // BARS_AN_ORDER,
    )


def prepare(size: int) -> Work:
    values = closes(size)
    index = pd.to_datetime(START_S + 60 * np.arange(size), unit="s")
    close, price = pd.Series(values, index), pd.Series(opens(values), index)
    return partial(work, close, price, lanes(count))


def work(close: pd.Series, price: pd.Series, pairs: list[tuple[int, int]]) -> dict[str, Any]:
    equity, trades = 0.0, 0
    sharpe, drawdown = [], []
    for start in range(0, len(pairs), at_once):
        found = portfolio(close, price, pairs[start : start + at_once])
        equity += float(np.sum(found.final_value()))
        records = found.trades.values
        trades += int((records["status"] == 1).sum())
        sharpe.append(np.ravel(found.sharpe_ratio()))
        drawdown.append(np.ravel(found.max_drawdown()))
    return {
        "equity": equity,
        "trades": trades,
        "sharpe": float(np.mean(np.concatenate(sharpe))),
        "max_drawdown": float(np.mean(np.concatenate(drawdown))),
    }


measure(prepare, bars, 2_000)

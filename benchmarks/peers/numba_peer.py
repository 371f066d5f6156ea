"""The limit: a compiled loop that keeps nothing but the final equity and the number of trades."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit, prange
from walk import CAPITAL, UNITS, Work, arguments, closes, lanes, measure, opens

bars, count = arguments()


@njit(cache=False, parallel=True, fastmath=False)
def kernel(
    price: np.ndarray, close: np.ndarray, pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    equity = np.empty(len(pairs))
    trades = np.empty(len(pairs), dtype=np.int64)
    for lane in prange(len(pairs)):
        fast, slow = pairs[lane]
        cash, held, wanted, closed = CAPITAL, 0.0, 0.0, 0
        quick = slowly = 0.0
        for bar in range(len(close)):
            if wanted != held:
                cash -= (wanted - held) * price[bar]
                closed += held > 0.0
                held = wanted
            quick += close[bar] - (close[bar - fast] if bar >= fast else 0.0)
            slowly += close[bar] - (close[bar - slow] if bar >= slow else 0.0)
            if bar >= slow - 1:
                wanted = UNITS if quick / fast > slowly / slow else 0.0
        equity[lane] = cash + held * close[-1]
        trades[lane] = closed
    return equity, trades


def prepare(size: int) -> Work:
    values = closes(size)
    return partial(work, opens(values), values, np.array(lanes(count)))


def work(price: np.ndarray, close: np.ndarray, pairs: np.ndarray) -> dict[str, Any]:
    equity, trades = kernel(price, close, pairs)
    return {"equity": float(equity.sum()), "trades": int(trades.sum())}


measure(prepare, bars, 500)

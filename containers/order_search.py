"""At which of a symbol's next bars a working order has to be looked at, found by array search."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.orders import WorkingOrder
from admf.containers.times import DAY_NS

__all__ = ["SymbolBars", "first_where", "next_bar", "pass_over"]

Floats: TypeAlias = NDArray[np.float64]
Hits: TypeAlias = Callable[[slice], NDArray[np.bool_]]

_FIRST_LOOK = 64
"""Bars that are looked at first; each further look takes four times as many as the one before."""


class SymbolBars(NamedTuple):
    """The bars of one symbol in a block: arrays of one row a bar.

    Args:
        step: int64 (bars,), the time step of each.
        ts: int64 (bars,), ns UTC.
        open: float64 (bars,), quote currency; ``high``, ``low`` and ``close`` likewise.
    """

    step: NDArray[np.int64]
    ts: NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats


def first_where(hits: Hits, start: int, stop: int) -> int:
    """Return the first place from ``start`` to before ``stop`` that is hit; ``stop`` if none is.

    Args:
        hits: Returns which places of a range are hit; it is asked for one range after the other.
        start: First place.
        stop: The place after the last.
    """
    width = _FIRST_LOOK
    while start < stop:
        found = hits(slice(start, min(start + width, stop)))
        at = int(found.argmax())
        if found[at]:
            return start + at
        start, width = start + len(found), width * 4
    return stop


def next_bar(working: WorkingOrder, bars: SymbolBars, start: int) -> int:
    """Return the first bar from ``start`` on that may change an order; the number of bars if none.

    A bar changes an order if it fills, triggers or expires it, or is the first one of a day order.
    """
    stop = len(bars.ts)
    if start >= stop or working.is_market or working.start is not None:
        return min(start, stop)
    if working.order.time_in_force == "day":
        if working.last_day is None:
            return start
        stop = int(np.searchsorted(bars.ts, (working.last_day + 1) * DAY_NS))
    return first_where(_hits(working, bars), start, stop)


def pass_over(working: WorkingOrder, bars: SymbolBars, start: int, stop: int) -> None:
    """Have a trailing stop follow the bars from ``start`` to before ``stop``, which do not fill it.

    The outcome is that of `WorkingOrder.end_bar` after each of them.
    """
    percent, stop_price = working.order.trailing_pct, working.stop_price
    if percent is None or stop_price is None or start >= stop:
        return
    share = percent / 100
    if working.order.side == "sell":
        working.stop_price = max(stop_price, float(bars.high[start:stop].max()) * (1 - share))
    else:
        working.stop_price = min(stop_price, float(bars.low[start:stop].min()) * (1 + share))


def _hits(working: WorkingOrder, bars: SymbolBars) -> Hits:
    """Return what tells which bars reach the level that an order waits for."""
    buys, stop = working.order.side == "buy", working.stop_price
    if stop is not None and working.order.trailing_pct is not None:
        return _Trailing(bars, stop, working.order.trailing_pct / 100, buys=buys)
    level = working.limit_price if stop is None else stop
    if level is None:
        raise ValueError(f"order {working.order.order_id} waits for no price")
    rises = buys == (stop is not None)
    return partial(_reach, bars.open, bars.high if rises else bars.low, level, rises=rises)


def _reach(
    opens: Floats, extremes: Floats, level: float, rows: slice, *, rises: bool
) -> NDArray[np.bool_]:
    """Return which bars come to a level, in the direction in which the price has to go."""
    if rises:
        return (extremes[rows] >= level) | (opens[rows] >= level)
    return (extremes[rows] <= level) | (opens[rows] <= level)


class _Trailing:
    """Tells which bars reach a stop that follows the bars before them."""

    def __init__(self, bars: SymbolBars, stop: float, share: float, *, buys: bool) -> None:
        self._bars = bars
        self._stop = stop
        self._share = share
        self._buys = buys

    def __call__(self, rows: slice) -> NDArray[np.bool_]:
        bars, share = self._bars, self._share
        if self._buys:
            levels = np.concatenate(([self._stop], bars.low[rows] * (1 + share)))
            stops = np.minimum.accumulate(levels)
        else:
            levels = np.concatenate(([self._stop], bars.high[rows] * (1 - share)))
            stops = np.maximum.accumulate(levels)
        self._stop, before = float(stops[-1]), stops[:-1]
        if self._buys:
            return (bars.high[rows] >= before) | (bars.open[rows] >= before)
        return (bars.low[rows] <= before) | (bars.open[rows] <= before)

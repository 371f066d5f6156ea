"""Random markets, strategies and rules, to compare one way of running a lane with another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from admf.containers.config import CarriedAccount, CarriedPosition
from admf.containers.events import Bar
from admf.containers.market_data import Bars
from admf.containers.strategies.base import Context, FeatureView, Strategy
from tests.containers.harness import DAY, FIRST_TS, Lane, Ohlc

__all__ = ["RandomBars", "RandomOrders", "RandomTargets", "carried", "lanes", "markets"]

PRICES = st.sampled_from([50.0, 90.0, 95.0, 99.0, 100.0, 100.0, 101.0, 105.0, 110.0, 150.0])
MOVES = (0.0, 0.0, 0.0, 0.01, -0.01, 0.05, -0.05, 0.2, -0.2)

RandomBars = dict[str, dict[int, Ohlc]]


@st.composite
def series(draw: st.DrawFn, steps: int) -> dict[int, Ohlc]:
    """Bars by step: gaps, ties, flat prices; few of them differ, so that levels are met exactly."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    exact, present = draw(st.booleans()), draw(st.sampled_from([1.0, 1.0, 0.7]))
    close, found = float(draw(PRICES)), dict[int, Ohlc]()
    for step in range(steps):
        open_ = close * (1 + float(rng.choice(MOVES)) * rng.random())
        last = open_ * (1 + float(rng.choice(MOVES)) * rng.random())
        if exact:
            open_, last = max(round(open_), 5.0), max(round(last), 5.0)
        wide = float(rng.choice([0.0, 0.02])) * rng.random()
        high, low = max(open_, last) * (1 + wide), min(open_, last) * (1 - wide)
        if rng.random() < present or not found:
            found[step], close = (open_, high, low, last), last
    return found


@st.composite
def markets(draw: st.DrawFn) -> RandomBars:
    """One symbol, mostly, or two or three of which each misses bars of its own."""
    steps = draw(st.integers(1, 60))
    symbols = draw(st.sampled_from([("A",), ("A",), ("A", "B"), ("A", "B", "C")]))
    return {symbol: draw(series(steps)) for symbol in symbols}


class RandomTargets(Strategy):
    """Asks for exposures drawn by seed, by columns."""

    seed: int = 0
    often: float = 0.3
    kinds: str = "plain"

    def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        rng = np.random.default_rng([self.seed, len(bars.symbol), ord(bars.symbol[0])])
        values = {
            "long": [0.0, 1.0],
            "plain": [0.0, 1.0, -1.0],
            "rising": [1.0, 2.0, 0.5, 0.0, -0.0],
            "wild": [0.0, 1.0, -1.0, 0.5, 2.0, -0.25, -0.0],
        }[self.kinds]
        found = rng.choice(values, len(bars))
        found[rng.random(len(bars)) > self.often] = np.nan
        return found


class RandomOrders(Strategy):
    """Does at each bar what a generator says, in view of its position and of an indicator."""

    seed: int = 0
    often: float = 0.3
    fails_at: int = -1

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        if ctx.bar_index == self.fails_at:
            ctx.buy(1.0)
            raise RuntimeError("as it was told")
        rng = np.random.default_rng([self.seed, bar.ts // DAY, ord(bar.symbol[0])])
        while rng.random() < self.often:
            self._act(bar, ctx, rng)

    def _act(self, bar: Bar, ctx: Context, rng: np.random.Generator) -> None:  # noqa: C901
        near = [round(bar.close * factor) for factor in (0.9, 0.97, 1.0, 1.03, 1.1)]
        price = float(rng.choice(near)) or 1.0
        mean = ctx.feature("sma", 3)
        quantity = None if rng.random() < 0.4 else float(rng.integers(1, 40)) / 2
        options: dict[str, Any] = {"time_in_force": str(rng.choice(["gtc", "day"]))}
        if rng.random() < 0.3:
            options["stop_loss"] = price * 0.95
        if rng.random() < 0.3:
            options["take_profit"] = price * 1.05
        order = ctx.buy if rng.random() < 0.5 or mean > bar.close else ctx.sell
        match int(rng.integers(0, 8)):
            case 0:
                order(quantity, **options)
            case 1:
                order(quantity, limit=price, **options)
            case 2:
                order(quantity, stop=price, **options)
            case 3:
                order(quantity, stop=price, limit=float(rng.choice(near)) or 1.0, **options)
            case 4:
                ctx.target(float(rng.choice([0.0, 1.0, -1.0, 0.5])))
            case 5:
                ctx.close()
            case 6:
                ctx.cancel()
            case _:
                if ctx.equity > 5_000 and ctx.position == 0.0:
                    ctx.target(1.0 if math.isnan(mean) or mean < bar.close else -1.0)


SIZINGS: tuple[Mapping[str, object], ...] = (
    {"type": "fixed_units", "value": 10.0},
    {"type": "fixed_units", "value": 0.4, "whole_units": True},
    {"type": "fixed_units", "value": 1000.0},
    {"type": "fixed_notional", "value": 5_000.0},
    {"type": "fixed_notional", "value": 5_000.0, "whole_units": True},
    {"type": "percent_equity", "value": 0.5},
    {"type": "percent_equity", "value": 1.0},
    {"type": "volatility_target", "value": 0.2, "lookback": 3},
)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, object]:
    """Rules of risk: mostly none, or any combination."""
    found: dict[str, object] = {"max_leverage": draw(st.sampled_from([None, None, 1.0, 0.3]))}
    if draw(st.booleans()):
        return found
    for name in ("stop_loss_pct", "take_profit_pct", "trailing_stop_pct"):
        found[name] = draw(st.sampled_from([None, 1.0, 5.0]))
    found["max_drawdown_pct"] = draw(st.sampled_from([None, 2.0, 20.0]))
    found["max_position"] = draw(st.sampled_from([None, 15.0]))
    return found


@st.composite
def executions(draw: st.DrawFn) -> dict[str, object]:
    """When orders fill, and what that costs."""
    kind = draw(st.sampled_from(["rate", "per_unit", "fixed"]))
    value = draw(st.sampled_from([0.0, 0.001, 0.5 if kind != "rate" else 0.01]))
    minimum = draw(st.sampled_from([0.0, 0.0, 2.0]))
    return {
        "fill_on": draw(st.sampled_from(["next_open", "close"])),
        "slippage_bps": draw(st.sampled_from([0.0, 7.0])),
        "close_at_end": draw(st.booleans()),
        "commission": {"type": kind, "value": value, "minimum": minimum},
    }


@st.composite
def carried(draw: st.DrawFn, market: RandomBars) -> CarriedAccount | None:
    """Mostly nothing, or a position that the lane begins with."""
    symbols = [symbol for symbol, bars in market.items() if 0 in bars]
    if not symbols or draw(st.integers(0, 3)):
        return None
    position = CarriedPosition(
        symbol=symbols[0],
        direction=draw(st.sampled_from([1, -1])),
        quantity=7.0,
        entry_price=draw(PRICES),
        entry_ts=FIRST_TS - 3 * DAY,
        commission=1.5,
        position_id=f"{symbols[0]}-4",
    )
    return CarriedAccount(cash=10_000.0, positions=(position,), opened=4)


@st.composite
def lanes(draw: st.DrawFn, market: RandomBars) -> Lane:
    """A lane of either kind of strategy."""
    params: dict[str, object] = {
        "seed": draw(st.integers(0, 10_000)),
        "often": draw(st.sampled_from([0.1, 0.3, 0.7])),
    }
    columnar = draw(st.booleans())
    if columnar:
        params["kinds"] = draw(st.sampled_from(["long", "plain", "plain", "rising", "wild"]))
    elif draw(st.integers(0, 9)) == 0:
        params["fails_at"] = draw(st.integers(0, 20))
    return Lane(
        RandomTargets if columnar else RandomOrders,
        params,
        capital=draw(st.sampled_from([10_000.0, 800.0])),
        sizing=draw(st.sampled_from(SIZINGS)),
        risk=draw(rules()),
        execution=draw(executions()),
        carried=draw(carried(market)),
    )

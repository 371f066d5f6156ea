"""Strategies that do what a seed says, in columns or bar by bar."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admf.containers.events import Bar
from admf.containers.market_data import Bars
from admf.containers.strategies.base import Context, FeatureView, Strategy

__all__ = ["RandomMarketOrders", "RandomOrders", "RandomTargets"]


class RandomTargets(Strategy):
    """Asks for exposures drawn by seed, by columns."""

    seed: int = 0
    often: float = 0.3
    kinds: str = "plain"
    fails: bool = False

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
        if self.fails:
            found[-1] = np.inf
        return found


class RandomOrders(Strategy):
    """Does at each bar what a generator says, in view of its account and of an indicator."""

    seed: int = 0
    often: float = 0.3
    symbols: str = "A"
    fails_at: int = -1

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        if ctx.bar_index == self.fails_at:
            ctx.buy(1.0)
            ctx.target(math.nan)
        rng = np.random.default_rng([self.seed, bar.ts // 10**9, ord(bar.symbol[0])])
        while rng.random() < self.often:
            self._act(bar, ctx, rng)

    def _act(self, bar: Bar, ctx: Context, rng: np.random.Generator) -> None:
        other = self.symbols[int(rng.integers(len(self.symbols)))]
        symbol = None if rng.random() < 0.7 else other
        match int(rng.integers(0, 8)):
            case 0 | 1 | 2 | 3 as kind:
                self._order(bar, ctx, rng, kind, symbol)
            case 4:
                ctx.target(float(rng.choice([0.0, -0.0, 1.0, -1.0, 0.5])), symbol=symbol)
            case 5:
                ctx.close(symbol=symbol)
            case 6:
                ctx.cancel(symbol=symbol)
            case _:
                self._look_and_act(bar, ctx)

    def _order(
        self, bar: Bar, ctx: Context, rng: np.random.Generator, kind: int, symbol: str | None
    ) -> None:
        near = [round(bar.close * factor) or 1 for factor in (0.9, 0.97, 1.0, 1.03, 1.1)]
        price, second = (float(rng.choice(near)) for _ in range(2))
        quantity = None if rng.random() < 0.4 else float(rng.integers(1, 40)) / 2
        options: dict[str, Any] = {"time_in_force": str(rng.choice(["gtc", "day"]))}
        if rng.random() < 0.3:
            options["stop_loss"] = price * float(rng.choice([0.95, 1.05]))
        if rng.random() < 0.3:
            options["take_profit"] = price * float(rng.choice([0.95, 1.05]))
        levels = [{}, {"limit": price}, {"stop": price}, {"stop": price, "limit": second}]
        order = ctx.buy if rng.random() < 0.5 else ctx.sell
        order(quantity, symbol=symbol, **levels[kind], **options)

    def _look_and_act(self, bar: Bar, ctx: Context) -> None:
        mean = ctx.feature("sma", 3)
        if ctx.position != 0.0 and ctx.cash < 0.9 * ctx.equity:
            ctx.close()
        elif ctx.equity > 500.0 and ctx.rng.random() < 0.8:
            ctx.target(1.0 if math.isnan(mean) or mean < bar.close else -1.0)


class RandomMarketOrders(Strategy):
    """Places market orders, often several at a bar, and now and then another kind of order."""

    seed: int = 0
    often: float = 0.3
    levels: float = 0.02
    fails_at: int = -1

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        rng = np.random.default_rng([self.seed, bar.ts // 10**9])
        if ctx.bar_index == self.fails_at:
            raise ValueError("no more")
        while rng.random() < self.often:
            self._act(ctx, rng, None if rng.random() < 0.5 else float(rng.integers(1, 40)) / 2)
        if rng.random() < self.levels:
            ctx.buy(2.0, limit=bar.close * 0.97, stop_loss=bar.close * 0.9)
        if rng.random() < self.levels:
            ctx.sell(3.0, take_profit=bar.close * 0.9, time_in_force="day")

    def _act(self, ctx: Context, rng: np.random.Generator, quantity: float | None) -> None:
        match int(rng.integers(0, 6)):
            case 0:
                ctx.buy(quantity)
            case 1:
                ctx.sell(quantity, time_in_force="day")
            case 2:
                ctx.target(float(rng.choice([0.0, 1.0, -1.0, 0.5])))
            case 3 if ctx.position:
                ctx.close()
            case 4 if ctx.equity > ctx.cash:
                ctx.sell(abs(ctx.position))
            case _ if ctx.feature("sma", 3) > ctx.feature("max", 2, on="open"):
                ctx.buy(1.0)
            case _:
                ctx.cancel()

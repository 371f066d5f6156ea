"""Strategies to measure the others against."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from admf.containers.events import Bar
from admf.containers.market_data import Bars
from admf.containers.strategies.base import Context, FeatureView, Period, Strategy, Targets
from admf.containers.strategies.exposure import Mode

__all__ = ["BuyAndHold", "RandomEntry"]


class BuyAndHold(Strategy):
    """Long from the first bar to the last."""

    def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:  # noqa: ARG002
        """Return the exposure wanted at each close, float64 (n,)."""
        return np.ones(len(bars.close))

    def piecewise(self) -> Targets:
        """Return what does so for one piece of the window after the other."""
        return self.targets


class RandomEntry(Strategy):
    """Enter at random, leave after a fixed number of bars: what luck earns at the same costs.

    At each close outside a trade the lane's seeded generator draws one number, and a trade starts
    if it is below ``probability``. The trade is closed ``hold_bars`` bars later, and the next draw
    comes with the bar after that. A trade that a stop ended early is not replaced before its time
    is over, so the draws do not depend on the fills.

    Args:
        probability: Chance of entering at a close.
        hold_bars: Bars from the entry signal to the exit signal.
        mode: ``long_flat`` only buys, ``long_short`` draws the direction, each with one half.
    """

    probability: Annotated[float, Meta(ge=0, le=1)]
    hold_bars: Period
    mode: Mode = "long_flat"

    def __post_init__(self) -> None:
        self._exit_bars: dict[str, int] = {}

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        """Draw, or close the trade whose time is over."""
        exit_bar = self._exit_bars.get(bar.symbol)
        if exit_bar is None:
            if ctx.rng.random() < self.probability:
                self._exit_bars[bar.symbol] = ctx.bar_index + self.hold_bars
                ctx.target(self._direction(ctx))
        elif ctx.bar_index >= exit_bar:
            del self._exit_bars[bar.symbol]
            ctx.close()

    def _direction(self, ctx: Context) -> float:
        return -1.0 if self.mode == "long_short" and ctx.rng.random() < 0.5 else 1.0

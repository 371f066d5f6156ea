"""Strategies that go with the move."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from admf.containers.features import FeatureSpec
from admf.containers.market_data import Bars
from admf.containers.strategies.base import FeatureView, LongPeriod, Period, Strategy, Targets
from admf.containers.strategies.exposure import Between, Mode, long_and_short, side

__all__ = ["DonchianBreakout", "Momentum"]


class DonchianBreakout(Strategy):
    """Long when the close is above the highest high of the ``entry`` bars before it.

    Out when the close is below the lowest low of the ``exit`` bars before it. With
    ``mode: long_short`` also short below the lowest low of ``entry`` bars, out above the highest
    high of ``exit`` bars. The bar itself is never part of its channel, so the first entry is
    possible at bar index ``entry``; a close that only touches the channel does nothing.

    Args:
        entry: Bars of the channel that a breakout must leave.
        exit: Bars of the channel that ends the trade, at most ``entry``.
        mode: ``long_flat`` or ``long_short``.

    Source:
        Faith (2007), "Way of the Turtle": system 1, on closes instead of intraday prices.
    """

    entry: LongPeriod = 20
    exit: LongPeriod = 10
    mode: Mode = "long_flat"

    def __post_init__(self) -> None:
        if self.exit > self.entry:
            raise ValueError(
                f"exit must be at most entry, got exit={self.exit} and entry={self.entry}"
            )

    def features(self) -> Sequence[FeatureSpec]:
        """Return both channels, each as it stands at the bar's close."""
        return tuple(
            FeatureSpec(function, (period,), on=column)
            for period in (self.entry, self.exit)
            for function, column in (("max", "high"), ("min", "low"))
        )

    def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        """Return the exposure wanted at each close, float64 (n,)."""
        return self.piecewise()(bars, features)

    def piecewise(self) -> Targets:
        """Return what does so for one piece of the window after the other."""
        lines = [_Previous() for _ in self.features()]
        return partial(self._piece, lines, Between(), Between())

    def _piece(
        self,
        lines: Sequence[_Previous],
        long: Between,
        short: Between,
        bars: Bars,
        features: FeatureView,
    ) -> NDArray[np.float64]:
        close = bars.close
        entry_high, entry_low, exit_high, exit_low = (
            line.take(features(spec.function, *spec.params, on=spec.on))
            for line, spec in zip(lines, self.features(), strict=True)
        )
        return long_and_short(
            long.take(close > entry_high, close < exit_low),
            short.take(close < entry_low, close > exit_high),
            self.mode,
        )


class _Previous:
    """Shifts by one bar, so that row i holds what was known at the close of bar i - 1."""

    def __init__(self) -> None:
        self._last = np.full(1, np.nan)

    def take(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the next values, float64 (n,), one bar later."""
        line = np.concatenate((self._last, values))
        self._last = line[-1:]
        return line[:-1]


class Momentum(Strategy):
    """Long while the return over ``lookback`` bars is above ``threshold``, otherwise flat.

    With ``mode: long_short`` short while it is below minus ``threshold``. With the default
    threshold the exposure is the sign of close[i] / close[i - lookback] - 1. A return within 1e-12
    of the threshold is at it, not beyond. The first return stands at bar index ``lookback``.

    Args:
        lookback: Bars over which the return is measured.
        threshold: Fraction that the return must exceed: 0.05 means 5 %.
        mode: ``long_flat`` or ``long_short``.

    Source:
        Moskowitz, Ooi, Pedersen (2012), "Time Series Momentum", Journal of Financial Economics
        104(2), without its scaling by volatility.
    """

    lookback: Period
    threshold: Annotated[float, Meta(ge=0)] = 0.0
    mode: Mode = "long_flat"

    def features(self) -> Sequence[FeatureSpec]:
        """Return the return over ``lookback`` bars."""
        return (FeatureSpec("rocp", (self.lookback,)),)

    def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:  # noqa: ARG002
        """Return the exposure wanted at each close, float64 (n,)."""
        change = features("rocp", self.lookback)
        long = np.where(side(change, self.threshold, 1.0) > 0, 1.0, 0.0)
        short = np.where(side(change, -self.threshold, 1.0) < 0, 1.0, 0.0)
        return long_and_short(long, short, self.mode)

    def piecewise(self) -> Targets:
        """Return what does so for one piece of the window after the other."""
        return self.targets

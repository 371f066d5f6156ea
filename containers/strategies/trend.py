"""Strategies that go with the move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from admf.containers.features import FeatureSpec
from admf.containers.market_data import Bars
from admf.containers.strategies.base import FeatureView, LongPeriod, Period, Strategy
from admf.containers.strategies.exposure import Mode, between, long_and_short, side

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
        close = bars.close
        entry_high, entry_low, exit_high, exit_low = (
            _previous(features(spec.function, *spec.params, on=spec.on)) for spec in self.features()
        )
        long = between(close > entry_high, close < exit_low)
        short = between(close < entry_low, close > exit_high)
        return long_and_short(long, short, self.mode)


def _previous(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift by one bar, so that row i holds what was known at the close of bar i - 1."""
    shifted = np.full(len(values), np.nan)
    shifted[1:] = values[:-1]
    return shifted


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

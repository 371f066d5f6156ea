"""Strategies that follow one line across another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from admf.containers.features import FeatureSpec
from admf.containers.market_data import Bars
from admf.containers.strategies.base import FeatureView, LongPeriod, Period, Strategy, Targets
from admf.containers.strategies.exposure import Crossing, Mode, Trigger

__all__ = ["EmaCross", "MacdCross", "SmaCross"]


def _require_faster(fast: int, slow: int) -> None:
    if fast >= slow:
        raise ValueError(f"fast must be less than slow, got fast={fast} and slow={slow}")


class SmaCross(Strategy):
    """Long when the fast simple moving average crosses above the slow one, out when below.

    Acts on crosses, the first one possible at bar index ``slow``; with ``signal: state`` the first
    known side counts too, at bar index ``slow - 1``. A tie is waited out: below, tie, above is one
    cross. Averages closer than 1e-12 of the close are tied.

    Args:
        fast: Bars of the fast average, less than ``slow``.
        slow: Bars of the slow average.
        mode: ``long_flat`` is flat after a cross below, ``long_short`` is short.
        signal: ``cross`` acts on crosses only, ``state`` on the first known side as well.

    Source:
        Brock, Lakonishok, LeBaron (1992), "Simple Technical Trading Rules and the Stochastic
        Properties of Stock Returns", Journal of Finance 47(5): the variable-length moving average.
    """

    fast: Period = 10
    slow: Period = 50
    mode: Mode = "long_flat"
    signal: Trigger = "cross"

    def __post_init__(self) -> None:
        _require_faster(self.fast, self.slow)

    def features(self) -> Sequence[FeatureSpec]:
        """Return the two averages."""
        return (FeatureSpec("sma", (self.fast,)), FeatureSpec("sma", (self.slow,)))

    def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        """Return the exposure wanted at each close, float64 (n,)."""
        return self.piecewise()(bars, features)

    def piecewise(self) -> Targets:
        """Return what does so for one piece of the window after the other."""
        return partial(self._piece, Crossing(self.mode, self.signal))

    def _piece(self, crossing: Crossing, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        fast, slow = features("sma", self.fast), features("sma", self.slow)
        return crossing.follow(fast, slow, bars.close)


class EmaCross(Strategy):
    """Long when the fast exponential moving average crosses above the slow one, out when below.

    Crosses, ties and ``signal`` are those of ``sma_cross``. An average starts as the mean of its
    first bars and then weighs each close with 2 / (bars + 1), as TA-Lib does.

    Args:
        fast: Bars of the fast average, less than ``slow``.
        slow: Bars of the slow average.
        mode: ``long_flat`` is flat after a cross below, ``long_short`` is short.
        signal: ``cross`` acts on crosses only, ``state`` on the first known side as well.
    """

    fast: Period = 10
    slow: Period = 50
    mode: Mode = "long_flat"
    signal: Trigger = "cross"

    def __post_init__(self) -> None:
        _require_faster(self.fast, self.slow)

    def features(self) -> Sequence[FeatureSpec]:
        """Return the two averages."""
        return (FeatureSpec("ema", (self.fast,)), FeatureSpec("ema", (self.slow,)))

    def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        """Return the exposure wanted at each close, float64 (n,)."""
        return self.piecewise()(bars, features)

    def piecewise(self) -> Targets:
        """Return what does so for one piece of the window after the other."""
        return partial(self._piece, Crossing(self.mode, self.signal))

    def _piece(self, crossing: Crossing, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        fast, slow = features("ema", self.fast), features("ema", self.slow)
        return crossing.follow(fast, slow, bars.close)


class MacdCross(Strategy):
    """Long when the MACD line crosses above its signal line, out when below.

    The MACD line is the fast minus the slow exponential average, the signal line its own average.
    The first side is known at bar index ``slow + signal_period - 2``, so the first cross is
    possible one bar later. Crosses, ties and ``signal`` are those of ``sma_cross``.

    Args:
        fast: Bars of the fast average, less than ``slow``.
        slow: Bars of the slow average.
        signal_period: Bars of the signal line.
        mode: ``long_flat`` is flat after a cross below, ``long_short`` is short.
        signal: ``cross`` acts on crosses only, ``state`` on the first known side as well.

    Source:
        Appel (2005), "Technical Analysis: Power Tools for Active Investors".
    """

    fast: LongPeriod = 12
    slow: LongPeriod = 26
    signal_period: Period = 9
    mode: Mode = "long_flat"
    signal: Trigger = "cross"

    def __post_init__(self) -> None:
        _require_faster(self.fast, self.slow)

    def features(self) -> Sequence[FeatureSpec]:
        """Return the MACD line and its signal line."""
        periods = (self.fast, self.slow, self.signal_period)
        return tuple(FeatureSpec("macd", periods, output=line) for line in ("macd", "macdsignal"))

    def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        """Return the exposure wanted at each close, float64 (n,)."""
        return self.piecewise()(bars, features)

    def piecewise(self) -> Targets:
        """Return what does so for one piece of the window after the other."""
        return partial(self._piece, Crossing(self.mode, self.signal))

    def _piece(self, crossing: Crossing, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        periods = (self.fast, self.slow, self.signal_period)
        line = features("macd", *periods, output="macd")
        signal_line = features("macd", *periods, output="macdsignal")
        return crossing.follow(line, signal_line, bars.close)

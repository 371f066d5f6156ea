"""Strategies that bet on a return to the middle."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, TypeAlias

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from admf.containers.features import FeatureSpec
from admf.containers.market_data import Bars
from admf.containers.strategies.base import FeatureView, LongPeriod, Strategy, Targets
from admf.containers.strategies.exposure import Between, Mode, long_and_short, side

__all__ = ["BollingerReversion", "RsiReversion"]

RsiLevel: TypeAlias = Annotated[float, Meta(ge=0, le=100)]
_RSI_SCALE = 100.0


class RsiReversion(Strategy):
    """Long when the RSI falls below ``oversold``, out when it is back at ``exit_level``.

    With ``mode: long_short`` also short above ``overbought``, out when back at ``exit_level``.
    The first RSI stands at bar index ``period``. While no price has changed yet the RSI is
    undefined (TA-Lib gives 0) and the strategy stays flat.

    Args:
        period: Bars of the RSI.
        oversold: Enter long below it.
        overbought: Enter short above it.
        exit_level: Leave at it or beyond; between ``oversold`` and ``overbought``.
        mode: ``long_flat`` or ``long_short``.

    Source:
        Wilder (1978), "New Concepts in Technical Trading Systems", with Wilder's smoothing.
    """

    period: LongPeriod = 14
    oversold: RsiLevel = 30.0
    overbought: RsiLevel = 70.0
    exit_level: RsiLevel = 50.0
    mode: Mode = "long_flat"

    def __post_init__(self) -> None:
        if self.oversold >= self.overbought:
            raise ValueError(
                f"oversold must be less than overbought, "
                f"got oversold={self.oversold} and overbought={self.overbought}"
            )
        if not self.oversold <= self.exit_level <= self.overbought:
            raise ValueError(
                f"exit_level must lie between oversold={self.oversold} and "
                f"overbought={self.overbought}, got exit_level={self.exit_level}"
            )

    def features(self) -> Sequence[FeatureSpec]:
        """Return the RSI."""
        return (FeatureSpec("rsi", (self.period,)),)

    def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        """Return the exposure wanted at each close, float64 (n,)."""
        return self.piecewise()(bars, features)

    def piecewise(self) -> Targets:
        """Return what does so for one piece of the window after the other."""
        return partial(self._piece, _Moves(), Between(), Between())

    def _piece(
        self, moves: _Moves, long: Between, short: Between, bars: Bars, features: FeatureView
    ) -> NDArray[np.float64]:
        rsi = features("rsi", self.period)
        rsi = np.where((rsi == 0.0) & ~moves.take(bars.close), np.nan, rsi)
        at_exit = side(rsi, self.exit_level, _RSI_SCALE)
        return long_and_short(
            long.take(side(rsi, self.oversold, _RSI_SCALE) < 0, at_exit >= 0),
            short.take(side(rsi, self.overbought, _RSI_SCALE) > 0, at_exit <= 0),
            self.mode,
        )


class _Moves:
    """Says from which bar on the price is known to have changed, piece by piece."""

    def __init__(self) -> None:
        self._first: NDArray[np.float64] = np.empty(0)
        self._moved = False

    def take(self, close: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return for each of the next bars whether the price has changed by then, bool (n,)."""
        self._first = np.append(self._first, close[:1])[:1]
        changed = np.append(self._moved, close != self._first)
        moved: NDArray[np.bool_] = np.logical_or.accumulate(changed)[1:]
        self._moved = bool(moved[-1:].any())
        return moved


class BollingerReversion(Strategy):
    """Long when the close falls below the lower Bollinger band, out when back at the middle one.

    With ``mode: long_short`` also short above the upper band, out when back at the middle. The
    bands stand from bar index ``period - 1`` on: the simple moving average plus and minus
    ``deviations`` population standard deviations (ddof 0). A close less than 1e-12 of itself away
    from a band is at it, not beyond.

    Args:
        period: Bars of the average and the deviation.
        deviations: Width of the bands in standard deviations.
        mode: ``long_flat`` or ``long_short``.

    Source:
        Bollinger (2001), "Bollinger on Bollinger Bands".
    """

    period: LongPeriod = 20
    deviations: Annotated[float, Meta(gt=0, le=1_000)] = 2.0
    mode: Mode = "long_flat"

    def features(self) -> Sequence[FeatureSpec]:
        """Return the three bands."""
        params = (self.period, self.deviations, self.deviations)
        return tuple(
            FeatureSpec("bbands", params, output=band)
            for band in ("lowerband", "middleband", "upperband")
        )

    def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        """Return the exposure wanted at each close, float64 (n,)."""
        return self.piecewise()(bars, features)

    def piecewise(self) -> Targets:
        """Return what does so for one piece of the window after the other."""
        return partial(self._piece, Between(), Between())

    def _piece(
        self, long: Between, short: Between, bars: Bars, features: FeatureView
    ) -> NDArray[np.float64]:
        lower, middle, upper = (
            side(bars.close, features(spec.function, *spec.params, output=spec.output), bars.close)
            for spec in self.features()
        )
        return long_and_short(
            long.take(lower < 0, middle >= 0), short.take(upper > 0, middle <= 0), self.mode
        )

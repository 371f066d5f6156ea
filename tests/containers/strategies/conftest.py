"""Strategies are run on plain lists of prices, and compared with plain loops over the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from admf.containers.features import FeatureStore
from admf.containers.market_data import Bars, MarketData
from admf.containers.strategies.base import ColumnarStrategy

DAY_NS = 86_400_000_000_000

Prices = Sequence[float]
MakeBars = Callable[..., Bars]
Exposures = Callable[..., list[float]]


@pytest.fixture(scope="session")
def make_bars() -> MakeBars:
    """Bars from closes; high and low default to the close, the open is the close."""

    def make(closes: Prices, highs: Prices | None = None, lows: Prices | None = None) -> Bars:
        n = len(closes)
        high, low = highs or closes, lows or closes
        return Bars("X", np.arange(n) * DAY_NS, closes, high, low, closes, np.ones(n))

    return make


@pytest.fixture(scope="session")
def exposures(make_bars: MakeBars) -> Exposures:
    """What a columnar strategy holds after each bar, with NaN resolved as a lane does it."""

    def run(
        strategy: ColumnarStrategy,
        closes: Prices,
        highs: Prices | None = None,
        lows: Prices | None = None,
        start: int = 0,
    ) -> list[float]:
        bars = make_bars(closes, highs, lows)
        store = FeatureStore(MarketData([bars]))
        window = store.window("X", start, len(bars))
        targets = strategy.targets(bars[start:], window)
        assert targets.shape == (len(bars) - start,)
        assert targets.dtype == np.float64
        held, now = [], 0.0
        for target in targets.tolist():
            now = now if target != target else target  # NaN keeps the last one
            held.append(now)
        return held

    return run

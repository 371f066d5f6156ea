from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.features import FeatureSpec, FeatureStore
from admf.containers.market_data import Bars, MarketData
from admf.containers.strategies import crossover, reversion, trend
from admf.containers.strategies.base import (
    BarStrategy,
    ColumnarStrategy,
    Strategy,
    declared_features,
)
from admf.containers.strategies.baseline import BuyAndHold, RandomEntry

COLUMNAR: list[Any] = [
    crossover.SmaCross(2, 5, "long_short"),
    crossover.SmaCross(2, 5, "long_flat", "state"),
    crossover.EmaCross(2, 5, "long_short"),
    crossover.MacdCross(2, 5, 3, "long_short"),
    reversion.RsiReversion(4, 40.0, 60.0, 50.0, "long_short"),
    reversion.BollingerReversion(4, 1.0, "long_short"),
    trend.DonchianBreakout(4, 2, "long_short"),
    trend.Momentum(3, 0.01, "long_short"),
    BuyAndHold(),
]

prices = st.lists(st.tuples(*[st.integers(90, 110)] * 3), min_size=2, max_size=40)


def bars(rows: list[tuple[int, int, int]]) -> Bars:
    low, close, high = np.sort(np.array(rows, dtype=np.float64), axis=1).T
    return Bars("X", np.arange(len(rows)), close, high, low, close, high)


def targets(strategy: ColumnarStrategy, data: Bars) -> list[float]:
    window = FeatureStore(MarketData([data])).window("X", 0, len(data))
    return list(strategy.targets(data, window))


@pytest.mark.parametrize("strategy", COLUMNAR, ids=repr)
@settings(deadline=None, max_examples=30)
@given(past=prices, future=prices, other_future=prices)
def test_what_comes_later_never_changes_a_target(
    strategy: ColumnarStrategy,
    past: list[tuple[int, int, int]],
    future: list[tuple[int, int, int]],
    other_future: list[tuple[int, int, int]],
) -> None:
    known = targets(strategy, bars(past))
    for later in (future, other_future):
        np.testing.assert_array_equal(targets(strategy, bars(past + later))[: len(past)], known)


@pytest.mark.parametrize("strategy", COLUMNAR, ids=repr)
@settings(deadline=None, max_examples=30)
@given(rows=prices)
def test_declared_features_are_those_that_are_used(
    strategy: ColumnarStrategy, rows: list[tuple[int, int, int]]
) -> None:
    data = bars(rows)
    window = FeatureStore(MarketData([data])).window("X", 0, len(data))
    used: list[FeatureSpec] = []

    def recording(
        function: str, *params: float, on: str | None = None, output: str | None = None
    ) -> Any:
        used.append(FeatureSpec(function, params, on, output))
        return window(function, *params, on=on, output=output)

    strategy.targets(data, recording)
    assert {spec.name for spec in used} == {spec.name for spec in declared_features(strategy)}


def test_each_kind_of_strategy_is_known_by_its_method() -> None:
    assert isinstance(BuyAndHold(), ColumnarStrategy)
    assert not isinstance(BuyAndHold(), BarStrategy)
    assert isinstance(RandomEntry(0.5, 1), BarStrategy)
    assert not isinstance(RandomEntry(0.5, 1), ColumnarStrategy)


class Stateful(Strategy):
    period: int = 3

    def on_bar(self, bar: object, ctx: object) -> None:
        self.seen = getattr(self, "seen", 0) + 1


def test_a_strategy_may_keep_state_beside_its_parameters() -> None:
    strategy = Stateful(5)
    strategy.on_bar(None, None)
    strategy.on_bar(None, None)
    assert (strategy.seen, strategy.period) == (2, 5)
    assert strategy == Stateful(5)


@dataclass
class Plain:
    features: list[str] = field(default_factory=list)


def test_strategies_of_any_base_may_declare_features_or_not() -> None:
    assert declared_features(Stateful()) == ()
    assert declared_features(Plain()) == ()
    assert declared_features(object()) == ()
    assert declared_features(trend.Momentum(5)) == (FeatureSpec("rocp", (5,)),)

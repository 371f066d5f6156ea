"""Strategies that go by pieces say what they say of the whole window."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from admf.containers.features import FeatureStore
from admf.containers.market_data import Bars, MarketData
from admf.containers.strategies.base import (
    FeatureView,
    Strategy,
    Targets,
    targets_by_piece,
)
from admf.containers.strategies.baseline import BuyAndHold, RandomEntry
from admf.containers.strategies.crossover import EmaCross, MacdCross, SmaCross
from admf.containers.strategies.exposure import Between, Crossing, between, crossing
from admf.containers.strategies.reversion import BollingerReversion, RsiReversion
from admf.containers.strategies.trend import DonchianBreakout, Momentum
from admf.containers.target_changes import TargetChanges

STRATEGIES = [
    *(
        cls(fast=2, slow=4, mode=mode, signal=signal)
        for cls in (SmaCross, EmaCross)
        for mode in ("long_flat", "long_short")
        for signal in ("cross", "state")
    ),
    MacdCross(fast=2, slow=4, signal_period=2, mode="long_short"),
    RsiReversion(period=2, mode="long_short"),
    BollingerReversion(period=3, deviations=0.5, mode="long_short"),
    DonchianBreakout(entry=3, exit=2, mode="long_short"),
    Momentum(lookback=2, mode="long_short"),
    BuyAndHold(),
]

closes = st.lists(st.sampled_from([100.0, 101.0, 102.0]), min_size=1, max_size=40)
cuts = st.lists(st.integers(0, 40), max_size=5)


def edges(cut: Sequence[int], rows: int) -> list[tuple[int, int]]:
    places = [0, *sorted(min(it, rows) for it in cut), rows]
    return list(pairwise(places))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@given(close=closes, cut=cuts)
@settings(max_examples=40)
def test_pieces_of_any_size_add_up_to_the_whole(
    strategy: SmaCross, close: list[float], cut: list[int]
) -> None:
    price = np.array(close)
    bars = Bars("X", np.arange(len(close)), price, price + 0.5, price - 0.5, price, price)
    store = FeatureStore(MarketData([bars]))
    whole = strategy.targets(bars, store.window("X", 0, len(close)))
    by_piece = targets_by_piece(strategy)
    assert by_piece is not None
    pieces = [by_piece(bars[a:b], store.window("X", a, b)) for a, b in edges(cut, len(close))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


@given(st.lists(st.sampled_from([np.nan, -1.0, 0.0, 1.0]), max_size=40), cuts)
def test_unknown_sides_may_be_anywhere(line: list[float], cut: list[int]) -> None:
    sides = np.array(line)
    for trigger in ("cross", "state"):
        pieces = Crossing("long_short", trigger)
        found = [pieces.take(sides[a:b]) for a, b in edges(cut, len(line))]
        np.testing.assert_array_equal(np.concatenate(found), crossing(sides, "long_short", trigger))
    pieces_between = Between()
    parts = [pieces_between.take(sides[a:b] > 0, sides[a:b] < 0) for a, b in edges(cut, len(line))]
    np.testing.assert_array_equal(np.concatenate(parts), between(sides > 0, sides < 0))


@given(st.lists(st.sampled_from([np.nan, 0.0, 1.0, 2.0]), max_size=40), cuts)
def test_changes_of_pieces_join_to_those_of_the_whole(line: list[float], cut: list[int]) -> None:
    targets = np.array(line)
    pieces = [TargetChanges.of(targets[a:b]).later(a) for a, b in edges(cut, len(line))]
    joined, whole = TargetChanges.joined(pieces), TargetChanges.of(targets)
    np.testing.assert_array_equal(joined.bars, whole.bars)
    np.testing.assert_array_equal(joined.values, whole.values)


def test_a_class_with_targets_of_its_own_does_not_inherit_how_they_go_by_pieces() -> None:
    class Mine(SmaCross):
        def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
            return np.zeros(len(bars))

    class ByPieces(Mine):
        def piecewise(self) -> Targets:
            return self.targets

    class Plain(Strategy):
        def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
            return np.zeros(len(bars))

    class Slower(SmaCross):
        slow: int = 100

    class OfNoBase:
        def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
            return np.zeros(len(bars))

    assert targets_by_piece(Mine()) is None
    assert targets_by_piece(Plain()) is None
    assert targets_by_piece(OfNoBase()) is None
    assert targets_by_piece(ByPieces()) is not None
    assert targets_by_piece(Slower()) is not None
    assert RandomEntry(probability=0.5, hold_bars=2).piecewise() is None

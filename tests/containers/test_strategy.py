"""Both kinds of strategies as their containers run them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from admf.containers.events import Fill, Signal
from admf.containers.market_data import Bars
from admf.containers.strategies.base import FeatureView, Strategy
from tests.containers.harness import (
    DAY,
    FIRST_TS,
    Lane,
    LaneRun,
    flat,
    run,
    run_lane,
    run_lanes,
    step_of,
)

NAN = np.nan


def columnar(**targets: object) -> type[Strategy]:
    class Fixed(Strategy):
        def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
            return targets[bars.symbol]

    return Fixed


def signals(result: LaneRun) -> list[tuple[str, int, float]]:
    return [(it.symbol, step_of(it.ts), it.target) for it in result.of(Signal)]


@pytest.mark.parametrize("block_size", [1, 2, 4096])
def test_only_changes_of_the_target_become_signals(block_size: int) -> None:
    targets = np.array([NAN, 0.0, NAN, 1.0, NAN, 1.0, 0.5, 0.5, -1.0, NAN, 0.0])
    result = run(columnar(A=targets), flat(100, 11), block_size=block_size)
    assert signals(result) == [("A", 3, 1.0), ("A", 6, 0.5), ("A", 8, -1.0), ("A", 10, 0.0)]


def test_targets_of_each_symbol_are_those_of_its_own_bars() -> None:
    price = (1.0, 1.0, 1.0, 1.0)
    bars = {"A": {0: price, 3: price}, "B": {1: price, 2: price, 3: price}}
    strategy = columnar(A=[1, 0], B=[NAN, 0.5, 0.2])
    for block_size in (1, 2, 4096):
        result = run(strategy, bars, block_size=block_size)
        assert signals(result) == [("A", 0, 1.0), ("B", 2, 0.5), ("A", 3, 0.0), ("B", 3, 0.2)]


def test_integers_and_booleans_are_targets_too() -> None:
    assert signals(run(columnar(A=[False, True, True]), flat(1, 3))) == [("A", 1, 1.0)]
    assert signals(run(columnar(A=[0, 2, 2]), flat(1, 3))) == [("A", 1, 2.0)]


def test_a_symbol_without_bars_in_the_window_is_not_asked_for() -> None:
    asked: list[str] = []

    class Ask(Strategy):
        def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
            asked.append(bars.symbol)
            return np.full(len(bars), bars.close[0])

    price = (1.0, 1.0, 1.0, 1.0)
    bars = {"A": {0: price}, "B": flat(1, 4)}
    result = run(Ask, bars, start_ts=FIRST_TS + DAY)
    assert result.document["status"] == "completed"
    assert asked == ["B"]


def test_lanes_with_the_same_strategy_and_other_settings_ask_for_targets_once() -> None:
    asked: list[tuple[str, float]] = []

    class Ask(Strategy):
        size: float = 1.0

        def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
            asked.append((bars.symbol, self.size))
            return np.array([0.0, self.size, self.size, -self.size])

    lanes = [
        Lane(Ask, {"size": 1.0}),
        Lane(Ask, {"size": 1.0}, sizing={"type": "fixed_units", "value": 3.0}),
        Lane(Ask, {"size": 1.0}, execution={"slippage_bps": 5.0}),
        Lane(Ask, {"size": 0.5}),
    ]
    bars = {"A": flat(100, 4), "B": flat(50, 4)}
    found = run_lanes(lanes, bars)
    assert asked == [("A", 1.0), ("B", 1.0), ("A", 0.5), ("B", 0.5)]
    alone = [run_lane(lane, bars) for lane in lanes]
    assert [it.events for it in found] == [it.events for it in alone]
    assert len({repr(it.of(Fill)) for it in found}) == len(lanes)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([1.0], r"targets must have shape (3,), one per bar, got (1,)"),
        ([[1.0]] * 3, r"targets must have shape (3,), one per bar, got (3, 1)"),
        (None, r"targets must have shape (3,), one per bar, got ()"),
        ([1.0, np.inf, 0.0], "targets must be finite, or NaN to keep the last one"),
        (["a", "b", "c"], "could not convert string to float"),
    ],
)
def test_targets_of_another_form_fail_the_lane(targets: Any, message: str) -> None:
    document = run(columnar(A=targets), flat(100, 3)).document
    assert document["status"] == "failed"
    assert message in document["error"]
    assert "strategy Fixed, bars of A, parameters none" in document["error"]


def test_an_unknown_feature_is_reported_where_it_was_asked_for() -> None:
    class Wrong(Strategy):
        period: int = 3

        def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
            return features("smaa", self.period)

    error = run(Wrong, flat(100, 3)).document["error"]
    assert error.startswith(f"{__file__}:")
    assert "did you mean" in error
    assert "strategy Wrong, bars of A, parameters period=3" in error


def test_columns_cannot_be_changed() -> None:
    class Vandal(Strategy):
        def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
            bars.close[0] = 1e6
            return bars.close

    assert "read-only" in run(Vandal, flat(100, 3)).document["error"]

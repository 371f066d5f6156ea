"""The topology ``backtest`` on real data, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from admf.containers import lane_log
from admf.containers.config import DataConfig
from admf.containers.events import Bar, Fill
from admf.containers.features import FeatureSpec
from admf.containers.market_data import Bars
from admf.containers.strategies.base import Context, FeatureView, Strategy
from admf.engine.errors import ConfigError, DataError, UserCodeError
from admf.engine.registry import Registry
from admf.engine.retention import BUILT_IN_POLICIES, TracingConfig
from tests.containers.harness import (
    DAY,
    FIRST_TS,
    Lane,
    LaneRun,
    flat,
    run,
    run_frames,
    script,
)

GOOG = DataConfig(source="sample", symbols=("GOOG",))
COSTS = {"slippage_bps": 5, "commission": {"type": "rate", "value": 0.001}}


def goog(mode: str, **options: Any) -> LaneRun:
    params = {"fast": 10, "slow": 50, "mode": mode}
    (result,) = run_frames([Lane("sma_cross", params, execution=COSTS)], GOOG, **options)
    return result


@pytest.mark.parametrize(
    ("mode", "final_equity", "closed"),
    [("long_flat", 35487.31, 19), ("long_short", 20387.44, 39)],
)
def test_sma_cross_on_goog_gives_what_other_engines_give(
    mode: str, final_equity: float, closed: int
) -> None:
    document = goog(mode).document
    assert document["data"]["bars"] == 2148
    assert round(document["metrics"]["final_equity"], 2) == final_equity
    assert document["metrics"]["trade_count"] == len(document["trades"]) == closed
    assert len(document["open_positions"]) == 1


@pytest.mark.parametrize("mode", ["long_flat", "long_short"])
def test_results_do_not_depend_on_the_size_of_blocks(mode: str) -> None:
    assert len({goog(mode, block_size=size).raw for size in (1, 7, 2148, 4096)}) == 1


def test_many_lanes_of_one_window_give_what_each_gives_alone() -> None:
    lanes = [
        Lane("sma_cross", {"fast": 10, "slow": slow}, execution=COSTS) for slow in (20, 50, 90)
    ]
    for lane, together in zip(lanes, run_frames(lanes, GOOG), strict=True):
        (alone,) = run_frames([lane], GOOG)
        assert together.document["metrics"] == alone.document["metrics"]
        assert together.document["trades"] == alone.document["trades"]


# -- windows of a data set ---------------------------------------------------------------------


def test_a_window_sees_its_own_bars_only() -> None:
    plan = script({0: lambda ctx: ctx.buy(1), 1: lambda ctx: ctx.close()})
    bars = [(x, x, x, x) for x in (1.0, 2, 3, 4, 5, 6)]
    result = run(plan, bars, start_ts=FIRST_TS + 2 * DAY, end_ts=FIRST_TS + 5 * DAY, block_size=2)
    assert [bar.close for bar in result.of(Bar)] == [3, 4, 5]
    assert result.fills == [
        (3, "buy", 1, 4, "open", "signal"),
        (4, "sell", 1, 5, "open", "signal"),
    ]
    data = result.document["data"]
    assert (data["start"], data["end"], data["bars"]) == (
        "2024-01-03T00:00:00Z",
        "2024-01-05T00:00:00Z",
        3,
    )
    assert result.document["trades"][0]["bars_held"] == 1


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"start_ts": FIRST_TS + 3 * DAY}, "from 2024-01-04T00:00:00Z to their end"),
        ({"end_ts": FIRST_TS}, "from their beginning to before 2024-01-01T00:00:00Z"),
        (
            {"start_ts": FIRST_TS + DAY, "end_ts": FIRST_TS + DAY},
            "from 2024-01-02T00:00:00Z to bef",
        ),
    ],
)
def test_a_window_without_bars_is_refused(window: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match="there are no bars of A in the window") as caught:
        run(script({}), flat(100, 3), **window)
    assert message in str(caught.value)
    assert "they reach from 2024-01-01T00:00:00Z to 2024-01-03T00:00:00Z" in str(caught.value)


# -- what cannot be built ----------------------------------------------------------------------


class Simple(Strategy):
    period: int = 3

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        """Do nothing."""


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'smacross'.*did you mean 'sma_cross'"):
        run("smacross", flat(100, 3))


def test_unknown_parameters_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"has no parameter 'perod'.*did you mean 'period'"):
        run(Simple, flat(100, 3), params={"perod": 5})


def test_an_unknown_symbol_is_refused() -> None:
    with pytest.raises(DataError, match=r"'B'.*there are 'A'|'B'"):
        run(Simple, flat(100, 3), symbols=("B",))


def test_features_that_a_strategy_declares_are_published() -> None:
    class Declares(Simple):
        def features(self) -> list[FeatureSpec]:
            return [FeatureSpec("sma", (self.period,))]

    result = run(Declares, [(x, x, x, x) for x in (1.0, 2, 3, 4)], params={"period": 2})
    features = [it for it in result.events if type(it).__name__ == "Features"]
    assert [it.names for it in features] == [("sma_2",)] * 4
    assert [it.values[0] for it in features[1:]] == [1.5, 2.5, 3.5]


def test_an_error_in_the_declaration_of_features_names_the_users_line() -> None:
    class Declares(Simple):
        def features(self) -> list[FeatureSpec]:
            raise ValueError("which ones?")

    line = Declares.features.__code__.co_firstlineno + 1
    with pytest.raises(UserCodeError, match=rf"{__file__}:{line}: ValueError: which ones\?"):
        run(Declares, flat(100, 3))


# -- lanes and their result files --------------------------------------------------------------


def test_parameters_stand_in_the_result_with_their_defaults() -> None:
    assert run(Simple, flat(100, 3)).document["parameters"] == {"period": 3}


def test_a_strategy_may_be_any_dataclass_with_one_of_the_methods() -> None:
    from dataclasses import dataclass

    @dataclass
    class Plain:
        level: float = 0.5

        def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
            return np.full(len(bars), self.level)

    result = run(Plain, flat(100, 3))
    assert [fill.quantity for fill in result.of(Fill)] == [50]
    assert result.document["parameters"] == {"level": 0.5}


@pytest.mark.parametrize(
    ("retention", "trades", "curve"),
    [("trade_complete", 19, 2148), ("sliding_window", 19, 20), ("minimal", 0, None)],
)
def test_retention_changes_what_is_kept_and_no_metric(
    retention: str, trades: int, curve: int | None
) -> None:
    document = goog("long_flat", retention=retention).document
    assert document["metrics"] == goog("long_flat").document["metrics"]
    assert len(document["trades"]) == trades
    kept = document["equity_curve"]
    assert (None if kept is None else len(kept["equity"])) == curve


def test_what_is_not_traced_is_not_kept_but_measured() -> None:
    document = goog("long_flat", traced=()).document
    assert document["metrics"] == goog("long_flat").document["metrics"]
    assert document["trades"] == []
    assert document["equity_curve"] is None
    assert document["tracer"]["observed"] == 0


def test_a_retention_policy_may_be_a_plug_in() -> None:
    registry = Registry()
    registry.register("retention", "mine", BUILT_IN_POLICIES["minimal"])
    policies = lane_log._policies(registry, "mine")
    assert policies["mine"](TracingConfig()).retained_count == 0
    assert lane_log._policies(registry, "minimal") is BUILT_IN_POLICIES

"""Lanes that cannot be built, beside others that can."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from admf.containers.config import CarriedAccount
from admf.containers.events import Bar
from admf.containers.features import FeatureSpec
from admf.containers.strategies.base import Context, Strategy
from admf.engine.errors import ConfigError, UserCodeError
from tests.containers.harness import Lane, random_bars, run_window

BARS = random_bars(120)


class Declares(Strategy):
    """Declares what it is told, and does nothing."""

    what: str = ""

    def features(self) -> Sequence[FeatureSpec]:
        if self.what == "raise":
            raise ValueError("which ones?")
        if self.what == "text":
            return ["sma_10"]  # type: ignore[list-item]
        return (FeatureSpec(self.what),) if self.what else ()

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        """Do nothing."""


GOOD = Lane("sma_cross", {"fast": 3, "slow": 9})
REFUSED = {
    "parameters": (Lane("sma_cross", {"fast": 9, "slow": 3}), ConfigError, "fast must be less"),
    "name": (Lane("smacross"), ConfigError, "did you mean 'sma_cross'"),
    "features": (Lane(Declares, {"what": "raise"}), UserCodeError, "ValueError: which ones?"),
    "no_feature": (Lane(Declares, {"what": "smaa"}), ConfigError, "unknown indicator 'smaa'"),
    "text": (Lane(Declares, {"what": "text"}), UserCodeError, "has no attribute 'name'"),
    "account": (
        Lane("buy_and_hold", carried=CarriedAccount(cash=-1)),
        ConfigError,
        "nothing to trade with",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_lane_that_cannot_be_built_fails_alone(case: str) -> None:
    lane, _, message = REFUSED[case]
    run = run_window([GOOD, lane, GOOD], BARS)
    assert run.summary.status == "completed"
    first, refused, last = run.rows
    assert [first.status, refused.status, last.status] == ["completed", "failed", "completed"]
    assert message in (refused.error or "")
    assert (refused.container_id, refused.lane_id) == ("portfolio_002", "002")
    assert (refused.metrics, refused.return_count, refused.account) == ({}, 0, None)
    assert first.metrics == last.metrics
    assert not any("002" in path for path in run.files)


@pytest.mark.parametrize("case", REFUSED)
def test_if_no_lane_can_be_built_the_first_error_is_raised(case: str) -> None:
    lane, error, message = REFUSED[case]
    with pytest.raises(error, match=message.replace("?", r"\?")):
        run_window([lane, Lane("nonsense")], BARS)


def test_a_refused_lane_changes_no_byte_of_its_neighbours_results() -> None:
    bad = REFUSED["parameters"][0]
    path = "containers/portfolio_001_results.json"
    assert run_window([GOOD, bad], BARS).files[path] == run_window([GOOD], BARS).files[path]


def test_the_figures_of_a_window_count_refused_lanes_as_failed_and_nothing_else() -> None:
    bad = REFUSED["parameters"][0]
    run, alone = run_window([bad, GOOD], BARS), run_window([GOOD], BARS)
    assert (run.summary.report["portfolio_count"], run.summary.report["failed_count"]) == (2, 1)
    for name in ("best_sharpe_ratio", "avg_return", "total_trades", "rejects"):
        assert run.summary.report[name] == alone.summary.report[name] == run.aggregate[name]
    assert run.summary.report["metrics"] is None
    assert alone.summary.report["metrics"] == alone.document()["metrics"]
    trades = run.read("all_trades.json")["trades"]
    assert {it.pop("container_id") for it in trades} == {"portfolio_002"}
    assert trades == alone.document()["trades"]


# -- parameters ----------------------------------------------------------------------------------


def test_the_parameters_of_results_are_the_strategys_and_the_dotted_settings() -> None:
    point = {"fast": 3, "slow": 9, "risk.stop_loss_pct": 5.0}
    lane = Lane("sma_cross", {"fast": 3, "slow": 9}, parameters=point)
    run = run_window([lane], BARS)
    expected = {"fast": 3, "slow": 9, "mode": "long_flat", "signal": "cross"}
    found = run.document()["parameters"]
    assert found == run.rows[0].parameters
    assert found == {**expected, "risk.stop_loss_pct": 5.0}
    assert run.document()["lane"]["parameters"] == point


def test_a_refused_lane_says_what_it_was_to_be() -> None:
    lane = Lane("sma_cross", {"fast": 9, "slow": 3}, parameters={"fast": 9, "risk.max_leverage": 2})
    row = run_window([GOOD, lane], BARS).rows[1]
    assert row.parameters == {"fast": 9, "slow": 3, "risk.max_leverage": 2}

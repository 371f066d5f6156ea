"""Lanes that are given up before their window ends."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.containers.config import LanePruning
from admf.containers.events import Bar, Order, PortfolioUpdate, Signal
from admf.containers.pruning import Pruner
from admf.containers.strategies.base import Context, Strategy
from admf.containers.times import iso_utc
from admf.engine.errors import ConfigError
from tests.containers.harness import (
    Lane,
    Recorder,
    WindowRun,
    day,
    random_bars,
    run_lanes,
    run_window,
)
from tests.sealing import without

BARS = random_bars(400, seed=3)
CALM = Lane("sma_cross", {"fast": 3, "slow": 9}, sizing={"value": 0.05})
WILD = Lane("sma_cross", {"fast": 2, "slow": 5, "mode": "long_short"})
SIZES = (1, 7, 4096)


class Restless(Strategy):
    """Acts on every bar, so that orders are always working."""

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        ctx.target(float(ctx.rng.choice([-1, 0, 1])))


def prune(after_bars: int = 50, every_bars: int = 30, **rule: Any) -> LanePruning:
    return LanePruning(after_bars=after_bars, every_bars=every_bars, **rule)


def window(*lanes: Lane, pruning: LanePruning | None = None, **options: Any) -> WindowRun:
    return run_window(lanes, BARS, pruning=pruning, **options)


# -- the looks -------------------------------------------------------------------------------------


@given(
    after=st.integers(1, 60),
    every=st.integers(1, 60),
    total=st.integers(1, 200),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=4),
)
def test_looks_do_not_depend_on_how_the_window_is_cut_into_blocks(
    after: int, every: int, total: int, sizes: list[int]
) -> None:
    pruner = Pruner(prune(after, every), total)
    found: list[int] = []
    first, turn = 0, 0
    while first < total:
        steps = min(sizes[turn % len(sizes)], total - first)
        looks = pruner.looks(first, steps)
        assert all(0 < look <= steps for look in looks)
        found += [first + look for look in looks]
        first, turn = first + steps, turn + 1
    assert found == [n for n in range(1, total) if n >= after and (n - after) % every == 0]


@pytest.mark.parametrize(
    ("rule", "metrics", "ends"),
    [
        ({"max_drawdown_pct": 20}, {"max_drawdown": -0.2}, True),
        ({"max_drawdown_pct": 20}, {"max_drawdown": -0.1999}, False),
        ({"max_drawdown_pct": 20}, {"max_drawdown": None}, False),
        ({"metric": "sharpe_ratio", "threshold": 0.5}, {"sharpe_ratio": 0.4}, True),
        ({"metric": "sharpe_ratio", "threshold": 0.5}, {"sharpe_ratio": 0.5}, False),
        ({"metric": "sharpe_ratio", "threshold": 0.5}, {"sharpe_ratio": None}, False),
        (
            {"metric": "ulcer_index", "threshold": 0.1, "maximize": False},
            {"ulcer_index": 0.2},
            True,
        ),
        (
            {"metric": "ulcer_index", "threshold": 0.1, "maximize": False},
            {"ulcer_index": 0.05},
            False,
        ),
        ({}, {"max_drawdown": -0.99}, False),
    ],
)
def test_the_rule(rule: dict[str, Any], metrics: dict[str, float | None], ends: bool) -> None:
    assert Pruner(prune(**rule), 10).gives_up(metrics.__getitem__) is ends


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"metric": "sharp_ratio", "threshold": 1.0}, "did you mean 'sharpe_ratio'"),
        ({"metric": "sharpe_ratio"}, "pruning.threshold"),
        ({"threshold": 1.0}, "pruning.metric"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        window(CALM, pruning=prune(**rule))


# -- a lane that is given up -----------------------------------------------------------------------


def first_look_below(equity: np.ndarray, limit: float, looks: range) -> int:
    peaks = np.maximum.accumulate(np.concatenate(([10_000.0], equity)))[1:]
    depths = equity / peaks - 1
    return next(n for n in looks if depths[:n].min() <= -limit)


@pytest.mark.parametrize("lane", [WILD, Lane(Restless, seed=4)], ids=["columnar", "per_bar"])
def test_a_lane_ends_at_the_first_look_that_finds_it_hopeless(lane: Lane) -> None:
    whole = np.array(window(lane).document()["equity_curve"]["equity"])
    expected = first_look_below(whole, 0.15, range(50, 400, 30))
    run = window(lane, CALM, pruning=prune(max_drawdown_pct=15))
    document = run.document()
    assert 50 < expected < 350
    assert document["metrics"]["bars"] == expected
    assert document["equity_curve"]["equity"] == whole[:expected].tolist()
    assert document["pruned_at"] == iso_utc(day(expected - 1))
    assert document["equity_curve"]["ts"][-1] == document["pruned_at"]
    assert all(it["exit_time"] <= document["pruned_at"] for it in document["trades"])
    assert (document["status"], document["error"]) == ("completed", None)
    assert [row.status for row in run.rows] == ["pruned", "completed"]
    assert run.rows[0].return_count == expected
    assert run.summary.report["pruned_count"] == 1
    assert run.summary.report["failed_count"] == 0


@pytest.mark.parametrize("lane", [WILD, Lane(Restless, seed=4)], ids=["columnar", "per_bar"])
@pytest.mark.parametrize(
    "rule",
    [{"max_drawdown_pct": 15}, {"metric": "total_return", "threshold": 0.0}],
    ids=["drawdown", "metric"],
)
def test_no_file_depends_on_the_size_of_blocks(lane: Lane, rule: dict[str, Any]) -> None:
    options = {"pruning": prune(**rule), "series": True, "return_blocks": 16}
    found = [window(lane, CALM, **options, block_size=size) for size in (*SIZES, 50, 80)]
    assert found[0].rows[0].status == "pruned"
    assert all(it.files == found[0].files for it in found)


def test_its_open_position_is_valued_at_the_step_at_which_it_ended() -> None:
    run = window(Lane("buy_and_hold"), CALM, pruning=prune(metric="total_return", threshold=9.0))
    document = run.document()
    (position,) = document["open_positions"]
    assert position["last_price"] == BARS[49][3]
    assert document["metrics"]["bars"] == 50
    account = run.rows[0].account
    assert account is not None
    assert account.cash + account.positions[0].quantity * BARS[49][3] == pytest.approx(
        document["metrics"]["final_equity"]
    )


def test_it_publishes_nothing_any_more() -> None:
    recorder = Recorder()
    run_lanes(
        [Lane(Restless)],
        BARS,
        pruning=prune(metric="total_return", threshold=9.0),
        recorders=[recorder],
        block_size=20,
    )
    own = [it for it in recorder.events if isinstance(it, (Signal, Order, PortfolioUpdate))]
    assert max(it.ts for it in own) == day(49)
    assert sum(isinstance(it, PortfolioUpdate) for it in own) == 50


def test_at_its_end_a_window_gives_nobody_up() -> None:
    rule = prune(400, 1, metric="total_return", threshold=9.0)
    run, unruled = window(CALM, pruning=rule), window(CALM)
    told = {"window", "files"}
    assert run.files.keys() == unruled.files.keys()
    for name in run.files:
        assert without(run.files[name], *told) == without(unruled.files[name], *told)
    assert run.document()["pruned_at"] is None


def test_close_at_end_does_not_concern_a_lane_that_has_ended() -> None:
    lane = Lane("buy_and_hold", execution={"close_at_end": True})
    run = window(lane, CALM, pruning=prune(metric="total_return", threshold=9.0))
    assert run.document()["trades"] == []


# -- the other lanes -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("retention", ["trade_complete", "sliding_window"])
def test_lanes_that_go_on_are_the_same_to_the_byte(size: int, retention: str) -> None:
    lanes = (WILD, CALM, Lane(Restless, seed=2, sizing={"value": 0.05}))
    options = {"block_size": size, "retention": retention}
    pruned = window(*lanes, pruning=prune(10, 3, max_drawdown_pct=15), **options)
    whole = window(*lanes, **options)
    assert [row.status for row in pruned.rows] == ["pruned", "completed", "completed"]
    for number in (2, 3):
        path = f"containers/portfolio_{number:03}_results.json"
        assert without(pruned.files[path], "window") == without(whole.files[path], "window")


def test_all_lanes_may_be_given_up() -> None:
    rule = prune(1, 1, metric="total_return", threshold=9.0)
    found = [window(WILD, CALM, pruning=rule, block_size=size) for size in SIZES]
    assert [row.status for row in found[0].rows] == ["pruned", "pruned"]
    assert found[0].summary.report["best_sharpe_ratio"] is None
    assert all(it.files == found[0].files for it in found)


def test_a_lane_that_fails_between_looks_is_marked_up_to_there() -> None:
    class Fails(Strategy):
        def on_bar(self, bar: Bar, ctx: Context) -> None:
            if ctx.bar_index == 65:
                raise ValueError("no more")
            ctx.target(ctx.bar_index % 2)

    rule = prune(20, 10, max_drawdown_pct=99)
    found = [window(Lane(Fails), CALM, pruning=rule, block_size=size) for size in SIZES]
    assert [row.status for row in found[0].rows] == ["failed", "completed"]
    assert found[0].document()["metrics"]["bars"] == 65
    assert all(it.files == found[0].files for it in found)


def test_the_settings_are_checked_as_they_are_read() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"after_bars": 0, "every_bars": 5}, LanePruning)

"""The sequences that search and test, run through the engine."""

from __future__ import annotations

import gc
import weakref

import msgspec
import numpy as np
import pytest

from admf.containers.strategies.base import Strategy
from admf.engine.errors import ConfigError, DataError
from admf.engine.window import ExecutionWindow
from admf.sequences.outcome import TrialCounts
from admf.sequences.walk_forward_report import WalkForwardWindow
from tests.sequences.harness import Watch, installed, make_phase, run_phase, walk

pytestmark = pytest.mark.anyio

GRID = {"parameter_space": {"fast": [2, 3, 5], "slow": [8, 13]}}
POINTS = [{"fast": fast, "slow": slow} for fast in (2, 3, 5) for slow in (8, 13)]


def portfolios(ran, window):
    return ran.files[f"{window}/aggregate_results.json"]["portfolios"]


def windows_of(ran) -> list[WalkForwardWindow]:
    return msgspec.convert(ran.files["windows.json"]["windows"], list[WalkForwardWindow])


# -- single_pass and parameter_sweep --------------------------------------------------------------


async def test_a_single_pass_is_one_window_in_the_folder_of_its_phase() -> None:
    ran = await run_phase(make_phase("single_pass"), walk(100))
    assert ran.windows == [""]
    assert set(ran.files) == {
        "aggregate_results.json",
        "all_trades.json",
        "containers/portfolio_001_results.json",
        "phase_summary.json",
    }
    assert ran.outcome.best_parameters == {}


async def test_a_single_pass_takes_the_parameter_sets_it_is_given() -> None:
    points = ({"fast": 2, "slow": 8, "risk.stop_loss_pct": 5.0}, {"fast": 3, "slow": 13})
    ran = await run_phase(make_phase("single_pass"), walk(100), points=points)
    rows = ran.files["aggregate_results.json"]["portfolios"]
    assert [row["parameters"]["fast"] for row in rows] == [2, 3]
    lane = ran.files["containers/portfolio_001_results.json"]["lane"]
    assert lane["risk"]["stop_loss_pct"] == 5.0
    assert lane["strategy"]["params"] == {"fast": 2, "slow": 8}


async def test_a_sweep_tries_every_point_in_batches_and_the_batches_change_nothing() -> None:
    frame = walk(200)
    whole = await run_phase(make_phase("parameter_sweep", **GRID), frame)
    parts = await run_phase(make_phase("parameter_sweep", **GRID, search={"batch_size": 4}), frame)
    assert whole.windows == ["sweep"]
    assert parts.windows == ["sweep/batch_001", "sweep/batch_002"]
    assert whole.outcome == parts.outcome
    assert whole.files["trials.json"] == parts.files["trials.json"]
    trials = whole.files["trials.json"]["trials"]
    assert [trial["parameters"] for trial in trials] == POINTS
    assert [trial["number"] for trial in trials] == [1, 2, 3, 4, 5, 6]


async def test_every_trial_is_recorded_also_those_that_the_strategy_refuses() -> None:
    space = {"parameter_space": {"fast": [3, 10], "slow": [8, 13]}}
    ran = await run_phase(make_phase("parameter_sweep", **space), walk(150))
    trials = ran.files["trials.json"]["trials"]
    assert [trial["status"] for trial in trials] == [
        "completed",
        "completed",
        "failed",
        "completed",
    ]
    assert "fast must be less than slow" in trials[2]["error"]
    assert ran.outcome.trials == TrialCounts(total=4, completed=3, failed=1)
    assert ran.end.failed == 0


async def test_a_batch_of_nothing_but_refused_points_is_recorded_like_any_other() -> None:
    space = {"parameter_space": {"fast": [20, 3], "slow": [8, 13]}, "search": {"batch_size": 2}}
    ran = await run_phase(make_phase("parameter_sweep", **space), walk(150))
    assert ran.outcome.trials == TrialCounts(total=4, completed=2, failed=2)
    assert ran.outcome.best_parameters["fast"] == 3


async def test_a_point_whose_sequence_cannot_run_is_a_failed_trial() -> None:
    phase = make_phase(
        "parameter_sweep",
        parameter_space={"fast": [2, 30], "slow": [8, 13]},
        parameter_sweep={"inner": "monte_carlo"},
        monte_carlo={"method": "trade_shuffle", "batches": 1, "simulations": 5},
        objective_function={"name": "total_return"},
    )
    ran = await run_phase(phase, walk(150))
    assert ran.outcome.trials.total == 4
    assert ran.outcome.trials.failed == 2


async def test_a_value_that_a_setting_refuses_is_a_failed_trial() -> None:
    phase = make_phase("parameter_sweep", parameter_space={"risk.stop_loss_pct": [5, 150]})
    ran = await run_phase(phase, walk(100))
    assert ran.outcome.trials == TrialCounts(total=2, completed=1, failed=1)
    trials = ran.files["trials.json"]["trials"]
    assert "risk.stop_loss_pct=150" in trials[1]["error"]
    with pytest.raises(ConfigError, match="stop_loss_pct=150"):
        await run_phase(make_phase("single_pass"), walk(100), points=({"risk.stop_loss_pct": 150},))


async def test_no_cross_validation_without_an_eligible_trial() -> None:
    phase = make_phase("k_fold", **GRID, k_fold={"folds": 3}, min_trades=1000)
    ran = await run_phase(phase, walk(150))
    assert ran.outcome.best_parameters is None
    assert ran.outcome.out_of_sample == {}
    assert all(split.parameters is None for split in ran.outcome.report["splits"])
    assert not any("test" in window for window in ran.windows)


async def test_no_stitched_tests_without_an_eligible_trial() -> None:
    walk_forward = {"train": 60, "test": 30}
    phase = make_phase("walk_forward", **GRID, walk_forward=walk_forward, min_trades=1000)
    ran = await run_phase(phase, walk(150))
    assert ran.outcome.best_parameters is None
    assert ran.outcome.overfitting is None
    assert ran.outcome.report["walk_forward_efficiency"] is None
    assert ran.outcome.report["profitable_windows"] is None
    assert ran.outcome.report["parameter_stability"] == {}


async def test_the_stability_of_categories_has_no_mean() -> None:
    phase = make_phase(
        "walk_forward",
        parameter_space={"mode": ["long_flat", "long_short"]},
        strategy={"type": "sma_cross", "params": {"fast": 2, "slow": 5}},
        walk_forward={"train": 60, "test": 30},
        objective_function={"name": "total_return", "direction": "minimize"},
    )
    ran = await run_phase(phase, walk(150))
    stability = ran.outcome.report["parameter_stability"]["mode"]
    assert set(stability) == {"distinct", "changes", "most_common", "share"}


async def test_a_constraint_keeps_points_from_being_tried() -> None:
    space = {"parameter_space": {"fast": [3, 10], "slow": [8, 13]}, "constraint": "fast < slow"}
    ran = await run_phase(make_phase("parameter_sweep", **space), walk(150))
    assert ran.outcome.trials == TrialCounts(total=3, completed=3)


async def test_the_best_parameters_are_those_with_the_best_objective() -> None:
    phase = make_phase(
        "parameter_sweep",
        **GRID,
        objective_function={"name": "max_drawdown", "direction": "minimize"},
        search={"top_k": 3},
    )
    ran = await run_phase(phase, walk(300))
    rows = portfolios(ran, "sweep")
    ranked = sorted(rows, key=lambda row: row["metrics"]["max_drawdown"])
    expected = [{name: row["parameters"][name] for name in ("fast", "slow")} for row in ranked[:3]]
    assert list(ran.outcome.top_parameters) == expected
    assert ran.outcome.best["max_drawdown"] == ran.outcome.best_objective


async def test_trials_that_break_a_metric_constraint_are_counted_and_never_best() -> None:
    frame = walk(300)
    free = await run_phase(make_phase("parameter_sweep", **GRID), frame)
    counts = sorted(row["metrics"]["trade_count"] for row in portfolios(free, "sweep"))
    least = int(counts[3])
    phase = make_phase(
        "parameter_sweep", **GRID, min_trades=least, metric_constraints=["max_drawdown >= -0.9"]
    )
    ran = await run_phase(phase, frame)
    expected = sum(count < least for count in counts)
    assert ran.outcome.trials.infeasible == expected > 0
    assert ran.outcome.best["trade_count"] >= least


async def test_without_an_eligible_trial_there_is_no_best_and_no_test() -> None:
    ran = await run_phase(make_phase("train_test", **GRID, min_trades=1000), walk(200))
    assert ran.outcome.best_parameters is None
    assert ran.outcome.trials == TrialCounts(total=6, infeasible=6)
    assert ran.windows == ["train"]


async def test_several_objectives_give_a_pareto_front() -> None:
    objectives = [{"name": "total_return"}, {"name": "max_drawdown"}]
    phase = make_phase("parameter_sweep", **GRID, objective_function=objectives)
    ran = await run_phase(phase, walk(300))
    figures = [
        (row["metrics"]["total_return"], row["metrics"]["max_drawdown"])
        for row in portfolios(ran, "sweep")
    ]
    beaten = [any(a >= c and b >= d and (a, b) != (c, d) for a, b in figures) for c, d in figures]
    expected = [point for point, lost in zip(POINTS, beaten, strict=True) if not lost]
    assert [dict(point) for point in ran.outcome.pareto_front] == expected


async def test_a_hopeless_trial_is_pruned_and_recorded_as_that() -> None:
    phase = make_phase(
        "parameter_sweep",
        **GRID,
        pruning={"max_drawdown_pct": 3, "after_bars": 20, "every_bars": 10},
    )
    ran = await run_phase(phase, walk(300))
    statuses = {trial["status"] for trial in ran.files["trials.json"]["trials"]}
    assert "pruned" in statuses
    assert ran.outcome.trials.pruned == sum(
        row["status"] == "pruned" for row in portfolios(ran, "sweep")
    )


async def test_parameters_may_be_settings_of_risk_and_execution() -> None:
    space = {
        "risk.stop_loss_pct": [2, 50],
        "execution.slippage_bps": {"min": 0, "max": 20, "step": 20},
    }
    phase = make_phase(
        "parameter_sweep",
        parameter_space=space,
        strategy={"type": "sma_cross", "params": {"fast": 2, "slow": 8}},
    )
    ran = await run_phase(phase, walk(300))
    returns = [row["metrics"]["total_return"] for row in portfolios(ran, "sweep")]
    assert len(set(returns)) == 4
    assert returns[0] > returns[1]
    assert returns[2] > returns[3]


async def test_the_seed_may_be_searched() -> None:
    phase = make_phase(
        "parameter_sweep",
        parameter_space={"seed": {"min": 1, "max": 5}},
        strategy={"type": "random_entry", "params": {"probability": 0.2, "hold_bars": 3}},
    )
    ran = await run_phase(phase, walk(300))
    returns = [row["metrics"]["total_return"] for row in portfolios(ran, "sweep")]
    assert len(set(returns)) == 5


# -- train_test -----------------------------------------------------------------------------------


async def test_train_test_searches_the_first_part_and_tests_the_best_on_the_rest() -> None:
    phase = make_phase("train_test", **GRID, train_test={"data_split": 0.75, "gap": 10})
    ran = await run_phase(phase, walk(400))
    assert ran.windows == ["train", "test"]
    train = portfolios(ran, "train")
    assert len(train) == 6
    best = max(train, key=lambda row: row["metrics"]["sharpe_ratio"])
    assert ran.outcome.best_parameters == {k: best["parameters"][k] for k in ("fast", "slow")}
    assert ran.outcome.best_objective == best["metrics"]["sharpe_ratio"]
    (test,) = portfolios(ran, "test")
    assert test["parameters"]["fast"] == best["parameters"]["fast"]
    assert test["metrics"]["bars"] == 100
    assert train[0]["metrics"]["bars"] == 290
    assert ran.outcome.out_of_sample == test["metrics"]
    assert ran.outcome.held_out == {
        "start": "2020-10-27T00:00:00Z",
        "end": "2021-02-03T00:00:00Z",
    }


async def test_the_best_few_go_on_to_the_test() -> None:
    ran = await run_phase(make_phase("train_test", **GRID, search={"top_k": 3}), walk(300))
    tested = [row["parameters"] for row in portfolios(ran, "test")]
    assert [{k: it[k] for k in ("fast", "slow")} for it in tested] == list(
        ran.outcome.top_parameters
    )


async def test_a_part_of_the_data_is_split_in_turn() -> None:
    phase = make_phase("train_test", **GRID, data_range={"start": 0.5, "end": "2020-12-30"})
    ran = await run_phase(phase, walk(400))
    train = ran.files["train/containers/portfolio_001_results.json"]["data"]
    test = ran.files["test/containers/portfolio_001_results.json"]["data"]
    assert (train["start"], train["bars"]) == ("2020-07-19T00:00:00Z", 132)
    assert (test["end"], test["bars"]) == ("2020-12-30T00:00:00Z", 33)


async def test_data_that_is_too_short_is_refused_before_anything_runs() -> None:
    with pytest.raises((ConfigError, DataError), match="walk_forward"):
        await run_phase(
            make_phase("walk_forward", walk_forward={"train": 90, "test": 20}), walk(100)
        )


# -- walk_forward ---------------------------------------------------------------------------------


async def test_a_walk_forward_searches_each_window_and_tests_on_the_next() -> None:
    phase = make_phase("walk_forward", **GRID, walk_forward={"train": 100, "test": 50})
    ran = await run_phase(phase, walk(250))
    assert ran.windows == [
        f"wf_00{number}/{part}" for number in (1, 2, 3) for part in ("train", "test")
    ]
    assert ran.outcome.report["windows"] == 3
    for window in windows_of(ran):
        train = portfolios(ran, f"{window.window_id}/train")
        best = max(train, key=lambda row: row["metrics"]["sharpe_ratio"])
        assert window.parameters == {k: best["parameters"][k] for k in ("fast", "slow")}
        assert window.in_sample["annual_return"] == best["metrics"]["cagr"]
        (test,) = portfolios(ran, f"{window.window_id}/test")
        assert window.out_of_sample["total_return"] == test["metrics"]["total_return"]


async def test_calendar_windows_are_months() -> None:
    phase = make_phase("walk_forward", **GRID, walk_forward={"train": "6M", "test": "1M"})
    ran = await run_phase(phase, walk(366))
    spans = [(it.train, it.test) for it in windows_of(ran)]
    assert [train["start"][:7] for train, _ in spans] == [f"2020-0{m}" for m in range(1, 7)]
    assert [test["start"][:10] for _, test in spans] == [f"2020-{m:02}-01" for m in range(7, 13)]
    assert spans[0][0]["end"] == "2020-06-30T00:00:00Z"


async def test_the_stitched_equity_compounds_the_tests() -> None:
    phase = make_phase("walk_forward", **GRID, walk_forward={"train": 100, "test": 50})
    ran = await run_phase(phase, walk(300))
    windows = [f"wf_00{number}/test" for number in (1, 2, 3, 4)]
    curves = [ran.files[f"{name}/series.json"]["lanes"][0]["equity"] for name in windows]
    growth = np.concatenate([np.array(curve) / 100_000.0 for curve in curves])
    level, expected = 1.0, []
    for curve in np.split(growth, 4):
        expected += (level * curve * 100_000.0).tolist()
        level *= curve[-1]
    stitched = ran.files["out_of_sample.json"]
    assert stitched["equity_curve"]["equity"] == pytest.approx(expected, rel=1e-12)
    metrics = stitched["metrics"]
    assert metrics == ran.outcome.out_of_sample
    assert metrics["total_return"] == pytest.approx(level - 1, rel=1e-12)
    rows = [portfolios(ran, name)[0]["metrics"] for name in windows]
    assert metrics["trade_count"] == sum(row["trade_count"] for row in rows)
    daily = np.diff(np.concatenate(([100_000.0], expected))) / np.concatenate(
        ([100_000.0], expected[:-1])
    )
    sharpe = daily.mean() / daily.std(ddof=1) * np.sqrt(365)
    assert metrics["sharpe_ratio"] == pytest.approx(sharpe, rel=1e-9)


async def test_efficiency_and_stability_are_those_of_the_windows() -> None:
    phase = make_phase("walk_forward", **GRID, walk_forward={"train": 100, "test": 50})
    ran = await run_phase(phase, walk(400, drift=0.002))
    report = ran.outcome.report
    inside = [it.in_sample["annual_return"] for it in windows_of(ran)]
    outside = [it.out_of_sample["annual_return"] for it in windows_of(ran)]
    assert report["walk_forward_efficiency"] == pytest.approx(sum(outside) / sum(inside))
    totals = [it.out_of_sample["total_return"] for it in windows_of(ran)]
    assert report["profitable_windows"] == np.mean(np.array(totals) > 0)
    fast = [it.parameters["fast"] for it in windows_of(ran)]
    stability = report["parameter_stability"]["fast"]
    assert stability["mean"] == pytest.approx(np.mean(fast))
    assert stability["std"] == pytest.approx(np.std(fast, ddof=1))
    assert stability["distinct"] == len(set(fast))
    assert stability["changes"] == np.mean(np.diff(fast) != 0)


class Lives(Watch):
    """Holds weak references to the windows that were opened, and counts those that still live."""

    def __init__(self) -> None:
        super().__init__()
        self.windows: list[weakref.ref[ExecutionWindow]] = []
        self.alive: list[int] = []

    def opened(self, window) -> None:
        gc.collect()
        before = [it for ref in self.windows if (it := ref()) is not None]
        self.alive.append(sum(bool(it.containers) or not it.bus.closed for it in before))
        self.windows.append(weakref.ref(window))
        super().opened(window)


async def test_containers_of_a_window_are_gone_before_those_of_the_next_exist() -> None:
    watch = Lives()
    phase = make_phase("walk_forward", **GRID, walk_forward={"train": 100, "test": 50})
    await run_phase(phase, walk(250), watch=watch)
    assert watch.alive == [0] * 6
    assert len(watch.seen) == 12


async def test_carried_positions_make_the_tests_one_long_run() -> None:
    hold = {"strategy": {"type": "buy_and_hold"}}
    walk_forward = {"train": 100, "test": 50, "carry_positions": True}
    frame = walk(250)
    ran = await run_phase(make_phase("walk_forward", **hold, walk_forward=walk_forward), frame)
    rows = [portfolios(ran, f"wf_00{number}/test")[0]["metrics"] for number in (1, 2, 3)]
    close = frame["close"].to_numpy()
    assert [row["trade_count"] for row in rows] == [0, 0, 0]
    assert rows[1]["total_return"] == pytest.approx(close[199] / close[149] - 1)
    flat = {**walk_forward, "carry_positions": False}
    ran = await run_phase(make_phase("walk_forward", **hold, walk_forward=flat), frame)
    opens = frame["open"].to_numpy()
    (row,) = portfolios(ran, "wf_002/test")
    assert row["metrics"]["total_return"] == pytest.approx(close[199] / opens[151] - 1)


class Watched(Strategy):
    """Is long where its average is known; so the first trade shows how much history there was."""

    def targets(self, bars, features):
        return np.where(np.isnan(features("sma", 30)), 0.0, 1.0)


@pytest.mark.parametrize(("warmup", "first_bar"), [(None, 1), (29, 1), (10, 20), (0, 30)])
async def test_the_warm_up_is_the_history_that_indicators_see(warmup, first_bar) -> None:
    registry = installed()
    registry.register("strategies", "watched", Watched)
    phase = make_phase(
        "walk_forward",
        strategy={"type": "watched"},
        walk_forward={"train": 100, "test": 50, "warmup": warmup},
        event_tracing=["FILL"],
    )
    ran = await run_phase(phase, walk(160), registry=registry)
    positions = ran.files["wf_001/test/containers/portfolio_001_results.json"]["open_positions"]
    entry = np.datetime64(positions[0]["entry_time"][:10]) - np.datetime64("2020-01-01")
    assert entry.astype(int) == 100 + first_bar


# -- k_fold ---------------------------------------------------------------------------------------


async def test_each_fold_is_tested_once_and_trained_around() -> None:
    phase = make_phase("k_fold", **GRID, k_fold={"folds": 4, "purge": 3, "embargo": 2})
    ran = await run_phase(phase, walk(400))
    assert [name for name in ran.windows if "split_002" in name] == [
        "split_002/train_1",
        "split_002/train_2",
        "split_002/test_1",
    ]
    first = ran.files["split_002/train_1/containers/portfolio_001_results.json"]["data"]
    second = ran.files["split_002/train_2/containers/portfolio_001_results.json"]["data"]
    assert (first["bars"], second["bars"]) == (97, 400 - 200 - 5)
    tested = [ran.files[f"split_00{n}/test_1/series.json"]["lanes"][0]["ts"] for n in (1, 2, 3, 4)]
    assert sum(map(len, tested)) == 400
    assert ran.outcome.out_of_sample["bars"] == 400


async def test_training_stretches_are_judged_together_weighted_by_length() -> None:
    ran = await run_phase(make_phase("k_fold", **GRID, k_fold={"folds": 4}), walk(400))
    first = portfolios(ran, "split_002/train_1")
    second = portfolios(ran, "split_002/train_2")
    means = [
        (a["metrics"]["sharpe_ratio"] * 100 + b["metrics"]["sharpe_ratio"] * 200) / 300
        for a, b in zip(first, second, strict=True)
    ]
    split = ran.outcome.report["splits"][1]
    assert split.in_sample == pytest.approx(max(means))
    assert split.parameters == POINTS[int(np.argmax(means))]


async def test_combinatorial_splits_give_paths_through_all_folds() -> None:
    phase = make_phase(
        "k_fold", **GRID, k_fold={"method": "combinatorial_purged", "folds": 4, "test_folds": 2}
    )
    ran = await run_phase(phase, walk(200))
    assert len(ran.outcome.report["splits"]) == 6
    paths = ran.outcome.report["paths"]
    assert len(paths) == 3
    assert all(path["bars"] == 200 for path in paths)


async def test_trades_that_were_held_across_a_border_are_purged() -> None:
    hold = {"strategy": {"type": "random_entry", "params": {"probability": 1.0, "hold_bars": 9}}}
    phase = make_phase("k_fold", **hold, k_fold={"folds": 4, "purge": "trades"})
    ran = await run_phase(phase, walk(200))
    held = ran.files["holding/batch_001/series.json"]["lanes"][0]["trades"]
    day = 86_400 * 10**9
    border = min(ran.files["split_002/test_1/series.json"]["lanes"][0]["ts"])
    across = [it for it in held if it["entry_ts"] < border <= it["exit_ts"]]
    bars = ran.files["split_002/train_1/containers/portfolio_001_results.json"]["data"]["bars"]
    expected = min([border, *(it["entry_ts"] for it in across)])
    assert across
    assert bars == 50 - (border - expected) // day


# -- nesting --------------------------------------------------------------------------------------


async def test_a_walk_forward_may_search_by_cross_validation() -> None:
    phase = make_phase(
        "walk_forward",
        **GRID,
        walk_forward={"train": 120, "test": 60, "inner": "k_fold"},
        k_fold={"folds": 3},
    )
    ran = await run_phase(phase, walk(240))
    assert ran.windows[:3] == [
        "wf_001/train/split_001/train_1",
        "wf_001/train/split_001/test_1",
        "wf_001/train/split_002/train_1",
    ]
    inner = ran.files["wf_001/train/aggregate_results.json"]
    assert inner["sequence"] == "k_fold"
    assert windows_of(ran)[0].parameters == inner["best_parameters"]


async def test_a_sweep_may_judge_each_point_by_a_walk_forward() -> None:
    phase = make_phase(
        "parameter_sweep",
        **GRID,
        parameter_sweep={"inner": "walk_forward"},
        walk_forward={"train": 100, "test": 50},
    )
    ran = await run_phase(phase, walk(200))
    scores = [
        ran.files[f"trial_00{number}/out_of_sample.json"]["metrics"]["sharpe_ratio"]
        for number in range(1, 7)
    ]
    assert ran.outcome.best_objective == max(scores)
    assert ran.outcome.best_parameters == POINTS[int(np.argmax(scores))]


@pytest.mark.parametrize(
    ("sequence", "options"), [("single_pass", {}), ("train_test", {}), ("k_fold", {"folds": 2})]
)
async def test_every_sequence_takes_an_inner_one(sequence, options) -> None:
    phase = make_phase(
        sequence,
        **GRID,
        **{sequence: {"inner": "walk_forward", **options}},
        walk_forward={"train": 40, "test": 20},
    )
    ran = await run_phase(phase, walk(200))
    assert any("wf_001/test" in name for name in ran.windows)
    assert ran.outcome.best_parameters in POINTS


# -- determinism and faults -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sequence", "options"),
    [
        ("walk_forward", {"walk_forward": {"train": 100, "test": 50, "carry_positions": True}}),
        ("k_fold", {"k_fold": {"folds": 3, "embargo": 3}}),
        ("train_test", {"search": {"method": "random", "max_trials": 4, "seed": 3}}),
    ],
)
async def test_the_bytes_do_not_depend_on_the_block_size(sequence, options) -> None:
    frame = walk(250)
    runs = [
        await run_phase(make_phase(sequence, **GRID, **options, block_size=size), frame)
        for size in (7, 4096)
    ]
    assert runs[0].files == runs[1].files


class Breaks(Strategy):
    """Raises in one of its parameter sets."""

    fast: int = 1

    def targets(self, bars, features):
        if self.fast == 2:
            raise RuntimeError("broken on purpose")
        return np.ones(len(bars))


async def test_one_lane_that_fails_leaves_the_others_alone() -> None:
    registry = installed()
    registry.register("strategies", "breaks", Breaks)
    phase = make_phase(
        "train_test", strategy={"type": "breaks"}, parameter_space={"fast": [1, 2, 3]}
    )
    ran = await run_phase(phase, walk(100), registry=registry)
    assert ran.outcome.trials == TrialCounts(total=3, completed=2, failed=1)
    trials = ran.files["trials.json"]["trials"]
    assert "broken on purpose" in trials[1]["error"]
    assert ran.outcome.best_parameters == {"fast": 1}


async def test_the_outcome_of_a_phase_is_plain_data() -> None:
    phase = make_phase("walk_forward", **GRID, walk_forward={"train": 100, "test": 50})
    ran = await run_phase(phase, walk(250))
    outcome = msgspec.to_builtins(ran.outcome)
    stored = ran.files["aggregate_results.json"]
    assert stored["best_parameters"] == outcome["best_parameters"]
    assert stored["report"] == outcome["report"]

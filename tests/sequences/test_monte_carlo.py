"""What chance could have made of a run, drawn or run through the engine again."""

from __future__ import annotations

import functools
import itertools
from weakref import WeakSet

import msgspec
import numpy as np
import polars as pl
import pytest

from admf.containers.strategies.base import Strategy
from admf.engine.container import Container, ContainerState
from admf.engine.errors import ConfigError, DataError, WindowError
from admf.sequences.outcome import TrialCounts
from admf.sequences.simulation_topology import SimulationContainer
from tests.sequences import harness
from tests.sequences.harness import installed, make_phase, walk

pytestmark = pytest.mark.anyio

DRAWN = ["trade_shuffle", "trade_bootstrap", "skip_trades", "return_block_bootstrap"]
RERUN = ["price_path", "cost_jitter", "parameter_jitter"]
SMA = {"type": "sma_cross", "params": {"fast": 3, "slow": 8}}
COSTS = {"slippage_bps": 10.0, "commission": {"value": 0.001, "minimum": 2.0}}
GRID = {"parameter_space": {"fast": [2, 3], "slow": [8, 13]}}
PERCENTILES = ("p5", "p10", "p25", "p50", "p75", "p90", "p95")


shared = functools.cache(installed)
"""The plug-ins, which take longer to find than a phase to run."""


async def run_phase(phase, frame, *, registry=None, points=None):
    registry = registry or shared()
    return await harness.run_phase(phase, frame, registry=registry, points=points)


def monte_carlo(method: str, batches: int = 2, simulations: int = 6, **settings):
    """Return a phase; options of the sequence are in ``options``."""
    options = {"method": method, "batches": batches, "simulations": simulations}
    options |= settings.pop("options", {})
    fields = {"strategy": SMA, "execution": COSTS, **settings}
    return make_phase("monte_carlo", monte_carlo=options, **fields)


def nested(method: str, batches: int = 2, simulations: int = 3, **settings):
    settings.setdefault("walk_forward", {"train": 80, "test": 40})
    options = {"inner": "walk_forward", **settings.pop("options", {})}
    return monte_carlo(method, batches, simulations, options=options, **GRID, **settings)


def without_batches(ran):
    report = {name: it for name, it in ran.outcome.report.items() if name != "batches"}
    return report, ran.outcome.out_of_sample, ran.outcome.best_parameters


def figures(ran, name):
    """Return a metric of every simulation, in the order of their numbers."""
    files = [file for path, file in sorted(ran.files.items()) if "simulation_results" in path]
    if files:
        return np.array([value for file in files for value in file["figures"][name]])
    rows = [
        row
        for path, file in sorted(ran.files.items())
        if path.startswith("mc_") and "portfolios" in file
        for row in file["portfolios"]
    ]
    return np.array([row["metrics"][name] for row in rows])


# -- every method ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", DRAWN)
async def test_a_batch_of_drawn_simulations_is_a_window(method) -> None:
    ran = await run_phase(monte_carlo(method, 3, 10), walk(200))
    assert ran.windows == ["source", "mc_001", "mc_002", "mc_003"]
    sizes = [ran.files[f"mc_00{it}/aggregate_results.json"]["simulations"] for it in (1, 2, 3)]
    assert sizes == [3, 3, 4]
    assert ran.outcome.trials == TrialCounts(total=10, completed=10)
    assert ran.outcome.best_parameters == {}
    source = ran.files["source/aggregate_results.json"]["portfolios"][0]
    assert ran.outcome.best == source["metrics"]


@pytest.mark.parametrize(
    ("method", "windows"),
    [
        (
            "price_path",
            ["mc_001/path_001", "mc_001/path_002", "mc_002/path_003", "mc_002/path_004"],
        ),
        ("cost_jitter", ["mc_001", "mc_002"]),
        ("parameter_jitter", ["source", "mc_001", "mc_002"]),
    ],
)
async def test_a_batch_that_runs_again_is_a_window_or_a_folder_of_windows(method, windows) -> None:
    ran = await run_phase(monte_carlo(method, 2, 4), walk(200))
    assert ran.windows == windows
    assert ran.outcome.trials == TrialCounts(total=4, completed=4)
    assert set(ran.outcome.report["percentiles"]) >= {"total_return", "sharpe_ratio", "win_rate"}
    assert ran.files["mc_001/phase_summary.json"]["status"] == "completed"
    assert ran.files["mc_002/aggregate_results.json"]


@pytest.mark.parametrize("method", [*DRAWN, *RERUN])
async def test_the_percentiles_are_those_of_all_simulations(method) -> None:
    ran = await run_phase(monte_carlo(method, 3, 10, options={"ruin": 0.05}), walk(200, seed=4))
    report = ran.outcome.report
    assert (report["method"], report["simulations"], report["batches"]) == (method, 10, 3)
    total, drawdown = figures(ran, "total_return"), figures(ran, "max_drawdown")
    spread = report["percentiles"]["total_return"]
    expected = np.percentile(total, [5, 10, 25, 50, 75, 90, 95])
    assert [spread[name] for name in PERCENTILES] == pytest.approx(expected)
    assert report["probability_of_loss"] == np.mean(total < 0)
    assert report["probability_of_ruin"] == np.mean(drawdown <= -0.05)
    assert report["value_at_risk_95"] == pytest.approx(np.percentile(total, 5))
    worst = total[total <= np.percentile(total, 5)]
    assert report["conditional_value_at_risk_95"] == pytest.approx(worst.mean())
    assert ran.outcome.out_of_sample["total_return"] == pytest.approx(np.median(total))
    for spread in report["percentiles"].values():
        values = [spread[name] for name in PERCENTILES if spread[name] is not None]
        assert values == sorted(values)


@pytest.mark.parametrize("method", [*DRAWN, *RERUN])
async def test_batches_change_nothing(method) -> None:
    frame = walk(120)
    runs = [await run_phase(monte_carlo(method, batches, 4), frame) for batches in (1, 3)]
    first, second = map(without_batches, runs)
    assert first == second
    assert len({figures(ran, "max_drawdown").tobytes() for ran in runs}) == 1


@pytest.mark.parametrize("method", ["price_path", "cost_jitter", "parameter_jitter"])
async def test_batches_change_nothing_about_nested_or_random_simulations(method) -> None:
    frame = walk(130)
    points = ({"fast": 6, "slow": 20},) if method == "parameter_jitter" else None
    runs = [await run_phase(nested(method, batches), frame, points=points) for batches in (2, 3)]
    assert len({msgspec.json.encode(without_batches(ran)) for ran in runs}) == 1
    strategy = {"type": "random_entry", "params": {"probability": 0.3, "hold_bars": 4}}
    runs = [
        await run_phase(monte_carlo(method, batches, 3, strategy=strategy), frame)
        for batches in (2, 3)
    ]
    assert len({msgspec.json.encode(without_batches(ran)) for ran in runs}) == 1


@pytest.mark.parametrize("method", [*DRAWN, *RERUN])
async def test_the_seed_decides_and_nothing_else(method) -> None:
    frame = walk(120)
    first, again, other = [
        await run_phase(monte_carlo(method, simulations=4, seed=seed), frame) for seed in (1, 1, 2)
    ]
    assert first.files == again.files
    assert first.outcome == again.outcome
    assert figures(first, "max_drawdown").tolist() != figures(other, "max_drawdown").tolist()
    assert first.outcome.report["seeds"]["entropy"] == 1


@pytest.mark.parametrize("method", ["trade_bootstrap", "cost_jitter"])
async def test_the_first_given_parameter_set_is_simulated(method) -> None:
    points = ({"fast": 2, "slow": 13}, {"fast": 3, "slow": 8})
    frame = walk(200)
    ran = await run_phase(monte_carlo(method), frame, points=points)
    assert ran.outcome.best_parameters == points[0]
    assert ran.outcome.top_parameters == points[:1]
    fixed = {"type": "sma_cross", "params": dict(points[0])}
    same = await run_phase(monte_carlo(method, strategy=fixed), frame)
    assert figures(ran, "total_return").tolist() == figures(same, "total_return").tolist()


# -- trades and returns ---------------------------------------------------------------------------


async def test_shuffled_trades_are_worked_by_hand() -> None:
    frame = walk(60, seed=8)
    ran = await run_phase(monte_carlo("trade_shuffle", 4, 40), frame)
    trades = ran.files["source/series.json"]["lanes"][0]["trades"]
    returns = [trade["equity_return"] for trade in trades]
    assert 3 <= len(returns) <= 6
    assert ran.outcome.report["sample_size"] == len(returns)

    def deepest(order):
        levels = np.concatenate(([1.0], np.cumprod([1 + it for it in order])))
        return (levels / np.maximum.accumulate(levels) - 1).min()

    possible = {round(deepest(order), 12) for order in itertools.permutations(returns)}
    found = {round(it, 12) for it in figures(ran, "max_drawdown")}
    assert found <= possible
    assert len(found) > 1
    growth = np.prod([1 + it for it in returns])
    assert figures(ran, "total_return") == pytest.approx(growth - 1)


async def test_returns_of_trades_are_compounded_and_not_money() -> None:
    frame = walk(200)
    small, large = [
        await run_phase(
            monte_carlo("trade_bootstrap", portfolio={"initial_capital": capital}, execution={}),
            frame,
        )
        for capital in (1_000.0, 1_000_000.0)
    ]
    assert figures(small, "total_return") == pytest.approx(figures(large, "total_return"))


async def test_skipping_nothing_is_the_run_itself() -> None:
    ran = await run_phase(monte_carlo("skip_trades", options={"skip": 0.0}), walk(200))
    trades = ran.files["source/series.json"]["lanes"][0]["trades"]
    growth = np.prod([1 + trade["equity_return"] for trade in trades])
    assert figures(ran, "total_return") == pytest.approx(growth - 1)


@pytest.mark.parametrize(("given", "expected"), [(7.5, 7.5), (None, None)])
async def test_the_block_length_is_given_or_estimated(given, expected) -> None:
    phase = monte_carlo("return_block_bootstrap", options={"block_length": given})
    ran = await run_phase(phase, walk(200))
    used = ran.outcome.report["block_length"]
    assert used >= 1
    assert expected in (None, used)
    assert ran.files["mc_001/aggregate_results.json"]["block_length"] == used


async def test_returns_are_those_that_the_ratio_metrics_are_made_of() -> None:
    ran = await run_phase(monte_carlo("return_block_bootstrap"), walk(200))
    source = ran.files["source/aggregate_results.json"]["portfolios"][0]
    assert ran.outcome.report["sample_size"] == source["return_count"] == 200


@pytest.mark.parametrize(
    ("bars", "message"), [(8, "at least 2 closed trades, and the run has 0"), (30, "run has 1:")]
)
async def test_too_few_trades_are_counted_in_the_error(bars, message) -> None:
    with pytest.raises(DataError, match=message):
        await run_phase(monte_carlo("trade_shuffle"), walk(bars, seed=3))


async def test_a_run_that_fails_cannot_be_simulated() -> None:
    registry = installed()
    registry.register("strategies", "breaks", Breaks)
    phase = monte_carlo("trade_shuffle", strategy={"type": "breaks", "params": {"number": 2}})
    with pytest.raises(WindowError, match=r"run to be simulated failed: .*broken on purpose"):
        await run_phase(phase, walk(100), registry=registry)


# -- through the engine again ---------------------------------------------------------------------


async def test_jittered_costs_stay_within_the_jitter_and_all_else_as_it_is() -> None:
    ran = await run_phase(monte_carlo("cost_jitter", 2, 20, options={"jitter": 0.3}), walk(100))
    lanes = [file["lane"] for path, file in ran.files.items() if "portfolio_" in path]
    assert [lane["lane_id"] for lane in lanes] == [f"{number:03}" for number in range(1, 21)]
    assert all(lane["strategy"] == SMA for lane in lanes)
    assert len({lane["seed"] for lane in lanes}) == 1
    for read, real in [
        (lambda it: it["slippage_bps"], 10.0),
        (lambda it: it["commission"]["value"], 0.001),
        (lambda it: it["commission"]["minimum"], 2.0),
    ]:
        factors = np.array([read(lane["execution"]) / real for lane in lanes])
        assert np.all(np.abs(factors - 1) <= 0.3)
        assert np.ptp(factors) > 0.3


async def test_jittered_parameters_keep_their_kind() -> None:
    strategy = {"type": "sma_cross", "params": {"fast": 10, "slow": 40}}
    ran = await run_phase(monte_carlo("parameter_jitter", 2, 20, strategy=strategy), walk(100))
    rows = [
        row
        for batch in ("mc_001", "mc_002")
        for row in ran.files[f"{batch}/aggregate_results.json"]["portfolios"]
    ]
    fast = [row["parameters"]["fast"] for row in rows]
    assert all(isinstance(it, int) and 8 <= it <= 12 for it in fast)
    assert all(32 <= row["parameters"]["slow"] <= 48 for row in rows)
    assert len(set(fast)) > 2
    assert {row["parameters"]["mode"] for row in rows} == {"long_flat"}


async def test_parameters_that_nobody_has_set_are_jittered_too() -> None:
    ran = await run_phase(monte_carlo("parameter_jitter", strategy={"type": "sma_cross"}), walk(99))
    rows = ran.files["mc_001/aggregate_results.json"]["portfolios"]
    assert len({row["parameters"]["slow"] for row in rows}) > 1


@pytest.mark.parametrize("batches", [1, 3, 30])
async def test_a_point_that_the_strategy_refuses_is_a_failed_simulation(batches) -> None:
    strategy = {"type": "sma_cross", "params": {"fast": 7, "slow": 8}}
    phase = monte_carlo("parameter_jitter", batches, 30, strategy=strategy, options={"jitter": 0.3})
    ran = await run_phase(phase, walk(100))
    report = ran.outcome.report
    assert 0 < report["failed"] < 30
    assert ran.outcome.trials == TrialCounts(
        total=30, completed=30 - report["failed"], failed=report["failed"]
    )
    assert ran.end.failed == 0


async def test_a_lane_that_fails_is_a_failed_simulation() -> None:
    registry = installed()
    registry.register("strategies", "breaks", Breaks)
    phase = monte_carlo(
        "parameter_jitter", 2, 12, strategy={"type": "breaks"}, options={"jitter": 1.0}
    )
    ran = await run_phase(phase, walk(60), registry=registry)
    rows = [
        row
        for batch in ("mc_001", "mc_002")
        for row in ran.files[f"{batch}/aggregate_results.json"]["portfolios"]
    ]
    broken = sum(row["parameters"]["number"] == 2 for row in rows)
    assert ran.outcome.report["failed"] == broken > 0


@pytest.mark.parametrize("method", ["price_path", "cost_jitter"])
async def test_if_every_simulation_fails_so_does_the_phase(method) -> None:
    registry = installed()
    registry.register("strategies", "breaks", Breaks)
    phase = monte_carlo(method, strategy={"type": "breaks", "params": {"number": 2}})
    with pytest.raises(WindowError, match=r"all 6 simulations failed.*broken on purpose"):
        await run_phase(phase, walk(60), registry=registry)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("cost_jitter", {"execution": {}}, "cost_jitter changes costs, and there are none"),
        ("parameter_jitter", {"strategy": {"type": "buy_and_hold"}}, "numbers, and there are none"),
        ("price_path", {"strategy": {"type": "sma_cros"}}, "did you mean 'sma_cross'"),
    ],
)
async def test_where_nothing_can_change_the_method_is_refused(method, settings, message) -> None:
    with pytest.raises((ConfigError, WindowError), match=message):
        await run_phase(monte_carlo(method, **settings), walk(60))


async def test_searched_costs_are_costs() -> None:
    space = {"execution.slippage_bps": [5.0, 10.0]}
    phase = monte_carlo("cost_jitter", execution={}, parameter_space=space)
    ran = await run_phase(phase, walk(60), points=({"execution.slippage_bps": 5.0},))
    rows = ran.files["mc_001/aggregate_results.json"]["portfolios"]
    slippage = [row["parameters"]["execution.slippage_bps"] for row in rows]
    assert all(4.0 <= it <= 6.0 for it in slippage)
    assert len(set(slippage)) == 3


async def test_a_path_has_the_times_of_the_data_and_other_prices() -> None:
    frame = walk(120)
    ran = await run_phase(monte_carlo("price_path", 3, 3), frame)
    data = [
        ran.files[f"mc_00{it}/containers/portfolio_001_results.json"]["data"] for it in (1, 2, 3)
    ]
    assert len({it["fingerprint"] for it in data}) == 3
    assert {(it["start"], it["bars"]) for it in data} == {("2020-01-01T00:00:00Z", 120)}


async def test_no_bar_after_the_end_of_the_phase_has_any_influence_on_its_paths() -> None:
    frame = walk(200)
    late = pl.col("timestamp") >= frame["timestamp"][100]
    prices = [
        pl.when(late).then(pl.col(name) * 7.0).otherwise(pl.col(name)).alias(name)
        for name in ("open", "high", "low", "close", "volume")
    ]
    phase = monte_carlo("price_path", data_range={"end": 0.5})
    runs = [await run_phase(phase, it) for it in (frame, frame.with_columns(prices))]
    assert runs[0].files == runs[1].files


# -- nesting --------------------------------------------------------------------------------------


async def test_a_walk_forward_on_many_paths_has_windows_that_nest() -> None:
    phase = nested("price_path", 3, 3, walk_forward={"train": 40, "test": 10})
    ran = await run_phase(phase, walk(160))
    assert "mc_003/wf_012/test" in ran.windows
    assert not any("path_" in name for name in ran.windows)
    tests = ran.files["mc_002/out_of_sample.json"]["metrics"]
    assert ran.files["mc_002/aggregate_results.json"]["sequence"] == "walk_forward"
    totals = [
        ran.files[f"mc_00{it}/out_of_sample.json"]["metrics"]["total_return"] for it in (1, 2, 3)
    ]
    assert tests["total_return"] == totals[1]
    assert ran.outcome.out_of_sample["total_return"] == pytest.approx(np.median(totals))
    assert ran.outcome.best_parameters is None


@pytest.mark.parametrize(("method", "name"), [("price_path", "path"), ("cost_jitter", "sim")])
async def test_several_nested_simulations_of_a_batch_have_a_folder_each(method, name) -> None:
    ran = await run_phase(nested(method), walk(160))
    assert ran.windows[0] == "mc_001/wf_001/train"
    assert f"mc_002/{name}_003/wf_002/test" in ran.windows
    assert ran.files["mc_002/aggregate_results.json"]["trials"]["total"] == 2


async def test_nested_costs_are_those_of_every_window_of_a_simulation() -> None:
    ran = await run_phase(nested("cost_jitter", 3), walk(160))
    by_simulation = [
        {
            file["lane"]["execution"]["slippage_bps"]
            for path, file in ran.files.items()
            if path.startswith(f"mc_00{it}/") and "portfolio_" in path
        }
        for it in (1, 2, 3)
    ]
    assert [len(found) for found in by_simulation] == [1, 1, 1]
    assert len(set.union(*by_simulation)) == 3


@pytest.mark.parametrize("points", [None, ({"fast": 30, "slow": 70},)])
async def test_nested_parameters_are_the_given_ones_or_those_not_searched(points) -> None:
    strategy = {"type": "sma_cross", "params": {"slow": 70}}
    phase = monte_carlo(
        "parameter_jitter",
        2,
        2,
        strategy=strategy,
        parameter_space={"fast": [2, 3]},
        options={"inner": "walk_forward"},
        walk_forward={"train": 80, "test": 40},
    )
    ran = await run_phase(phase, walk(160), points=points)
    lanes = [
        file["lane"]["strategy"]["params"]
        for path, file in ran.files.items()
        if path.startswith("mc_") and "portfolio_" in path
    ]
    assert len({lane["slow"] for lane in lanes}) == 2
    fast = {lane["fast"] for lane in lanes}
    assert fast <= {2, 3} if points is None else min(fast) >= 24


@pytest.mark.parametrize(
    ("inner", "tests"),
    [
        ("walk_forward", ["source/wf_001/test", "source/wf_002/test"]),
        ("train_test", ["source/test"]),
        ("single_pass", ["source"]),
        ("k_fold", [f"source/split_00{it}/test_1" for it in (1, 2, 3)]),
    ],
)
async def test_trades_of_a_sequence_are_those_of_its_tests(inner, tests) -> None:
    phase = nested("trade_bootstrap", options={"inner": inner}, k_fold={"folds": 3})
    ran = await run_phase(phase, walk(160))
    trades = [ran.files[f"{name}/series.json"]["lanes"][0]["trades"] for name in tests]
    assert ran.outcome.report["sample_size"] == sum(map(len, trades))
    source = ran.files["source/aggregate_results.json"]
    if inner != "single_pass":
        assert ran.outcome.best_parameters == source["best_parameters"]


async def test_a_sequence_without_tests_has_no_trades() -> None:
    with pytest.raises(DataError, match="the run has 0"):
        await run_phase(nested("trade_shuffle", options={"inner": "parameter_sweep"}), walk(100))


async def test_an_inner_sequence_that_finds_nothing_fails_its_simulation() -> None:
    with pytest.raises(WindowError, match="all 3 simulations failed; the first: nothing was found"):
        await run_phase(nested("price_path", min_trades=1000), walk(160))


async def test_simulations_may_judge_the_points_of_a_sweep() -> None:
    phase = make_phase(
        "parameter_sweep",
        **GRID,
        parameter_sweep={"inner": "monte_carlo"},
        monte_carlo={"method": "return_block_bootstrap", "batches": 1, "simulations": 5},
        objective_function={"name": "total_return"},
    )
    ran = await run_phase(phase, walk(160))
    medians = [
        ran.files[f"trial_00{it}/aggregate_results.json"]["out_of_sample"]["total_return"]
        for it in (1, 2, 3, 4)
    ]
    assert ran.outcome.best_objective == max(medians)


@pytest.mark.parametrize("step", ["run", "results"])
async def test_a_batch_whose_window_fails_counts_as_failed_simulations(step, monkeypatch) -> None:
    kept = getattr(SimulationContainer, step)

    def failing(container):
        if container.config.first == 1:
            raise WindowError("broken on purpose")
        return kept(container)

    monkeypatch.setattr(SimulationContainer, step, failing)
    ran = await run_phase(monte_carlo("trade_bootstrap", 3, 9), walk(120))
    assert ran.outcome.trials == TrialCounts(total=9, completed=6, failed=3)
    assert ran.files["mc_001/phase_summary.json"]["status"] == "failed"


async def test_paths_may_be_drawn_from_almost_nothing() -> None:
    ran = await run_phase(
        monte_carlo("price_path", 1, 2, strategy={"type": "buy_and_hold"}), walk(2)
    )
    assert ran.outcome.report["block_length"] == 1.0


# -- lifecycle ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["trade_bootstrap", "price_path", "cost_jitter"])
async def test_the_containers_of_a_batch_are_gone_before_those_of_the_next(
    method, monkeypatch
) -> None:
    made: WeakSet[Container] = WeakSet()
    start = Container.start

    async def noted(container: Container) -> None:
        made.add(container)
        await start(container)

    class Gone(harness.Watch):
        def opened(self, window) -> None:
            alive = [it for it in made if it.state is not ContainerState.DESTROYED]
            assert alive == []
            super().opened(window)

    monkeypatch.setattr(Container, "start", noted)
    monkeypatch.setattr(harness, "Watch", Gone)
    ran = await run_phase(monte_carlo(method, 3, 6), walk(100))
    assert len(ran.windows) >= 3


class Breaks(Strategy):
    """Raises at one of its values."""

    number: int = 3

    def targets(self, bars, features):
        if self.number == 2:
            raise RuntimeError("broken on purpose")
        return np.where(np.arange(len(bars)) % 4 < 2, 1.0, 0.0)

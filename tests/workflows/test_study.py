"""Studies of several phases: order, what they hand to one another, and what happens on failure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import anyio
import msgspec
import pytest

from admf.containers.strategies.base import Strategy
from admf.engine.errors import ConfigError
from admf.sequences.outcome import Outcome
from admf.sequences.phase import PhaseConfig
from admf.sequences.settings import PhaseOptions
from admf.workflows.experiment import Experiment
from admf.workflows.outcome import RunResult
from admf.workflows.plugins import installed_plugins
from admf.workflows.runner import Runner
from tests.sequences.harness import walk

pytestmark = pytest.mark.anyio

BASE: Mapping[str, object] = {
    "workflow": "study",
    "data": {"source": "frames", "symbols": ["X"]},
    "strategy": {"type": "sma_cross"},
    "parameter_space": {"fast": [2, 3], "slow": [8, 13]},
    "results_storage": "memory",
}
SEARCH = {"sequence": "train_test", "output": ["best_parameters", "held_out", "best"]}
VALIDATION = {
    "sequence": "single_pass",
    "inputs": {
        "parameters": "{search.best_parameters}",
        "data_range": "{search.held_out}",
    },
    "output": ["metrics"],
}


def runner(tmp_path: Path, *, bars: int = 200, **plugins: object) -> Runner:
    registry = installed_plugins()
    for name, plugin in plugins.items():
        registry.register("workflows", name, plugin)
    return Runner(results_root=tmp_path, registry=registry, frames={"X": walk(bars)})


async def test_a_phase_uses_what_the_one_before_it_has_found(tmp_path: Path) -> None:
    experiment = {**BASE, "phases": {"search": SEARCH, "validation": VALIDATION}}
    result = await runner(tmp_path).run(experiment)
    assert result.status == "completed"
    search, validation = result.phases["search"], result.phases["validation"]
    assert validation.phase_results is not None
    document = validation.phase_results.files["containers/portfolio_001_results.json"]
    found = search.output["best_parameters"]
    assert document["lane"]["strategy"]["params"] == found
    assert document["data"]["start"] == search.output["held_out"]["start"]
    assert document["data"]["end"] == search.output["held_out"]["end"]
    assert document["data"]["bars"] == 40
    assert search.phase_results is not None
    test = search.phase_results.files["test/containers/portfolio_001_results.json"]
    assert document["metrics"] == test["metrics"]


async def test_any_setting_may_come_from_a_phase_before(tmp_path: Path) -> None:
    validation = {
        **VALIDATION,
        "inputs": {
            "parameters": "{search.best_parameters}",
            "portfolio.initial_capital": "{search.best.final_equity}",
        },
    }
    experiment = {**BASE, "phases": {"search": SEARCH, "validation": validation}}
    result = await runner(tmp_path).run(experiment)
    metrics = result.phases["validation"].output["metrics"]
    assert metrics["initial_capital"] == result.phases["search"].output["best"]["final_equity"]


@pytest.mark.parametrize(
    ("condition", "runs"),
    [
        ("search.best.sharpe_ratio > -100", True),
        ("search.best.sharpe_ratio > 100", False),
        ("search.success and search.trials.failed == 0", True),
    ],
)
async def test_a_condition_decides_whether_a_phase_runs(tmp_path: Path, condition, runs) -> None:
    phases = {
        "search": SEARCH,
        "validation": {**VALIDATION, "when": condition},
        "after": {"sequence": "single_pass", "depends_on": ["validation"]},
    }
    result = await runner(tmp_path).run({**BASE, "phases": phases})
    assert result.status == "completed"
    for name in ("validation", "after"):
        phase = result.phases[name]
        assert bool(phase.skipped) is not runs
        assert (phase.summary is not None) is runs
    if not runs:
        assert condition in result.phases["validation"].skipped
        assert "'validation'" in result.phases["after"].skipped


async def test_what_does_not_depend_on_a_failed_phase_still_runs(tmp_path: Path) -> None:
    phases = {
        "search": {**SEARCH, "min_trades": 10_000},
        "validation": VALIDATION,
        "alone": {"sequence": "single_pass", "strategy": {"type": "buy_and_hold"}},
    }
    result = await runner(tmp_path).run({**BASE, "phases": phases})
    assert result.status == "failed"
    assert result.some_failed
    search = result.phases["search"]
    assert not search.success
    (error,) = search.errors
    assert error.startswith("no parameter set is eligible: of 4 trials 0 failed")
    assert "4 break a constraint" in error
    assert search.phase_results is not None
    assert "train/phase_summary.json" in search.phase_results.files
    assert result.phases["validation"].skipped == "phase 'search', which it depends on, failed"
    assert not result.phases["validation"].success
    assert result.phases["alone"].success


async def test_a_search_without_result_says_why_its_first_trial_failed(tmp_path: Path) -> None:
    phases = {"search": {**SEARCH, "parameter_space": {"fast": [30, 40], "slow": [8, 13]}}}
    result = await runner(tmp_path).run({**BASE, "phases": phases})
    (error,) = result.phases["search"].errors
    assert "of 4 trials 4 failed" in error
    assert "fast must be less than slow, got fast=30 and slow=8" in error


class Meets:
    """A sequence that ends only once two of its kind run at the same time."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self._both = anyio.Event()

    async def run(self, stretch) -> Outcome:
        self.order.append(stretch.phase.name)
        if len(self.order) == 2:
            self._both.set()
        await self._both.wait()
        return await stretch.run_sequence("single_pass")


async def test_phases_that_do_not_depend_on_each_other_run_side_by_side(tmp_path: Path) -> None:
    phase = {"sequence": "meets", "strategy": {"type": "buy_and_hold"}, "parameter_space": {}}
    phases = {"one": phase, "two": phase, "three": {**phase, "depends_on": ["one"]}}
    host, meets = runner(tmp_path), Meets()
    host.registry.register("sequences", "meets", meets)
    with anyio.fail_after(30):
        result = await host.run({**BASE, "phases": phases})
    assert result.status == "completed"
    assert set(meets.order[:2]) == {"one", "two"}
    assert meets.order[2:] == ["three"]


async def test_phases_on_disk_and_in_memory_live_side_by_side(tmp_path: Path) -> None:
    phases = {"search": {**SEARCH, "results_storage": "disk"}, "validation": VALIDATION}
    result = await runner(tmp_path).run({**BASE, "phases": phases})
    search, validation = result.phases["search"], result.phases["validation"]
    assert search.results_saved
    assert search.phase_results is None
    assert search.results_path == str(tmp_path / "study" / "search")
    assert (tmp_path / "study" / "search" / "trials.json").is_file()
    assert not validation.results_saved
    assert validation.phase_results is not None
    assert not (tmp_path / "study" / "validation").exists()
    record = json.loads((tmp_path / "study" / "run.json").read_text())
    assert record["results"] == {"search": True, "validation": True}


async def test_memory_gives_aggregate_metrics_trades_and_equity_curves(tmp_path: Path) -> None:
    phases = {
        "backtest": {
            "sequence": "single_pass",
            "strategy": {"type": "sma_cross", "params": {"fast": 2, "slow": 8}},
            "event_tracing": ["POSITION_CLOSE", "PORTFOLIO_UPDATE"],
        }
    }
    result = await runner(tmp_path).run({**BASE, "phases": phases})
    data = result.phases["backtest"].phase_results
    assert data is not None
    document = data.files["containers/portfolio_001_results.json"]
    assert data.aggregate_metrics["portfolio_count"] == 1
    assert data.aggregate_metrics["best_sharpe_ratio"] == document["metrics"]["sharpe_ratio"]
    assert len(data.trades) == document["metrics"]["trade_count"]
    assert data.equity_curves == {"containers/portfolio_001_results.json": document["equity_curve"]}


async def test_a_window_that_does_not_fit_is_found_before_anything_is_written(
    tmp_path: Path,
) -> None:
    phases = {"walk": {"sequence": "walk_forward", "walk_forward": {"train": 300, "test": 50}}}
    experiment = {**BASE, "phases": phases, "results_storage": "disk"}
    with pytest.raises(Exception, match="walk_forward"):
        await runner(tmp_path / "results").run(experiment)
    assert not (tmp_path / "results").exists()


class Narrowing:
    """Searches around the best value, with half the distance each time."""

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:
        return {
            "search": PhaseConfig(
                name="search", sequence="parameter_sweep", output=("best_parameters",)
            )
        }

    def should_continue(self, result: RunResult, iteration: int) -> bool:
        return iteration < 3

    def modify_config_for_next(
        self, config: Experiment, result: RunResult, iteration: int
    ) -> Experiment:
        best = list(result.phases.values())[-1].output["best_parameters"]["slow"]
        step = 8 // 2**iteration
        values = tuple(max(4, best + shift) for shift in (-step, 0, step))
        return msgspec.structs.replace(config, parameter_space={"fast": (2,), "slow": values})


async def test_a_workflow_may_run_again_with_what_it_has_found(tmp_path: Path) -> None:
    experiment = {
        **BASE,
        "workflow": "narrowing",
        "parameter_space": {"fast": [2], "slow": [8, 16, 24]},
        "results_storage": "disk",
    }
    result = await runner(tmp_path, narrowing=Narrowing).run(experiment)
    assert list(result.phases) == ["search", "iteration_002/search", "iteration_003/search"]
    spaces = []
    for prefix in ("", "iteration_002/", "iteration_003/"):
        file = tmp_path / "narrowing" / f"{prefix}search" / "trials.json"
        trials = json.loads(file.read_text())["trials"]
        spaces.append([trial["parameters"]["slow"] for trial in trials])
    best = result.phases["search"].output["best_parameters"]["slow"]
    assert spaces[0] == [8, 16, 24]
    assert spaces[1] == [best - 4, best, best + 4]
    record = json.loads((tmp_path / "narrowing" / "run.json").read_text())
    assert list(record["phases"]) == list(result.phases)


async def test_iterations_have_a_hard_cap(tmp_path: Path) -> None:
    experiment = {
        **BASE,
        "workflow": "narrowing",
        "parameter_space": {"fast": [2], "slow": [8, 16, 24]},
        "max_iterations": 2,
    }
    result = await runner(tmp_path, narrowing=Narrowing).run(experiment)
    assert list(result.phases) == ["search", "iteration_002/search"]


class Branching:
    """Goes on with two strategies once the first has run."""

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:
        return {
            "backtest": PhaseConfig(
                name="backtest", sequence="single_pass", config=PhaseOptions(), output=("metrics",)
            )
        }

    def get_branches(self, result: RunResult) -> Mapping[str, Experiment]:
        assert result.phases["backtest"].success
        base = {**BASE, "workflow": "branching", "parameter_space": {}}
        return {
            name: msgspec.convert({**base, "strategy": {"type": name}}, Experiment)
            for name in ("buy_and_hold", "donchian_breakout")
        }


async def test_a_workflow_may_branch_off(tmp_path: Path) -> None:
    experiment = {**BASE, "workflow": "branching", "parameter_space": {}}
    result = await runner(tmp_path, branching=Branching).run(experiment)
    assert list(result.phases) == [
        "backtest",
        "branch_buy_and_hold/backtest",
        "branch_donchian_breakout/backtest",
    ]
    capped = await runner(tmp_path, branching=Branching).run({**experiment, "max_iterations": 2})
    assert list(capped.phases) == ["backtest", "branch_buy_and_hold/backtest"]


async def test_an_input_that_has_no_value_fails_its_phase_alone(tmp_path: Path) -> None:
    phases = {
        "sweep": {"sequence": "parameter_sweep"},
        "validation": {
            "sequence": "single_pass",
            "inputs": {"data_range": "{sweep.held_out}", "parameters": "{sweep.best_parameters}"},
        },
    }
    result = await runner(tmp_path).run({**BASE, "phases": phases})
    assert result.phases["sweep"].success
    validation = result.phases["validation"]
    assert not validation.success
    assert validation.summary is None
    (error,) = validation.errors
    assert error.startswith("data_range: {sweep.held_out} has no value")


async def test_data_that_is_too_short_for_an_inner_sequence_fails_its_phase(tmp_path: Path) -> None:
    phases = {
        "outer": {
            "sequence": "train_test",
            "train_test": {"inner": "walk_forward"},
            "walk_forward": {"train": 190, "test": 5},
        },
    }
    result = await runner(tmp_path).run({**BASE, "phases": phases})
    (error,) = result.phases["outer"].errors
    assert "walk_forward: no window fits" in error


class Breaks(Strategy):
    def targets(self, bars, features):
        raise RuntimeError("broken on purpose")


async def test_a_phase_whose_every_lane_fails_says_so(tmp_path: Path) -> None:
    host = runner(tmp_path)
    host.registry.register("strategies", "breaks", Breaks)
    phases = {
        "backtest": {"sequence": "single_pass", "strategy": {"type": "breaks"}},
        "after": {"sequence": "single_pass", "depends_on": ["backtest"]},
    }
    result = await host.run({**BASE, "parameter_space": {}, "phases": phases})
    assert not result.phases["backtest"].success
    assert "broken on purpose" in result.phases["backtest"].errors[0]
    assert result.phases["after"].skipped


async def test_a_circle_of_phases_is_a_config_error(tmp_path: Path) -> None:
    phases = {
        "one": {"sequence": "single_pass", "depends_on": ["two"]},
        "two": {"sequence": "single_pass", "depends_on": ["one"]},
    }
    with pytest.raises(ConfigError, match="circle"):
        await runner(tmp_path).run({**BASE, "phases": phases})

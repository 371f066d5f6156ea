"""A workflow and a sequence of an application's own, with more than one lane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from admf.engine.registry import Registry
from admf.sequences.outcome import Outcome
from admf.sequences.phase import PhaseConfig
from admf.sequences.search import space_of
from admf.sequences.settings import PhaseOptions
from admf.sequences.stretch import Candidate, Stretch
from admf.workflows import runner
from admf.workflows.experiment import Experiment
from admf.workflows.plugins import installed_plugins


class SideBySide:
    """Runs every parameter set in the phase's one window."""

    async def run(self, stretch: Stretch) -> Outcome:
        points = space_of(stretch.settings).grid()
        await stretch.run_lanes("", [Candidate(it, point) for it, point in enumerate(points, 1)])
        return Outcome()


class Sweep:
    """Runs the strategy once for each value of ``fast`` from 2 to 24."""

    space: ClassVar[Mapping[str, tuple[int, ...]]] = {"fast": tuple(range(2, 25)), "slow": (30,)}

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:
        settings = PhaseOptions(parameter_space=dict(self.space))
        return {"sweep": PhaseConfig(name="sweep", sequence="side_by_side", config=settings)}


class Periods(Sweep):
    """Runs the user's strategy with each period from 1 to 23."""

    space: ClassVar[Mapping[str, tuple[int, ...]]] = {"period": tuple(range(1, 24))}


SWEEP = ("--set", "workflow=sweep", "--set", "strategy.params={}")


@pytest.fixture(autouse=True)
def _workflows(monkeypatch):
    def with_sweep() -> Registry:
        registry = installed_plugins()
        registry.register("sequences", "side_by_side", SideBySide)
        registry.register("workflows", "sweep", Sweep)
        registry.register("workflows", "periods", Periods)
        return registry

    monkeypatch.setattr(runner, "installed_plugins", with_sweep)


@pytest.mark.parametrize("storage", ["disk", "memory"])
def test_each_portfolio_has_a_row_up_to_a_limit(admf, project, storage):
    words = ["--quiet", "--set", f"results_storage={storage}"]
    outcome = admf("run", "experiment.yaml", *SWEEP, *words)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert "sweep, 23 portfolios" in lines
    rows = [line.split() for line in lines if line.startswith("portfolio_")]
    assert len(rows) == 20
    assert [row[:2] for row in rows] == [
        [f"portfolio_{number:03}", f"fast={number + 1}"] for number in range(1, 21)
    ]
    assert "and 3 more" in lines


def test_what_all_portfolios_have_in_common_is_told_once(admf, project):
    out = admf("run", "experiment.yaml", "--quiet", *SWEEP).out
    assert "all with slow=30 mode=long_flat signal=cross" in out.splitlines()
    assert out.count("slow=30") == 1


def test_what_would_run_counts_the_parameter_sets(admf, project):
    out = admf("validate", "experiment.yaml", *SWEEP).out
    assert "sma_cross with 23 parameter sets on GOOG" in out


def test_results_show_the_table_and_the_first_portfolios(admf, project):
    assert admf("run", "experiment.yaml", "--quiet", *SWEEP).code == 0
    out = admf("results", "show", "results/study").out
    assert "sweep, 23 portfolios" in out
    assert out.count("Ulcer index") == 10


def test_a_lane_that_fails_among_others_completes_the_run_with_exit_code_5(
    admf, project, use_strategy
):
    use_strategy("if self.period == 7: raise ValueError('seven')")
    outcome = admf("run", "experiment.yaml", "--json", "--quiet", "--set", "workflow=periods")
    assert outcome.code == 5
    assert outcome.document["status"] == "completed"
    assert outcome.document["phases"]["sweep"]["summary"]["failed"] == 1
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: sweep: ")
    assert "ValueError: seven" in line
    assert "period=7" in line

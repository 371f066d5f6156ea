"""A workflow of an application's own, with more than one lane."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from admf.engine.registry import Registry
from admf.sequences.phase import PhaseConfig
from admf.workflows import runner
from admf.workflows.experiment import Experiment
from admf.workflows.plugins import installed_plugins
from admf.workflows.simple_backtest import SimpleBacktest


class Sweep:
    """Runs the strategy once for each value of ``fast`` from 2 to 24."""

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:
        phase = SimpleBacktest().get_phases(config)["backtest"]
        (lane,) = phase.config.lanes
        lanes = [
            msgspec.structs.replace(
                lane,
                lane_id=f"{number:03}",
                strategy=msgspec.structs.replace(
                    lane.strategy, params={**lane.strategy.params, **self.params(number)}
                ),
            )
            for number in range(1, 24)
        ]
        config = msgspec.structs.replace(phase.config, lanes=tuple(lanes))
        return {"sweep": msgspec.structs.replace(phase, name="sweep", config=config)}

    def params(self, number: int) -> dict[str, object]:
        return {"fast": number + 1, "slow": 30}


class Periods(Sweep):
    """Runs the user's strategy with each period from 1 to 23."""

    def params(self, number: int) -> dict[str, object]:
        return {"period": number}


@pytest.fixture(autouse=True)
def _workflows(monkeypatch):
    def with_sweep() -> Registry:
        registry = installed_plugins()
        registry.register("workflows", "sweep", Sweep)
        registry.register("workflows", "periods", Periods)
        return registry

    monkeypatch.setattr(runner, "installed_plugins", with_sweep)


def test_each_portfolio_has_a_row_up_to_a_limit(admf, project):
    outcome = admf("run", "experiment.yaml", "--quiet", "--set", "workflow=sweep")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert "sweep, 23 portfolios" in lines
    rows = [line.split() for line in lines if line.startswith("portfolio_")]
    assert len(rows) == 20
    assert rows[0][:3] == ["portfolio_001", "fast=2", "slow=30"]
    assert "and 3 more" in lines


def test_what_would_run_counts_the_parameter_sets(admf, project):
    out = admf("validate", "experiment.yaml", "--set", "workflow=sweep").out
    assert "sma_cross with 23 parameter sets on GOOG" in out


def test_results_show_the_table_and_the_first_portfolios(admf, project):
    assert admf("run", "experiment.yaml", "--quiet", "--set", "workflow=sweep").code == 0
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
    assert "ValueError: seven" in line
    assert "period=7" in line

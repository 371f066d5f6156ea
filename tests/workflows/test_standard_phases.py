from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from admf.sequences.config import TrainTestConfig
from admf.sequences.phase import PhaseConfig
from admf.sequences.settings import PhaseOptions
from admf.workflows.experiment import Experiment
from admf.workflows.plugins import installed_plugins
from admf.workflows.references import parse_reference, result_fault
from admf.workflows.standard_phases import StandardPhaseConfigs

MAKERS = [
    StandardPhaseConfigs.optimization_phase,
    StandardPhaseConfigs.validation_phase,
    StandardPhaseConfigs.monte_carlo_phase,
]
TRADES = ("POSITION_OPEN", "POSITION_CLOSE", "FILL")


def test_an_optimization_phase_has_the_defaults_of_the_design() -> None:
    phase = StandardPhaseConfigs.optimization_phase("search")

    assert (phase.name, phase.sequence, phase.topology) == ("search", "train_test", "backtest")
    assert phase.config.results_storage == "disk"
    assert phase.config.event_tracing == TRADES
    assert phase.config.retention_policy == "trade_complete"
    assert phase.config.train_test == TrainTestConfig(data_split=0.8)


def test_a_validation_phase_has_the_defaults_of_the_design() -> None:
    phase = StandardPhaseConfigs.validation_phase("check")

    assert (phase.name, phase.sequence, phase.topology) == ("check", "single_pass", "backtest")
    assert phase.config.results_storage == "memory"
    assert phase.config.event_tracing == (*TRADES, "PORTFOLIO_UPDATE")
    assert phase.config.retention_policy == "sliding_window"
    assert phase.config.sliding_window_size == 1000


@pytest.mark.parametrize("make", MAKERS)
def test_fields_and_settings_can_be_overridden(make: Callable[..., PhaseConfig]) -> None:
    phase = make("x", seed=7, results_storage="memory", depends_on=("y",), description="Mine")

    assert (phase.config.seed, phase.config.results_storage) == (7, "memory")
    assert (phase.depends_on, phase.description) == (("y",), "Mine")
    assert phase.config.event_tracing == make("x").config.event_tracing


def test_the_whole_config_can_be_replaced() -> None:
    phase = StandardPhaseConfigs.validation_phase("x", config=PhaseOptions(seed=1), block_size=2)

    assert phase.config == PhaseOptions(seed=1, block_size=2)


@pytest.mark.parametrize("make", MAKERS)
def test_an_unknown_override_is_refused(make: Callable[..., PhaseConfig]) -> None:
    with pytest.raises(TypeError, match=r"no field or setting 'sedd' \(did you mean 'seed'\?\)"):
        make("x", sedd=7)


@pytest.mark.parametrize("name", installed_plugins().names("workflows"))
def test_installed_workflows_hang_together(name: str) -> None:
    plugin: Any = installed_plugins().get("workflows", name)
    experiment = Experiment(workflow=name, data={"symbols": ["A"]})  # type: ignore[arg-type]
    phases = plugin().get_phases(experiment)

    for key, phase in phases.items():
        assert key == phase.name
        assert phase.description
        assert set(phase.depends_on) <= set(phases)
        assert all(result_fault(tuple(it.split("."))) == "" for it in phase.output)
        for text in phase.input.values():
            reference = parse_reference(text)
            assert reference.phase in phases
            assert result_fault(reference.path) == ""

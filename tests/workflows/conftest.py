"""Fixtures of the experiment file's tests."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from admf.engine.errors import ConfigError, Problem
from admf.workflows.declared import DeclaredWorkflow
from admf.workflows.experiment import Experiment
from admf.workflows.loading import LoadedExperiment, load_experiment
from admf.workflows.research_pipeline import ResearchPipeline
from admf.workflows.robustness import Robustness
from admf.workflows.simple_backtest import SimpleBacktest
from admf.workflows.train_test_optimization import TrainTestOptimization
from admf.workflows.vocabulary import ParameterType, Vocabulary
from admf.workflows.walk_forward_optimization import WalkForwardOptimization
from admf.workflows.workflow import Workflow

PARAMETERS = {"sma_cross": {"fast": int, "slow": int, "mode": str}, "buy_and_hold": {}}


def _check_strategy(type_: str, params: Mapping[str, object], folder: Path | None) -> None:
    """Judge a strategy as the real check does, over two strategies known by heart."""
    if type_ not in PARAMETERS:
        near = difflib.get_close_matches(type_, PARAMETERS)
        raise ConfigError([Problem(f"unknown strategy, near {near}", field="strategy.type")])
    known = PARAMETERS[type_]
    problems = [
        Problem(
            "unknown parameter" if name not in known else "wrong type",
            field=f"strategy.params.{name}",
        )
        for name, value in params.items()
        if name not in known or not isinstance(value, known[name])
    ]
    if problems:
        raise ConfigError(problems)


def _strategy_parameters(type_: str, folder: Path | None) -> dict[str, ParameterType]:
    _check_strategy(type_, {}, folder)
    return {name: ParameterType(cls, cls.__name__) for name, cls in PARAMETERS[type_].items()}


def _workflow(experiment: Experiment, folder: Path | None = None) -> Workflow:
    """Return a workflow as the real lookup does, but for those of the user's own modules."""
    if experiment.phases:
        return DeclaredWorkflow()
    if experiment.workflow not in WORKFLOWS:
        raise ConfigError([Problem("there is no such workflow", field="workflow")])
    return WORKFLOWS[experiment.workflow]()


WORKFLOWS: Mapping[str, Callable[[], Workflow]] = {
    "research_pipeline": ResearchPipeline,
    "robustness": Robustness,
    "simple_backtest": SimpleBacktest,
    "train_test_optimization": TrainTestOptimization,
    "walk_forward_optimization": WalkForwardOptimization,
}
SEQUENCES = [
    "single_pass",
    "parameter_sweep",
    "train_test",
    "walk_forward",
    "k_fold",
    "monte_carlo",
]


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary(
        workflows=list(WORKFLOWS),
        sequences=SEQUENCES,
        topologies=["backtest"],
        workflow=_workflow,
        strategy_parameters=_strategy_parameters,
        events=["BAR", "SIGNAL", "FILL", "POSITION_OPEN", "POSITION_CLOSE", "PORTFOLIO_UPDATE"],
        retention_policies=["trade_complete", "sliding_window", "minimal"],
        check_strategy=_check_strategy,
    )


Load = Callable[..., LoadedExperiment]
Mistakes = Callable[..., list[str]]


@pytest.fixture
def load(vocabulary: Vocabulary, tmp_path: Path) -> Load:
    """Write a text as an experiment file and load it."""

    def load(text: str | bytes, *overrides: str) -> LoadedExperiment:
        file = tmp_path / "experiment.yaml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_experiment(file, overrides, vocabulary=vocabulary)

    return load


@pytest.fixture
def mistakes(load: Load, tmp_path: Path) -> Mistakes:
    """Return the problems of a text as ``line:column: field: message``."""

    def mistakes(text: str | bytes, *overrides: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, *overrides)
        assert str(caught.value) == "\n".join(map(str, caught.value.problems))
        file = str(tmp_path / "experiment.yaml")
        return [line.removeprefix(f"{file}:").strip() for line in str(caught.value).splitlines()]

    return mistakes

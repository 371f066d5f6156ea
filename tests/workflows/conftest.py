"""Fixtures of the experiment file's tests."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from admf.engine.errors import ConfigError, Problem
from admf.workflows.loading import LoadedExperiment, load_experiment
from admf.workflows.vocabulary import Vocabulary

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


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary(
        workflows=["simple_backtest"],
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

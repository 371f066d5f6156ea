from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from admf.containers.config import DataConfig
from admf.containers.events import MARKET_EVENTS
from admf.engine.errors import ConfigError, Problem
from admf.engine.events import ENGINE_EVENTS, EventRegistry
from admf.engine.registry import Registry
from admf.sequences.phase import PhaseConfig
from admf.workflows.experiment import DeclaredPhase, Experiment
from admf.workflows.loading import LoadedExperiment, experiment_from_mapping, load_experiment
from admf.workflows.plugins import workflow_of
from admf.workflows.setting_types import fits
from admf.workflows.simple_backtest import SimpleBacktest
from admf.workflows.vocabulary import Vocabulary, vocabulary_of

Refusal = Callable[..., str]

STRATEGY = """\
import msgspec


class Fade(msgspec.Struct):
    lookback: int = 5

    def on_bar(self, bar, ctx):
        pass
"""


@pytest.fixture
def vocabulary() -> Vocabulary:
    registry = Registry()
    registry.load_entry_points()
    registry.register("retention", "everything", lambda config: None)
    return vocabulary_of(registry, EventRegistry((*ENGINE_EVENTS, *MARKET_EVENTS)))


def load(vocabulary: Vocabulary, folder: Path, strategy: str) -> LoadedExperiment:
    file = folder / "x.yaml"
    head = "workflow: simple_backtest\ndata: {source: sample, symbols: [GOOG]}\n"
    file.write_text(f"{head}strategy: {strategy}\n")
    return load_experiment(file, vocabulary=vocabulary)


def refusal(vocabulary: Vocabulary, folder: Path, strategy: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(vocabulary, folder, strategy)
    return str(caught.value).replace(f"{folder}/", "")


def test_the_vocabulary_is_what_is_registered(vocabulary: Vocabulary) -> None:
    assert "simple_backtest" in vocabulary.workflows
    assert "single_pass" in vocabulary.sequences
    assert "backtest" in vocabulary.topologies
    assert {"WINDOW_START", "BAR", "PORTFOLIO_UPDATE"} <= set(vocabulary.events)
    assert list(vocabulary.retention_policies) == [
        "trade_complete",
        "sliding_window",
        "minimal",
        "everything",
    ]


def test_a_built_in_strategy_is_known_with_its_parameters(
    vocabulary: Vocabulary, tmp_path: Path
) -> None:
    loaded = load(vocabulary, tmp_path, "{type: sma_cross, params: {fast: 10, slow: 50}}")

    assert loaded.experiment.strategy.params == {"fast": 10, "slow": 50}


@pytest.mark.parametrize(
    ("strategy", "place", "hints"),
    [
        ("{type: sma_crss}", "x.yaml:3:18: strategy.type: ", ["'sma_crss'", "'sma_cross'"]),
        (
            "{type: sma_cross, params: {fsat: 10}}",
            "x.yaml:3:44: strategy.params.fsat: ",
            ["did you mean 'fast'?"],
        ),
        (
            "{type: sma_cross, params: {fast: ten}}",
            "x.yaml:3:44: strategy.params.fast: ",
            ["must be int", "'ten'"],
        ),
        (
            "{type: sma_cross, params: {fast: 50, slow: 10}}",
            "x.yaml:3:44: strategy.params.fast: ",
            ["fast must be less than slow"],
        ),
        ("{type: 'nowhere:Fade'}", "x.yaml:3:18: strategy.type: ", ["no module 'nowhere'"]),
    ],
)
def test_a_strategy_that_does_not_fit_is_refused_at_its_place(
    vocabulary: Vocabulary, tmp_path: Path, strategy: str, place: str, hints: list[str]
) -> None:
    message = refusal(vocabulary, tmp_path, strategy)

    assert message.startswith(place)
    assert all(hint in message for hint in hints)


def test_two_wrong_parameters_are_reported_together(vocabulary: Vocabulary, tmp_path: Path) -> None:
    message = refusal(vocabulary, tmp_path, "{type: sma_cross, params: {slow: x, fsat: 1}}")

    assert [line.split(" ")[0] for line in message.splitlines()] == ["x.yaml:3:44:", "x.yaml:3:53:"]


def test_a_strategy_of_the_users_is_found_beside_the_file(
    vocabulary: Vocabulary, tmp_path: Path
) -> None:
    (tmp_path / "fading_for_this_test.py").write_text(STRATEGY)
    name = "fading_for_this_test:Fade"

    assert load(vocabulary, tmp_path, f"{{type: '{name}'}}").experiment.strategy.type == name
    assert "strategy.params.lokback: " in refusal(
        vocabulary, tmp_path, f"{{type: '{name}', params: {{lokback: 1}}}}"
    )
    assert "did you mean 'Fade'?" in refusal(
        vocabulary, tmp_path, "{type: 'fading_for_this_test:Fad'}"
    )


def test_a_workflow_is_found_by_name_or_taken_from_the_experiment(vocabulary: Vocabulary) -> None:
    data = DataConfig(symbols=("A",))
    named = Experiment(workflow="simple_backtest", data=data)
    declared = Experiment(
        workflow="mine", data=data, phases={"a": DeclaredPhase(sequence="single_pass")}
    )

    assert list(vocabulary.workflow(named, None).get_phases(named)) == ["backtest"]
    assert list(vocabulary.workflow(declared, None).get_phases(declared)) == ["a"]


def test_an_instance_can_be_a_workflow() -> None:
    registry = Registry()
    instance = SimpleBacktest()
    registry.register("workflows", "mine", instance)
    experiment = Experiment(workflow="mine", data=DataConfig(symbols=("A",)))

    assert workflow_of(experiment, registry) is instance


def test_the_parameters_of_a_strategy_are_known_with_their_types(vocabulary: Vocabulary) -> None:
    parameters = vocabulary.strategy_parameters("sma_cross", None)

    assert {"fast", "slow", "mode"} <= set(parameters)
    assert fits(5, parameters["fast"].annotation)
    assert not fits(0, parameters["fast"].annotation)
    assert not fits("x", parameters["mode"].annotation)
    assert not parameters["fast"].required
    assert vocabulary.strategy_parameters("momentum", None)["lookback"].required
    with pytest.raises(ConfigError, match="did you mean 'sma_cross'"):
        vocabulary.strategy_parameters("sma_crss", None)


RENAMED = """\
import dataclasses

import msgspec


class Renamed(msgspec.Struct, rename={"look_back": "lookback"}):
    look_back: int = 5

    def on_bar(self, bar, ctx):
        pass


@dataclasses.dataclass
class Plain:
    lookback: int = 5

    def on_bar(self, bar, ctx):
        pass
"""


@pytest.mark.parametrize("cls", ["Renamed", "Plain"])
def test_parameters_are_known_by_their_names_in_the_file(
    vocabulary: Vocabulary, tmp_path: Path, cls: str
) -> None:
    (tmp_path / "renamed_for_this_test.py").write_text(RENAMED)
    parameters = vocabulary.strategy_parameters(f"renamed_for_this_test:{cls}", tmp_path)

    assert list(parameters) == ["lookback"]
    assert parameters["lookback"].annotation is int


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("strategy: {type: momentum}", "3:1: strategy.params.lookback: is required: "),
        (
            "strategy: {type: momentum}\nparameter_space: {risk.stop_loss_pct: [2, 5]}",
            "3:1: strategy.params.lookback: is required: ",
        ),
        (
            "strategy: {type: sma_cross}\nparameter_space: {fast: [0, 5]}",
            "4:26: parameter_space.fast.0: must be int >= 1",
        ),
    ],
)
def test_a_search_is_judged_with_the_real_strategies(
    vocabulary: Vocabulary, tmp_path: Path, lines: str, expected: str
) -> None:
    head = "workflow: train_test_optimization\ndata: {source: sample, symbols: [GOOG]}\n"
    (tmp_path / "x.yaml").write_text(head + lines)
    with pytest.raises(ConfigError) as caught:
        load_experiment(tmp_path / "x.yaml", vocabulary=vocabulary)

    assert str(caught.value).startswith(f"{tmp_path}/x.yaml:{expected}")


def test_a_required_parameter_may_be_searched(vocabulary: Vocabulary, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "workflow: train_test_optimization\ndata: {source: sample, symbols: [GOOG]}\n"
        "strategy: {type: momentum}\nparameter_space: {lookback: [20, 60]}\n"
    )

    assert load_experiment(tmp_path / "x.yaml", vocabulary=vocabulary).warnings == ()


def test_a_workflow_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    registry = Registry()
    registry.load_entry_points()
    registry.register("workflows", "mine", Refusing)
    vocabulary = vocabulary_of(registry, EventRegistry((*ENGINE_EVENTS, *MARKET_EVENTS)))
    (tmp_path / "x.yaml").write_text(
        "workflow: mine\ndata: {source: sample, symbols: [GOOG]}\nseed: 3\n"
    )
    with pytest.raises(ConfigError, match=r"x\.yaml:3:7: seed: must be even$"):
        load_experiment(tmp_path / "x.yaml", vocabulary=vocabulary)


class Refusing:
    """A workflow that does not like odd seeds."""

    def get_phases(self, config: Experiment) -> dict[str, PhaseConfig]:
        raise ConfigError([Problem("must be even", "seed")])


def test_a_mapping_finds_strategies_without_a_folder(vocabulary: Vocabulary) -> None:
    mapping = {
        "workflow": "simple_backtest",
        "data": {"source": "sample", "symbols": ["GOOG"]},
        "strategy": {"type": "sma_cross", "params": {"fast": 0}},
    }
    with pytest.raises(ConfigError, match=r"^strategy\.params\.fast: must be int"):
        experiment_from_mapping(mapping, vocabulary=vocabulary)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from admf.containers.events import MARKET_EVENTS
from admf.engine.errors import ConfigError
from admf.engine.events import ENGINE_EVENTS, EventRegistry
from admf.engine.registry import Registry
from admf.workflows.loading import LoadedExperiment, experiment_from_mapping, load_experiment
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


def test_a_mapping_finds_strategies_without_a_folder(vocabulary: Vocabulary) -> None:
    mapping = {
        "workflow": "simple_backtest",
        "data": {"source": "sample", "symbols": ["GOOG"]},
        "strategy": {"type": "sma_cross", "params": {"fast": 0}},
    }
    with pytest.raises(ConfigError, match=r"^strategy\.params\.fast: must be int"):
        experiment_from_mapping(mapping, vocabulary=vocabulary)

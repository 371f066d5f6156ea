from __future__ import annotations

import msgspec
import pytest

from admf.engine.errors import ConfigError
from admf.sequences.phase import ResolvedPhase
from admf.sequences.settings import PhaseSettings
from admf.workflows.inputs import with_inputs

SETTINGS = msgspec.convert(
    {"data": {"source": "sample", "symbols": ["GOOG"]}, "strategy": {"type": "buy_and_hold"}},
    PhaseSettings,
)
FOUND = {
    "search": {
        "best_parameters": {"fast": 5},
        "top_parameters": ({"fast": 5}, {"fast": 7}),
        "best": {"final_equity": 120_000.0, "sharpe_ratio": None},
        "held_out": {"start": "2020-01-01", "end": "2020-02-01"},
    }
}


def phase(**inputs: str) -> ResolvedPhase:
    return ResolvedPhase(
        name="validation",
        sequence="single_pass",
        topology="backtest",
        description="",
        settings=SETTINGS,
        input={name.replace("__", "."): text for name, text in inputs.items()},
    )


def test_a_phase_without_inputs_stays_as_it_is() -> None:
    assert with_inputs(phase(), FOUND) == (phase(), None)


@pytest.mark.parametrize(
    ("reference", "points"),
    [
        ("{search.best_parameters}", ({"fast": 5},)),
        ("{search.top_parameters}", ({"fast": 5}, {"fast": 7})),
    ],
)
def test_parameters_are_one_point_or_several(reference, points) -> None:
    made, found = with_inputs(phase(parameters=reference), FOUND)
    assert found == points
    assert made.settings == SETTINGS


def test_other_inputs_are_settings() -> None:
    made, points = with_inputs(
        phase(
            data_range="{search.held_out}", portfolio__initial_capital="{search.best.final_equity}"
        ),
        FOUND,
    )
    assert points is None
    assert made.settings.data_range.start == "2020-01-01"
    assert made.settings.portfolio.initial_capital == 120_000.0


def test_an_input_without_a_value_is_told_by_name() -> None:
    with pytest.raises(ConfigError, match=r"seed: \{search.best.sharpe_ratio\} has no value"):
        with_inputs(phase(seed="{search.best.sharpe_ratio}"), FOUND)


def test_a_value_that_the_setting_refuses_is_told_by_name() -> None:
    with pytest.raises(ConfigError, match=r"seed: .*int"):
        with_inputs(phase(seed="{search.held_out.start}"), FOUND)

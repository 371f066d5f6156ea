"""What is probably not meant, in studies of several phases."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from admf.workflows.loading import LoadedExperiment

Load = Callable[..., LoadedExperiment]

HEAD = "workflow: train_test_optimization\ndata: {source: sample, symbols: [SPY]}\n"


def warnings(load: Load, text: str) -> list[str]:
    return [str(it).partition("experiment.yaml:")[2] for it in load(HEAD + text).warnings]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "phase_overrides: {validation: {event_tracing: [FIL, FILL]}}",
            "3:48: phase_overrides.validation.event_tracing.0: unknown name 'FIL' (did you mean ",
        ),
        (
            "phase_overrides: {validation: {risk: {stop_loss_pct: 0.05}}}",
            "3:54: phase_overrides.validation.risk.stop_loss_pct: 0.05 means 0.05 %; for 5 % write",
        ),
        (
            "parameter_space: {risk.stop_loss_pct: [0.02, 5]}",
            "3:40: parameter_space.risk.stop_loss_pct.0: 0.02 means 0.02 %; for 2 % write 2",
        ),
        (
            (
                "phase_overrides: {validation: {risk: {max_leverage: 0.5}}}\n"
                "portfolio: {sizing: {value: 0.7}}"
            ),
            "4:29: portfolio.sizing.value: 0.7 times equity is more than risk.max_leverage, 0.5",
        ),
        (
            "phase_overrides: {parameter_search: {event_tracing: [FILL]}}",
            "3:53: phase_overrides.parameter_search.event_tracing: without POSITION_CLOSE, ",
        ),
        (
            "phase_overrides: {validation: {data: {source: sample, path: x, symbols: [A]}}}",
            "3:61: phase_overrides.validation.data.path: is not used with source 'sample'",
        ),
        (
            "walk_forward: {train: 500}",
            "3:1: walk_forward: is not used: no phase runs walk_forward",
        ),
        (
            "phase_overrides: {validation: {train_test: {gap: 5}}}",
            "3:32: phase_overrides.validation.train_test: is not used: validation does not run tra",
        ),
        (
            "phase_overrides: {validation: {parameter_space: {fast: [1, 2]}}}",
            "3:32: phase_overrides.validation.parameter_space: is not used: validation searches",
        ),
        (
            "strategy: {type: buy_and_hold}",
            "3:11: strategy: there is only one parameter set for parameter_search to try; give",
        ),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(load: Load, text: str, expected: str) -> None:
    (warning,) = warnings(load, text)

    assert expected in warning


@pytest.mark.parametrize(
    "text",
    [
        "event_tracing: [FILL]\nretention_policy: sliding_window",
        "strict: true\nevent_tracing: [SIGNAL]",
        "train_test: {gap: 5, inner: k_fold}\nk_fold: {folds: 6}",
        "train_test: {inner: k_fold}\nk_fold: {method: combinatorial_purged, folds: 6}",
        "phase_overrides: {parameter_search: {train_test: {gap: 5}}}",
        "phase_overrides: {validation: {single_pass: {inner: k_fold}, k_fold: {folds: 6}}}",
    ],
)
def test_what_is_used_gives_no_warning(load: Load, text: str) -> None:
    assert warnings(load, text) == []


def test_a_parameter_space_without_a_search_is_warned_about(load: Load) -> None:
    text = (
        "workflow: simple_backtest\ndata: {source: sample, symbols: [SPY]}\n"
        "strategy: {type: sma_cross}\nparameter_space: {fast: [1, 2]}\n"
    )
    (warning,) = load(text).warnings

    assert str(warning).endswith("4:1: parameter_space: is not used: no phase searches")


def test_a_phase_that_searches_nothing_may_have_another_strategy(load: Load) -> None:
    text = "parameter_space: {fast: [1, 2]}\nphase_overrides: {validation: {strategy: {type: "

    assert warnings(load, text + "buy_and_hold}}}") == []


def test_one_setting_of_many_phases_is_warned_about_once(load: Load) -> None:
    assert len(warnings(load, "event_tracing: [FILL]\nretention_policy: minimal")) == 1


def test_a_search_inside_another_sequence_needs_something_to_search(load: Load) -> None:
    text = (
        "workflow: mine\ndata: {source: sample, symbols: [SPY]}\nstrategy: {type: buy_and_hold}\n"
        "phases: {a: {sequence: monte_carlo, monte_carlo: {inner: walk_forward}}}\n"
    )
    (warning,) = load(text).warnings

    assert "there is only one parameter set for a to try" in str(warning)

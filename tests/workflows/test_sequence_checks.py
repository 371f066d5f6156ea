"""Mistakes in the options of sequences, wherever they stand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from admf.workflows.loading import LoadedExperiment

Load = Callable[..., LoadedExperiment]
Mistakes = Callable[..., list[str]]

HEAD = "workflow: train_test_optimization\ndata: {source: sample, symbols: [SPY]}\n"

MISTAKES = [
    (
        "walk_forward: {train: 6 months}",
        "@23: walk_forward.train: '6 months' is not a length of ti",
    ),
    ("walk_forward: {test: -5}", "@22: walk_forward.test: -5 is negative"),
    ("walk_forward: {step: 0}", "@22: walk_forward.step: must be longer than nothing, got 0"),
    ("walk_forward: {train: 0M}", "@23: walk_forward.train: must be longer than nothing, got 0M"),
    ("walk_forward: {gap: 1m}", "@21: walk_forward.gap: '1m' is not a length of time (did you m"),
    ("walk_forward: {gap: 1.5}", "@21: walk_forward.gap: must be a whole number or text, got 1.5"),
    ("walk_forward: {mode: roling}", "@22: walk_forward.mode: must be one of anchored, rolling, "),
    ("walk_forward: {warmup: -1}", "@24: walk_forward.warmup: must be >= 0, got -1"),
    ("walk_forward: {inner: k_flod}", "@23: walk_forward.inner: unknown name 'k_flod' (did you"),
    ("train_test: {gap: 5x}", "@19: train_test.gap: '5x' is not a length of time"),
    (
        "train_test: {data_split: 0}",
        "@26: train_test.data_split: must be a share between 0 and 1, ",
    ),
    (
        "train_test: {data_split: 1.0}",
        "@26: train_test.data_split: must be a share between 0 and 1",
    ),
    ("train_test: {data_split: 80}", "or a day, got 80"),
    ("train_test: {data_split: soon}", "@26: train_test.data_split: 'soon' is not a time"),
    (
        "k_fold: {method: combinatorial_purged, folds: 3, test_folds: 3}",
        "@62: k_fold.test_folds: must be less than folds, 3, got 3",
    ),
    (
        "k_fold: {method: combinatorial_purged, folds: 2}",
        "@1: k_fold.test_folds: must be less than folds, 2, got 2",
    ),
    ("k_fold: {purge: 1.5}", "@17: k_fold.purge: must be a whole number or one of trades, got 1.5"),
    (
        "k_fold: {purge: trade}",
        "k_fold.purge: must be one of trades, got the text 'trade' (did you",
    ),
    (
        "monte_carlo: {batches: 20, simulations: 10}",
        "@24: monte_carlo.batches: must be at most simulations, 10, got 20",
    ),
    (
        "monte_carlo: {simulations: 5}",
        "@1: monte_carlo.batches: must be at most simulations, 5, got 10",
    ),
    (
        "monte_carlo: {method: trade_boostrap}",
        "got the text 'trade_boostrap' (did you mean 'trade_b",
    ),
    ("data_range: {start: 1.5}", "@21: data_range.start: must be a share from 0 to 1, or a day, "),
    ("data_range: {end: 2}", "@19: data_range.end: must be a share from 0 to 1, or a day, got 2"),
    ("data_range: {start: 0.5, end: 0.4}", "@31: data_range.end: is not after start (0.5)"),
    ("data_range: {start: 0.5, end: 0.5}", "@31: data_range.end: is not after start (0.5)"),
    ("data_range: {start: noon}", "@21: data_range.start: 'noon' is not a time"),
    (
        "data_range: {start: 2010-01-02, end: 2010-01-01}",
        "@38: data_range.end: is not after start (2010-01-02)",
    ),
    ("single_pass: {inner: nothing_like_it}", "@22: single_pass.inner: unknown name 'nothing_like"),
    (
        "retention_policy: minmal",
        "@19: retention_policy: unknown name 'minmal' (did you mean 'mini",
    ),
]


def placed(expected: str, line: int, indent: int, owner: str) -> str:
    column, found, rest = expected.partition(": ")
    if not column.startswith("@"):
        return expected
    return f"{line}:{int(column[1:]) + indent}{found}{owner}{rest}"


@pytest.mark.parametrize(("line", "expected"), MISTAKES)
def test_mistakes_are_named_at_the_top_level(mistakes: Mistakes, line: str, expected: str) -> None:
    (found,) = mistakes(HEAD + line)

    assert placed(expected, 3, 0, "") in found


@pytest.mark.parametrize(("line", "expected"), MISTAKES)
def test_mistakes_are_named_in_an_overridden_phase(
    mistakes: Mistakes, line: str, expected: str
) -> None:
    (found,) = mistakes(HEAD + f"phase_overrides:\n  validation:\n    {line}")

    assert placed(expected, 5, 4, "phase_overrides.validation.") in found


@pytest.mark.parametrize(("line", "expected"), MISTAKES)
def test_mistakes_are_named_in_a_written_phase(
    mistakes: Mistakes, line: str, expected: str
) -> None:
    head = HEAD.replace("train_test_optimization", "mine")
    phase = "phases:\n  a:\n    sequence: single_pass\n    strategy: {type: buy_and_hold}\n"
    (found,) = mistakes(head + phase + f"    {line}")

    assert placed(expected, 7, 4, "phases.a.") in found


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "train_test: {inner: train_test}",
            "3:21: train_test.inner: leads in a circle: train_test -> train_test",
        ),
        (
            "train_test: {inner: walk_forward}\nwalk_forward: {inner: train_test}",
            "4:23: walk_forward.inner: leads in a circle: train_test -> walk_forward -> train_test",
        ),
        (
            (
                "phase_overrides: {validation: {single_pass: {inner: k_fold}}}\n"
                "k_fold: {inner: parameter_sweep}\nparameter_sweep: {inner: k_fold}"
            ),
            (
                "5:26: parameter_sweep.inner: leads in a circle: single_pass -> k_fold -> "
                "parameter_sweep -> k_fold"
            ),
        ),
    ],
)
def test_sequences_that_hold_each_other_are_a_mistake(
    mistakes: Mistakes, lines: str, expected: str
) -> None:
    assert mistakes(HEAD + lines) == [expected]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "data_range: {start: 0.5}\nphase_overrides: {validation: {data_range: {end: 0.2}}}",
            "4:50: phase_overrides.validation.data_range.end: is not after start (0.5)",
        ),
        (
            (
                "monte_carlo: {batches: 20}\n"
                "phase_overrides: {validation: {monte_carlo: {simulations: 15}}}"
            ),
            "3:24: monte_carlo.batches: must be at most simulations, 15, got 20",
        ),
        (
            "phase_overrides: {validation: {data: {source: file, symbols: [A]}}}",
            "3:32: phase_overrides.validation.data.path: is missing: name a file or folder",
        ),
        (
            "phase_overrides: {validation: {data: {symbols: [A], end: 2001-01-01}}}",
            "phase_overrides.validation.data.end: is before start (2002-01-01)",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_found_where_they_meet(
    mistakes: Mistakes, lines: str, expected: str
) -> None:
    head = HEAD.replace("symbols: [SPY]", "symbols: [SPY], start: 2002-01-01")
    (found,) = mistakes(head + lines)

    assert expected in found


@pytest.mark.parametrize(
    "line",
    [
        "train_test: {data_split: 2010-01-01, gap: 5d}",
        "train_test: {inner: walk_forward}\nwalk_forward: {mode: anchored, train: 6M, test: 1M}",
        "data_range: {start: 0, end: 1}",
        "data_range: {start: 0.5, end: 2010-01-01}",
        "data_range: {start: 2010-01-01, end: 2010-01-01}",
    ],
)
def test_options_that_make_sense_are_taken(load: Load, line: str) -> None:
    assert load(HEAD + line).warnings == ()


def test_a_pipeline_that_holds_data_back_leaves_no_range_to_choose(mistakes: Mistakes) -> None:
    text = HEAD.replace("train_test_optimization", "research_pipeline") + "data_range: {end: 0.5}"
    (found,) = mistakes(text)

    assert found.startswith("3:13: data_range: research_pipeline holds back the last fifth")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "phase_overrides.validation.data.start=7",
            (
                "--set phase_overrides.validation.data.start: "
                "phase_overrides.validation.data.start: must be text, got 7 (put it in quotes)"
            ),
        ),
        (
            "phase_overrides.validation.strategy.params=7",
            "phase_overrides.validation.strategy.params: must be a section with fields, got 7",
        ),
    ],
)
def test_single_fields_from_outside_are_checked_in_what_they_change(
    mistakes: Mistakes, override: str, expected: str
) -> None:
    (found,) = mistakes(HEAD, override)

    assert expected in found

"""Mistakes in what is searched, wherever it stands."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from admf.workflows.loading import LoadedExperiment

Load = Callable[..., LoadedExperiment]
Mistakes = Callable[..., list[str]]

HEAD = """\
workflow: train_test_optimization
data: {source: sample, symbols: [SPY]}
strategy: {type: sma_cross}
"""
OVERRIDE = """\
phase_overrides:
  parameter_search:
"""
DECLARED = """\
workflow: mine
data: {source: sample, symbols: [SPY]}
strategy: {type: sma_cross}
phases:
  a:
    sequence: train_test
"""

MISTAKES = [
    (
        "parameter_space: {fsat: [1, 2]}",
        "@25: parameter_space.fsat: is no parameter of the strategy (did you mean 'fast'?); it has",
    ),
    ("parameter_space: {fast: [1, x]}", "@29: parameter_space.fast.1: must be int, got 'x'"),
    ("parameter_space: {fast: [1, 2.5]}", "@29: parameter_space.fast.1: must be int, got 2.5"),
    ("parameter_space: {mode: [1]}", "@26: parameter_space.mode.0: must be str, got 1"),
    (
        "parameter_space: {fast: {min: 1, max: 9, step: 0.5}}",
        "@25: parameter_space.fast: must be int, got",
    ),
    (
        "parameter_space: {fast: {min: 9, max: 1}}",
        "@25: parameter_space.fast: min 9 is above max 1",
    ),
    (
        "parameter_space: {fast: {min: 1, max: 9, step: 0}}",
        "@25: parameter_space.fast: step must be",
    ),
    ("parameter_space: {fast: [1, 1]}", "@25: parameter_space.fast: 1 is listed 2 times"),
    ("parameter_space: {fast: []}", "@25: parameter_space.fast: must not be empty"),
    (
        "parameter_space: {fast: 7}",
        "@25: parameter_space.fast: must be a list or a section with fields, got 7",
    ),
    ("parameter_space: {fast: {min: 1}}", "@19: parameter_space.fast.max: is missing"),
    (
        "parameter_space: {fast: {min: 1, max: 5, stop: 2}}",
        "@42: parameter_space.fast.stop: unknown field (did you mean 'step'?)",
    ),
    (
        "parameter_space: {risk.stop_los_pct: [1]}",
        (
            "@38: parameter_space.risk.stop_los_pct: is no setting that can be searched (did you "
            "mean 'risk.stop_loss_pct'?)"
        ),
    ),
    ("parameter_space: {risk.xyz.abc: [1]}", "is no setting that can be searched (there are: "),
    (
        "parameter_space: {data.symbols: [1]}",
        "@33: parameter_space.data.symbols: is no setting that can be searched",
    ),
    (
        "parameter_space: {risk.stop_loss_pct: [5, 100]}",
        "@43: parameter_space.risk.stop_loss_pct.1: must be a value of risk.stop_loss_pct, got 100",
    ),
    (
        "parameter_space: {execution.slippage_bps: [-1]}",
        "@44: parameter_space.execution.slippage_bps.0: must be a value of execution.slippa",
    ),
    (
        "parameter_space: {portfolio.sizing.value: {min: 0, max: 1, points: 5}}",
        "@43: parameter_space.portfolio.sizing.value: must be a value of portfolio.sizing.value, ",
    ),
    ("parameter_space: {seed: [x]}", "@26: parameter_space.seed.0: must be int, got 'x'"),
    (
        "parameter_space: {risk.stop_loss_pct: {min: 1.0, max: 5.0}}",
        "@39: parameter_space.risk.stop_loss_pct: has no end of values, which a grid cannot try",
    ),
    (
        "constraint: fast < slwo",
        "@13: constraint: 'fast < slwo' has an unknown name 'slwo' (did you mean 'slow'?)",
    ),
    (
        "parameter_space: {fast: {min: x, max: 2}}",
        "@31: parameter_space.fast.min: must be a number, got the text 'x'",
    ),
    ("constraint: fast <", "@13: constraint: 'fast <' cannot be read"),
    ("constraint: open('x')", "@13: constraint: \"open('x')\" is not allowed"),
    ("constraint: fast > 1000", "@13: constraint: no combination of the parameters fulfils it"),
    ("constraint: fast < 'x'", "@13: constraint: \"fast < 'x'\" cannot be worked out"),
    (
        "objective_function: {name: sharpe}",
        "@28: objective_function.name: unknown name 'sharpe' (did you mean 'sharpe_ratio'?)",
    ),
    (
        "objective_function: [{name: cagr}, {name: sharp_ratio}]",
        "@43: objective_function.1.name: unknown name 'sharp_ratio' (did you mean 'sharpe_ratio'?)",
    ),
    (
        "objective_function: {name: cagr, direction: up}",
        "@45: objective_function.direction: must be one of maximize, minimize, got the text 'up'",
    ),
    (
        "objective_function: cagr",
        "@21: objective_function: must be a list or a section with fields, ",
    ),
    (
        "metric_constraints: [max_drawdown >= -0.3, sharp_ratio > 1]",
        "@44: metric_constraints.1: 'sharp_ratio > 1' has an unknown name 'sharp_ratio' (did you",
    ),
    ("metric_constraints: [cagr >]", "@22: metric_constraints.0: 'cagr >' cannot be read"),
    ("search: {method: bayes}", "@18: search.method: must be one of bayesian, grid, random, sobol"),
    ("search: {max_trials: 0}", "@22: search.max_trials: must be > 0, got 0"),
    ("pruning: {max_drawdown_pct: 0}", "@29: pruning.max_drawdown_pct: must be > 0, got 0"),
]


def split(expected: str, line: int, indent: int, owner: str) -> str:
    """Return the expected message for a line that is indented, in the section ``owner``."""
    column, found, rest = expected.partition(": ")
    if not column.startswith("@"):
        return expected
    return f"{line}:{int(column[1:]) + indent}{found}{owner}{rest}"


# what the workflow's own space and constraint would add is left out
SPACE = "parameter_space: {fast: [1, 2], slow: [5, 6]}\n"


@pytest.mark.parametrize(("line", "expected"), MISTAKES)
def test_mistakes_of_the_top_level_are_named(mistakes: Mistakes, line: str, expected: str) -> None:
    (found,) = mistakes(HEAD + line)

    assert split(expected, 4, 0, "") in found


@pytest.mark.parametrize(("line", "expected"), MISTAKES)
def test_mistakes_of_an_overridden_phase_are_named(
    mistakes: Mistakes, line: str, expected: str
) -> None:
    (found,) = mistakes(HEAD + OVERRIDE + f"    {line}")

    assert split(expected, 6, 4, "phase_overrides.parameter_search.") in found


@pytest.mark.parametrize(("line", "expected"), MISTAKES)
def test_mistakes_of_a_written_phase_are_named(
    mistakes: Mistakes, line: str, expected: str
) -> None:
    space = "" if "parameter_space" in line else f"    {SPACE}"
    (found,) = mistakes(DECLARED + f"    {line}\n{space}")

    assert split(expected, 7, 4, "phases.a.") in found


@pytest.mark.parametrize(
    "line",
    [
        "parameter_space: {fast: [1, 2], slow: {min: 5, max: 9}}",
        "parameter_space: {fast: {min: 1, max: 100, log: true, points: 5}}",
        "parameter_space: {mode: [a, b], seed: {min: 1, max: 200}}",
        "parameter_space: {risk.stop_loss_pct: [2, 5.5, 10]}",
        "parameter_space: {risk.max_leverage: [1.0, 2], execution.commission.value: [0, 0.001]}",
        "parameter_space: {execution.fill_on: [next_open, close], portfolio.sizing.value: [0.5]}",
        "parameter_space: {risk.stop_loss_pct: {min: 1.0, max: 5.0}}\nsearch: {method: random}",
        "parameter_space: {fast: {min: 1, max: 10000000}, slow: {min: 1, max: 10000000}}",
        "objective_function: [{name: cagr}, {name: max_drawdown, direction: maximize}]",
        "metric_constraints: [max_drawdown >= -0.3, trade_count > 2 * long_trade_count]",
        "min_trades: 30\npruning: {max_drawdown_pct: 30}",
        "pruning: null\nconstraint: null",
        "constraint: slow > 2 * fast and fast != 7",
    ],
)
def test_what_can_be_searched_is_taken(load: Load, line: str) -> None:
    assert load(HEAD + line).warnings == ()


def test_a_constraint_may_name_parameters_that_are_fixed(load: Load, mistakes: Mistakes) -> None:
    head = HEAD.replace("{type: sma_cross}", "{type: sma_cross, params: {slow: 50}}")
    space = "parameter_space: {fast: [1, 2]}\nconstraint: fast < slow\n"

    assert load(head + space).warnings == ()
    assert "unknown name 'slow'; there are fast" in mistakes(HEAD + space)[0]


def test_a_phase_is_judged_with_the_strategy_that_it_ends_up_with(mistakes: Mistakes) -> None:
    text = HEAD + (
        "parameter_space: {fast: [1, 2]}\n"
        "phase_overrides: {parameter_search: {strategy: {type: buy_and_hold}}}"
    )
    (found,) = mistakes(text)

    assert found.startswith(
        "4:25: parameter_space.fast: is no parameter of the strategy; it has none"
    )


def test_parameters_of_a_searched_strategy_are_judged_one_by_one(mistakes: Mistakes) -> None:
    head = HEAD.replace(
        "{type: sma_cross}", "{type: sma_cross, params: {fsat: 1, slow: x, mode: q}}"
    )

    assert mistakes(head + "parameter_space: {fast: [1, 2]}") == [
        (
            "3:44: strategy.params.fsat: sma_cross has no parameter 'fsat' (did you mean 'fast'?); "
            "it has fast, slow, mode"
        ),
        "3:53: strategy.params.slow: must be int, got 'x'",
    ]


def test_an_unknown_strategy_is_named_once(mistakes: Mistakes) -> None:
    (found,) = mistakes(HEAD.replace("sma_cross", "sma_crss") + "parameter_space: {fast: [1]}")

    assert found.startswith("3:18: strategy.type: unknown strategy")


@pytest.mark.parametrize(
    "line",
    [
        "parameter_space: 7",
        "parameter_space: [fast]",
        "parameter_space: {fast: {}}",
        "constraint: 7",
        "objective_function: [7]",
        "objective_function: {name: 7}",
        "metric_constraints: [7]",
        "search: 7",
        "strategy: {type: sma_cross, params: 7}",
    ],
)
def test_checks_pass_over_what_has_the_wrong_type(mistakes: Mistakes, line: str) -> None:
    found = mistakes(HEAD.replace("strategy: {type: sma_cross}\n", "") + line)

    assert not [it for it in found if "must be" not in it and "is missing" not in it]

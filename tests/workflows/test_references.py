from __future__ import annotations

import pytest

from admf.engine.errors import ConfigError
from admf.sequences.phase import PhaseConfig
from admf.workflows.references import (
    RESULT_KEYS,
    Reference,
    condition_holds,
    condition_references,
    parse_reference,
    read,
    reference_fault,
    referenced_phases,
    result_fault,
)

OUTCOMES = {
    "search": {
        "best_parameters": {"fast": 5, "risk.stop_loss_pct": 2.0},
        "best": {"sharpe_ratio": 0.8, "sortino_ratio": None},
        "held_out": None,
        "success": True,
        "trials": {"completed": 12},
    },
    "skipped": {},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{search.best_parameters}", Reference("search", ("best_parameters",))),
        (" { search.best.sharpe_ratio } ", Reference("search", ("best", "sharpe_ratio"))),
        ("{a-b.c}", Reference("a-b", ("c",))),
    ],
)
def test_a_reference_is_one_path_in_braces(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "search.best",
        "{search}",
        "{}",
        "{.a}",
        "{a.}",
        "{a..b}",
        "{a.b}{c.d}",
        "{a b.c}",
    ],
)
def test_anything_else_is_no_reference(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^x: .* is not a reference to a result; write"):
        parse_reference(text, "x")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("{search.best_parameters}", {"fast": 5, "risk.stop_loss_pct": 2.0}),
        ("{search.best_parameters.fast}", 5),
        ("{search.best.sharpe_ratio}", 0.8),
        ("{search.best.sortino_ratio}", None),
        ("{search.best.sharpe_ratio.x}", None),
        ("{search.held_out.start}", None),
        ("{search.nothing}", None),
        ("{skipped.best}", None),
        ("{elsewhere.best}", None),
        (Reference("search", ("success",)), True),
    ],
)
def test_reading_walks_the_results(reference: Reference | str, expected: object) -> None:
    assert read(reference, OUTCOMES) == expected


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("search.best.sharpe_ratio > 0.5", True),
        ("search.best.sharpe_ratio > 0.9", False),
        ("search.best.sortino_ratio > 0", False),
        ("search.best.sortino_ratio == null", True),
        ("search.success and search.trials.completed >= 10", True),
        ("not search.success", False),
        ("skipped.success", False),
        ("search.best_parameters.fast == 5", True),
    ],
)
def test_a_condition_is_judged_by_the_results(condition: str, *, holds: bool) -> None:
    assert condition_holds(condition, OUTCOMES) is holds


def test_a_condition_names_the_results_it_needs() -> None:
    assert condition_references("a.best.cagr > 1 and b.success or a.best.cagr < 0") == (
        Reference("a", ("best", "cagr")),
        Reference("b", ("success",)),
    )


def test_a_phase_names_others_in_inputs_and_condition() -> None:
    phase = PhaseConfig(
        name="x",
        sequence="single_pass",
        input={"parameters": "{a.best_parameters}", "seed": "{b.best_objective}", "risk": "oops"},
        when="c.success and a.success",
    )

    assert referenced_phases(phase) == ("a", "b", "c")


@pytest.mark.parametrize("when", ["", "a >", "a", None])
def test_what_cannot_be_read_names_no_phase(when: str | None) -> None:
    assert referenced_phases(PhaseConfig(name="x", sequence="s", when=when)) == ()


@pytest.mark.parametrize("key", RESULT_KEYS)
def test_every_result_can_be_asked_for(key: str) -> None:
    assert result_fault((key,)) == ""


@pytest.mark.parametrize(
    "path",
    [
        ("best", "sharpe_ratio"),
        ("out_of_sample", "max_drawdown"),
        ("metrics", "win_rate"),
        ("trials", "pruned"),
        ("summary", "best_sharpe"),
        ("best_parameters", "whatever", "it", "is"),
        ("report", "windows"),
        ("overfitting", "pbo"),
        ("aggregate_metrics", "sharpe_ratio", "median"),
        ("held_out", "start"),
    ],
)
def test_what_a_result_may_hold_is_not_refused(path: tuple[str, ...]) -> None:
    assert result_fault(path) == ""


def test_a_fault_names_what_may_have_been_meant() -> None:
    assert "(did you mean 'search'?)" in reference_fault(Reference("serch", ("best",)), OUTCOMES)
    assert "(did you mean 'success'?)" in reference_fault(
        Reference("search", ("succes",)), OUTCOMES
    )
    assert reference_fault(Reference("search", ("best",)), OUTCOMES) == ""

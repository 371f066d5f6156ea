from __future__ import annotations

import pytest

from admf.workflows.nodes import Place
from admf.workflows.schema import JsonSchema, experiment_schema
from admf.workflows.validation import schema_problems
from admf.workflows.yaml_source import compose

HEAD = """\
workflow: simple_backtest
data: {source: sample, symbols: [GOOG]}
strategy: {type: sma_cross}
"""


def problems(text: str, schema: JsonSchema | None = None) -> list[str]:
    root, faults = compose(text, Place("", 1, 1))
    assert faults == []
    return [str(problem) for problem in schema_problems(root, schema or experiment_schema())]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("seed: '7'", "4:7: seed: must be a whole number, got the text '7' (write 7)"),
        ("seed: 7.0", "4:7: seed: must be a whole number, got 7.0 (write 7)"),
        ("seed: 7.5", "4:7: seed: must be a whole number, got 7.5"),
        ("seed: true", "4:7: seed: must be a whole number, got true"),
        ("seed:", "4:6: seed: must be a whole number, got nothing (remove the line"),
        ("seed: [7]", "4:7: seed: must be a whole number, got a list"),
        ("seed: -1", "4:7: seed: must be >= 0, got -1"),
        ("sliding_window_size: 0", "4:22: sliding_window_size: must be > 0, got 0"),
        ("periods_per_year: 1,000", "must be a number, got the text '1,000' (write 1000)"),
        ("periods_per_year: abc", "4:19: periods_per_year: must be a number, got the text 'abc'"),
        ("periods_per_year: {}", "must be a number, got a section with fields"),
        ("strict: on", "4:9: strict: must be true or false, got the text 'on' (write true)"),
        ("strict: No", "4:9: strict: must be true or false, got the text 'No' (write false)"),
        ("strict: 1", "4:9: strict: must be true or false, got 1"),
        ("strict: maybe", "4:9: strict: must be true or false, got the text 'maybe'"),
        ("results_dir: 2013", "4:14: results_dir: must be text, got 2013 (put it in quotes)"),
        ("results_dir: true", "4:14: results_dir: must be text, got true (put it in quotes)"),
        ("benchmark: ''", "4:12: benchmark: must not be empty"),
        (f"benchmark: {'x' * 65}", "4:12: benchmark: must have at most 64 characters, has 65"),
        ("event_tracing: FILL", "must be a list, got the text 'FILL' (write [FILL])"),
        ("event_tracing: [FILL, 7]", "4:23: event_tracing.1: must be text, got 7 (put it"),
        (
            "results_storage: disc",
            "4:18: results_storage: must be one of auto, disk, memory, got the text",
        ),
        ("results_storage: disc", "got the text 'disc' (did you mean 'disk'?)"),
        ("results_storage: 7", "4:18: results_storage: must be one of auto, disk, memory, got 7"),
        ("risk:", "4:6: risk: must be a section with fields, got nothing (remove the line"),
        ("risk: 5", "4:7: risk: must be a section with fields, got 5"),
        ("risk: {max_levrage: 2}", "4:8: risk.max_levrage: unknown field (did you mean 'max_lev"),
        ("risk:\n  x: 2", "5:3: risk.x: unknown field (known here: stop_loss_pct, take_pr"),
        ("execution: {slippage_bps: 10000}", "slippage_bps: must be < 10000, got 10000"),
        ("commission: {}", "unknown field (it belongs in the section 'execution')"),
        ("Seed: 7", "4:1: Seed: unknown field (did you mean 'seed'?)"),
        ("portfolio: {sizing: {lookback: 1}}", "portfolio.sizing.lookback: must be >= 2, got 1"),
    ],
)
def test_what_does_not_fit_is_said_in_plain_words(line: str, expected: str) -> None:
    (problem,) = problems(HEAD + line)

    assert expected in problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "seed: 7",
            ["1:1: data: is missing", "1:1: workflow: is missing"],
        ),
        (HEAD.replace("symbols: [GOOG]", ""), ["2:1: data.symbols: is missing"]),
        (HEAD.replace("[GOOG]", "[]"), ["2:33: data.symbols: must not be empty"]),
        (HEAD.replace("[GOOG]", "['']"), ["2:34: data.symbols.0: must not be empty"]),
        (
            HEAD.replace("[GOOG]", "[ON, TRUE]"),
            ["2:38: data.symbols.1: must be text, got true (put it in quotes)"],
        ),
        (
            HEAD.replace("type: sma_cross", "params: []"),
            [
                "3:1: strategy.type: is missing",
                "3:20: strategy.params: must be a section with fields, got a list",
            ],
        ),
        (HEAD, []),
    ],
)
def test_every_mistake_is_found(text: str, expected: list[str]) -> None:
    assert sorted(problems(text)) == expected


def test_whole_numbers_are_numbers() -> None:
    assert problems(HEAD + "portfolio: {initial_capital: 10000}\nrisk: {max_leverage: 2}") == []


def test_a_long_value_is_shortened() -> None:
    (problem,) = problems(HEAD + "seed: " + "x" * 4_000)

    assert problem == f"4:7: seed: must be a whole number, got the text '{'x' * 60}...'"


def test_every_kind_of_constraint_has_a_message() -> None:
    schema: JsonSchema = {
        "properties": {
            "few": {"type": "array", "minItems": 2, "maxItems": 3},
            "many": {"type": "array", "maxItems": 1},
            "low": {"type": "number", "minimum": 2, "maximum": 3},
            "high": {"type": "number", "maximum": 3},
            "short": {"type": "string", "minLength": 2},
            "odd": {"type": "string", "pattern": "^a"},
        },
        "$defs": {},
    }
    text = "few: [1]\nmany: [1, 2]\nlow: 1\nhigh: 4\nshort: x\nodd: b\n"

    assert problems(text, schema) == [
        "1:6: few: must have at least 2 entries",
        "2:7: many: must have at most 1 entries, has 2",
        "3:6: low: must be >= 2, got 1",
        "4:7: high: must be <= 3, got 4",
        "5:8: short: must have at least 2 characters",
        "6:6: odd: 'b' does not match '^a'",
    ]


def test_the_best_branch_of_a_choice_speaks() -> None:
    schema: JsonSchema = {
        "properties": {
            "a": {"anyOf": [{"type": "null"}, {"anyOf": [{"type": "number", "minimum": 1}]}]}
        },
        "$defs": {},
    }

    assert problems("a: 0", schema) == ["1:4: a: must be >= 1, got 0"]
    assert problems("a: x", schema) == ["1:4: a: must be a number, got the text 'x'"]
    assert problems("a: null", schema) == []


def test_thousands_of_unknown_fields_are_found_at_once() -> None:
    fields = ", ".join(f"f{n}: 1" for n in range(3_000))

    assert len(problems(HEAD + "risk: {" + fields + "}")) == 3_000

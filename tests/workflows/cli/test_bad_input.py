"""Every kind of bad input gives one clear message, its exit code, and nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import anyio
import pytest

from admf.engine.storage import LocalStorage
from admf.engine.verification import verify_window

Lines = list[str]
Edit = Callable[[Lines], Lines]


def _cell(row: int, column: int, value: str) -> Edit:
    def edit(lines: Lines) -> Lines:
        cells = lines[row].split(",")
        cells[column] = value
        return [*lines[:row], ",".join(cells), *lines[row + 1 :]]

    return edit


def _without_close(lines: Lines) -> Lines:
    rows = [line.split(",") for line in lines]
    return [",".join(row[:4] + row[5:]) for row in rows]


def _twice(row: int, lines: Lines) -> Lines:
    return [*lines[:row], lines[row - 1], *lines[row:]]


def _swapped(row: int, lines: Lines) -> Lines:
    return [*lines[:row], lines[row + 1], lines[row], *lines[row + 2 :]]


BAD_BARS: dict[str, tuple[Edit, list[str]]] = {
    "missing column": (_without_close, ["GOOG.csv: has no column 'close'"]),
    "text in a price column": (_cell(5, 4, "abc"), ["GOOG.csv:6: close: 'abc' is not a number"]),
    "NaN": (_cell(5, 4, "NaN"), ["GOOG.csv:6: close: is NaN"]),
    "empty cell": (_cell(5, 4, ""), ["GOOG.csv:6: close: is empty"]),
    "infinity": (_cell(5, 2, "inf"), ["GOOG.csv:6: high: 'inf' is infinite"]),
    "negative price": (_cell(5, 3, "-1"), ["GOOG.csv:6: low: -1 is negative"]),
    "price of zero": (_cell(5, 3, "0"), ["GOOG.csv:6: low: 0 is zero"]),
    "high below low": (_cell(5, 2, "1"), ["GOOG.csv:6: high: 1.0 is below low 103.0"]),
    "duplicate timestamp": (
        partial(_twice, 5),
        ["GOOG.csv:6: timestamp: 2024-01-04 comes twice"],
    ),
    "unordered timestamps": (
        partial(_swapped, 5),
        ["GOOG.csv:7: timestamp: 2024-01-05 comes after 2024-01-06"],
    ),
    "mixed time zones": (
        _cell(5, 0, "2024-01-05T00:00:00+02:00"),
        ["GOOG.csv:6: timestamp:", "has no UTC offset", "'2024-01-05T00:00:00+02:00' has one"],
    ),
    "header without bars": (lambda lines: lines[:1], ["GOOG.csv: has no bars"]),
    "empty file": (lambda _: [""], ["GOOG.csv: is empty"]),
    "NUL byte": (lambda lines: [*lines, "\0"], ["GOOG.csv:62: holds a NUL byte"]),
}

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{chr(ord(name) - 1)}'] * 9)}]\n" for name in "bcdefghij"
)

BAD_EXPERIMENTS: dict[str, tuple[Callable[[str], str], int, list[str]]] = {
    "empty date range": (
        lambda text: text.replace("[GOOG]", '[GOOG], start: "2030-01-01"'),
        4,
        ["GOOG.csv: has no bars of GOOG from 2030-01-01", "reach from 2024-01-01"],
    ),
    "end before start": (
        lambda text: text.replace("[GOOG]", '[GOOG], start: "2024-02-01", end: "2024-01-01"'),
        3,
        ["experiment.yaml:2:63: data.end: is before start (2024-02-01)"],
    ),
    "unknown symbol": (
        lambda text: text.replace("GOOG", "GOGL"),
        4,
        ["has no symbol 'GOGL' (did you mean 'GOOG'?)", "there are files of GOOG"],
    ),
    "unknown symbol of the sample": (
        lambda text: text.replace("path: data", "source: sample").replace("GOOG", "TSLA"),
        4,
        ["'TSLA'", "AAPL", "GOOG", "IBM", "MSFT"],
    ),
    "unknown benchmark": (lambda text: f"{text}benchmark: SPY\n", 4, ["has no symbol 'SPY'"]),
    "missing data": (
        lambda text: text.replace("path: data", "path: dota"),
        4,
        ["dota: does not exist (did you mean 'data'?)"],
    ),
    "unknown strategy": (
        lambda text: text.replace("sma_cross", "sma_corss"),
        3,
        [
            "experiment.yaml:3:18: strategy.type: unknown name 'sma_corss'",
            "did you mean 'sma_cross",
        ],
    ),
    "unknown parameter": (
        lambda text: text.replace("fast", "fats"),
        3,
        [
            "experiment.yaml:3:44: strategy.params.fats:",
            "did you mean 'fast'?",
            "it has fast, slow",
        ],
    ),
    "YAML bomb": (lambda text: text + BOMB, 3, ["experiment.yaml:", "more than 100,000 values"]),
    "deep nesting": (
        lambda _: "a: " + "[" * 100_000,
        3,
        ["experiment.yaml:1:1", "nests deeper than 100 levels"],
    ),
    "closed deep nesting": (
        lambda _: "[" * 100_000 + "]" * 100_000,
        3,
        ["experiment.yaml:1:", "nests deeper than 100 levels"],
    ),
    "2 MB": (
        lambda text: text + "#" * 2_000_000,
        3,
        ["experiment.yaml: is larger than 1 MiB"],
    ),
    "duplicate key": (
        lambda text: f"{text}results_dir: other\n",
        3,
        ["experiment.yaml:5:1: results_dir: duplicate key; the first is on line 4"],
    ),
    "NUL byte": (
        lambda text: f"{text}seed: \0\n",
        3,
        ["experiment.yaml:5:7: control character U+0000"],
    ),
    "empty file": (lambda _: "", 3, ["experiment.yaml:1:1: is empty"]),
    "syntax error": (lambda text: f"{text}seed: [\n", 3, ["experiment.yaml:6:1: "]),
}


@pytest.mark.parametrize("case", BAD_BARS)
def test_bad_bars_are_a_data_error(admf, project, bars, case):
    edit, fragments = BAD_BARS[case]
    (project / "data" / "GOOG.csv").write_text("\n".join(edit(bars)) + "\n")
    _assert_refused(admf("run", "experiment.yaml", "--quiet"), 4, fragments)
    assert not (project / "results").exists()


@pytest.mark.parametrize("case", BAD_EXPERIMENTS)
def test_bad_experiments_are_refused(admf, project, case):
    edit, code, fragments = BAD_EXPERIMENTS[case]
    file = project / "experiment.yaml"
    file.write_text(edit(file.read_text()))
    _assert_refused(admf("run", "experiment.yaml", "--quiet"), code, fragments)
    assert not (project / "results").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("nope.yaml", "nope.yaml: no such file"), ("data", "data: is a folder")],
)
def test_a_missing_experiment_is_refused(admf, project, name, message):
    _assert_refused(admf("run", name, "--quiet"), 3, [message])
    assert not (project / "results").exists()


def test_several_mistakes_are_reported_together_each_with_its_place(admf, project):
    (project / "experiment.yaml").write_text(
        "workflow: simple\n"
        "data: {path: '', symbols: []}\n"
        "strategy: {type: sma_cross, params: {fast: x}}\n"
        "sede: 3\n"
    )
    outcome = admf("run", "experiment.yaml")
    assert outcome.code == 3
    assert [":".join(line.split(":")[:4]) for line in outcome.err.splitlines()] == [
        "experiment.yaml:1:11: workflow",
        "experiment.yaml:2:14: data.path",
        "experiment.yaml:2:27: data.symbols",
        "experiment.yaml:3:44: strategy.params.fast",
        "experiment.yaml:4:1: sede",
    ]


def test_the_json_of_a_run_that_did_not_come_about_tells_why(admf, project):
    outcome = admf("run", "nope.yaml", "--json")
    assert outcome.document == {
        "status": "failed",
        "error": "nope.yaml: no such file",
        "run_id": None,
        "results_path": None,
        "phases": {},
    }
    assert "nope.yaml: no such file" in outcome.err


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_a_strategy_that_raises_fails_with_its_place_and_leaves_whole_results(
    admf, project, use_strategy, json_option
):
    use_strategy("if ctx.bar_index == 10:", "    raise ValueError('no good')")
    outcome = admf("run", "experiment.yaml", "--quiet", *json_option)
    place = f"{project / 'mine.py'}:7"
    fragments = [place, "ValueError: no good", "GOOG 2024-01-11T00:00:00Z", "period=3"]
    assert outcome.code == 5
    assert "Traceback" not in outcome.err
    (line,) = outcome.err.splitlines()
    assert all(fragment in line for fragment in fragments)
    check = anyio.run(verify_window, LocalStorage(project / "results"), "study/backtest")
    assert check.complete
    run = json.loads((project / "results" / "study" / "run.json").read_text())
    assert run["status"] == "failed"
    if json_option:
        phase = outcome.document["phases"]["backtest"]
        assert outcome.document["status"] == "failed"
        assert phase["success"] is False
        assert all(fragment in phase["errors"][0] for fragment in fragments)


def test_a_module_that_cannot_be_imported_is_refused_with_its_place(admf, project, use_strategy):
    use_strategy("pass")
    (project / "mine.py").write_text("x = 1\nraise RuntimeError('at import')\n")
    fragments = ["experiment.yaml:3:18: strategy.type", "mine.py:2: RuntimeError: at import"]
    _assert_refused(admf("run", "experiment.yaml"), 3, fragments)


def _assert_refused(outcome, code: int, fragments: list[str]) -> None:
    assert outcome.code == code
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    (line,) = outcome.err.splitlines()
    for fragment in fragments:
        assert fragment in line

"""What the command line says of studies of many phases, windows and parameter sets."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from admf.workflows.cli import main
from tests.workflows.cli.conftest import lines_of_bars

STUDY = """\
workflow: study
data: {path: data, symbols: [GOOG]}
strategy: {type: sma_cross}
parameter_space: {fast: [2, 3, 4], slow: [5, 9]}
results_dir: study
phases:
"""

PHASES = {
    "search": "sequence: train_test, search: {top_k: 3}",
    "pareto": "sequence: parameter_sweep, objective_function: "
    "[{name: sharpe_ratio}, {name: trade_count, direction: minimize}]",
    "forward": "sequence: walk_forward, walk_forward: {train: 30, test: 10}",
    "folds": "sequence: k_fold, k_fold: {folds: 4, method: combinatorial_purged}",
    "chance": "sequence: monte_carlo, monte_carlo: {simulations: 40, batches: 2}, "
    'inputs: {parameters: "{search.best_parameters}"}',
    "tops": 'sequence: single_pass, inputs: {parameters: "{search.top_parameters}"}',
    "last": 'sequence: single_pass, inputs: {parameters: "{search.best_parameters}"}',
    "never": 'sequence: single_pass, when: "search.best.sharpe_ratio > 1000"',
}

Words = dict[str, list[str]]


def _text(*names: str, more: str = "", **others: str) -> str:
    """Return an experiment of some phases, and of further ones."""
    phases = {**{name: PHASES[name] for name in names}, **others}
    return more + STUDY + "".join(f"  {name}: {{{it}}}\n" for name, it in phases.items())


@pytest.fixture
def write_study(project: Path) -> Callable[..., None]:
    """Return a function that makes the project's experiment a study of some phases."""

    def write_study(*names: str, more: str = "", **others: str) -> None:
        (project / "experiment.yaml").write_text(_text(*names, more=more, **others))

    return write_study


def _sections(out: str) -> Words:
    """Return the lines of each phase by its name; blank lines are left out."""
    lines = [it for it in out.splitlines()[1:] if not it.startswith(("results are", "every file"))]
    names = [line.split()[0].rstrip(",") for line in lines if line]
    found: Words = {}
    name = ""
    for line, before in zip(lines, ["", *lines], strict=False):
        word = line.split()[0].rstrip(",") if line.strip() else ""
        if not before and word in PHASES and word in names:
            name = word
        if name and line.strip():
            found.setdefault(name, []).append(line)
    return found


def _row(lines: list[str], label: str) -> str:
    """Return what stands behind a label."""
    (line,) = [line for line in lines if line.startswith(f"{label}  ")]
    return " ".join(line.removeprefix(label).split())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a folder with a study of all kinds that has run, and what the run said."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "data").mkdir()
    (folder / "data" / "GOOG.csv").write_text("\n".join(lines_of_bars()) + "\n")
    (folder / "experiment.yaml").write_text(_text(*PHASES))
    said, complained = io.StringIO(), io.StringIO()
    words = ["run", f"{folder}/experiment.yaml", "--quiet", "--results-root", f"{folder}/results"]
    with redirect_stdout(said), redirect_stderr(complained):
        assert main(words) == 0
    assert complained.getvalue() == ""
    return folder, said.getvalue()


@pytest.fixture
def study(finished: tuple[Path, str], tmp_path: Path) -> Words:
    """Return what was said of each phase of the study, a copy of which is made here."""
    folder, said = finished
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return _sections(said)


def _read(folder: Path, path: str) -> dict:
    return json.loads((folder / "results" / "study" / path).read_text())


def test_memory_and_disk_are_shown_alike(admf, study):
    again = admf("run", "experiment.yaml", "--quiet", "--set", "results_storage=memory")
    assert again.code == 0
    assert "results are in" not in again.out
    assert _sections(again.out) == study


def test_results_show_says_the_same_of_sequences(admf, study):
    shown = _sections(admf("results", "show", "results/study").out)
    for name in ("search", "pareto", "forward", "folds", "chance"):
        assert shown[name] == study[name]
    assert [line for line in study["tops"] if line not in shown["tops"]] == []


def test_a_search_is_shown_with_both_sides_and_its_luck(tmp_path, study):
    found = _read(tmp_path, "search/aggregate_results.json")
    lines = study["search"]
    assert lines[0] == "search  train_test, 2 execution windows"
    assert _row(lines, "Trials") == "6 (6 completed)"
    assert _row(lines, "Objective") == f"Sharpe ratio {found['best_objective']:.2f}"
    best = " ".join(f"{name}={value}" for name, value in found["best_parameters"].items())
    assert _row(lines, "Best parameters") == best
    assert _row(lines, "Tested on") == "2024-02-21 to 2024-03-04"
    inside, outside = (found[side]["total_return"] for side in ("best", "out_of_sample"))
    assert _row(lines, "Total return") == f"{100 * inside:.2f} % {100 * outside:.2f} %"
    luck = found["overfitting"]
    for label in ("Probabilistic Sharpe ratio", "Deflated Sharpe ratio"):
        value = luck[label.lower().replace(" ", "_")]
        assert _row(lines, label) == f"{100 * value:.2f} %"
    pbo = luck["probability_of_backtest_overfitting"]
    shown = "-" if pbo is None else f"{100 * pbo:.2f} %"
    assert _row(lines, "Probability of backtest overfitting") == shown


def test_the_best_parameter_sets_are_ranked_with_their_tests(tmp_path, study):
    lines = study["search"]
    points = _read(tmp_path, "search/aggregate_results.json")["top_parameters"]
    trials = _read(tmp_path, "search/trials.json")["trials"]
    tests = _read(tmp_path, "search/test/aggregate_results.json")["portfolios"]
    rows = [line.split() for line in lines[lines.index("Best parameter sets") + 4 :]]
    assert len(rows) == len(points) == 3
    for rank, (row, point) in enumerate(zip(rows, points, strict=True), 1):
        (objective,) = [it["objectives"][0] for it in trials if it["parameters"] == point]
        test = tests[rank - 1]["metrics"]
        assert row[:4] == [
            str(rank),
            f"fast={point['fast']}",
            f"slow={point['slow']}",
            f"{objective:.2f}",
        ]
        assert row[5:] == [f"{100 * test['total_return']:.2f}", "%", f"{test['trade_count']}"]


def test_the_pareto_front_is_shown_with_its_objectives(tmp_path, study):
    lines = study["pareto"]
    front = _read(tmp_path, "pareto/aggregate_results.json")["pareto_front"]
    trials = _read(tmp_path, "pareto/trials.json")["trials"]
    rows = [line.split() for line in lines[lines.index("Pareto front") + 3 :]]
    objectives = [it["objectives"] for point in front for it in trials if it["parameters"] == point]
    assert [row[2:] for row in rows] == [[f"{it[0]:.2f}", f"{it[1]:.0f}"] for it in objectives]


def test_a_walk_forward_is_shown_window_by_window(tmp_path, study):
    found = _read(tmp_path, "forward/aggregate_results.json")
    report, lines = found["report"], study["forward"]
    assert lines[0] == "forward  walk_forward, 6 execution windows"
    assert _row(lines, "Best parameters").endswith("(of the last window)")
    efficiency = report["walk_forward_efficiency"]
    assert _row(lines, "Walk-forward efficiency") == (
        "-" if efficiency is None else f"{efficiency:.2f}"
    )
    assert _row(lines, "Profitable windows") == f"{100 * report['profitable_windows']:.2f} %"
    stitched = found["out_of_sample"]["total_return"]
    assert _row(lines, "Total return") == f"{100 * stitched:.2f} %"
    windows = [line.split() for line in lines if line.startswith("wf_")]
    assert [row[:6] for row in windows] == [
        [
            it["window_id"],
            *[it["test"]["start"][:10], "to", it["test"]["end"][:10]],
            *[f"{name}={value}" for name, value in it["parameters"].items()],
        ]
        for it in _read(tmp_path, "forward/windows.json")["windows"]
    ]
    title = lines.index("Stability of the best parameters")
    stability = {line.split()[0]: line.split()[1:] for line in lines[title + 2 :]}
    assert set(stability) == {"fast", "slow"}
    assert stability["fast"][0] == str(report["parameter_stability"]["fast"]["distinct"])


def test_a_cross_validation_is_shown_with_splits_and_paths(tmp_path, study):
    report = _read(tmp_path, "folds/aggregate_results.json")["report"]
    lines = study["folds"]
    splits = [line for line in lines if line.startswith("split_")]
    assert len(splits) == len(report["splits"]) == 6
    paths = lines[lines.index("Paths through the tests") + 2 :]
    assert [line.split()[0] for line in paths] == ["1", "2", "3"]
    for line, metrics in zip(paths, report["paths"], strict=True):
        assert f"{100 * metrics['total_return']:.2f} %" in line


def test_simulations_are_shown_by_their_percentiles(tmp_path, study):
    report = _read(tmp_path, "chance/aggregate_results.json")["report"]
    lines = study["chance"]
    assert _row(lines, "Simulations") == "40 by trade_bootstrap"
    for label in ("Probability of loss", "Probability of ruin", "Value at risk 95"):
        value = report[label.lower().replace(" ", "_")]
        assert _row(lines, label) == f"{100 * value:.2f} %"
    spread = report["percentiles"]["win_rate"]
    shown = [f"{100 * spread[level]:.2f} %" for level in ("p5", "p25", "p50", "p75", "p95")]
    (line,) = [line for line in lines if line.startswith("Win rate ")]
    assert " ".join(line.split()).endswith(" ".join(shown))


def test_phases_that_are_skipped_say_why(admf, study):
    why = "it did not run: its condition does not hold: search.best.sharpe_ratio > 1000"
    assert study["never"] == ["never  skipped", why]
    assert _sections(admf("results", "show", "results/study").out)["never"] == study["never"]


def test_phases_that_fail_say_why_and_so_do_those_that_depend_on_them(admf, write_study):
    write_study(
        "last", more="min_trades: 50\n", search="sequence: train_test", fine="sequence: single_pass"
    )
    outcome = admf("run", "experiment.yaml", "--quiet")
    why = "no parameter set is eligible: of 6 trials 0 failed"
    assert outcome.code == 5
    assert outcome.err.startswith(f"error: search: {why}")
    for shown in (outcome.out, admf("results", "show", "results/study").out):
        lines = shown.splitlines()
        assert lines[0].endswith("failed")
        assert "search  train_test, 1 execution window  failed" in lines
        assert "Best parameters  none: no trial is eligible" in lines
        assert "it did not run: phase 'search', which it depends on, failed" in lines
        assert any(line.startswith("fine  sma_cross") for line in lines)
    assert any(line.startswith(why) for line in outcome.out.splitlines())


def test_trials_that_fail_are_warnings_and_only_the_first_are_told(admf, project, use_strategy):
    use_strategy("if self.period != 3: raise ValueError(f'not {self.period}')")
    text = (project / "experiment.yaml").read_text() + "search: {batch_size: 3}\n"
    text = text.replace("simple_backtest", "study")
    space = "parameter_space: {period: [1, 2, 3, 4, 5, 6, 7, 8]}\n"
    phases = "min_trades: 0\nphases: {sweep: {sequence: parameter_sweep}}\n"
    (project / "experiment.yaml").write_text(text + space + phases)
    outcome = admf(
        "run", "experiment.yaml", "--quiet", "--set", "objective_function={name: total_return}"
    )
    *warnings, rest = outcome.err.splitlines()
    assert outcome.code == 0
    assert [line.startswith("warning: sweep: ") for line in warnings] == [True] * 5
    assert rest == "note: sweep: 2 more went wrong"
    assert "8 (1 completed, 7 failed)" in outcome.out


def test_results_that_were_only_in_memory_are_gone(admf, project, write_study):
    write_study("search", last=PHASES["last"] + ", results_storage: memory")
    assert admf("run", "experiment.yaml", "--quiet").code == 0
    lines = _sections(admf("results", "show", "results/study").out)["last"]
    assert lines[1] == "its results were kept in memory alone, so there is nothing to show"


def test_the_document_has_the_outcome_of_phases_and_a_summary_of_each_window(admf, study):
    document = admf("results", "show", "results/study", "--json").document
    assert list(document["phases"]) == list(PHASES)
    assert document["phases"]["search"]["outcome"]["best_parameters"]
    assert document["phases"]["forward"]["outcome"]["sequence"] == "walk_forward"
    assert document["phases"]["never"]["head"]["status"] == "skipped"
    windows = {window["path"]: window for window in document["windows"]}
    assert {"forward", "forward/wf_001/train", "forward/wf_003/test"} <= set(windows)
    assert windows["forward/wf_001/train"]["summary"]["report"]["portfolio_count"] == 6
    assert windows["forward/wf_001/train"]["portfolios"] == []
    assert len(windows["tops"]["portfolios"]) == 3


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("forward/wf_002/test/all_trades.json", "is cut, or was changed"),
        ("forward/wf_002/train/containers/portfolio_004_results.json", "is cut, or was changed"),
        ("forward/out_of_sample.json", "is cut, or was changed"),
        ("search/trials.json", "is cut, or was changed"),
    ],
)
def test_every_file_of_every_window_is_verified(admf, tmp_path, study, name, how):
    file = tmp_path / "results" / "study" / name
    file.write_bytes(file.read_bytes()[:-10])
    outcome = admf("results", "show", "results/study")
    assert (outcome.code, outcome.out) == (6, "")
    assert f"{name} {how}" in outcome.err


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_wider_than_the_terminal(admf, monkeypatch, study, width):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    lines = admf("results", "show", "results/study").out.splitlines()
    assert max(map(len, lines)) <= width
    (row,) = [line.split() for line in lines if line.startswith("wf_002 ")]
    assert row[2] == "to"

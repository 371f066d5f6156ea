from __future__ import annotations

import json
from pathlib import Path

import pytest

from admf.containers.data import DataContainer
from admf.engine.errors import WindowError
from tests.sealing import change


@pytest.fixture
def study(admf, project) -> Path:
    """Return the folder of a finished run."""
    assert admf("run", "experiment.yaml", "--quiet").code == 0
    return project / "results" / "study"


def test_metrics_trades_and_open_positions_are_shown(admf, study):
    outcome = admf("results", "show", "results/study")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].endswith("completed")
    assert lines[-1] == "every file in results/study is as it was written"
    for text in (
        "sma_cross fast=2 slow=5",
        "Ulcer index",
        "Win rate",
        "GOOG-1 ",
        "Rejected orders",
    ):
        assert text in outcome.out


def test_only_the_first_trades_are_shown(admf, project):
    words = ["--set", "strategy={type: random_entry, params: {probability: 0.9, hold_bars: 1}}"]
    assert admf("run", "experiment.yaml", "--quiet", *words).code == 0
    lines = admf("results", "show", "results/study").out.splitlines()
    assert sum(line.startswith("GOOG-") for line in lines) == 10
    assert any(line.startswith("and ") and line.endswith(" more") for line in lines)


def test_the_document_has_run_windows_and_portfolios(admf, study):
    document = admf("results", "show", "results/study", "--json").document
    assert document["path"] == "results/study"
    assert document["run"]["status"] == "completed"
    (window,) = document["windows"]
    assert window["path"] == "backtest"
    assert window["summary"]["status"] == "completed"
    (portfolio,) = window["portfolios"]
    written = json.loads((study / "backtest/containers/portfolio_001_results.json").read_text())
    for field in ("container_id", "metrics", "trades", "open_positions", "parameters"):
        assert portfolio[field] == written[field]


def test_the_folder_may_be_the_current_one_and_may_have_any_name(admf, study, monkeypatch):
    renamed = study.rename(study.parent / "my study (1)")
    assert admf("results", "show", str(renamed)).code == 0
    monkeypatch.chdir(renamed)
    assert admf("results", "show", ".").code == 0


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("results/nope", "results/nope: there is no such folder"),
        ("results/stady", "results/stady: there is no such folder (did you mean 'study'?)"),
        ("results", "results is not the folder of a run: it has no run.json; the runs in it are"),
        ("data", "data is not the folder of a run: it has no run.json\n"),
    ],
)
def test_a_folder_without_a_run_is_refused(admf, study, folder, message):
    outcome = admf("results", "show", folder)
    assert (outcome.code, outcome.out) == (6, "")
    assert message in outcome.err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("all_trades.json", "backtest/all_trades.json is cut, or was changed"),
        (
            "containers/portfolio_001_results.json",
            "backtest/containers/portfolio_001_results.json is cut, or was changed",
        ),
        ("phase_summary.json", "backtest/phase_summary.json is cut, or was changed"),
    ],
)
def test_a_torn_file_is_named(admf, study, name, message):
    file = study / "backtest" / name
    file.write_bytes(file.read_bytes()[:-10])
    outcome = admf("results", "show", "results/study")
    assert (outcome.code, outcome.out) == (6, "")
    assert outcome.err.splitlines() == [
        "error: results in results/study are not whole:",
        f"       {message}",
    ]


def test_a_missing_file_is_named(admf, study):
    (study / "backtest" / "all_trades.json").unlink()
    outcome = admf("results", "show", "results/study")
    assert outcome.code == 6
    assert "backtest/all_trades.json is missing" in outcome.err


def test_a_missing_commit_record_is_told(admf, study):
    (study / "backtest" / "phase_summary.json").unlink()
    outcome = admf("results", "show", "results/study")
    assert outcome.code == 6
    assert "backtest has no phase_summary.json" in outcome.err


def test_a_missing_phase_is_told(admf, study):
    for file in sorted((study / "backtest").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    outcome = admf("results", "show", "results/study")
    assert outcome.code == 6
    assert "backtest has no phase_summary.json" in outcome.err


def test_a_torn_run_record_is_told(admf, study):
    (study / "run.json").write_text("{")
    outcome = admf("results", "show", "results/study")
    assert outcome.code == 6
    assert "run.json is damaged" in outcome.err


def test_a_run_that_has_not_ended_is_refused(admf, study):
    change(study / "run.json", status="running")
    outcome = admf("results", "show", "results/study")
    assert outcome.code == 6
    assert "has not ended: it is under way, or was killed" in outcome.err


def test_a_failed_run_is_shown_with_its_error(admf, project, use_strategy):
    use_strategy("raise ValueError('no good')")
    assert admf("run", "experiment.yaml", "--quiet").code == 5
    outcome = admf("results", "show", "results/study")
    assert outcome.code == 0
    assert "ValueError: no good" in outcome.out
    assert outcome.out.splitlines()[0].endswith("failed")


def test_a_run_that_was_cancelled_before_its_first_window_has_nothing_to_show(admf, study):
    for file in sorted((study / "backtest").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    ended = {"status": "cancelled", "results": {"backtest": False}, "saved": ["backtest"]}
    change(study / "run.json", **ended)
    outcome = admf("results", "show", "results/study")
    assert outcome.code == 0
    assert "ended before a window was complete" in outcome.out


def test_a_run_that_was_cancelled_before_a_phase_was_over_has_nothing_to_show(admf, study):
    ended = {"status": "cancelled", "results": {}, "saved": []}
    change(study / "run.json", **ended)
    outcome = admf("results", "show", "results/study")
    assert outcome.code == 0
    assert "ended before a phase was over" in outcome.out


def test_errors_of_a_phase_that_no_window_tells_are_shown(admf, study):
    errors = {"backtest": ["there are no bars left"]}
    ended = {"status": "failed", "results": {"backtest": False}, "errors": errors}
    change(study / "run.json", **ended)
    assert "there are no bars left" in admf("results", "show", "results/study").out


def test_errors_of_a_window_are_shown(admf, project, monkeypatch):
    async def fail(_: object) -> None:
        raise WindowError("no more bars")

    monkeypatch.setattr(DataContainer, "on_stop", fail)
    outcome = admf("run", "experiment.yaml", "--quiet")
    assert outcome.code == 5
    assert outcome.err == "error: backtest: WindowError: no more bars\n"
    assert "WindowError: no more bars" in admf("results", "show", "results/study").out

"""``admf verify``: what it finds in the folder of a run, and how it ends."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
from contextlib import redirect_stdout
from pathlib import Path

import anyio
import pytest

from admf.engine.lock import LOCK_FOLDER, RunLock
from admf.engine.storage import LocalStorage
from admf.workflows.cli import main
from tests.sealing import change
from tests.workflows.cli.conftest import lines_of_bars

STUDY = """\
workflow: study
data: {path: data, symbols: [GOOG]}
strategy: {type: sma_cross}
parameter_space: {fast: [2, 3], slow: [5]}
results_dir: study
phases:
  search: {sequence: train_test}
  never: {sequence: single_pass, when: "search.best.sharpe_ratio > 1000"}
"""
COMMIT = "phase_summary.json"
WHOLE = {"state": "complete", "windows": 2}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of a run of two windows."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "data").mkdir()
    (folder / "data" / "GOOG.csv").write_text("\n".join(lines_of_bars()) + "\n")
    (folder / "experiment.yaml").write_text(STUDY)
    root = str(folder / "results")
    with redirect_stdout(io.StringIO()):
        assert main(["run", f"{folder}/experiment.yaml", "--quiet", "--results-root", root]) == 0
    return folder / "results"


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """Return the folder of a copy of that run."""
    return shutil.copytree(finished, tmp_path / "results") / "study"


def json_of(file: Path) -> dict:
    return json.loads(file.read_bytes())


def kinds(outcome) -> list[tuple[str, str]]:
    return [(it["kind"], it["path"]) for it in outcome.document["findings"]]


def leave_unfinished(study: Path) -> None:
    """Have a run look as it does when it was killed in its second window."""
    change(study / "run.json", status="running", results={}, skipped={}, saved=[])
    (study / "search" / COMMIT).unlink()
    (study / "search" / "aggregate_results.json").unlink()
    (study / "search" / "test" / COMMIT).unlink()
    (study / "search/trials.json").unlink()


def test_a_whole_run_is_told_in_a_few_lines(admf, study):
    outcome = admf("verify", "results/study")
    assert (outcome.code, outcome.err) == (0, "")
    first, *rows, last = [line.split() for line in outcome.out.splitlines() if line]
    assert first[1] == "completed"
    assert rows[0] == ["Phase", "Files", "are", "Windows", "Files", "Bytes"]
    assert rows[1][:3] == ["search", "complete", "2"]
    assert rows[2] == ["never", "no", "files", "0", "0", "0"]
    assert last[1:3] == ["files", "with"]
    assert last[-5:] == ["are", "as", "they", "were", "written"]


def test_the_document_counts_what_was_checked(admf, study):
    document = admf("verify", "results/study", "--json").document
    assert (document["path"], document["status"]) == ("results/study", "completed")
    assert document["run_id"].startswith("study-")
    assert document["whole"] is True
    assert document["findings"] == []
    sizes = {it: it.stat().st_size for it in study.rglob("*") if it.is_file()}
    assert document["files"] == len(sizes)
    assert document["size_bytes"] == sum(sizes.values())
    phase = document["phases"]["search"]
    assert {name: phase[name] for name in WHOLE} == WHOLE
    assert phase["files"] == len(sizes) - 1


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_damage_is_named_a_line_each(admf, study, words):
    trades = study / "search/test/all_trades.json"
    trades.write_bytes(trades.read_bytes()[:-1])
    (study / "search/trials.json").unlink()
    outcome = admf("verify", "results/study", *words)
    assert outcome.code == 6
    assert outcome.err.splitlines() == [
        "error: results in results/study are not whole:",
        "       search/test/all_trades.json is cut, or was changed",
        "       search/trials.json is missing",
    ]
    if words:
        assert outcome.document["whole"] is False
        assert outcome.document["phases"]["search"]["state"] == "damaged"
        torn, missing = kinds(outcome)
        assert torn == ("torn", "search/test/all_trades.json")
        assert missing == ("missing", "search/trials.json")
    else:
        assert "damaged" in outcome.out


@pytest.mark.parametrize("path", ["search", "search/test"])
def test_a_folder_that_was_deleted_whole_is_noticed(admf, study, path):
    shutil.rmtree(study / path)
    outcome = admf("verify", "results/study")
    assert outcome.code == 6
    assert f"{path} has no {COMMIT}, and had one when it was complete" in outcome.err


def test_foreign_and_temporary_files_are_warnings(admf, study):
    (study / "search/notes.txt").write_text("")
    (study / ".run.json.0123.tmp").write_text("")
    outcome = admf("verify", "results/study")
    assert outcome.code == 0
    assert outcome.err.splitlines() == [
        "warning: .run.json.0123.tmp is a temporary file that a process left, or is writing",
        "warning: search/notes.txt is in no commit record",
    ]
    assert "complete" in outcome.out
    assert admf("verify", "results/study", "--json").document["whole"] is True


def test_a_foreign_phase_is_a_warning(admf, study):
    shutil.copytree(study / "search", study / "other")
    outcome = admf("verify", "results/study")
    assert (outcome.code, outcome.err) == (0, "warning: other is in no commit record\n")


@pytest.mark.parametrize("path", ["search", "search/test", "search/trials.json", "elsewhere"])
def test_links_are_told_and_not_followed(admf, study, path):
    target = study.parent / "moved"
    if (study / path).exists():
        (study / path).rename(target)
    (study / path).symlink_to(target)
    outcome = admf("verify", "results/study")
    assert outcome.code == 6
    assert "is a symbolic link, and none is followed" in outcome.err


def test_a_second_variant_of_a_document_is_damage(admf, study):
    shutil.copy(study / "search/trials.json", study / "search/trials.json.zst")
    for command in (["verify"], ["results", "show"]):
        outcome = admf(*command, "results/study")
        assert outcome.code == 6
        assert "search/trials.json.zst could be read in place of the file" in outcome.err


def test_a_folder_in_place_of_a_file_is_told(admf, study):
    (study / "search/trials.json").unlink()
    (study / "search/trials.json").mkdir()
    outcome = admf("verify", "results/study")
    assert outcome.code == 6
    assert "it is a folder, not a file" in outcome.err


# --- the record of the run


def test_the_rest_is_checked_if_the_record_of_the_run_is_torn(admf, study):
    (study / "run.json").write_bytes((study / "run.json").read_bytes()[:-20])
    trades = study / "search/test/all_trades.json"
    trades.write_bytes(b"")
    (study / "notes").mkdir()
    (study / "notes/a.txt").write_text("")
    outcome = admf("verify", "results/study", "--json")
    assert outcome.code == 6
    assert kinds(outcome) == [
        ("torn", "run.json"),
        ("foreign", "notes"),
        ("torn", "search/test/all_trades.json"),
    ]
    assert (outcome.document["run_id"], outcome.document["status"]) == (None, None)
    assert list(outcome.document["phases"]) == ["search"]
    shown = admf("verify", "results/study")
    assert shown.out.splitlines()[0] == "results/study  unknown"
    assert "run.json is cut, or was changed" in shown.err


@pytest.mark.parametrize("command", [["verify"], ["results", "show"]])
def test_a_run_of_a_later_version_is_refused(admf, study, command):
    change(study / "run.json", schema_version=2)
    outcome = admf(*command, "results/study")
    assert (outcome.code, outcome.out) == (6, "")
    assert "run.json has format 2, which this version does not know" in outcome.err


@pytest.mark.parametrize("command", [["verify"], ["results", "show"]])
def test_a_phase_of_a_later_version_is_refused(admf, study, command):
    change(study / "search" / COMMIT, schema_version=2)
    outcome = admf(*command, "results/study")
    assert outcome.code == 6
    assert "phase_summary.json has format 2, which this version does not know" in outcome.err


def test_a_record_that_is_a_link_is_refused(admf, study):
    moved = (study / "run.json").rename(study.parent / "moved.json")
    (study / "run.json").symlink_to(moved)
    outcome = admf("verify", "results/study")
    assert (outcome.code, outcome.out) == (6, "")
    assert "run.json is a symbolic link" in outcome.err


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("results/nope", "results/nope: there is no such folder"),
        ("results/stady", "results/stady: there is no such folder (did you mean 'study'?)"),
        ("results", "results is not the folder of a run: it has no run.json; the runs in it are"),
        ("results/study/run.json", "results/study/run.json is a file, and not a folder"),
    ],
)
def test_a_folder_without_a_run_is_refused(admf, study, folder, message):
    outcome = admf("verify", folder)
    assert (outcome.code, outcome.out) == (6, "")
    assert message in outcome.err


# --- which phases there must be


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, 6),
        ({"saved": ["search"]}, 6),
        ({"saved": []}, 0),
        ({"results": {"search": False}}, 0),
        ({"results": {}}, 0),
        ({"skipped": {"search": "why", "never": "why"}}, 0),
    ],
)
def test_a_phase_has_to_be_there_if_it_succeeded_and_was_saved(admf, study, fields, code):
    shutil.rmtree(study / "search")
    change(study / "run.json", **fields)
    assert admf("verify", "results/study").code == code


@pytest.mark.parametrize(("results_storage", "code"), [("disk", 6), ("memory", 0), ("auto", 0)])
def test_the_storage_mode_decides_where_the_run_does_not_tell_what_it_saved(
    admf, study, results_storage, code
):
    document = json_of(study / "run.json")
    document["phases"]["search"]["settings"]["results_storage"] = results_storage
    change(study / "run.json", phases=document["phases"], saved=None)
    assert admf("verify", "results/study").code == 0
    shutil.rmtree(study / "search")
    assert admf("verify", "results/study").code == code


def test_phases_of_iterations_are_found_in_their_folders(admf, study):
    document = json_of(study / "run.json")
    shutil.copytree(study / "search", study / "iteration_002" / "search")
    phases = {**document["phases"], "iteration_002/search": document["phases"]["search"]}
    results = {**document["results"], "iteration_002/search": True}
    saved = [*document["saved"], "iteration_002/search"]
    change(study / "run.json", phases=phases, results=results, saved=saved)
    outcome = admf("verify", "results/study")
    assert (outcome.code, outcome.err) == (0, "")
    shutil.rmtree(study / "iteration_002")
    outcome = admf("verify", "results/study")
    assert outcome.code == 6
    assert f"iteration_002/search has no {COMMIT}" in outcome.err


# --- runs that have not ended


def test_a_killed_run_is_told_with_what_is_complete_and_how_to_go_on(admf, study):
    leave_unfinished(study)
    outcome = admf("verify", "results/study")
    assert outcome.code == 0
    note, warning = outcome.err.splitlines()
    assert note.startswith(
        "note: the run has not ended: it was killed; `admf resume results/study`"
    )
    assert warning == ("warning: search/test has no phase_summary.json: it is not complete")
    assert outcome.out.splitlines()[0].endswith("  running")
    (row,) = [line.split() for line in outcome.out.splitlines() if line.startswith("search")]
    assert row[:3] == ["search", "incomplete", "1"]


def test_the_document_of_a_killed_run_tells_the_same(admf, study):
    leave_unfinished(study)
    outcome = admf("verify", "results/study", "--json")
    assert outcome.code == 0
    assert (outcome.document["status"], outcome.document["whole"]) == ("running", True)
    assert outcome.document["phases"]["search"]["state"] == "incomplete"
    assert kinds(outcome) == [("unfinished", "search/test")]


def test_damage_to_a_killed_run_is_damage(admf, study):
    leave_unfinished(study)
    (study / "search/train/all_trades.json").write_bytes(b"")
    outcome = admf("verify", "results/study")
    assert outcome.code == 6
    assert "search/train/all_trades.json is cut, or was changed" in outcome.err


def test_a_window_that_was_cut_off_is_damage_once_the_run_has_ended(admf, study):
    leave_unfinished(study)
    change(study / "run.json", status="cancelled", results={"search": False}, saved=["search"])
    for command in (["verify"], ["results", "show"]):
        outcome = admf(*command, "results/study")
        assert outcome.code == 6
        assert f"search/test has no {COMMIT}: it is not complete" in outcome.err


def test_a_run_that_is_under_way_is_told_with_its_process(admf, study):
    leave_unfinished(study)

    async def lock() -> None:
        await RunLock.acquire(LocalStorage(study), "")

    anyio.run(lock)
    outcome = admf("verify", "results/study")
    assert outcome.code == 0
    assert f"the run has not ended: pid {os.getpid()} on host {socket.gethostname()}" in outcome.err
    assert "is at work on it" in outcome.err
    assert LOCK_FOLDER not in outcome.out


def test_a_run_whose_process_is_gone_is_told_with_it(admf, study, monkeypatch):
    leave_unfinished(study)

    async def lock() -> None:
        await RunLock.acquire(LocalStorage(study), "")

    anyio.run(lock)
    monkeypatch.setattr("admf.workflows.cli.run_state.is_stale", lambda *_: True)
    outcome = admf("verify", "results/study")
    assert outcome.code == 0
    assert f"it was killed (pid {os.getpid()} on host" in outcome.err


def test_results_show_says_how_to_go_on(admf, study):
    leave_unfinished(study)
    outcome = admf("results", "show", "results/study")
    assert outcome.code == 6
    assert "`admf verify results/study` tells what is complete" in outcome.err
    assert "`admf resume results/study` goes on with it" in outcome.err

from __future__ import annotations

import json
import os
import re

import anyio
import pytest

from admf.engine.lock import RunLock
from admf.engine.storage import LocalStorage
from tests.sealing import change


def test_the_runs_of_a_folder_are_listed(admf, results):
    document = admf("results", "ls", "--json").document
    assert (document["path"], document["kind"], document["total"]) == ("results", "runs", 3)
    rows = {row["path"]: row for row in document["rows"]}
    assert list(rows) == ["changed", "quiet", "study"]
    for name, row in rows.items():
        record = json.loads((results / name / "run.json").read_text())
        files = [it for it in (results / name).rglob("*") if it.is_file()]
        assert row["status"] == record["status"] == "completed"
        assert row["workflow"] == record["workflow"]
        assert row["started_at"] == record["started_at"]
        assert row["phases"] == len(record["phases"])
        assert row["portfolios"] == sum(it.name.startswith("portfolio_") for it in files)
        assert row["windows"] == len({it.parent for it in files if it.parent.name == "containers"})
        assert row["size_bytes"] == sum(it.stat().st_size for it in files)


def test_the_table_of_runs_has_a_line_for_each(admf, results):
    outcome = admf("results", "ls", "results")
    assert (outcome.code, outcome.err) == (0, "")
    head, *lines = outcome.out.splitlines()
    assert head.split() == ["Run", "Status", "Workflow", "Started", "Portfolios", "Size"]
    assert [line.split()[:3] for line in lines] == [
        ["changed", "completed", "study"],
        ["quiet", "completed", "simple_backtest"],
        ["study", "completed", "study"],
    ]


def test_runs_in_folders_below_are_found_and_those_too_deep_are_not(admf, own_results):
    (own_results / "a" / "b").mkdir(parents=True)
    (own_results / "quiet").rename(own_results / "a" / "b" / "quiet")
    (own_results / "a" / "b" / "c" / "d").mkdir(parents=True)
    (own_results / "changed").rename(own_results / "a" / "b" / "c" / "d" / "changed")
    rows = admf("results", "ls", "--json").document["rows"]
    assert [row["path"] for row in rows] == ["a/b/quiet", "study"]


def test_a_damaged_run_does_not_hide_the_others(admf, own_results):
    (own_results / "quiet" / "run.json").write_text("{")
    outcome = admf("results", "ls")
    assert (outcome.code, outcome.err) == (0, "")
    assert re.search(r"^quiet +damaged", outcome.out, re.MULTILINE)
    assert "quiet: " in outcome.out
    assert "is damaged" in outcome.out
    assert "study" in outcome.out


def test_a_run_that_was_killed_is_said_to_be_cut_off(admf, own_results):
    change(own_results / "study" / "run.json", status="running", finished_at=None)
    outcome = admf("results", "ls")
    assert re.search(r"^study +cut off", outcome.out, re.MULTILINE)
    assert "study: cut off: admf resume results/study" in outcome.out
    inside = admf("results", "ls", "results/study")
    assert inside.code == 0
    assert "it is cut off: admf resume results/study" in inside.err
    assert "forward" in inside.out


def test_a_run_that_is_under_way_is_told_with_its_process(admf, own_results):
    change(own_results / "study" / "run.json", status="running", finished_at=None)

    async def lock() -> None:
        await RunLock.acquire(LocalStorage(own_results), "study")

    anyio.run(lock)
    outcome = admf("results", "ls")
    assert f"study: under way, pid {os.getpid()}" in outcome.out
    assert f"under way, pid {os.getpid()}" in admf("results", "ls", "results/study").err


def test_windows_that_are_not_complete_do_not_count(admf, own_results):
    change(own_results / "study" / "run.json", status="running", finished_at=None)
    before = {row["path"]: row for row in admf("results", "ls", "--json").document["rows"]}["study"]
    (own_results / "study" / "forward" / "wf_001" / "train" / "phase_summary.json").unlink()
    after = {row["path"]: row for row in admf("results", "ls", "--json").document["rows"]}["study"]
    assert before["windows"] - after["windows"] == 1
    assert before["portfolios"] - after["portfolios"] == 6


def test_the_phases_of_a_run_are_listed(admf, results, portfolios):
    document = admf("results", "ls", "results/study", "--json").document
    assert document["kind"] == "phases"
    assert [(row["name"], row["status"], row["sequence"]) for row in document["rows"]] == [
        ("search", "completed", "train_test"),
        ("forward", "completed", "walk_forward"),
        ("last", "completed", "single_pass"),
        ("never", "skipped", "single_pass"),
    ]
    for row in document["rows"]:
        own = [place for place in portfolios if place[0] == row["name"]]
        assert row["portfolios"] == len(own)
        assert row["windows"] == len({window for _, window, _ in own})
    lines = admf("results", "ls", "results/study").out.splitlines()
    assert lines[0].endswith("completed, study")
    assert [line.split()[0] for line in lines[2:]] == ["search", "forward", "last", "never"]


def test_the_windows_of_a_phase_are_listed(admf, results, portfolios):
    document = admf("results", "ls", "results/study/forward", "--json").document
    windows = sorted({window for phase, window, _ in portfolios if phase == "forward"})
    assert document["kind"] == "windows"
    assert [row["name"] for row in document["rows"]] == windows
    assert {row["portfolios"] for row in document["rows"]} == {1, 6}
    below = admf("results", "ls", "results/study/forward/wf_002", "--json").document
    assert [row["name"] for row in below["rows"]] == ["wf_002/test", "wf_002/train"]
    assert "wf_002/test" in admf("results", "ls", "results/study/forward/wf_002").out


@pytest.mark.parametrize(
    ("place", "count"),
    [
        ("search/train", 6),
        ("search/train/containers", 6),
        ("last", 1),
        ("forward/wf_001/test", 1),
        ("search/train/containers/portfolio_004", 1),
    ],
)
def test_the_portfolios_of_a_window_are_listed(admf, results, portfolios, place, count):
    document = admf("results", "ls", f"results/study/{place}", "--json").document
    assert (document["kind"], document["total"]) == ("portfolios", count)
    for row in document["rows"]:
        own = portfolios[row["phase"], row["window"], row["container"]]
        assert row["sharpe_ratio"] == own["metrics"]["sharpe_ratio"]
        assert row["fast"] == own["parameters"]["fast"]
    out = admf("results", "ls", f"results/study/{place}").out
    assert out.count("portfolio_") == count


def test_long_lists_are_cut_and_say_so(admf, results):
    outcome = admf("results", "ls", "results", "-n", "1")
    assert outcome.out.splitlines()[-1] == "and 2 more: see -n"
    document = admf("results", "ls", "results/study/search/train", "-n", "4", "--json").document
    assert (document["total"], len(document["rows"])) == (6, 4)


def test_an_empty_folder_has_no_runs(admf, tmp_path):
    (tmp_path / "results").mkdir()
    outcome = admf("results", "ls")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == "note: there are no runs in results\n"
    assert admf("results", "ls", "--json").document["rows"] == []


def test_a_folder_that_goes_away_is_told(admf, tmp_path, monkeypatch):
    monkeypatch.setattr("admf.workflows.cli.run_list.require_folder", lambda _: None)
    outcome = admf("results", "ls", "gone")
    assert (outcome.code, outcome.out) == (6, "")
    assert "cannot list gone: No such file or directory" in outcome.err


@pytest.mark.parametrize("place", ["", "containers"])
def test_a_run_that_cannot_be_looked_into_does_not_hide_the_others(
    admf, own_results, monkeypatch, place
):
    walk = os.walk

    def walk_unless_closed(top, onerror):
        for folder, names, files in walk(top, onerror=onerror):
            closed = [name for name in names if name == (place or "quiet")]
            for name in closed:
                names.remove(name)
                path = os.path.join(folder, name)  # noqa: PTH118
                onerror(PermissionError(13, "Permission denied", path))
            yield folder, names, files

    if place:
        own_results.joinpath("study").rename(own_results.parent / "study")
        own_results.joinpath("changed").rename(own_results.parent / "changed")
    monkeypatch.setattr("admf.workflows.cli.run_list.os.walk", walk_unless_closed)
    outcome = admf("results", "ls")
    assert outcome.code == 0
    assert re.search(r"^quiet +damaged", outcome.out, re.MULTILINE)
    assert re.search("^quiet: cannot .*Permission denied", outcome.out, re.MULTILINE)
    assert ("study" in outcome.out) == (not place)


def test_sizes_are_told_in_units_of_their_own(admf, own_results):
    (own_results / "quiet" / "large").write_bytes(bytes(2_500_000))
    assert re.search(r"^quiet .* 2\.5 MB$", admf("results", "ls").out, re.MULTILINE)


@pytest.mark.parametrize("width", ["80", "140"])
def test_no_line_is_wider_than_the_terminal(admf, results, monkeypatch, width):
    monkeypatch.setattr("admf.workflows.cli.rendering._WIDTH_OF_FILES", int(width))
    for place in ("results", "results/study", "results/study/forward", "results/study/search"):
        lines = admf("results", "ls", place).out.splitlines()
        assert max(map(len, lines)) <= int(width)

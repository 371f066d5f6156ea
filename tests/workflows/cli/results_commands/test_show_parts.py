"""What ``results show`` says of a part of a run, and what all commands say of bad input."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sealing import change

COMMANDS = (
    ("results", "ls"),
    ("results", "show"),
    ("results", "top"),
    ("results", "trades"),
    ("results", "export"),
    ("why-no-trades",),
)


def test_a_phase_is_shown_alone(admf, results):
    outcome = admf("results", "show", "results/study/search")
    assert (outcome.code, outcome.err) == (0, "")
    assert "Best parameters" in outcome.out
    assert "walk_forward" not in outcome.out
    document = admf("results", "show", "results/study/search", "--json").document
    assert list(document["phases"]) == ["search"]
    assert [it["path"] for it in document["windows"]] == ["search", "search/test", "search/train"]


@pytest.mark.parametrize(
    ("place", "window", "count"),
    [("search/train", "train", 6), ("forward/wf_001/test", "wf_001/test", 1)],
)
def test_a_window_is_shown_with_its_portfolios(admf, results, portfolios, place, window, count):
    (shown,) = admf("results", "show", f"results/study/{place}", "--json").document
    assert (shown["window"], shown["status"], shown["lost"]) == (window, "completed", {})
    assert len(shown["portfolios"]) == count
    for it in shown["portfolios"]:
        own = portfolios[shown["phase"], window, it["container_id"]]
        assert it["metrics"] == own["metrics"]
        assert it["trades"] == own["trades"]
    out = admf("results", "show", f"results/study/{place}").out
    assert out.count("Ulcer index") == count


@pytest.mark.parametrize("ending", ["", "_results.json", "_results.json.gz"])
def test_a_portfolio_is_shown_by_its_file_or_its_id(admf, results, portfolios, ending):
    path = f"results/study/search/train/containers/portfolio_002{ending}"
    (shown,) = admf("results", "show", path, "--json").document
    (own,) = shown["portfolios"]
    assert own["metrics"] == portfolios["search", "train", "portfolio_002"]["metrics"]
    out = admf("results", "show", path).out
    assert "search/train/portfolio_002" in out
    assert out.count("Ulcer index") == 1


def test_several_windows_are_shown_and_too_many_portfolios_are_not(admf, results):
    shown = admf("results", "show", "results/study/forward/wf_001", "--json").document
    assert [it["window"] for it in shown] == ["wf_001/test", "wf_001/train"]
    assert admf("results", "show", "results/study/forward/wf_001").code == 0


def test_only_the_first_portfolios_are_shown(admf, results, monkeypatch):
    monkeypatch.setattr("admf.workflows.cli.results._MOST_PORTFOLIOS", 2)
    out = admf("results", "show", "results/study/search/train").out
    assert out.count("Ulcer index") == 2
    assert out.splitlines()[-1] == "and 4 more, see admf results ls"


def test_a_phase_of_compressed_files_is_shown(admf, run_experiment):
    run_experiment("compression=gzip")
    path = "results/study/backtest/containers/portfolio_001"
    assert admf("results", "show", path).code == 0
    assert admf("results", "show", f"{path}_results.json.gz").code == 0


def _phases_in_an_iteration(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "again").mkdir()
    (run / "last").rename(run / "again" / "last")
    fields = {}
    for name in ("phases", "results", "data"):
        fields[name] = {("again/last" if it == "last" else it): v for it, v in record[name].items()}
    fields["saved"] = ["again/last" if it == "last" else it for it in record["saved"]]
    change(run / "run.json", **fields)


def test_a_folder_of_phases_is_a_part_too(admf, own_results):
    _phases_in_an_iteration(own_results / "study")
    listed = admf("results", "ls", "results/study/again", "--json").document
    assert [row["name"] for row in listed["rows"]] == ["again/last"]
    top = admf("results", "top", "results/study/again", "--json").document
    assert {row["phase"] for row in top["rows"]} == {"again/last"}
    assert list(admf("results", "show", "results/study/again", "--json").document["phases"]) == [
        "again/last"
    ]
    words = ("results", "compare", "results/study/again", "results/changed", "--json")
    assert [(it["a"], it["b"]) for it in admf(*words).document["phases"]] == [
        ("again/last", "last")
    ]


def test_a_place_is_found_from_inside_the_run(admf, results, monkeypatch):
    monkeypatch.chdir(results / "study" / "search")
    for path in (".", "train", "../search", "train/containers"):
        assert admf("results", "top", path, "--json").document["total"] in {6, 8}


def _missing(_: Path) -> str:
    return "results/nope"


def _missing_twice(_: Path) -> str:
    return "nowhere/nope"


def _foreign(results: Path) -> str:
    (results / "photos").mkdir()
    return "results/photos"


def _damaged_record(results: Path) -> str:
    (results / "study" / "run.json").write_bytes(b"\0" * 100)
    return "results/study"


def _newer_record(results: Path) -> str:
    change(results / "study" / "run.json", schema_version=99)
    return "results/study"


def _unknown_phase(_: Path) -> str:
    return "results/study/serch"


def _unknown_window(_: Path) -> str:
    return "results/study/search/trian"


def _unknown_portfolio(_: Path) -> str:
    return "results/study/search/train/containers/portfolio_999"


def _no_name(_: Path) -> str:
    return "results/a\0b"


def _long_name(_: Path) -> str:
    return "results/" + "x" * 300


def _file(results: Path) -> str:
    (results / "notes.txt").write_text("mine")
    return "results/notes.txt"


def _torn_window(results: Path) -> str:
    file = results / "study" / "search" / "train" / "aggregate_results.json"
    file.write_bytes(file.read_bytes()[:-9])
    return "results/study/search/train"


def _torn_record(results: Path) -> str:
    file = results / "study" / "search" / "phase_summary.json"
    file.write_bytes(file.read_bytes()[:-9])
    return "results/study/search/train"


def _link(results: Path) -> str:
    file = results / "study" / "search" / "train" / "aggregate_results.json"
    file.rename(results / "moved.json")
    file.symlink_to(results / "moved.json")
    return "results/study/search/train"


BAD = {
    _missing: "nope: there is no such folder",
    _missing_twice: "nowhere/nope: there is no such folder",
    _foreign: "is not the folder of a run",
    _damaged_record: "is damaged",
    _newer_record: "has format 99",
    _unknown_phase: "there is no phase 'serch' (did you mean 'search'?)",
    _unknown_window: "there is no complete window 'trian' in search (did you mean 'train'?)",
    _unknown_portfolio: "there is no portfolio 'portfolio_999' in search/train",
    _no_name: "there is no such folder",
    _long_name: "File name too long",
    _file: "results/notes.txt is a file, and not a folder",
    _torn_window: "aggregate_results.json",
    _torn_record: "phase_summary.json",
    _link: "is a symbolic link",
}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("make", BAD, ids=lambda it: it.__name__)
def test_bad_places_are_a_storage_error(admf, own_results, command, make: Callable[[Path], str]):
    path = make(own_results)
    for json_option in ([], ["--json"]):
        outcome = admf(*command, path, *json_option)
        if command == ("results", "ls") and make is _foreign:
            assert outcome.code == 0  # a folder may have no runs yet
            continue
        assert (outcome.code, outcome.out) == (6, "")
        assert BAD[make] in outcome.err
        assert "Traceback" not in outcome.err


@pytest.mark.parametrize("command", [it for it in COMMANDS if it[-1] != "ls"], ids=" ".join)
def test_a_torn_portfolio_is_told_where_its_file_is_read(admf, own_results, command):
    file = own_results / "study/last/containers/portfolio_001_results.json"
    file.write_bytes(file.read_bytes().replace(b"long_flat", b"long_fly!"))
    outcome = admf(*command, "results/study/last")
    needs_file = command[-1] in {"show", "why-no-trades"}
    assert outcome.code == (6 if needs_file else 0)
    if needs_file:
        assert "portfolio_001_results.json" in outcome.err


@pytest.mark.parametrize("command", COMMANDS[2:], ids=" ".join)
def test_a_damaged_index_is_made_again(admf, own_results, command):
    words = (*command, "results/study")
    before = admf(*words).out
    index = own_results / "study" / ".index"
    index.write_bytes(b"\0" + index.read_bytes()[1:])
    assert admf(*words).out == before


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_phase_that_was_kept_in_memory_alone_has_nothing(admf, project, run_experiment, command):
    text = (project / "experiment.yaml").read_text().replace("simple_backtest", "study")
    phases = "phases: {kept: {sequence: single_pass}, gone: {sequence: single_pass}}\n"
    (project / "experiment.yaml").write_text(text + phases)
    run_experiment("phases.gone.results_storage=memory")
    assert "portfolio_001" in admf("results", "top", "results/study").out
    listed = admf("results", "ls", "results/study")
    assert re.search("^gone +completed +single_pass +- +-$", listed.out, re.MULTILINE)
    assert listed.out.endswith("results kept in memory alone, and gone: gone\n")
    outcome = admf(*command, "results/study/gone")
    assert outcome.code == 0
    assert "portfolio_001" not in outcome.out
    assert "kept in memory alone" in outcome.out + outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("command", COMMANDS[1:], ids=" ".join)
def test_a_folder_that_may_not_be_read_is_told(admf, results, monkeypatch, command):
    stat = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path.name == "run.json":
            raise PermissionError(13, "Permission denied")
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    outcome = admf(*command, "results/study")
    assert (outcome.code, outcome.out) == (6, "")
    assert "cannot read results/study/run.json: Permission denied [EACCES]" in outcome.err

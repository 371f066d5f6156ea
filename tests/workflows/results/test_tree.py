"""Opening a run, walking through it, and what is damaged, unfinished or not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import admf.results
from admf.engine.errors import MissingFileError, StorageError, TornFileError
from admf.workflows.results import RunResults, open_run
from tests.workflows.results.conftest import Calls, lanes_by_hand, load, mark_as_killed, seal

Damage = Callable[[Path], None]


def test_a_run_tells_what_it_was(study: RunResults) -> None:
    document = load(study.path / "run.json")
    for name in (
        "run_id", "status", "workflow", "started_at", "finished_at", "seed", "versions", "data",
        "experiment",
    ):  # fmt: skip
        assert getattr(study, name) == document[name]
    assert study.overrides == ()
    assert study.document() == document
    assert repr(study) == f"<results of {study.run_id}, completed, in {study.path}>"


def test_a_run_is_walked_through_by_name(study: RunResults) -> None:
    assert list(study.phases) == ["sweep", "walk", "paths", "gone"]
    assert [it.status for it in study.phases.values()] == ["completed"] * 4
    assert [it.saved for it in study.phases.values()] == [True, True, True, False]
    assert study["walk"].sequence == "walk_forward"
    assert list(study["sweep"].windows) == ["sweep/batch_001", "sweep/batch_002"]
    assert list(study["walk"].windows)[:3] == ["wf_001/test", "wf_001/train", "wf_002/test"]
    assert list(study["gone"].windows) == []
    window = study["paths"]["mc_002/path_003"]
    assert window.status == "completed"
    assert window.document("aggregate_results.json")["portfolios"]
    assert list(window.containers) == ["portfolio_001"]


def test_a_container_is_what_its_files_say(study: RunResults) -> None:
    container = study["sweep"]["sweep/batch_002"]["portfolio_007"]
    file = study.path / "sweep/sweep/batch_002/containers/portfolio_007_results.json"
    document = load(file)
    assert container.container_id == "portfolio_007"
    assert container.status == "completed"
    assert container.error is None
    assert container.parameters == document["parameters"]
    assert container.metrics() == document["metrics"]
    assert container.document() == document
    assert len(container.trades()) == len(document["trades"])
    assert container.equity()["equity"].to_list() == document["equity_curve"]["equity"]
    assert repr(container) == "<results of portfolio_007, completed>"


def test_a_container_that_could_not_be_built_has_a_row_but_no_file(study: RunResults) -> None:
    container = study["sweep"]["sweep/batch_002"]["portfolio_010"]
    assert container.status == "failed"
    assert str(container.error).startswith("strategy.params.fast: fast must be less than slow")
    assert container.metrics() == {}
    assert container.trades().is_empty()
    assert container.equity().is_empty()
    with pytest.raises(
        MissingFileError, match="sweep/sweep/batch_002 left no containers/portfolio"
    ):
        container.document()


def test_opening_reads_only_the_record_of_the_run(root: Path, calls: Calls) -> None:
    open_run(root / "study", call=calls)
    assert calls.take() == ["run.json"]


def test_a_portfolio_is_reached_without_the_files_of_other_windows(
    watched: RunResults, calls: Calls
) -> None:
    container = watched["walk"]["wf_002/train"]["portfolio_003"]
    assert container.metrics()
    assert calls.take() == [
        "walk/phase_summary.json",
        "walk/wf_002/train/phase_summary.json",
        "walk/wf_002/train/aggregate_results.json",
    ]


@pytest.mark.parametrize(
    ("reach", "message"),
    [
        (lambda it: it["wolk"], r"no phase 'wolk' \(did you mean 'walk'\?\); there are: 'sweep', "),
        (lambda it: it["walk"]["wf_001"], r"no window 'wf_001' .*; there are: 'wf_001/test', 'wf"),
        (lambda it: it["walk"]["wf_001/test/x"], "there is no window 'wf_001/test/x'"),
        (lambda it: it["sweep"]["sweep"], "there is no window 'sweep'"),
        (lambda it: it["gone"][""], "there is no window ''; there are: none"),
        (lambda it: it["gone"]["x"], "there is no window 'x'"),
        (lambda it: it["walk"]["wf_001/train"]["portfolio_09"], "did you mean 'portfolio_009'"),
        (lambda it: it["walk"]["wf_001/train"][""], "'portfolio_010' and 2 more"),
    ],
)
def test_names_that_are_not_there_are_told_with_those_that_are(
    study: RunResults, reach: Callable[[RunResults], object], message: str
) -> None:
    with pytest.raises(KeyError, match=message):
        reach(study)


def test_windows_are_in_the_order_of_their_numbers(study: RunResults) -> None:
    record = load(study.path / "walk" / "phase_summary.json")
    file = record["windows"][0]
    old = Path(file["path"]).parent
    for name in ("wf_1000", "wf_999"):
        shutil.copytree(study.path / "walk" / old, study.path / "walk" / name / old.name)
        record["windows"].append({**file, "path": f"{name}/{old.name}/phase_summary.json"})
    seal(study.path / "walk" / "phase_summary.json", record)
    assert list(open_run(study.path)["walk"].windows)[-2:] == [
        f"wf_999/{old.name}", f"wf_1000/{old.name}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("stody", r"there is no such folder \(did you mean 'study'\?\)"),
        (
            "",
            r"it has no run.json; the runs in it are backtest, nested, study",
        ),
        ("study/walk", r"is a part of the run in .*/study: open that"),
        ("study/run.json", r"run.json is a file, and not a folder"),
    ],
)
def test_what_is_no_run_is_refused(root: Path, path: str, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        admf.results.open(root / path)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"not the folder of a run: it has no run\.json$"):
        admf.results.open(str(tmp_path))


def test_results_of_a_later_version_are_refused(study: RunResults) -> None:
    body = load(study.path / "run.json")
    seal(study.path / "run.json", {**body, "schema_version": 99})
    with pytest.raises(StorageError, match="has format 99, which this version does not know"):
        open_run(study.path)
    record = load(study.path / "walk" / "phase_summary.json")
    seal(study.path / "run.json", body)
    seal(study.path / "walk" / "phase_summary.json", {**record, "schema_version": 99})
    with pytest.raises(StorageError, match="has format 99"):
        open_run(study.path).metrics()


@pytest.mark.parametrize("content", [b"", b"{}", b"nonsense", b'{"schema_version":1}\n'])
def test_a_run_whose_record_is_damaged_is_refused(study: RunResults, content: bytes) -> None:
    (study.path / "run.json").write_bytes(content)
    with pytest.raises(TornFileError, match=r"run\.json is damaged or was not written by admf"):
        open_run(study.path)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def link(file: Path) -> None:
    other = file.with_name("other.json")
    file.rename(other)
    file.symlink_to(other)


def stranger(file: Path) -> None:
    """Put another file of the same kind, whole in itself, in the place of a file."""
    others = sorted(file.parents[2].rglob(file.name))
    file.write_bytes(next(it for it in others if it != file).read_bytes())


DAMAGES = [flip, cut, Path.unlink, link, stranger]
WINDOW = "walk/wf_002/train"


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["aggregate_results.json", "phase_summary.json"])
def test_metrics_of_damaged_files_are_never_shown(
    study: RunResults, name: str, damage: Damage
) -> None:
    damage(study.path / WINDOW / name)
    for ask in (
        study.metrics,
        study["walk"].metrics,
        lambda: study["walk"]["wf_002/train"].containers,
    ):
        with pytest.raises(StorageError, match=f"{WINDOW}/{name}"):
            ask()
    assert study["walk"]["wf_001/train"].containers


@pytest.mark.parametrize("damage", DAMAGES)
def test_trades_of_damaged_files_are_never_shown(study: RunResults, damage: Damage) -> None:
    study.metrics()
    for file in (study.path / WINDOW).rglob("*trades.json"):
        damage(file)
    with pytest.raises(StorageError, match=f"{WINDOW}/all_trades"):
        study.trades()
    assert study.trades(where="window = 'wf_001/train'").height


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink, link])
def test_equity_of_damaged_files_is_never_shown(study: RunResults, damage: Damage) -> None:
    study.metrics()
    container = study["sweep"]["sweep/batch_001"]["portfolio_002"]
    (file,) = (study.path / "sweep").rglob("portfolio_002_results.json.zst")
    damage(file)
    for ask in (container.document, container.equity, study.equity):
        with pytest.raises(StorageError, match=r"portfolio_002_results\.json\.zst"):
            ask()


def test_a_file_beside_the_one_that_the_record_lists_is_not_read(study: RunResults) -> None:
    container = study["sweep"]["sweep/batch_001"]["portfolio_002"]
    (file,) = (study.path / "sweep").rglob("portfolio_002_results.json.zst")
    before = container.document()
    seal(file.with_suffix(""), {"schema_version": 1, "trades": []})
    assert container.document() == before


def test_the_record_of_a_phase_that_was_completed_must_be_there(study: RunResults) -> None:
    (study.path / "walk" / "phase_summary.json").unlink()
    for ask in (study.metrics, lambda: study["walk"].windows, lambda: study["walk"]["wf_001/test"]):
        with pytest.raises(
            TornFileError, match=r"walk/phase_summary.json is missing, though the p"
        ):
            ask()


@pytest.mark.parametrize("damage", [flip, cut, stranger])
def test_the_record_of_a_phase_must_be_whole(study: RunResults, damage: Damage) -> None:
    file = study.path / "walk" / "phase_summary.json"
    damage(file)
    with pytest.raises(TornFileError, match="walk/"):
        study.metrics()


def test_of_a_run_that_was_killed_the_complete_windows_are_shown(study: RunResults) -> None:
    complete = study.metrics()
    mark_as_killed(study.path)
    (study.path / "walk/wf_003/train/phase_summary.json").unlink()
    cut(study.path / "walk/wf_002/test/phase_summary.json")
    hidden = study.path / "walk" / ".aside" / "train"
    shutil.copytree(study.path / "walk/wf_001/train", hidden)
    run = open_run(study.path)
    assert run.status == "running"
    assert run.finished_at is None
    assert [it.status for it in run.phases.values()] == ["completed", *["running"] * 3]
    assert list(run["walk"].windows) == [
        "wf_001/test",
        "wf_001/train",
        "wf_002/train",
        "wf_003/test",
    ]
    wanted = [*run["sweep"].windows, *run["walk"].windows]
    assert run.metrics().equals(complete.filter(pl.col("window").is_in(wanted)))
    assert run["walk"]["wf_002/train"].metrics().height
    assert not run["paths"].windows
    with pytest.raises(KeyError):
        _ = run["walk"]["wf_002/test/nothing"]
    with pytest.raises(TornFileError):
        _ = run["walk"]["wf_002/test"]


def test_the_windows_of_an_unfinished_run_are_held_against_their_records(
    study: RunResults,
) -> None:
    mark_as_killed(study.path)
    flip(study.path / WINDOW / "aggregate_results.json")
    with pytest.raises(
        TornFileError, match="is cut, or was changed: it is not what its phase_summ"
    ):
        open_run(study.path).metrics()


def test_windows_below_windows_are_reached_through_the_records_between(
    root: Path, nested: RunResults
) -> None:
    rows = lanes_by_hand(nested.path, ["paths"])
    wanted = [(window, row["container_id"], row["metrics"]) for _, window, row in rows]
    windows = nested["paths"].windows
    assert [
        (window, container, dict(view.metrics()))
        for window in windows
        for container, view in windows[window].containers.items()
    ] == wanted
    assert nested.metrics().height == len(wanted)
    calls = Calls(root / "nested")
    window = open_run(root / "nested", call=calls)["paths"]["mc_002/wf_001/train"]
    assert len(window.containers) == 2
    assert calls.take() == [
        "run.json",
        "paths/phase_summary.json",
        "paths/mc_002/phase_summary.json",
        "paths/mc_002/wf_001/train/phase_summary.json",
        "paths/mc_002/wf_001/train/aggregate_results.json",
    ]


def test_records_of_sequences_are_no_windows_of_an_unfinished_phase(nested: RunResults) -> None:
    windows = list(nested["paths"].windows)
    body = load(nested.path / "run.json") | {"status": "running", "results": {}, "saved": []}
    seal(nested.path / "run.json", body)
    (nested.path / "paths" / "phase_summary.json").unlink()
    run = open_run(nested.path)
    assert list(run["paths"].windows) == windows
    with pytest.raises(KeyError, match="there is no window 'mc_001'"):
        _ = run["paths"]["mc_001"]


@pytest.mark.parametrize(
    ("fields", "phase", "status"),
    [
        ({"results": {"walk": False}}, "walk", "failed"),
        ({"results": {"walk": False}, "status": "cancelled"}, "walk", "cancelled"),
        ({"results": {}, "status": "cancelled"}, "walk", "cancelled"),
        ({"results": {"walk": False}, "skipped": {"walk": "no need"}}, "walk", "skipped"),
    ],
)
def test_a_phase_tells_how_it_ended(
    study: RunResults, fields: dict[str, Any], phase: str, status: str
) -> None:
    body = load(study.path / "run.json") | {"errors": {"walk": ["why"]}}
    seal(study.path / "run.json", {**body, **fields})
    run = open_run(study.path)
    assert run[phase].status == status
    assert run[phase].errors == ("why",)
    assert run[phase].skipped == fields.get("skipped", {}).get(phase, "")


def test_objectives_may_be_several(study: RunResults) -> None:
    body = load(study.path / "run.json")
    several = [{"name": "max_drawdown"}, {"name": "total_return"}]
    body["phases"]["walk"]["settings"]["objective_function"] = several
    seal(study.path / "run.json", body)
    assert open_run(study.path)["walk"].objective.name == "max_drawdown"


def test_a_window_without_a_report_has_no_portfolios(study: RunResults) -> None:
    mark_as_killed(study.path)
    place = study.path / WINDOW / "phase_summary.json"
    body = load(place) | {"status": "failed", "files": []}
    seal(place, body)
    window = open_run(study.path)["walk"]["wf_002/train"]
    assert window.status == "failed"
    assert dict(window.containers) == {}
    with pytest.raises(MissingFileError, match=r"wf_002/train left no aggregate_results\.json"):
        window.document("aggregate_results.json")


@pytest.mark.parametrize("window", ["../../study", "/etc", "a//b", "a/../b", "wf_001\0"])
def test_no_name_leads_out_of_the_run(study: RunResults, window: str) -> None:
    with pytest.raises(StorageError, match="is not a path below the results root"):
        _ = study["walk"][window]
    mark_as_killed(study.path)
    with pytest.raises(StorageError, match="is not a path below the results root"):
        _ = open_run(study.path)["walk"][window]


def test_documents_are_json_that_any_reader_reads(study: RunResults) -> None:
    assert json.loads((study.path / "run.json").read_bytes()) == study.document()

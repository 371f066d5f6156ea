"""The index: kept, believed only if it fits, and made again whenever it does not."""

from __future__ import annotations

import os
import random
from pathlib import Path

import polars as pl
import pytest

from admf.engine.errors import StorageError
from admf.workflows.results import RunResults, open_run
from admf.workflows.results.index import INDEX_FILE
from tests.workflows.results.conftest import (
    BACKTEST,
    STUDY,
    Calls,
    load,
    make,
    mark_as_killed,
    seal,
)


def index_of(run: RunResults) -> Path:
    return run.path / INDEX_FILE


def test_the_first_question_leaves_an_index_and_the_next_reader_uses_it(
    study: RunResults, calls: Calls
) -> None:
    frame = study.metrics()
    assert index_of(study).is_file()
    again = open_run(study.path, call=calls)
    assert again.metrics().equals(frame)
    assert again.metrics().schema == frame.schema
    assert again["walk"].trades().equals(study["walk"].trades())
    assert set(calls.take()[:6]) == {
        "run.json", INDEX_FILE,
        "sweep/phase_summary.json", "walk/phase_summary.json", "paths/phase_summary.json",
    }  # fmt: skip


def test_an_index_is_the_same_file_every_time(study: RunResults) -> None:
    study.metrics()
    before = index_of(study).read_bytes()
    study.rebuild_index()
    assert index_of(study).read_bytes() == before


def test_walking_through_a_run_needs_no_index(study: RunResults) -> None:
    for phase in study.phases.values():
        for window in phase.windows.values():
            assert window.containers
    assert not index_of(study).exists()


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_index_is_made_again(backtest: RunResults, seed: int) -> None:
    frame = backtest.metrics()
    whole = index_of(backtest).read_bytes()
    rng = random.Random(seed)
    place = rng.randrange(len(whole))
    damaged = bytearray(whole)
    damaged[place] ^= 1 << rng.randrange(8)
    index_of(backtest).write_bytes(whole[:place] if seed % 2 else damaged)
    assert open_run(backtest.path).metrics().equals(frame)
    assert index_of(backtest).read_bytes() == whole


def test_an_index_of_another_format_is_made_again(
    study: RunResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("admf.workflows.results.index._FORMAT", 0)
        frame = study.metrics()
        before = index_of(study).read_bytes()
    assert open_run(study.path).metrics().equals(frame)
    assert index_of(study).read_bytes() != before


def test_an_index_is_not_believed_once_the_run_is_another(root: Path) -> None:
    path = root / "backtest"
    open_run(path).metrics()
    index = (path / INDEX_FILE).read_bytes()
    make(BACKTEST, root, overwrite=True, overrides=["strategy.params.fast=10"])
    (path / INDEX_FILE).write_bytes(index)
    run = open_run(path)
    assert run.metrics()["fast"].to_list() == [10]
    assert (
        run.metrics()["sharpe_ratio"][0]
        == run["backtest"][""]["portfolio_001"].metrics()["sharpe_ratio"]
    )


def test_an_index_is_not_believed_once_a_record_of_a_phase_is_another(study: RunResults) -> None:
    study.metrics()
    record = load(study.path / "walk" / "phase_summary.json")
    record["windows"] = [it for it in record["windows"] if "wf_003" not in it["path"]]
    seal(study.path / "walk" / "phase_summary.json", record)
    assert open_run(study.path)["walk"].metrics(where="window LIKE 'wf_003/%'").is_empty()


def test_a_run_that_has_changed_since_it_was_opened_is_not_mixed_up(
    root: Path, study: RunResults
) -> None:
    make(STUDY, root, overwrite=True, overrides=["seed=3"])
    with pytest.raises(StorageError, match="has changed: open it again"):
        study.metrics()


def test_an_unfinished_run_gets_no_index(study: RunResults) -> None:
    mark_as_killed(study.path)
    run = open_run(study.path)
    assert run.metrics().height == 49
    run.rebuild_index()
    assert not index_of(study).exists()


def test_an_index_of_a_run_before_it_was_resumed_is_not_believed(study: RunResults) -> None:
    study.metrics()
    mark_as_killed(study.path)
    assert open_run(study.path)["paths"].metrics().is_empty()


def test_a_phase_that_was_cut_off_keeps_the_run_from_being_indexed(study: RunResults) -> None:
    body = load(study.path / "run.json")
    seal(study.path / "run.json", {**body, "status": "failed", "results": {"walk": False}})
    (study.path / "walk" / "phase_summary.json").unlink()
    run = open_run(study.path)
    assert run["walk"].metrics().height == 39
    assert not index_of(study).exists()


def test_an_index_that_cannot_be_written_is_done_without(root: Path) -> None:
    def call(function, /, *args, **kwargs):
        if function is os.open and INDEX_FILE in str(args[0]):
            raise OSError(30, "Read-only file system")
        return function(*args, **kwargs)

    run = open_run(root / "study", call=call)
    assert run.metrics(top=3).height == 3
    assert isinstance(run.trades(), pl.DataFrame)
    assert not index_of(run).exists()
    assert [it.name for it in run.path.iterdir() if it.name.startswith(".")] == []

from __future__ import annotations

import csv
import io
import os
from datetime import UTC, datetime

import polars as pl
import pytest

from admf.engine import files


def _csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_metrics_are_exported_as_csv(admf, results, portfolios):
    outcome = admf("results", "export", "results/study")
    rows = _csv(outcome.out)
    assert (outcome.code, outcome.err) == (0, "")
    assert len(rows) == len(portfolios)
    for row in rows:
        own = portfolios[row["phase"], row["window"], row["container"]]
        for name, value in own["metrics"].items():
            assert row[name] == "" if value is None else float(row[name]) == value
        assert int(row["fast"]) == own["parameters"]["fast"]


@pytest.mark.parametrize("option", [["--format", "json"], ["--json"]])
def test_trades_are_exported_as_json(admf, results, portfolios, option):
    outcome = admf("results", "export", "results/study", "--what", "trades", *option)
    known = sum(len(it["trades"]) for it in portfolios.values())
    assert len(outcome.document) == known > 0
    for place, own in portfolios.items():
        rows = [row for row in outcome.document if _place(row) == place]
        assert [{name: row[name] for name in own["trades"][0]} for row in rows] == own["trades"]


def _place(row) -> tuple[str, str, str]:
    return row["phase"], row["window"], row["container"]


def test_equity_is_exported_as_parquet_with_its_types(admf, results, portfolios, tmp_path):
    words = ["--what", "equity", "--format", "parquet", "-o", "curves.parquet"]
    outcome = admf("results", "export", "results/study", *words)
    assert (outcome.code, outcome.out) == (0, "")
    frame = pl.read_parquet(tmp_path / "curves.parquet")
    assert outcome.err == f"note: curves.parquet has {frame.height:,} rows\n"
    assert frame.schema["ts"] == pl.Datetime("ns", "UTC")
    for (phase, window, container), own in portfolios.items():
        rows = frame.filter(phase=phase, window=window, container=container)
        times = [datetime.fromisoformat(it) for it in own["equity_curve"]["ts"]]
        assert rows["equity"].to_list() == own["equity_curve"]["equity"]
        assert rows["ts"].dt.replace_time_zone(None).to_list() == [
            it.astimezone(UTC).replace(tzinfo=None) for it in times
        ]


def test_times_in_text_are_as_in_the_files(admf, results, portfolios):
    outcome = admf("results", "export", "results/study/last", "--what", "equity")
    (own,) = [it for (phase, _, _), it in portfolios.items() if phase == "last"]
    assert [row["ts"] for row in _csv(outcome.out)] == own["equity_curve"]["ts"]


def test_the_best_portfolios_alone_can_be_exported(admf, results):
    words = ("--json", "-n", "3")
    found = admf("results", "export", "results/study", *words).document
    best = admf("results", "top", "results/study", *words).document["rows"]
    assert found == best
    words = ("--json", "--by", "annual_volatility", "--where", "fast = 3", "--phase", "search")
    found = admf("results", "export", "results/study", *words).document
    assert [row["fast"] for row in found] == [3] * len(found) != []


def test_tables_without_rows_are_whole(admf, results):
    where = ("--where", "fast > 100")
    (head,) = admf("results", "export", "results/study", *where).out.splitlines()
    assert head.startswith("phase,window,container,status,error,fast")
    assert admf("results", "export", "results/study", *where, "--json").document == []


def test_curves_that_were_not_kept_are_told(admf, results):
    where = ("--what", "equity", "--where", "fast > 100")
    outcome = admf("results", "export", "results/study", *where)
    assert outcome.code == 0
    assert "event_tracing needs PORTFOLIO_UPDATE" in outcome.err


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_file_holds_what_standard_output_would(admf, results, tmp_path, kind):
    words = ("results", "export", "results/study", "--format", kind)
    outcome = admf(*words, "-o", "my file (1)", "--json")
    rows = len(admf("results", "export", "results/study", "--json").document)
    assert outcome.document == {
        "output": "my file (1)",
        "format": kind,
        "what": "metrics",
        "rows": rows,
    }
    written = tmp_path / "my file (1)"
    if kind == "parquet":
        assert pl.read_parquet(written).height == rows
    else:
        assert written.read_text() == admf(*words).out


def test_long_tables_are_written_in_parts(admf, results, monkeypatch):
    words = ("results", "export", "results/study", "--what", "trades", "--format")
    at_once = [admf(*words, kind).out for kind in ("csv", "json")]
    monkeypatch.setattr("admf.workflows.cli.export._ROWS_AT_ONCE", 3)
    assert [admf(*words, kind).out for kind in ("csv", "json")] == at_once


def test_an_existing_file_is_kept_unless_told_otherwise(admf, results, tmp_path):
    (tmp_path / "table.csv").write_text("mine")
    words = ("results", "export", "results/study", "-o", "table.csv")
    outcome = admf(*words)
    assert (outcome.code, outcome.out) == (6, "")
    assert "table.csv exists: choose another name, or give --overwrite" in outcome.err
    assert (tmp_path / "table.csv").read_text() == "mine"
    assert admf(*words, "--overwrite").code == 0
    assert (tmp_path / "table.csv").read_text().startswith("phase,")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    admf, results, tmp_path, monkeypatch
):
    (tmp_path / "table.csv").write_text("mine")
    before = sorted(it.name for it in tmp_path.iterdir())

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    outcome = admf("results", "export", "results/study", "-o", "table.csv", "--overwrite")
    assert outcome.code == 6
    assert "cannot write table.csv: No space left on device [ENOSPC]" in outcome.err
    assert (tmp_path / "table.csv").read_text() == "mine"
    assert sorted(it.name for it in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--format", "parquet"], 2, "parquet is not text: name a file for it with -o"),
        (["--format", "xlsx"], 2, "xlsx"),
        (["-o", "nowhere/table.csv"], 6, "cannot write nowhere/table.csv: No such file"),
        (["-o", "data"], 6, "data is a folder: name a file in it"),
        (["-o", "results/study/table.csv"], 6, "lies in the folder of a run"),
        (["-o", "a\0b"], 6, "cannot be the name of a file"),
        (["-o", "x" * 300], 6, "File name too long"),
        (["--where", "fats = 1"], 3, "did you mean 'fast'?"),
        (["--what", "trades", "--where", "pln < 0"], 3, "did you mean 'pnl'?"),
        (["--by", "nope"], 3, "'nope' is no metric"),
        (["--phase", "nope"], 3, "no phase 'nope'"),
        (["-n", "-1"], 2, "Must be >= 1"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(admf, results, tmp_path, words, code, message):
    (tmp_path / "data").mkdir()
    before = sorted(tmp_path.rglob("*"))
    outcome = admf("results", "export", "results/study", *words)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    added = {it.name for it in set(tmp_path.rglob("*")) - set(before)}
    assert added <= {".index"}


def test_a_link_is_replaced_and_not_followed(admf, results, tmp_path):
    (tmp_path / "other").write_text("mine")
    (tmp_path / "table.csv").symlink_to(tmp_path / "other")
    assert admf("results", "export", "results/study", "-o", "table.csv", "--overwrite").code == 0
    assert (tmp_path / "other").read_text() == "mine"
    assert (tmp_path / "table.csv").read_text().startswith("phase,")


def test_a_device_is_not_replaced(admf, results, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    outcome = admf("results", "export", "results/study", "-o", "pipe", "--overwrite")
    assert (outcome.code, outcome.out) == (6, "")
    assert "pipe is a device or the like: name a file" in outcome.err
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_into_a_run_is_no_way_to_write_there(admf, own_results, tmp_path):
    (tmp_path / "elsewhere").symlink_to(own_results / "study" / "last")
    outcome = admf("results", "export", "results/study", "-o", "elsewhere/table.csv")
    assert outcome.code == 6
    assert "elsewhere/table.csv lies in the folder of a run" in outcome.err
    assert not (own_results / "study" / "last" / "table.csv").exists()

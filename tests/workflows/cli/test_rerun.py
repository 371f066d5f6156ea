from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from admf.engine.result_names import COMMIT_FILE
from tests.sealing import change
from tests.workflows.cli.conftest import EXPERIMENT, Admf

PLACE = "results/study/backtest/portfolio_001"
FILE = "results/study/backtest/containers/portfolio_001_results.json"


@pytest.fixture
def study(project: Path, admf: Admf) -> Path:
    """Run the project's experiment; return the file of its portfolio."""
    assert admf("run", "experiment.yaml").code == 0
    return project / FILE


def forge(file: Path, **fields: object) -> None:
    """Set fields of a portfolio's file, and have no record tell that it was another."""
    change(file, **fields)
    record = file.parents[1] / COMMIT_FILE
    entry = {"path": f"containers/{file.name}", **size_and_hash(file)}
    files = json.loads(record.read_bytes())["files"]
    change(record, files=[entry if it["path"] == entry["path"] else it for it in files])


def size_and_hash(file: Path) -> dict[str, object]:
    from hashlib import sha256

    content = file.read_bytes()
    return {"size": len(content), "sha256": sha256(content).hexdigest()}


def set_close(project: Path, row: int, close: str) -> None:
    file = project / "data" / "GOOG.csv"
    lines = file.read_text().splitlines()
    fields = lines[row].split(",")
    lines[row] = ",".join([*fields[:4], close, fields[5]])
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("place", [PLACE, FILE, f"{PLACE}_results.json"])
def test_the_same_bytes_exit_with_0_and_headline_metrics(
    study: Path, admf: Admf, place: str
) -> None:
    metrics = json.loads(study.read_bytes())["metrics"]
    outcome = admf("rerun", place)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[:2] == ["backtest/portfolio_001  the same to the byte", ""]
    assert lines[2].split() == ["Total", "return", f"{100 * metrics['total_return']:.2f}", "%"]
    assert lines[5].split() == ["Trade", "count", f"{metrics['trade_count']:.0f}"]
    assert len(lines) == 6


def test_the_outcome_as_json(study: Path, admf: Admf) -> None:
    outcome = admf("rerun", PLACE, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.document == {
        "container": "backtest/portfolio_001",
        "same": True,
        "status": "completed",
        "error": None,
        "metrics": json.loads(study.read_bytes())["metrics"],
        "differences": [],
        "more": 0,
        "changes": [],
    }


def test_a_changed_price_is_told_first_and_exits_with_5(
    study: Path, project: Path, admf: Admf
) -> None:
    set_close(project, 30, "108.75")
    outcome = admf("rerun", PLACE)
    assert outcome.code == 5
    assert outcome.err.splitlines()[0].startswith(
        "note: not as it was then: data: the bars of the window have changed (fingerprint "
    )
    assert outcome.err.splitlines()[1:] == [
        "error: backtest/portfolio_001 does not give the same bytes"
    ]
    assert outcome.out.startswith("backtest/portfolio_001  not the same\n\nField ")
    assert "data.fingerprint" in outcome.out
    outcome = admf("rerun", PLACE, "--json")
    assert outcome.code == 5
    assert outcome.document["same"] is False
    assert outcome.document["differences"][0]["path"] == "data.fingerprint"


def test_changed_code_is_told(
    project: Path,
    admf: Admf,
    use_strategy: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_strategy("ctx.target(1 if ctx.bar_index % 3 else 0)")
    assert admf("run", "experiment.yaml").code == 0
    use_strategy("print('working')", "ctx.target(1 if ctx.bar_index % 4 else 0)")
    monkeypatch.delitem(sys.modules, "mine")  # as in another process
    outcome = admf("rerun", PLACE)
    assert outcome.code == 5
    lines = outcome.err.splitlines()
    assert "working" in lines
    assert "working" not in outcome.out
    assert "note: not as it was then: code of mine:Mine: its file has changed" in lines


def test_a_difference_that_nothing_explains_says_where_to_look(study: Path, admf: Admf) -> None:
    metrics = json.loads(study.read_bytes())["metrics"]
    forge(study, metrics={**metrics, "sharpe_ratio": 99.5})
    outcome = admf("rerun", PLACE)
    assert outcome.code == 5
    rows = outcome.out.splitlines()[3:]
    assert [row.split() for row in rows] == [
        ["metrics.sharpe_ratio", "99.5", repr(metrics["sharpe_ratio"])]
    ]
    assert outcome.err.startswith(
        "error: backtest/portfolio_001 does not give the same bytes; the data, the versions and "
    )


def test_a_long_list_of_differences_is_cut(study: Path, admf: Admf) -> None:
    forge(study, **{f"field_{it}": it for it in range(23)})
    assert admf("rerun", PLACE).out.splitlines()[-1] == "and 3 more"


def test_a_changed_version_alone_is_a_note(study: Path, project: Path, admf: Admf) -> None:
    run = project / "results" / "study" / "run.json"
    change(run, versions={**json.loads(run.read_bytes())["versions"], "polars": "0.1"})
    outcome = admf("rerun", PLACE)
    assert outcome.code == 0
    assert outcome.err.startswith("note: not as it was then: versions.polars: 0.1 then, ")


def test_a_portfolio_that_fails_as_it_did_is_the_same(
    project: Path, admf: Admf, use_strategy: Callable[..., None]
) -> None:
    use_strategy("if ctx.bar_index == 30: 1 / 0")
    assert admf("run", "experiment.yaml").code == 5
    outcome = admf("rerun", PLACE)
    assert outcome.code == 0
    told = " ".join(outcome.out.split())  # it is wrapped
    assert "it fails as it did: " in told
    assert "ZeroDivisionError: division by zero" in told


def test_data_that_are_gone_exit_with_4(study: Path, project: Path, admf: Admf) -> None:
    (project / "data" / "GOOG.csv").unlink()
    outcome = admf("rerun", PLACE)
    assert (outcome.code, outcome.out) == (4, "")


def test_a_strategy_that_is_gone_exits_with_3(
    project: Path,
    admf: Admf,
    use_strategy: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_strategy("pass")
    assert admf("run", "experiment.yaml").code == 0
    (project / "mine.py").unlink()
    monkeypatch.delitem(sys.modules, "mine")
    outcome = admf("rerun", PLACE)
    assert (outcome.code, outcome.out) == (3, "")
    assert "mine" in outcome.err


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("results/study/backtest/portfolio_01", "did you mean 'portfolio_001'?"),
        ("results/study/backtset/portfolio_001", "did you mean 'backtest'?"),
        ("results/study/backtest", f"e.g. {FILE.removesuffix('_results.json')}"),
        ("results/study", f"e.g. {FILE.removesuffix('_results.json')}"),
        ("results", "does not lie in the folder of a run"),
        ("nowhere/portfolio_001", "does not lie in the folder of a run"),
        ("results/study/backtest/" + 400 * "x", "there is no container"),
        ("results/study/" + 400 * "x" + "/y", "is not a path below the results root"),
    ],
)
def test_what_is_not_there_exits_with_6(study: Path, admf: Admf, place: str, message: str) -> None:
    outcome = admf("rerun", place)
    assert (outcome.code, outcome.out) == (6, "")
    assert message in outcome.err


def test_a_damaged_file_exits_with_6(study: Path, admf: Admf) -> None:
    study.write_bytes(study.read_bytes()[:-1])
    outcome = admf("rerun", PLACE)
    assert (outcome.code, outcome.out) == (6, "")
    assert "is cut, or was changed" in outcome.err


def test_nothing_is_written(study: Path, project: Path, admf: Admf) -> None:
    before = {it: it.read_bytes() for it in project.rglob("*") if it.is_file()}
    assert admf("rerun", PLACE).code == 0
    assert {it: it.read_bytes() for it in project.rglob("*") if it.is_file()} == before


def test_simulations_are_refused(project: Path, admf: Admf) -> None:
    text = EXPERIMENT.replace("simple_backtest", "mine") + (
        "phases: {draw: {sequence: monte_carlo, topology: backtest}}\n"
        "monte_carlo: {method: trade_shuffle, batches: 1, simulations: 3}\n"
    )
    (project / "experiment.yaml").write_text(text)
    assert admf("run", "experiment.yaml").code == 0
    (file,) = (project / "results").rglob("simulation_results.json")
    outcome = admf("rerun", str(file))
    assert (outcome.code, outcome.out) == (6, "")
    assert "run the study again" in outcome.err

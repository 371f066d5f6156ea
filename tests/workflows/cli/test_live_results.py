"""What the command line and `open_run` make of the folder of a live session."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from admf import LiveSession
from admf.containers.config import LaneConfig, StrategyConfig
from admf.containers.events import Bar
from admf.containers.live_config import LiveConfig
from admf.engine.documents import write_document
from admf.engine.events import Event
from admf.engine.lock_owner import encode_owner, this_process
from admf.engine.roll_rules import EveryEvents
from admf.engine.storage import LocalStorage
from admf.workflows.results import open_run
from tests.workflows.cli.conftest import Admf

MINUTE = 60 * 10**9
EXPERIMENT = {
    "workflow": "simple_backtest",
    "data": {"source": "sample", "symbols": ["GOOG"]},
    "strategy": {"type": "sma_cross", "params": {"fast": 2, "slow": 5}},
}


async def bars(count: int) -> AsyncIterator[Event]:
    for minute in range(count):
        close = 100.0 + minute % 9 - minute % 4
        yield Bar(minute * MINUTE, "GOOG", close, close + 1, close - 1, close, 1.0)


def trade(experiment: Any, count: int, root: Path, **options: Any) -> None:
    """Run a session on some bars, to its end."""

    async def run() -> None:
        await LiveSession(experiment, bars(count), results_root=root, **options).run()

    anyio.run(run)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a session of three windows."""
    trade(EXPERIMENT, 50, tmp_path / "results", rolls=[EveryEvents(20)])
    return tmp_path / "results" / "live"


@pytest.fixture
def killed(folder: Path) -> Path:
    """Return the folder of a session that was killed as it wrote its third window."""
    (folder / "session/live/000003/phase_summary.json").unlink()
    run = json.loads((folder / "run.json").read_text())
    ended = {"finished_at": None, "results": {}, "saved": []}
    _write(folder / "run.json", {**run, "status": "running", **ended})
    return folder


def _write(path: Path, document: dict[str, object]) -> None:
    document.pop("checksum", None)
    document.pop("schema_version", None)
    anyio.run(write_document, LocalStorage(path.parents[1]), path.parent.name, path.name, document)


def test_a_session_is_opened_like_a_run(folder: Path) -> None:
    run = open_run(folder)
    assert (run.workflow, run.status, list(run.phases)) == ("live", "completed", ["session"])
    assert run.run_id.startswith("live-")
    assert run.experiment["strategy"]["params"] == {"fast": 2, "slow": 5}
    phase = run["session"]
    assert (phase.status, phase.saved, phase.sequence) == ("completed", True, "live")
    assert list(phase.windows) == ["live/000001", "live/000002", "live/000003"]
    assert run.metrics()["window"].to_list() == list(phase.windows)
    portfolio = phase["live/000002"]["portfolio_001"]
    assert len(portfolio.trades()) == portfolio.metrics()["trade_count"]


def test_commands_show_a_session(admf: Admf, folder: Path) -> None:
    (listed,) = admf("results", "ls", "results", "--json").document["rows"]
    assert (listed["workflow"], listed["status"], listed["windows"]) == ("live", "completed", 3)
    inside = admf("results", "ls", "results/live", "--json")
    assert inside.code == 0
    shown = admf("results", "show", "results/live")
    assert (shown.code, "session" in shown.out) == (0, True)
    window = admf("results", "show", "results/live/session/live/000002", "--json").document
    assert window[0]["portfolios"][0]["container_id"] == "portfolio_001"
    top = admf("results", "top", "results/live", "--by", "total_return", "--json")
    assert top.code == 0


def test_every_file_of_a_session_is_verified(admf: Admf, folder: Path) -> None:
    found = admf("verify", "results/live", "--json")
    assert (found.code, found.document["phases"]["session"]["state"]) == (0, "complete")
    assert found.document["phases"]["session"]["windows"] == 3
    (folder / "session/live/000002/all_trades.json").write_text("{}")
    found = admf("verify", "results/live", "--json")
    assert found.code != 0
    assert found.document["phases"]["session"]["state"] == "damaged"


def test_old_windows_of_a_session_may_be_moved_away(admf: Admf, folder: Path) -> None:
    (folder / "session/live/000001").rename(folder.parent / "archive")
    assert admf("verify", "results/live").code == 0
    assert list(open_run(folder)["session"].windows) == ["live/000002", "live/000003"]


def test_a_session_that_was_killed_can_be_looked_at(admf: Admf, killed: Path) -> None:
    run = open_run(killed)
    assert (run.status, run["session"].status) == ("running", "running")
    assert list(run["session"].windows) == ["live/000001", "live/000002"]
    (listed,) = admf("results", "ls", "results", "--json").document["rows"]
    assert listed["status"] == "running"
    assert "LiveSession(..., resume=True)" in listed["note"]
    found = admf("verify", "results/live")
    assert (found.code, "LiveSession(..., resume=True)" in found.err) == (0, True)
    shown = admf("results", "show", "results/live")
    assert (shown.code != 0, "LiveSession(..., resume=True)" in shown.err) == (True, True)


def test_a_session_that_goes_on_is_under_way(admf: Admf, killed: Path) -> None:
    claim = killed / ".lock" / "1"
    claim.mkdir(parents=True)
    (claim / "owner.json").write_bytes(encode_owner(this_process(1)))
    (listed,) = admf("results", "ls", "results", "--json").document["rows"]
    assert listed["note"].startswith("under way, pid")


def test_a_session_that_was_killed_goes_on_and_is_whole(admf: Admf, killed: Path) -> None:
    started_at = open_run(killed).started_at
    trade(EXPERIMENT, 10, killed.parent, resume=True)
    run = open_run(killed)
    assert (run.status, run.started_at) == ("completed", started_at)
    assert list(run["session"].windows) == ["live/000001", "live/000002", "live/000004"]
    assert admf("verify", "results/live").code == 0


def test_commands_do_not_run_a_session_again(admf: Admf, killed: Path) -> None:
    resumed = admf("resume", "results/live")
    assert (resumed.code != 0, "LiveSession" in resumed.err) == (True, True)
    portfolio = "results/live/session/live/000001/containers/portfolio_001"
    rerun = admf("rerun", portfolio)
    assert (rerun.code != 0, "live session" in rerun.err) == (True, True)


def test_settings_without_an_experiment_can_be_opened_too(tmp_path: Path) -> None:
    lane = LaneConfig(lane_id="001", strategy=StrategyConfig(type="buy_and_hold"), seed=7)
    config = LiveConfig(symbols=("GOOG",), lanes=(lane,))
    trade(config, 5, tmp_path / "results", results_dir="other")
    run = open_run(tmp_path / "results" / "other")
    assert (run.seed, run.experiment, run["session"].status) == (7, {}, "completed")

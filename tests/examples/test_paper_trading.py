"""The paper-trading service, as a process of its own, on a feed that the test controls."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

import admf
from admf.engine.local_folder import LocalFolder
from admf.engine.tree_check import verify_tree

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parents[2] / "examples" / "paper_trading"
SERVICE = FOLDER / "service.py"


class ScriptedFeed:
    """Sends to each connection the bars up to a number, then cuts it off, stays, or closes it.

    Attributes:
        asked: The numbers after which the connections wanted bars.
    """

    def __init__(self, *scripts: tuple[int, str]) -> None:
        self.bars: list[str] = run_path(str(FOLDER / "feed.py"))["messages"]()
        self.asked: list[int] = []
        self._scripts = list(scripts)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        async with serve(self._play, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            yield f"ws://{host}:{port}"

    async def _play(self, connection: ServerConnection) -> None:
        self.asked.append(json.loads(await connection.recv())["after"])
        upto, then = self._scripts.pop(0)
        for bar in self.bars[self.asked[-1] : upto]:
            await connection.send(bar)
        if then == "cut":
            connection.transport.close()
        if then != "close":
            await connection.wait_closed()


@asynccontextmanager
async def service(folder: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVICE), *words, cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def lines_until(process: asyncio.subprocess.Process, start: str) -> list[str]:
    """Read lines up to the first that starts so; all of them if none does."""
    assert process.stdout is not None
    lines = []
    async for line in process.stdout:
        lines.append(line.decode().rstrip())
        if start and lines[-1].startswith(start):
            break
    return lines


async def rest(process: asyncio.subprocess.Process) -> list[str]:
    lines = await lines_until(process, "")
    assert await process.wait() == 0, lines
    return lines


def records(root: Path) -> list[dict[str, Any]]:
    """Return the commit record of each window of the session, which must be whole, in order."""
    folder = root / "results" / "paper"
    check = verify_tree(LocalFolder(folder), {"session": False}, beside=["run.json"])
    assert not check.findings
    windows = sorted((folder / "session" / "live").iterdir())
    assert check.roots["session"].windows == len(windows)
    assert [it.name for it in windows] == [f"{n:06}" for n in range(1, len(windows) + 1)]
    return [json.loads((it / "phase_summary.json").read_bytes()) for it in windows]


async def test_sigterm_ends_it_in_order_and_the_next_start_goes_on_from_there(
    tmp_path: Path,
) -> None:
    feed = ScriptedFeed((71, "cut"), (147, "stay"), (300, "close"))
    async with feed.served() as url:
        async with service(tmp_path, "--url", url, "--roll", "49") as process:
            await lines_until(process, "live/000003")  # the last bar has opened the next window
            process.send_signal(signal.SIGTERM)
            said = await rest(process)
        assert len(records(tmp_path)) == 4
        async with service(tmp_path, "--url", url, "--roll", "49") as process:
            again = await rest(process)
    assert said[-1] == "ended in order: 4 windows, 150 events"
    assert again[1] == "connected; takes the bars after number 147"
    assert feed.asked == [0, 71, 147]
    reports = [it["report"] for it in records(tmp_path)]
    check_that_nothing_was_lost(reports, connected=3, lost=2)
    check_carried(reports[:4])
    check_carried(reports[4:])
    before, after = (it["accounts"]["portfolio_001"]["positions"] for it in reports[3:5])
    same = ("symbol", "direction", "entry_price", "entry_ts", "position_id")
    assert [before[0][name] for name in same] == [after[0][name] for name in same]


def check_that_nothing_was_lost(
    reports: list[dict[str, Any]], *, connected: int, lost: int
) -> None:
    intakes = [it["intake"] for it in reports]
    assert sum(it["events"] for it in intakes) == 300 + connected + lost
    assert intakes[-1]["last_position"] == 300
    assert [it["bars_refused"] for it in reports] == [{}] * len(reports)
    steps = 300 // 2 + 1  # a bar for each of two symbols; the restart cut one step in two
    assert sum(it["metrics"]["bars"] for it in reports) == steps


def check_carried(reports: list[dict[str, Any]]) -> None:
    """Check that each window of a session began with what the one before had at its end."""
    for before, window in pairwise(reports):
        left = before["accounts"]["portfolio_001"]
        carried = window["intake"]["carried"]["portfolio_001"]["account"]
        assert (carried["cash"], carried["positions"]) == (left["cash"], left["positions"])


async def test_what_it_trades_is_what_a_backtest_of_the_same_file_trades(tmp_path: Path) -> None:
    feed = ScriptedFeed((1008, "close"))
    async with feed.served() as url, service(tmp_path, "--url", url, "--roll", "200") as process:
        said = await rest(process)
    result = await admf.run_async(FOLDER / "experiment.yaml", results_root=tmp_path)
    summary = result.phases["backtest"].summary
    assert summary is not None
    reports = [it["report"] for it in records(tmp_path)]
    assert summary.total_trades == sum(it["total_trades"] for it in reports) == 13
    final = summary.metrics["final_equity"]
    assert reports[-1]["metrics"]["final_equity"] == final
    assert f"equity {final:,.2f}, 0 trades, holds 242.9 AAPL" in said[-2]


async def test_one_command_runs_the_demo_and_ctrl_c_ends_it_in_order(tmp_path: Path) -> None:
    async with service(tmp_path, "--demo", "--roll", "17:00") as process:
        await lines_until(process, "live/000002")
        process.send_signal(signal.SIGINT)
        said = await rest(process)
    windows = records(tmp_path)
    assert said[-1].startswith(f"ended in order: {len(windows)} windows")
    assert {it["report"]["metrics"]["bars"] for it in windows} == {1}  # the bars are daily


def test_the_service_takes_fewer_than_120_lines() -> None:
    assert len(SERVICE.read_text(encoding="utf-8").splitlines()) < 120

"""Cancellation injected at every suspension of a whole run, with its files on a real disk."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from pathlib import Path

import anyio
import polars as pl
import pytest

from admf.engine.storage import LocalStorage
from admf.engine.verification import verify_window
from admf.workflows.plugins import installed_plugins
from admf.workflows.runner import Runner
from tests.engine.injection import Injection, Suspensions, open_descriptors

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

BARS = 24
EXPERIMENT = {
    "workflow": "simple_backtest",
    "data": {"source": "frames", "symbols": ["X"]},
    "strategy": {"type": "sma_cross", "params": {"fast": 2, "slow": 4}},
    "block_size": 8,
    "results_dir": "run",
}


def frame() -> pl.DataFrame:
    close = [100.0 + (i % 7) * (1 if i % 2 else -1) for i in range(BARS)]
    return pl.DataFrame(
        {
            "timestamp": [86_400 * i for i in range(1, BARS + 1)],
            "open": close,
            "high": close,
            "low": close,
            "close": close,
            "volume": [1.0] * BARS,
        }
    )


PLUGINS = installed_plugins()
LOADED = Runner(registry=PLUGINS).load(EXPERIMENT)
FRAME = frame()


def drive(root: Path, mode: str, at: int) -> tuple[bool, bool]:
    """Run the experiment with an injection; return whether it was injected, and had its effect."""
    suspensions, injection = Suspensions(), Injection(mode, at)
    cancelled = False

    async def host() -> None:
        nonlocal cancelled
        runner = Runner(results_root=root, registry=PLUGINS, frames={"X": FRAME})
        with anyio.CancelScope() as injection.scope:
            await runner.run(LOADED)
        cancelled = injection.scope.cancelled_caught

    async def main() -> None:
        nonlocal cancelled
        injection.main = suspensions.main = asyncio.current_task()
        suspensions.act = injection
        injection.host = task = asyncio.create_task(host())
        await asyncio.wait([task])
        suspensions.act = None
        cancelled |= task.cancelled()
        assert task.cancelled() or task.exception() is None
        assert asyncio.all_tasks() == {suspensions.main}

    with asyncio.Runner() as runner:
        runner.get_loop().set_task_factory(suspensions.make_task)
        runner.run(main())
    return injection.injected, cancelled


def status_on_disk(root: Path) -> str:
    """Return what the files say, after checking that they are whole and agree."""
    assert not [path for path in root.rglob("*") if path.name.endswith(".tmp")]
    record = root / "run" / "run.json"
    if not record.exists():
        assert not list(root.rglob("*_results.json"))
        return "nothing"
    status = json.loads(record.read_text())["status"]
    portfolio = root / "run/backtest/containers/portfolio_001_results.json"
    if not portfolio.exists():
        return status
    check = asyncio.run(verify_window(LocalStorage(root), "run/backtest"))
    assert check.complete
    window = json.loads((root / "run/backtest/phase_summary.json").read_text())["status"]
    assert json.loads(portfolio.read_text())["status"] == window
    assert status in {window, "cancelled"}  # the run may be cancelled after its only window
    return status


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["host once", "host twice", "scope once", "scope twice"])
def test_a_run_that_is_cancelled_anywhere_leaves_whole_files_and_nothing_else(
    tmp_path: Path, mode: str
) -> None:
    drive(tmp_path / "warm", mode, 10**9)  # late imports open files
    threads, descriptors = set(threading.enumerate()), open_descriptors()
    statuses = set()
    for at in itertools.count(1):
        root = tmp_path / str(at)
        injected, cancelled = drive(root, mode, at)
        statuses.add(status_on_disk(root))
        assert cancelled == injected, at
        if not injected:
            break
    assert statuses == {"nothing", "cancelled", "completed"}
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
    assert set(threading.enumerate()) <= threads
    assert open_descriptors() <= descriptors


@pytest.mark.anyio
async def test_cancel_ends_a_run_early_and_returns_what_ran(tmp_path: Path) -> None:
    runner = Runner(results_root=tmp_path, frames={"X": FRAME})
    run = await runner.prepare(EXPERIMENT)
    result = await run.execute(lambda progress: run.cancel() if progress.bars_done >= 8 else None)
    assert result.status == "cancelled"
    document = json.loads(
        (tmp_path / "run/backtest/containers/portfolio_001_results.json").read_text()
    )
    assert document["status"] == "cancelled"
    assert 0 < document["metrics"]["bars"] < BARS
    assert await anyio.to_thread.run_sync(status_on_disk, tmp_path) == "cancelled"


@pytest.mark.anyio
async def test_a_timeout_around_a_run_is_raised_when_all_is_written(tmp_path: Path) -> None:
    runner = Runner(results_root=tmp_path, frames={"X": FRAME})
    run = await runner.prepare(EXPERIMENT)

    async def host() -> None:
        async with asyncio.timeout(None) as timeout:
            await run.execute(lambda _: timeout.when() is None and timeout.reschedule(0.0))

    with pytest.raises(TimeoutError):
        await host()
    assert await anyio.to_thread.run_sync(status_on_disk, tmp_path) == "cancelled"

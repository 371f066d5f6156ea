"""A host of runs for tests: small experiments, and a way to look at what they leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from admf.containers import Bar
from admf.workflows.run import Run
from admf.workflows.run_events import RunEvents
from admf.workflows.runner import Runner

T = TypeVar("T")

BARS = 48


def frame(bars: int = BARS) -> pl.DataFrame:
    close = [100.0 + (i % 7) * (1 if i % 2 else -1) for i in range(bars)]
    return pl.DataFrame(
        {
            "timestamp": [86_400 * i for i in range(1, bars + 1)],
            "open": close,
            "high": close,
            "low": close,
            "close": close,
            "volume": [1.0] * bars,
        }
    )


FRAMES = {"X": frame()}


def experiment(folder: str, **changes: Any) -> dict[str, Any]:
    """Return a back-test, in blocks so short that there is a point in its middle."""
    base: dict[str, Any] = {
        "workflow": "simple_backtest",
        "data": {"source": "frames", "symbols": ["X"]},
        "strategy": {"type": "sma_cross", "params": {"fast": 2, "slow": 4}},
        "block_size": 8,
        "results_dir": folder,
    }
    return {**base, **changes}


def sweep(folder: str, **changes: Any) -> dict[str, Any]:
    """Return a search over four lanes."""
    space = {"fast": [2, 3], "slow": [4, 5]}
    strategy = {"type": "sma_cross"}
    phases = {"search": {"sequence": "parameter_sweep"}}
    changes = {"workflow": "search", "phases": phases, "parameter_space": space, **changes}
    return experiment(folder, strategy=strategy, **changes)


def runner(root: Path, **options: Any) -> Runner:
    """Return a runner whose runs let the event loop have its turn after every step."""
    return Runner(**{"results_root": root, "frames": FRAMES, "max_block_ms": 0.0, **options})


def held(run: Run) -> RunEvents:
    """Return events of a run that waits at its second block until they are read or closed."""
    return run.events([Bar], maxsize=9, overflow="block")


async def underway(run: Run) -> None:
    """Return when a run has handled some bars, and not all."""
    async for update in run.progress():
        if 0 < update.bars_done < update.bars_total:
            return
    raise AssertionError(f"{run} is over")


def files_of(root: Path) -> dict[str, bytes]:
    """Return what runs have left, but for the records of when and where they ran."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def recorded_status(folder: Path) -> str:
    record: Mapping[str, str] = json.loads((folder / "run.json").read_text())
    return record["status"]


async def solo(root: Path, *experiments: Mapping[str, Any]) -> dict[str, bytes]:
    """Run experiments one after the other, each by itself, and return their files."""
    for each in experiments:
        await Runner(results_root=root, frames=FRAMES).run(each)
    return await asyncio.to_thread(files_of, root)


async def leaving_no_task(work: Callable[[], Awaitable[T]]) -> T:
    """Do something after which no task is to be left."""
    before = asyncio.all_tasks()
    try:
        return await work()
    finally:
        assert asyncio.all_tasks() <= before

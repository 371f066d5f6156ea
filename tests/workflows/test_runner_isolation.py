"""Fifty runs in one event loop, each as if it were alone, and the host among them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from admf.workflows.runner import Runner
from tests.workflows.hosting import FRAMES, experiment, files_of, sweep

pytestmark = pytest.mark.anyio

KINDS = 5
RUNS = 50


def study(number: int, folder: str) -> dict[str, Any]:
    """Return one of several kinds of studies."""
    params = {"fast": 2, "slow": 4}
    kinds = (
        experiment(folder),
        experiment(folder, strategy={"type": "sma_cross", "params": {**params, "slow": 9}}),
        experiment(folder, risk={"stop_loss_pct": 2.0}),
        sweep(folder),
        experiment(folder, strategy={"type": "buy_and_hold"}, compression="gzip"),
    )
    return kinds[number % KINDS]


async def test_fifty_runs_beside_a_host_leave_what_each_leaves_alone(tmp_path: Path) -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    heart = asyncio.create_task(beat())
    async with Runner(results_root=tmp_path / "hosted", frames=FRAMES, max_runs=RUNS) as host:
        runs = [await host.submit(study(number, f"{number:02}")) for number in range(RUNS)]
        before = beats
        assert {(await run.result()).status for run in runs} == {"completed"}
        assert beats - before >= RUNS
    heart.cancel()
    alone = Runner(results_root=tmp_path / "alone", frames=FRAMES)
    for number in range(KINDS):
        await alone.run(study(number, f"{number:02}"))
    left = by_run(files_of(tmp_path / "hosted"))
    solo = by_run(files_of(tmp_path / "alone"))
    assert left == {f"{number:02}": solo[f"{number % KINDS:02}"] for number in range(RUNS)}


def by_run(files: dict[str, bytes]) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        folder, _, name = path.partition("/")
        found.setdefault(folder, {})[name] = content
    return found

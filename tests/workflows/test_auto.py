"""Studies whose results are in memory as long as there is room; how much there is, is made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import numpy as np
import polars as pl
import pytest

from admf.workflows.outcome import RunResult
from admf.workflows.progress import RunProgress
from admf.workflows.runner import Runner

pytestmark = pytest.mark.anyio

BARS = 9_000  # more than twice the marks that a portfolio holds in memory
LIMIT = 1 << 40


class MadeUpMemory:
    def __init__(self) -> None:
        self.used_pct = 0

    def limit_bytes(self) -> int:
        return LIMIT

    def used_bytes(self) -> int:
        return LIMIT * self.used_pct // 100

    def pressure_pct(self) -> float:
        return 0.0


def frame() -> pl.DataFrame:
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(7).normal(0.0, 0.01, BARS)))
    ts = 3_600 * np.arange(1, BARS + 1)
    return pl.DataFrame(
        {"timestamp": ts, "open": close, "high": close, "low": close, "close": close, "volume": 1.0}
    )


EXPERIMENT: dict[str, object] = {
    "workflow": "study",
    "data": {"source": "frames", "symbols": ["X"]},
    "strategy": {"type": "sma_cross"},
    "phases": {
        "search": {"sequence": "parameter_sweep"},
        "again": {"sequence": "single_pass", "inputs": {"parameters": "{search.best_parameters}"}},
    },
    "parameter_space": {"fast": [2, 3], "slow": [5]},
    "search": {"batch_size": 1},
    "event_tracing": ["POSITION_CLOSE", "PORTFOLIO_UPDATE"],
    "block_size": 1_000,
    "results_dir": "run",
}
FRAME = frame()


def files_of(root: Path) -> dict[str, bytes]:
    """Return the files of a run but for its record."""
    files = [path for path in sorted((root / "run").rglob("*")) if path.is_file()]
    return {str(it.relative_to(root)): it.read_bytes() for it in files if it.name != "run.json"}


async def run(
    root: Path,
    at: Callable[[RunProgress, MadeUpMemory], None] = lambda *_: None,
    **options: Any,
) -> RunResult:
    """Run the study, with the memory as ``at`` sets it while bars are handled."""
    memory = MadeUpMemory()
    settings = {"results_storage": "auto", **options.pop("settings", {})}
    runner = Runner(results_root=root, frames={"X": FRAME}, memory=memory, **options)
    run = await runner.prepare({**EXPERIMENT, **settings})

    def on_progress(progress: RunProgress) -> None:
        before = memory.used_pct
        at(progress, memory)
        if memory.used_pct != before:
            run._memory.look()

    return await run.execute(on_progress)


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("disk")
    anyio.run(lambda: run(root, settings={"results_storage": "disk"}))
    return files_of(root)


async def test_with_room_enough_results_are_handed_back_and_not_written(tmp_path, on_disk):
    result = await run(tmp_path)
    assert result.status == "completed"
    assert result.results_path is None
    assert files_of(tmp_path) == {}
    for name, phase in result.phases.items():
        assert not phase.results_saved
        data = phase.phase_results
        assert data is not None
        written = {path: it for path, it in on_disk.items() if path.startswith(f"run/{name}/")}
        assert data.files == {
            path.removeprefix(f"run/{name}/"): msgspec.json.decode(it)
            for path, it in written.items()
        }


async def test_a_shortage_before_the_first_bar_sends_everything_to_disk(tmp_path, on_disk):
    def at(progress: RunProgress, memory: MadeUpMemory) -> None:
        memory.used_pct = 75

    result = await run(tmp_path, at)
    assert all(phase.results_saved for phase in result.phases.values())
    assert result.results_path == str(tmp_path / "run")
    assert files_of(tmp_path) == on_disk


@pytest.mark.parametrize(("window", "bars"), [(0, 5_000), (1, 1_000), (1, 8_000)])
async def test_a_switch_in_a_window_keeps_every_trade_and_mark_once(
    tmp_path, on_disk, window, bars
):
    def at(progress: RunProgress, memory: MadeUpMemory) -> None:
        if progress.windows_done == window and progress.bars_done >= bars:
            memory.used_pct = 71

    result = await run(tmp_path, at)
    assert result.phases["search"].results_saved
    assert files_of(tmp_path) == on_disk


async def test_results_return_to_memory_when_there_is_room_again(tmp_path, on_disk):
    def at(progress: RunProgress, memory: MadeUpMemory) -> None:
        memory.used_pct = 75 if progress.phase == "search" else 10

    result = await run(tmp_path, at)
    assert result.phases["search"].results_saved
    assert not result.phases["again"].results_saved
    found = files_of(tmp_path)
    assert found == {path: it for path, it in on_disk.items() if path.startswith("run/search/")}


async def test_results_too_large_to_be_handed_back_are_written(tmp_path, on_disk):
    def at(progress: RunProgress, memory: MadeUpMemory) -> None:
        memory.used_pct = 69

    files = sum(map(len, on_disk.values()))
    assert 8 * files < LIMIT // 100  # so they would fit
    assert not (await run(tmp_path / "fits", at)).phases["search"].results_saved


async def test_out_of_memory_the_newest_window_fails_and_the_run_can_be_resumed(tmp_path, on_disk):
    def at(progress: RunProgress, memory: MadeUpMemory) -> None:
        if progress.windows_done == 1 and progress.bars_done >= 4_000:
            memory.used_pct = 95

    result = await run(tmp_path, at)
    assert result.status == "failed"
    search, again = result.phases["search"], result.phases["again"]
    assert search.results_saved
    assert "was ended to stay within the memory" in search.errors[0]
    assert "resume" in search.errors[0]
    assert again.skipped
    assert (tmp_path / "run/search/001/phase_summary.json").exists() or len(files_of(tmp_path)) > 4

    resumed = await run(tmp_path, settings={"results_storage": "auto"}, resume=True)
    assert resumed.status == "completed"
    assert resumed.phases["search"].results_saved  # some of it was on disk already
    found = files_of(tmp_path)
    assert {it: found[it] for it in found if it.startswith("run/search/")} == {
        path: it for path, it in on_disk.items() if path.startswith("run/search/")
    }


async def test_a_phase_that_fails_leaves_its_results_on_disk(tmp_path):
    result = await run(tmp_path, settings={"metric_constraints": ["sharpe_ratio > 1000"]})
    assert result.phases["search"].results_saved
    assert files_of(tmp_path)


async def test_a_phase_that_stores_traces_is_on_disk_from_the_start(tmp_path):
    result = await run(tmp_path, settings={"trace": {"store": "all"}})
    assert all(phase.results_saved for phase in result.phases.values())

"""How a run ends when something goes wrong, and what it tells of its progress."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl
import pytest

from admf.containers.data import DataContainer
from admf.containers.features import FeaturesContainer
from admf.engine.errors import StorageError, WindowError
from admf.engine.storage import LocalStorage
from admf.engine.testing import FaultStorage
from admf.sequences.sequencer import Sequencer
from admf.workflows.progress import RunProgress
from admf.workflows.runner import Runner

pytestmark = pytest.mark.anyio

BARS = 24
EXPERIMENT: Mapping[str, object] = {
    "workflow": "simple_backtest",
    "data": {"source": "frames", "symbols": ["X", "Y"]},
    "strategy": {"type": "sma_cross", "params": {"fast": 2, "slow": 4}},
    "results_dir": "study",
}


def frames() -> dict[str, pl.DataFrame]:
    close = [100.0 + (bar % 7) * (1 if bar % 2 else -1) for bar in range(BARS)]
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    days = [86_400 * bar for bar in range(1, BARS + 1)]
    frame = pl.DataFrame({"timestamp": days, **prices, "volume": [1.0] * BARS})
    return {"X": frame, "Y": frame}


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(results_root=tmp_path, frames=frames())


async def test_progress_counts_bars_once_they_are_handled(runner):
    seen: list[RunProgress] = []
    await runner.run({**EXPERIMENT, "block_size": 10}, on_progress=seen.append)
    assert [progress.bars_done for progress in seen] == [0, 20, 40, 48]
    assert {(it.phase, it.window_id, it.bars_total, it.lanes) for it in seen} == {
        ("backtest", "", 2 * BARS, 1)
    }


async def test_several_storage_errors_are_raised_as_the_first_of_them(runner, monkeypatch):
    write = LocalStorage.write_atomic

    async def run_out_of_space(self: LocalStorage, path: str, chunks: Iterable[bytes]) -> None:
        if "backtest" in path:
            raise StorageError(f"cannot write {path}: no space left")
        await write(self, path, chunks)

    monkeypatch.setattr(LocalStorage, "write_atomic", run_out_of_space)
    with pytest.raises(StorageError, match="portfolio_001_results") as caught:
        await runner.run(EXPERIMENT)
    assert isinstance(caught.value.__cause__, ExceptionGroup)


async def test_other_errors_stay_a_group(runner, monkeypatch):
    async def fail(*_: object, resume: bool = False) -> None:
        raise ExceptionGroup("several", [ValueError(), KeyError()])

    monkeypatch.setattr(Sequencer, "run", fail)
    with pytest.raises(ExceptionGroup, match="several"):
        await runner.run(EXPERIMENT)


async def test_windows_that_fail_in_several_ways_fail_the_run_and_are_told(runner, monkeypatch):
    def failing(text: str):
        async def fail(_: object) -> None:
            raise WindowError(text)

        return fail

    monkeypatch.setattr(DataContainer, "on_stop", failing("of data"))
    monkeypatch.setattr(FeaturesContainer, "on_stop", failing("of features"))
    result = await runner.run(EXPERIMENT)
    assert result.status == "failed"
    errors = result.phases["backtest"].errors
    assert [error for error in errors if "of data" in error or "of features" in error]


async def test_a_window_that_cannot_start_fails_its_phase(runner, monkeypatch):
    async def fail(_: object) -> None:
        raise WindowError("of features")

    monkeypatch.setattr(FeaturesContainer, "on_start", fail)
    result = await runner.run(EXPERIMENT)
    phase = result.phases["backtest"]
    assert result.status == "failed"
    assert not phase.success
    assert phase.summary is None
    assert phase.errors == ("of features",)


@pytest.mark.parametrize("storage", ["disk", "memory"])
async def test_a_run_that_is_cancelled_beforehand_ends_at_once(runner, tmp_path, storage):
    run = await runner.prepare({**EXPERIMENT, "results_storage": storage})
    run.cancel()
    run.hurry()
    result = await run.execute()
    assert result.status == "cancelled"
    assert (tmp_path / "study" / "run.json").exists() == (storage == "disk")


async def test_a_replacement_that_failed_can_be_tried_again_in_the_same_process(
    tmp_path: Path,
) -> None:
    def replacing(storage: LocalStorage) -> Runner:
        return Runner(frames=frames(), storage=storage, overwrite=True)

    clean = FaultStorage(tmp_path / "clean")
    for _ in range(2):
        clean.calls.clear()
        await replacing(clean).run(EXPERIMENT)
    moved = clean.calls.index("rename") + 1
    for number in range(moved, moved + 8):
        root = tmp_path / str(number)
        await replacing(LocalStorage(root)).run(EXPERIMENT)
        with pytest.raises(StorageError, match="EIO"):
            await replacing(FaultStorage(root, fail_at=number)).run(EXPERIMENT)
        assert (await replacing(LocalStorage(root)).run(EXPERIMENT)).status == "completed"

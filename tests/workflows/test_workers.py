"""Windows on several processes: the same files, whatever runs where."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from admf.workflows.progress import RunProgress
from admf.workflows.runner import Runner
from admf.workflows.workers import usable_cores
from tests.on_workers import (
    BASE,
    BATCHES,
    FORWARD,
    FRAMES,
    carried_out,
    carried_out_with_module,
    digests,
    workers,
)
from tests.prompt import PromptStorage

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

# -- the same files ------------------------------------------------------------------------------

STUDY = {
    "phases": {
        "forward": FORWARD,
        "carried": {
            **FORWARD,
            "walk_forward": {**FORWARD["walk_forward"], "carry_positions": True},
        },
        "folds": {"sequence": "k_fold", "k_fold": {"folds": 3, "purge": "trades"}},
        "batches": BATCHES,
        "drawn": {
            "sequence": "monte_carlo",
            "monte_carlo": {"method": "trade_bootstrap", "batches": 3, "simulations": 12},
            "parameter_space": {},
            "strategy": {"type": "sma_cross", "params": {"fast": 2, "slow": 6}},
        },
        "paths": {
            "sequence": "monte_carlo",
            "monte_carlo": {
                "method": "price_path",
                "batches": 2,
                "simulations": 6,
                "inner": "walk_forward",
            },
            "walk_forward": {"train": 100, "test": 60},
        },
        "combined": {
            "sequence": "k_fold",
            "k_fold": {"method": "combinatorial_purged", "folds": 4, "test_folds": 2},
        },
        "inner": {
            "sequence": "parameter_sweep",
            "parameter_sweep": {"inner": "train_test"},
            "parameter_space": {"fast": [2, 3], "slow": [8]},
        },
    }
}


async def test_the_files_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    for count in (1, 3):  # and two in most of the other tests
        result = await carried_out(tmp_path / str(count), STUDY, workers=count)
        assert result.status == "completed", result.phases
    alone = digests(tmp_path / "1")
    assert any("wf_003/train/containers" in name for name in alone)
    assert digests(tmp_path / "3") == alone
    assert workers() == []


async def test_results_that_stay_in_memory_are_handed_back(tmp_path: Path) -> None:
    experiment = {"results_storage": "memory", "phases": {"batches": BATCHES}}
    found = [await carried_out(tmp_path, experiment, workers=count) for count in (1, 2)]
    data = [result.phases["batches"].phase_results for result in found]
    assert data[0] is not None
    assert data[1] is not None
    assert dict(data[0].files) == dict(data[1].files)
    assert len(data[0].trades) == len(data[1].trades) > 0


async def test_a_run_is_resumed_with_another_number_of_workers(tmp_path: Path) -> None:
    await carried_out(tmp_path, {"phases": {"forward": FORWARD}}, workers=1)
    whole = digests(tmp_path)
    for name in ("phase_summary.json", "wf_002/train/phase_summary.json"):
        (tmp_path / "run" / "forward" / name).unlink()
    result = await carried_out(tmp_path, {"phases": {"forward": FORWARD}}, workers=2, resume=True)
    assert result.status == "completed"
    assert digests(tmp_path) == whole


async def test_progress_comes_back_from_the_workers(tmp_path: Path) -> None:
    told: list[RunProgress] = []
    runner = Runner(storage=PromptStorage(tmp_path), frames=FRAMES, workers=2)
    await runner.run({**BASE, "phases": {"batches": BATCHES}}, on_progress=told.append)
    assert {it.window_id for it in told} == {f"sweep/batch_00{n}" for n in (1, 2, 3)}
    assert max(it.bars_done for it in told) == 200
    assert {(it.bars_total, it.lanes) for it in told} == {(200, 2)}


# -- what runs where -------------------------------------------------------------------------------

WHERE = """
    import os
    from pathlib import Path

    from admf.containers.strategies.base import Strategy

    class Where(Strategy):
        fast: int = 1
        slow: int = 1
        seconds: float = 0.0

        def on_bar(self, bar, ctx):
            import time

            Path(__file__).with_name(f"pid_{os.getpid()}").touch()
            time.sleep(self.seconds)
            ctx.target(float(ctx.bar_index % 10 < self.fast))
"""


def places(folder: Path) -> tuple[bool, int]:
    """Return whether windows ran in this process, and in how many others they did."""
    found = {int(file.name.removeprefix("pid_")) for file in folder.glob("pid_*")}
    return os.getpid() in found, len(found - {os.getpid()})


async def ran_where(
    folder: Path, phases: Mapping[str, Any], seconds: float = 0.0, **options: Any
) -> tuple[bool, int]:
    strategy = {"type": "where:Where", "params": {"seconds": seconds}}
    experiment = {"strategy": strategy, "phases": phases}
    result = await carried_out_with_module(folder, "where", WHERE, experiment, **options)
    assert not any(phase.errors for phase in result.phases.values()), result.phases
    return places(folder)


async def test_windows_that_have_none_beside_them_run_in_the_process_of_the_run(
    tmp_path: Path,
) -> None:
    assert await ran_where(tmp_path, {"forward": {"sequence": "train_test"}}) == (True, 0)


async def test_phases_that_do_not_depend_on_each_other_share_the_workers(tmp_path: Path) -> None:
    once = {"sequence": "single_pass"}
    phases = {"first": once, "second": once, "third": {**once, "depends_on": ["first", "second"]}}
    here, others = await ran_where(tmp_path, phases, seconds=0.001)
    assert here  # the last one, which has none beside it
    assert others == 2


async def test_auto_starts_no_workers_for_a_study_that_is_soon_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("admf.workflows.runner._SECONDS_HERE", 60.0)  # however slow the machine
    cores = usable_cores()
    here, others = await ran_where(tmp_path, {"batches": BATCHES}, workers="auto")
    assert (here, others, workers()) == (True, 0, [])
    assert cores == len(psutil.Process().cpu_affinity() or ())


async def test_windows_that_wait_for_their_turn_go_to_workers_after_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("admf.workflows.runner.usable_cores", lambda: 2)
    monkeypatch.setattr("admf.workflows.runner._SECONDS_HERE", 0.1)
    phases = {"batches": {**BATCHES, "search": {"batch_size": 2}}}
    here, others = await ran_where(tmp_path, phases, seconds=0.002, workers="auto")
    assert here
    assert others >= 1

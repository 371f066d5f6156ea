"""Windows on several processes: the same files, and nobody else is hit when one dies."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import numpy as np
import polars as pl
import psutil
import pytest

from admf.engine.registry import Registry
from admf.engine.storage import MemoryStorage
from admf.workflows.outcome import RunResult
from admf.workflows.progress import RunProgress
from admf.workflows.runner import Runner
from admf.workflows.workers import usable_cores
from tests.prompt import PromptStorage

pytestmark = pytest.mark.anyio

SPACE = {"fast": [2, 3, 4], "slow": [8, 12]}
FORWARD: dict[str, Any] = {
    "sequence": "walk_forward",
    "walk_forward": {"train": 60, "test": 20},
}
BATCHES: dict[str, Any] = {"sequence": "parameter_sweep", "search": {"batch_size": 2}}
BASE: dict[str, Any] = {
    "workflow": "side_by_side",
    "data": {"source": "frames", "symbols": ["X"]},
    "strategy": {"type": "sma_cross"},
    "parameter_space": SPACE,
    "results_dir": "run",
    "results_storage": "disk",
}


def bars(count: int = 200) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, count)))
    open_ = np.concatenate(([100.0], close[:-1]))
    return pl.DataFrame(
        {
            "timestamp": 86_400 * np.arange(1, count + 1),
            "open": open_,
            "high": np.maximum(open_, close),
            "low": np.minimum(open_, close),
            "close": close,
        }
    )


FRAMES = {"X": bars()}


async def carried_out(folder: Path, experiment: Mapping[str, Any], **options: Any) -> RunResult:
    """Run an experiment on worker processes, two if not said otherwise."""
    runner = Runner(storage=PromptStorage(folder), frames=FRAMES, **{"workers": 2, **options})
    return await runner.run({**BASE, **experiment})


def digests(folder: Path) -> dict[str, str]:
    """Return the digests of all files but the record of the run, which tells when it ran."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "run.json"]
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(files)
    }


def workers() -> list[psutil.Process]:
    """Return the worker processes of this process that are alive."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "admf.workflows.workers.worker" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return [it for it in found if it.status() != psutil.STATUS_ZOMBIE]


async def carried_out_with_module(
    folder: Path, name: str, text: str, experiment: Mapping[str, Any], **options: Any
) -> RunResult:
    """Run an experiment with a strategy of its own, in a module beside the data."""
    (folder / f"{name}.py").write_text(textwrap.dedent(text))
    bars().write_csv(folder / "X.csv")
    runner = Runner(storage=PromptStorage(folder), **{"workers": 2, **options})
    data = {"path": "X.csv", "symbols": ["X"]}
    return await runner.run(runner.load({**BASE, "data": data, **experiment}, folder=folder))


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


@pytest.mark.timeout(120)
async def test_the_files_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        result = await carried_out(tmp_path / str(count), STUDY, workers=count)
        assert result.status == "completed", result.phases
    alone = digests(tmp_path / "1")
    assert any("wf_003/train/containers" in name for name in alone)
    assert digests(tmp_path / "2") == alone
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


async def test_auto_starts_no_workers_for_a_study_that_is_soon_over(tmp_path: Path) -> None:
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


# -- failures --------------------------------------------------------------------------------------


async def test_a_lane_that_fails_does_so_alone(tmp_path: Path) -> None:
    text = """
        from admf.containers.strategies.base import Strategy

        class Poison(Strategy):
            dose: int = 1

            def on_bar(self, bar, ctx):
                if self.dose == 7 and ctx.bar_index == 50:
                    raise RuntimeError("poisoned")
                ctx.target(float(ctx.bar_index % 10 < self.dose))
        """
    experiment = {
        "strategy": {"type": "poison:Poison"},
        "parameter_space": {"dose": list(range(1, 11))},
        "phases": {"doses": {**BATCHES, "search": {"batch_size": 5}}},
    }
    result = await carried_out_with_module(tmp_path, "poison", text, experiment)
    assert result.status == "completed"
    assert "poisoned" in result.phases["doses"].errors[0]
    trials = (tmp_path / "run/doses/trials.json").read_text()
    assert trials.count('"status":"failed"') == 1
    assert trials.count('"status":"completed"') == 9


MURDER = """
    import os
    import signal
    from pathlib import Path

    from admf.containers.strategies.base import Strategy

    class Murder(Strategy):
        victim: int = 1
        times: int = 1

        def on_bar(self, bar, ctx):
            deaths = Path(__file__).with_name("deaths")
            if self.victim == 3 and ctx.bar_index == 100:
                if len(deaths.read_text()) < self.times:
                    with deaths.open("a") as file:
                        file.write("x")
                    os.kill(os.getpid(), signal.SIGKILL)
            ctx.target(float(ctx.bar_index % 10 < self.victim))
"""


@pytest.mark.parametrize(("times", "failed"), [(1, 0), (5, 1)])
async def test_a_window_whose_worker_dies_runs_once_more(
    tmp_path: Path, times: int, failed: int
) -> None:
    (tmp_path / "deaths").write_text("")
    experiment = {
        "strategy": {"type": "murder:Murder", "params": {"times": times}},
        "parameter_space": {"victim": [1, 2, 3, 4]},
        "phases": {"victims": {**BATCHES, "search": {"batch_size": 1}}},
    }
    result = await carried_out_with_module(tmp_path, "murder", MURDER, experiment)
    assert (tmp_path / "deaths").read_text() == "x" * min(times, 2)
    trials = (tmp_path / "run/victims/trials.json").read_text()
    assert trials.count('"status":"completed"') == 4 - failed
    if failed:
        assert result.phases["victims"].errors[0] == (
            "its worker process was killed by signal 9, and so did a second one"
        )
    assert workers() == []


@pytest.mark.parametrize("seed", range(3))
async def test_a_worker_killed_at_a_random_moment_leaves_the_same_files(
    tmp_path: Path, seed: int
) -> None:
    await carried_out(tmp_path / "calm", {"phases": {"forward": FORWARD}}, workers=1)
    dice = np.random.default_rng(seed)

    async def kill_one() -> None:
        turns = int(dice.integers(1, 30))
        while turns:
            await anyio.lowlevel.checkpoint()
            turns -= len(workers()) == 2
        os.kill(workers()[seed % 2].pid, signal.SIGKILL)

    async with anyio.create_task_group() as group:
        group.start_soon(kill_one)
        result = await carried_out(tmp_path / "wild", {"phases": {"forward": FORWARD}})
        group.cancel_scope.cancel()
    assert result.status == "completed", result.phases
    assert digests(tmp_path / "wild") == digests(tmp_path / "calm")
    assert workers() == []


async def test_a_run_that_is_cancelled_ends_its_workers_and_can_be_resumed(
    tmp_path: Path,
) -> None:
    runner = Runner(storage=PromptStorage(tmp_path), frames=FRAMES, workers=2)
    run = await runner.prepare({**BASE, "phases": {"forward": FORWARD}})

    def stop_early(progress: RunProgress) -> None:
        if progress.windows_done >= 2:
            run.cancel()

    result = await run.execute(stop_early)
    assert result.status == "cancelled"
    assert workers() == []
    resumed = await carried_out(tmp_path, {"phases": {"forward": FORWARD}}, resume=True)
    assert resumed.status == "completed"
    await carried_out(tmp_path / "calm", {"phases": {"forward": FORWARD}}, workers=1)
    assert digests(tmp_path / "run") == digests(tmp_path / "calm" / "run")


def test_several_workers_see_only_what_is_installed() -> None:
    with pytest.raises(ValueError, match="several workers see only plug-ins that are installed"):
        Runner(storage=MemoryStorage(), registry=Registry(), workers=2)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Runner(storage=MemoryStorage(), workers=0)


# -- the command line ------------------------------------------------------------------------------

SLOW = """
    import time
    from pathlib import Path

    from admf.containers.strategies.base import Strategy

    class Slow(Strategy):
        fast: int = 1
        slow: int = 1
        seconds: float = 0.01

        def on_bar(self, bar, ctx):
            Path(__file__).with_name("begun").touch()
            time.sleep(self.seconds)
"""


@pytest.fixture
def slow_run(tmp_path: Path) -> Callable[[float], subprocess.Popen[bytes]]:
    """Return what starts a study on two workers that would take a while."""
    experiment = {
        **BASE,
        "data": {"path": "X.csv", "symbols": ["X"]},
        "strategy": {"type": "dawdle:Slow"},
        "parameter_space": {"fast": [2, 3]},
        "phases": {"forward": FORWARD},
    }
    bars().write_csv(tmp_path / "X.csv")
    (tmp_path / "study.yaml").write_text(json.dumps(experiment))
    (tmp_path / "dawdle.py").write_text(textwrap.dedent(SLOW))

    def start(seconds: float) -> subprocess.Popen[bytes]:
        slowness = f"strategy.params.seconds={seconds}"
        words = [sys.executable, "-m", "admf", "run", "study.yaml", "--workers", "2", "-q"]
        words += ["--set", slowness]
        return subprocess.Popen(  # noqa: S603 - our own interpreter
            words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    return start


def until_begun(folder: Path, run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Wait until a worker is at work, and return all of them."""
    while not (folder / "begun").exists():
        assert run.poll() is None, run.communicate()
    return psutil.Process(run.pid).children(recursive=True)


@pytest.mark.parametrize(
    ("end", "seconds"), [(signal.SIGINT, 0.01), (signal.SIGKILL, 0.01), (signal.SIGKILL, 60.0)]
)
def test_no_worker_outlives_its_run(
    tmp_path: Path,
    slow_run: Callable[[float], subprocess.Popen[bytes]],
    end: signal.Signals,
    seconds: float,
) -> None:
    run = slow_run(seconds)
    children = until_begun(tmp_path, run)
    assert children
    run.send_signal(end)
    run.communicate(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
    assert run.returncode == (130 if end == signal.SIGINT else -signal.SIGKILL)

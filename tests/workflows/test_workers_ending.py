"""Workers that die, and runs that end before their workers: nobody else is hit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import numpy as np
import psutil
import pytest

from admf.engine.registry import Registry
from admf.engine.storage import MemoryStorage
from admf.workflows.progress import RunProgress
from admf.workflows.runner import Runner
from tests.on_workers import (
    BASE,
    BATCHES,
    FORWARD,
    FRAMES,
    bars,
    carried_out,
    carried_out_with_module,
    digests,
    workers,
)
from tests.prompt import PromptStorage

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

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


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the digests of a run on one process that nobody disturbed."""
    folder = tmp_path_factory.mktemp("calm")
    anyio.run(partial(carried_out, folder, {"phases": {"forward": FORWARD}}, workers=1))
    return digests(folder)


@pytest.mark.parametrize("seed", range(2))
async def test_a_worker_killed_at_a_random_moment_leaves_the_same_files(
    tmp_path: Path, calm: dict[str, str], seed: int
) -> None:
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
    assert digests(tmp_path / "wild") == calm
    assert workers() == []


async def test_a_run_that_is_cancelled_ends_its_workers_and_can_be_resumed(
    tmp_path: Path, calm: dict[str, str]
) -> None:
    runner = Runner(storage=PromptStorage(tmp_path), frames=FRAMES, workers=2)
    run = await runner.prepare({**BASE, "phases": {"forward": FORWARD}})

    def stop_early(progress: RunProgress) -> None:
        if progress.windows_done >= 2:
            run.cancel()

    result = await run.execute(stop_early)
    assert result.status == "cancelled"
    assert workers() == []
    resumed = await carried_out(tmp_path, {"phases": {"forward": FORWARD}}, resume=True, workers=1)
    assert resumed.status == "completed"
    assert digests(tmp_path) == calm


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
        with suppress(subprocess.TimeoutExpired):
            run.wait(0.05)
            pytest.fail(f"it ended: {run.communicate()}")
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
    run.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    assert run.returncode == (130 if end == signal.SIGINT else -signal.SIGKILL)

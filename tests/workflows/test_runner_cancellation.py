"""What befalls a host: its runs are flushed and can be resumed, and no task is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from admf.workflows.run import Run
from admf.workflows.runner import Runner
from tests.workflows.hosting import (
    FRAMES,
    files_of,
    held,
    recorded_status,
    runner,
    sweep,
    underway,
)

LOOPS: dict[str, dict[str, Any]] = {
    "asyncio": {},
    "asyncio in debug mode": {"debug": True},
    "uvloop": {"loop_factory": uvloop.new_event_loop},
}
Main = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(params=LOOPS)
def carry_out(request: pytest.FixtureRequest) -> Callable[[Main], None]:
    """Run a coroutine function in an event loop, and see that it leaves no task."""

    def carry_out(main: Main) -> None:
        async def watched() -> None:
            await main()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        with asyncio.Runner(**LOOPS[request.param]) as loop:
            loop.run(watched())

    return carry_out


class Host:
    """A host with a run that is held in its middle."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs: list[Run] = []
        self.is_busy = asyncio.Event()

    async def submit(self, open_runner: Runner) -> None:
        run = await open_runner.submit(sweep("a"))
        held(run)
        await underway(run)
        self.runs.append(run)
        self.is_busy.set()

    async def serve(self) -> None:
        async with runner(self.root) as open_runner:
            await self.submit(open_runner)
            await asyncio.get_running_loop().create_future()

    def assert_flushed(self) -> None:
        assert [run.status for run in self.runs] == ["cancelled"]
        assert recorded_status(self.root / "a") == "cancelled"
        assert not [path for path in self.root.rglob("*") if path.suffix == ".tmp"]
        assert not (self.root / "a" / ".lock").exists()


def assert_resumable(root: Path, alone: Path) -> None:
    """See that a new process, say, brings the run to the end that it would have had."""

    async def go_on() -> None:
        await Runner(results_root=root, frames=FRAMES, resume=True).run(sweep("a"))
        await Runner(results_root=alone, frames=FRAMES).run(sweep("a"))

    asyncio.run(go_on())
    assert files_of(root) == files_of(alone)


async def cancel_once(host: Host) -> None:
    task = asyncio.create_task(host.serve())
    await host.is_busy.wait()
    task.cancel()
    await task


async def cancel_again_and_again(host: Host) -> None:
    task = asyncio.create_task(host.serve())
    await host.is_busy.wait()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    await task


async def time_out(host: Host) -> None:
    async with asyncio.timeout(None) as timeout, runner(host.root) as open_runner:
        await host.submit(open_runner)
        timeout.reschedule(0)
        await host.runs[0].result()


async def wait_for(host: Host) -> None:
    async with runner(host.root) as open_runner:
        await host.submit(open_runner)
        await asyncio.wait_for(host.runs[0].result(), 0)


async def fail_beside(host: Host) -> None:
    async def fail() -> None:
        await host.is_busy.wait()
        raise RuntimeError

    async with asyncio.TaskGroup() as group:
        group.create_task(host.serve())
        group.create_task(fail())


async def fail_within(host: Host) -> None:
    async with runner(host.root) as open_runner:
        await host.submit(open_runner)
        raise RuntimeError


async def cancel_every_task(host: Host) -> None:
    """Do what `asyncio.run` does in the end."""
    open_runner = runner(host.root)
    await open_runner.start()
    await host.submit(open_runner)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await open_runner.aclose()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("befall", "error"),
    [
        (cancel_once, asyncio.CancelledError),
        (cancel_again_and_again, asyncio.CancelledError),
        (time_out, TimeoutError),
        (wait_for, TimeoutError),
        (fail_beside, ExceptionGroup),
        (fail_within, RuntimeError),
        (cancel_every_task, asyncio.CancelledError),
    ],
)
def test_whatever_befalls_a_host_its_run_is_flushed_and_can_be_resumed(
    tmp_path: Path,
    carry_out: Callable[[Main], None],
    befall: Callable[[Host], Coroutine[Any, Any, None]],
    error: type[BaseException],
) -> None:
    async def main() -> None:
        host = Host(tmp_path / "hosted")
        with pytest.raises(error):
            await befall(host)
        await asyncio.to_thread(host.assert_flushed)

    carry_out(main)
    assert_resumable(tmp_path / "hosted", tmp_path / "alone")


def test_a_loop_that_ends_with_an_open_runner_flushes_its_runs(tmp_path: Path) -> None:
    async def main() -> Host:
        host = Host(tmp_path)
        open_runner = runner(tmp_path)
        await open_runner.start()
        await host.submit(open_runner)
        return host

    asyncio.run(main()).assert_flushed()


def test_a_run_that_has_no_time_to_begin_is_over_all_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        async with runner(tmp_path) as host:
            run = await host.submit(sweep("a"))
            (task,) = [it for it in asyncio.all_tasks() if it.get_name().startswith("<Run ")]
            task.cancel()
            assert (await run.result()).status == "cancelled"

    asyncio.run(main())
    assert not list(tmp_path.iterdir())

"""How far a run is, for those who follow it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from admf.engine.clock import SimulatedClock
from admf.workflows.progress import ProgressFeed, ProgressMeter, ProgressUpdates, RunProgress
from tests.workflows.hosting import BARS, experiment, held, runner, sweep, underway

pytestmark = pytest.mark.anyio


async def test_progress_begins_with_now_and_ends_with_the_run(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        run = await host.submit(sweep("a"))
        seen = [update async for update in run.progress()]
    assert seen[0] == RunProgress("", "", 0, 0, 0, status="running")
    done = [update.bars_done for update in seen]
    assert done == sorted(done)
    last = seen[-1]
    assert (last.phase, last.bars_done, last.bars_total, last.lanes) == ("search", BARS, BARS, 4)
    assert (last.status, last.eta_s) == ("completed", None)


async def test_two_consumers_follow_a_run_each_at_its_own_pace(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        run = await host.submit(experiment("a"))
        hold = held(run)
        await underway(run)

        async def follow(*, stalls: bool) -> list[RunProgress]:
            seen = []
            async for update in run.progress():
                seen.append(update)
                hold.close()
                if stalls:
                    await run.result()
            return seen

        every, few = await asyncio.gather(follow(stalls=False), follow(stalls=True))
    assert [it.bars_done for it in few] == [8, BARS]
    assert [it.bars_done for it in every][:2] == [8, 16]
    assert every[-1] == few[-1]
    assert every[-1].status == "completed"


async def test_the_progress_of_a_run_that_is_over_is_how_it_ended(tmp_path: Path) -> None:
    async with runner(tmp_path, max_runs=1) as host:
        first = await host.submit(experiment("a"))
        with held(first):
            queued = await host.submit(experiment("b"))
            updates = queued.progress()
            assert (await anext(updates)).status == "queued"
            queued.cancel()
            assert [it.status async for it in updates] == ["cancelled"]
        await first.result()
        assert [it.status async for it in first.progress()] == ["completed"]


async def test_speed_and_time_left_are_told_by_the_clock_that_was_given(tmp_path: Path) -> None:
    clock = SimulatedClock()
    async with runner(tmp_path, clock=clock) as host:
        run = await host.submit(experiment("a"))
        with run.events([], maxsize=1):
            async for update in run.progress():
                if update.status == "running":
                    assert (update.bars_per_s, update.eta_s) == (None, None)
    assert update.bars_per_s is None


async def test_of_what_came_meanwhile_a_consumer_gets_the_latest() -> None:
    feed = ProgressFeed()
    updates = ProgressUpdates(feed)
    feed.tell(RunProgress("p", "", 1, 10, 1))
    feed.tell(RunProgress("p", "", 2, 10, 1))
    assert (await anext(updates)).bars_done == 2
    waiting = asyncio.create_task(anext(updates))
    await asyncio.sleep(0)
    feed.tell(RunProgress("p", "", 3, 10, 1))
    assert (await waiting).bars_done == 3
    feed.end("failed")
    assert [it.status async for it in updates] == ["failed"]


def test_the_speed_is_that_of_all_windows_and_the_time_left_that_of_one() -> None:
    clock = SimulatedClock()
    meter = ProgressMeter(clock)

    def at(seconds: int, window: str, done: int) -> tuple[float | None, float | None]:
        clock.advance_to(seconds * 10**9)
        measured = meter.measured(RunProgress("p", window, done, 100, 1))
        return measured.bars_per_s, measured.eta_s

    assert at(0, "a", 0) == (None, None)
    assert at(2, "a", 50) == (25.0, 2.0)
    assert at(2, "b", 0) == (25.0, 4.0)
    assert at(5, "a", 100) == (20.0, 0.0)
    assert at(6, "b", 80) == (30.0, pytest.approx(20 / 30))
    assert at(8, "b", 0) == (22.5, pytest.approx(100 / 22.5))  # a window that begins again
    assert at(9, "b", 100) == (pytest.approx(280 / 9), 0.0)

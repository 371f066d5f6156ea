"""A run's events, for those who look on while it runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from admf.containers.events import Bar, Fill, PortfolioUpdate, PositionClose, Signal
from admf.engine.errors import QueueFullError, StateError
from admf.engine.events import Event, WindowEnd, WindowStart
from admf.engine.queues import Overflow
from admf.workflows.run_events import RunEvent
from tests.workflows.hosting import BARS, experiment, files_of, held, runner, solo, sweep, underway

pytestmark = pytest.mark.anyio

EVERYTHING = [WindowStart, Bar, Signal, Fill, PositionClose, PortfolioUpdate, WindowEnd]
FORWARD = {
    "phases": {"forward": {"sequence": "walk_forward"}},
    "walk_forward": {"train": 24, "test": 12},
}


async def seen_of(
    root: Path, what: dict[str, Any], types: list[type[Event]] | type[Event], **options: Any
) -> list[RunEvent]:
    """Run an experiment, and return all events that an observer sees who keeps up."""
    async with runner(root, **options) as host:
        run = await host.submit(what)
        with run.events(types, overflow="block") as events:
            return [event async for event in events]


async def test_the_events_of_every_lane_are_seen_once_with_their_lane(tmp_path: Path) -> None:
    seen = await seen_of(tmp_path / "hosted", sweep("a"), EVERYTHING)
    bars = [it for it in seen if isinstance(it.event, Bar)]
    assert [it.event.ts for it in bars] == [day * 86_400 * 10**9 for day in range(1, BARS + 1)]
    assert {(it.lane, it.source) for it in bars} == {("", "data")}
    lanes = {f"lane_00{number}" for number in range(1, 5)}
    marks = Counter(it.lane for it in seen if isinstance(it.event, PortfolioUpdate))
    assert marks == dict.fromkeys(lanes, BARS)
    fills = [it for it in seen if isinstance(it.event, Fill)]
    assert {it.lane for it in fills} == lanes
    assert all(it.source == f"execution_{it.lane[-3:]}" for it in fills)
    assert {it.phase for it in seen} == {"search"}
    assert isinstance(seen[0].event, WindowStart)
    assert isinstance(seen[-1].event, WindowEnd)


async def test_looking_on_changes_nothing(tmp_path: Path) -> None:
    await seen_of(tmp_path / "hosted", sweep("a"), EVERYTHING)
    assert files_of(tmp_path / "hosted") == await solo(tmp_path / "alone", sweep("a"))


@pytest.mark.parametrize("block_size", [1, 8, 1000])
async def test_what_is_seen_does_not_depend_on_the_blocks(tmp_path: Path, block_size: int) -> None:
    async def seen(name: str, **changes: Any) -> dict[str, list[tuple[str, Event]]]:
        found: dict[str, list[tuple[str, Event]]] = {}
        for it in await seen_of(tmp_path / name, sweep("a", **changes), [Signal, Fill]):
            found.setdefault(it.lane, []).append((it.source, it.event))
        return found

    found = await seen("found", block_size=block_size)
    assert found == await seen("other", block_size=BARS // 2)
    assert len(found) == 4


async def test_events_of_all_windows_are_seen_with_their_window(tmp_path: Path) -> None:
    seen = await seen_of(tmp_path, sweep("a", **FORWARD), (WindowStart, WindowEnd))
    windows = list(dict.fromkeys(it.window_id for it in seen))
    assert len(windows) == len(seen) / 2 > 2
    pairs = [(it.window_id, type(it.event)) for it in seen]
    assert pairs == [(it, cls) for it in windows for cls in (WindowStart, WindowEnd)]


async def test_an_observer_who_comes_late_sees_the_rest(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        run = await host.submit(sweep("a"))
        with held(run):
            await underway(run)  # and so has published two blocks of eight bars
            late = run.events([Bar, WindowEnd])
        seen = [it.event async for it in late]
    assert [it.ts // (86_400 * 10**9) for it in seen[:-1]] == [*range(17, BARS + 1)]
    assert isinstance(seen[-1], WindowEnd)


async def test_a_run_that_is_over_has_no_more_events(tmp_path: Path) -> None:
    async with runner(tmp_path, max_runs=1) as host:
        run = await host.submit(experiment("a"))
        await run.result()
        assert [it async for it in run.events(Bar)] == []


async def test_the_events_of_a_run_that_is_cancelled_in_the_queue_end(tmp_path: Path) -> None:
    async with runner(tmp_path, max_runs=1) as host:
        first = await host.submit(experiment("a"))
        with first.events(Bar, maxsize=1, overflow="block"):
            queued = await host.submit(experiment("b"))
            events = queued.events(Bar)
            queued.cancel()
            assert [it async for it in events] == []


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [
        ("drop_oldest", [BARS - 2, BARS - 1, BARS]),
        ("drop_newest", [1, 2, 3]),
        ("coalesce", [BARS]),
    ],
)
async def test_an_observer_who_stalls_never_slows_a_run_and_drops_are_counted(
    tmp_path: Path, overflow: Overflow, kept: list[int]
) -> None:
    async with runner(tmp_path / "hosted") as host:
        run = await host.submit(sweep("a"))
        async with run.events(Bar, maxsize=3, overflow=overflow) as events:
            assert (await run.result()).status == "completed"
            assert events.dropped == BARS - len(kept)
            assert [it.event.ts // (86_400 * 10**9) async for it in events] == kept
    assert files_of(tmp_path / "hosted") == await solo(tmp_path / "alone", sweep("a"))


async def test_an_observer_who_is_too_slow_may_fail_without_the_run(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        run = await host.submit(experiment("a"))
        with run.events([WindowStart, Bar], maxsize=3, overflow="fail") as events:
            assert (await run.result()).status == "completed"
            assert isinstance((await anext(events)).event, WindowStart)
            with pytest.raises(QueueFullError, match="too slow"):
                await anext(events)


async def test_a_run_that_waits_for_its_observer_waits_alone(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        waiting = await host.submit(experiment("a"))
        with waiting.events(Bar, maxsize=1, overflow="block") as events:
            other = await host.submit(experiment("b"))
            assert (await other.result()).status == "completed"
            assert waiting.status == "running"
            seen = [it async for it in events]
        assert len(seen) == BARS
        assert events.dropped == 0
        assert (await waiting.result()).status == "completed"


async def test_a_run_goes_on_when_its_observer_has_left(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        run = await host.submit(experiment("a"))
        with run.events(Bar, maxsize=1, overflow="block") as events:
            await anext(events)
        assert [it async for it in events] == []
        with run.events(WindowEnd) as later:
            assert len([it async for it in later]) == 1
        assert (await run.result()).status == "completed"


async def test_windows_on_worker_processes_cannot_be_looked_at(tmp_path: Path) -> None:
    async with runner(tmp_path, workers=2) as host:
        run = await host.submit(experiment("a"))
        with pytest.raises(StateError, match="workers=1"):
            run.events(Bar)
        await run.result()


async def test_a_policy_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        run = await host.submit(experiment("a"))
        with pytest.raises(ValueError, match="overflow must be one of"):
            run.events(Bar, overflow="forget")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="maxsize must be at least 1, got 0"):
            run.events(Bar, maxsize=0)
        await run.result()

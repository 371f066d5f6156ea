from __future__ import annotations

import anyio
import pytest
import trio.testing

from admf.engine.loop_watch import LoopWatch
from admf.engine.testing import RecordingObserver

CLOCK = trio.testing.MockClock


def watch(*held_s: float, watched_s: float, **options: float) -> RecordingObserver:
    """Hold an event loop so many times, one second apart, and return who was told of it."""
    clock = CLOCK(autojump_threshold=0)
    observer = RecordingObserver()

    async def host() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(LoopWatch([observer], **options).watch)
            for seconds in held_s:
                await anyio.sleep(1.0)
                clock.jump(seconds)
            await anyio.sleep(watched_s - len(held_s) - sum(held_s))
            group.cancel_scope.cancel()

    anyio.run(host, backend="trio", backend_options={"clock": clock})
    return observer


def test_an_idle_loop_is_never_late():
    observer = watch(watched_s=30.5, every_s=0.01, period_s=10.0)
    assert [it.max for it in observer.loop[:3]] == [pytest.approx(0.0, abs=1e-9)] * 3
    assert len(observer.loop[0].delays) == pytest.approx(1_000, abs=2)


def test_a_loop_that_is_held_is_late_by_that_time_less_one_turn_at_most():
    observer = watch(0.5, 0.2, watched_s=9.0, every_s=0.01, period_s=5.0)
    first, rest = observer.loop
    assert 0.49 <= first.max <= 0.5
    late = sorted(it for it in first.delays if it > 0.001)
    assert [round(it, 1) for it in late] == [0.2, 0.5]
    assert (first.p50, first.p99) == (pytest.approx(0.0, abs=1e-9),) * 2
    assert rest.max == pytest.approx(0.0, abs=1e-9)


def test_what_was_seen_until_the_cancellation_is_reported():
    observer = watch(0.3, watched_s=2.0, every_s=0.1, period_s=60.0)
    (report,) = observer.loop
    assert 0.2 <= report.max <= 0.3


def test_a_watch_that_saw_nothing_reports_nothing():
    observer = RecordingObserver()

    async def host() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(LoopWatch([observer]).watch)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

    anyio.run(host)
    assert observer.loop == []


@pytest.mark.parametrize("times", [(0.0, 1.0), (2.0, 1.0), (-1.0, 1.0)])
def test_times_that_make_no_sense_are_refused(times):
    with pytest.raises(ValueError, match="needed is 0 < every_s <= period_s"):
        LoopWatch([], every_s=times[0], period_s=times[1])

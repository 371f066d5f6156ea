from __future__ import annotations

import time

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.clock import Clock, SimulatedClock, WallClock
from admf.engine.errors import StateError

pytestmark = pytest.mark.anyio

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000


async def settle() -> None:
    await anyio.wait_all_tasks_blocked()


async def test_a_simulated_clock_stands_still_until_it_is_advanced() -> None:
    clock = SimulatedClock(START_NS)
    assert (clock.now_ns(), clock.monotonic()) == (START_NS, 0.0)
    clock.advance_to(START_NS + 1_500_000_000)
    assert (clock.now_ns(), clock.monotonic()) == (START_NS + 1_500_000_000, 1.5)


async def test_monotonic_keeps_nanoseconds_apart_at_a_present_day_time() -> None:
    clock = SimulatedClock(START_NS)
    clock.advance_to(START_NS + 1)
    assert clock.monotonic() == 1e-9


async def test_a_simulated_clock_refuses_to_go_back_and_stays_where_it_was() -> None:
    clock = SimulatedClock(100)
    with pytest.raises(StateError, match="stands at 100 ns and cannot go back to 99"):
        clock.advance_to(99)
    clock.advance_to(100)
    assert clock.now_ns() == 100


async def test_a_sleeper_wakes_at_its_deadline_and_not_before() -> None:
    clock = SimulatedClock(START_NS)
    woke_at: list[int] = []

    async def sleeper() -> None:
        await clock.sleep(2.5)
        woke_at.append(clock.now_ns())

    async with anyio.create_task_group() as group:
        group.start_soon(sleeper)
        await settle()
        clock.advance_to(START_NS + 2_499_999_999)
        await settle()
        assert woke_at == []
        clock.advance_to(START_NS + 2_500_000_000)
    assert woke_at == [START_NS + 2_500_000_000]


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-12])
async def test_a_sleep_of_no_time_returns_at_once_but_lets_others_run(seconds: float) -> None:
    clock = SimulatedClock()
    order: list[str] = []

    async def other() -> None:
        order.append("other")

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await clock.sleep(seconds)
        order.append("sleeper")
    assert order == ["other", "sleeper"]


@given(
    sleepers=st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=15),
    step=st.integers(1, 10),
)
def test_sleepers_wake_by_deadline_and_then_by_registration(
    sleepers: list[tuple[int, bool]], step: int
) -> None:
    woken: list[int] = []
    delays = {index: delay for index, (delay, cancelled) in enumerate(sleepers) if not cancelled}

    async def main() -> None:
        clock = SimulatedClock()
        scopes: list[anyio.CancelScope] = []

        async def sleeper(index: int, delay: int) -> None:
            await clock.sleep(delay)
            woken.append(index)

        async def doomed_sleeper(index: int, delay: int) -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await sleeper(index, delay)

        async with anyio.create_task_group() as group:
            for index, (delay, cancelled) in enumerate(sleepers):
                group.start_soon(doomed_sleeper if cancelled else sleeper, index, delay)
            await settle()
            for scope in scopes:
                scope.cancel()
            await settle()
            assert len(clock._sleepers) == len(delays)
            for second in (*range(step, 9, step), 9):
                clock.advance_to(second * SECOND_NS)
                await settle()
                assert sorted(woken) == [i for i, delay in delays.items() if delay <= second]

    anyio.run(main)
    assert woken == sorted(delays, key=lambda index: delays[index])


async def test_cancelling_a_sleeper_that_has_just_been_woken_is_harmless() -> None:
    clock = SimulatedClock()
    async with anyio.create_task_group() as group:
        group.start_soon(clock.sleep, 1)
        await settle()
        clock.advance_to(SECOND_NS)
        group.cancel_scope.cancel()
    assert clock._sleepers == []


async def test_the_wall_clock_agrees_with_the_machine() -> None:
    clock: Clock = WallClock()
    before_ns, before = time.time_ns(), time.monotonic()
    now_ns, now = clock.now_ns(), clock.monotonic()
    await clock.sleep(0)
    assert before_ns <= now_ns <= time.time_ns()
    assert before <= now <= time.monotonic()


async def test_a_sleep_on_the_wall_clock_can_be_cancelled() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await WallClock().sleep(3600)
    assert scope.cancelled_caught

from __future__ import annotations

import asyncio

import anyio
import pytest

from admf.engine.shielding import MAX_RESTARTS, Joinable, finish

pytestmark = pytest.mark.anyio


class Gate:
    """Work that waits until it is let through, and can be interrupted and begun again."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.begun = 0
        self.ended = 0
        self.open = anyio.Event()
        self.tasks: list[asyncio.Task[None] | None] = []
        self._error = error

    async def __call__(self) -> None:
        self.begun += 1
        self.tasks.append(asyncio.current_task())
        await self.open.wait()
        self.ended += 1
        if self._error is not None:
            raise self._error


async def settle() -> None:
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("times", [1, 2, 50])
async def test_native_cancellation_waits_for_the_work_and_is_raised_afterwards(times):
    gate = Gate()
    host = asyncio.create_task(finish(gate))
    await settle()
    for _ in range(times):
        host.cancel()
        await settle()
    assert not host.done()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await host
    assert (gate.begun, gate.ended) == (1, 1)
    assert host.cancelling() == times


async def test_cancellations_in_one_turn_of_the_loop_are_one():
    gate = Gate()
    host = asyncio.create_task(finish(gate))
    await settle()
    host.cancel("first")
    host.cancel("second")
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await host
    assert gate.ended == 1


@pytest.mark.parametrize("turns", range(7))
async def test_cancellation_that_meets_the_end_of_the_work_is_not_lost(turns):
    gate = Gate()
    host = asyncio.create_task(finish(gate))
    await settle()
    gate.open.set()
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
    was_under_way = host.cancel()
    await asyncio.wait([host])
    assert host.cancelled() == was_under_way
    assert gate.ended == 1


async def test_timeout_around_the_caller_is_reported_when_the_work_is_over():
    gate = Gate()

    async def host() -> None:
        async with asyncio.timeout(0):
            await finish(gate)

    task = asyncio.create_task(host())
    await settle()
    assert not task.done()
    gate.open.set()
    with pytest.raises(TimeoutError):
        await task
    assert gate.ended == 1


async def test_task_group_whose_other_task_fails_waits_for_the_work():
    gate = Gate()

    async def fail() -> None:
        await settle()
        gate.open.set()
        raise ValueError("other task")

    async def host() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(finish(gate))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as caught:
        await host()
    assert gate.ended == 1
    assert caught.group_contains(ValueError, match="other task")


async def test_anyio_cancellation_waits_for_the_work_and_happens_at_the_next_checkpoint():
    gate = Gate()
    reached: list[str] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        asyncio.get_running_loop().call_soon(gate.open.set)
        await finish(gate)
        reached.append("end of the work")
        await anyio.lowlevel.checkpoint()
        reached.append("beyond a checkpoint")
    assert scope.cancelled_caught
    assert gate.ended == 1
    assert reached == ["end of the work"]


async def test_native_cancellation_is_not_swallowed_by_an_anyio_scope_cancelled_as_well():
    gate = Gate()

    async def host() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await finish(gate)
        pytest.fail("the native cancellation was lost")

    task = asyncio.create_task(host())
    await settle()
    task.cancel()
    await settle()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_error_of_the_work_is_raised_as_it_is():
    gate = Gate(ValueError("work"))
    gate.open.set()
    with pytest.raises(ValueError, match="work"):
        await finish(gate)


async def test_error_of_the_work_is_the_cause_of_the_cancellation():
    gate = Gate(ValueError("work"))
    host = asyncio.create_task(finish(gate))
    await settle()
    host.cancel()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await host
    assert isinstance(caught.value.__cause__, ValueError)


async def test_work_whose_own_task_is_cancelled_begins_again():
    gate = Gate()
    host = asyncio.create_task(finish(gate))
    await settle()
    gate.tasks[0].cancel()
    await settle()
    gate.open.set()
    await host
    assert (gate.begun, gate.ended) == (2, 1)


async def test_host_and_work_cancelled_together_still_finish():
    gate = Gate()
    host = asyncio.create_task(finish(gate))
    await settle()
    host.cancel()
    gate.tasks[0].cancel()
    await settle()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await host
    assert (gate.begun, gate.ended) == (2, 1)


async def test_insistent_cancellation_of_the_work_is_obeyed_in_the_end():
    gate = Gate()
    host = asyncio.create_task(finish(gate))
    for _ in range(1 + MAX_RESTARTS):
        await settle()
        gate.tasks[-1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await host
    assert (gate.begun, gate.ended) == (1 + MAX_RESTARTS, 0)


async def test_work_that_raises_a_cancellation_of_its_own_is_not_repeated():
    gate = Gate(asyncio.CancelledError("own"))
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await finish(gate)
    assert gate.begun == 1


async def test_no_task_is_left():
    gate = Gate()
    gate.open.set()
    before = asyncio.all_tasks()
    await finish(gate)
    assert asyncio.all_tasks() == before


def test_trio_cancellation_waits_for_the_work():
    ended: list[str] = []

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        ended.append("work")

    async def main() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await finish(work)
            await anyio.lowlevel.checkpoint()
            ended.append("beyond a checkpoint")

    anyio.run(main, backend="trio")
    assert ended == ["work"]


async def test_all_who_join_get_the_outcome_of_the_first():
    joinable, gate = Joinable(), Gate(ValueError("work"))
    caught: list[Exception] = []

    async def join() -> None:
        try:
            await joinable.run(gate)
        except ValueError as error:
            caught.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(join)
        await settle()
        assert caught == []
        gate.open.set()
    await join()
    assert gate.begun == 1
    assert len(caught) == 4
    assert len({id(error) for error in caught}) == 1


async def test_work_is_done_once_when_it_succeeds():
    joinable, gate = Joinable(), Gate()
    gate.open.set()
    await joinable.run(gate)
    await joinable.run(gate)
    assert gate.begun == 1


async def test_whoever_waits_takes_over_from_one_who_is_cancelled():
    joinable, gate = Joinable(), Gate()
    first = asyncio.create_task(joinable.run(gate))
    second = asyncio.create_task(joinable.run(gate))
    await settle()
    first.cancel()
    await settle()
    gate.open.set()
    await second
    assert (gate.begun, gate.ended) == (2, 1)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_work_that_takes_no_time_is_done_once_for_those_who_wait_and_those_who_do_not():
    joinable, gate, done = Joinable(), Gate(), []
    joinable.run_now(lambda: done.append("now"))
    joinable.run_now(lambda: done.append("again"))
    await joinable.run(gate)
    assert (done, gate.begun) == (["now"], 0)


async def test_an_error_of_work_that_takes_no_time_is_raised_to_all_who_ask():
    joinable, error = Joinable(), ValueError("work")

    def fail() -> None:
        raise error

    for _ in range(2):
        with pytest.raises(ValueError, match="work") as caught:
            joinable.run_now(fail)
        assert caught.value is error
    with pytest.raises(ValueError, match="work"):
        await joinable.run(Gate())

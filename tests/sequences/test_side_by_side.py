"""Parts side by side: how many are under way, and in which order their outcome is taken."""

from __future__ import annotations

from functools import partial

import anyio
import anyio.lowlevel
import numpy as np
import pytest

from admf.sequences.side_by_side import side_by_side

pytestmark = pytest.mark.anyio


class FakeRun:
    """A run of a phase whose record is a list."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.record: list[int] = []

    def branch(self) -> FakeRun:
        return FakeRun(self.slots)

    def merge(self, branch: FakeRun) -> None:
        self.record += branch.record


class Parts:
    """Parts that take a number of turns each, and tell how many of them there are at once."""

    def __init__(self, turns) -> None:
        self.turns = list(turns)
        self.at_work = self.most = 0

    async def work(self, number: int, run: FakeRun) -> int:
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        for _ in range(self.turns[number]):
            await anyio.lowlevel.checkpoint()
        run.record.append(number)
        self.at_work -= 1
        return number

    def __iter__(self):
        return (partial(self.work, number) for number in range(len(self.turns)))


@pytest.mark.parametrize("slots", [1, 2, 3])
async def test_outcomes_and_records_come_in_the_order_of_the_parts(slots: int) -> None:
    parts = Parts(np.random.default_rng(slots).integers(0, 30, 25).tolist())
    run, taken = FakeRun(slots), []

    async def take(number: int) -> None:
        await anyio.lowlevel.checkpoint()
        taken.append(number)

    await side_by_side(run, parts, take)
    assert taken == run.record == list(range(25))
    assert parts.most == (1 if slots == 1 else 2 * slots)


@pytest.mark.parametrize(("slots", "count"), [(1, 3), (2, 1)])
async def test_parts_that_have_none_beside_them_work_on_the_run_itself(
    slots: int, count: int
) -> None:
    run, runs = FakeRun(slots), []

    async def work(run: FakeRun) -> FakeRun:
        return run

    async def take(of: FakeRun) -> None:
        runs.append(of)

    await side_by_side(run, [work] * count, take)
    assert [it is run for it in runs] == [True] * count


async def test_no_part_begins_while_too_many_wait_for_a_slow_one() -> None:
    begun: list[int] = []
    slow = anyio.Event()

    async def work(number: int, run: FakeRun) -> int:
        begun.append(number)
        if number == 0:
            await slow.wait()
        return number

    async def take(number: int) -> None:
        assert number < 10

    async with anyio.create_task_group() as group:
        group.start_soon(
            side_by_side, FakeRun(2), (partial(work, number) for number in range(10)), take
        )
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        assert begun == [0, 1, 2, 3]
        slow.set()
    assert begun == list(range(10))


@pytest.mark.parametrize("slots", [1, 2])
async def test_a_part_that_raises_ends_all_with_its_error(slots: int) -> None:
    async def work(number: int, run: FakeRun) -> int:
        if number == 2:
            raise RuntimeError("part 2")
        if number > 2:
            await anyio.sleep_forever()
        return number

    taken = []

    async def take(number: int) -> None:
        taken.append(number)

    with pytest.raises(RuntimeError, match="part 2"):
        await side_by_side(FakeRun(slots), (partial(work, it) for it in range(6)), take)
    assert taken == [0, 1]

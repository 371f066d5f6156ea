from __future__ import annotations

import asyncio

import anyio
import pytest

from admf.engine.errors import DeadlineError, WindowError
from admf.engine.teardown import Deadlines, Teardown

pytestmark = pytest.mark.anyio

NOW = 0.0
SOON = 0.001


class Works:
    """Makes works that note their names when they begin."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def hanging(self, name: str):
        async def hang() -> None:
            self.begun.append(name)
            await anyio.sleep_forever()

        return hang

    def raising(self, name: str, error: BaseException):
        async def fail() -> None:
            self.begun.append(name)
            raise error

        return fail

    def succeeding(self, name: str):
        async def succeed() -> None:
            self.begun.append(name)
            await anyio.lowlevel.checkpoint()

        return succeed


async def test_a_step_is_attempted_once():
    works, teardown = Works(), Teardown(Deadlines())
    for _ in range(2):
        await teardown.attempt("stop", "a", works.succeeding("a"))
    assert works.begun == ["a"]
    assert teardown.errors == []


async def test_errors_are_kept_with_the_step_and_do_not_keep_others_from_theirs():
    works, teardown = Works(), Teardown(Deadlines())
    error = ValueError("of a")
    await teardown.attempt("stop", "a", works.raising("a", error))
    await teardown.attempt("stop", "b", works.succeeding("b"))
    assert works.begun == ["a", "b"]
    assert teardown.errors == [error]
    assert teardown.error("stop", "a") is error
    assert teardown.error("stop", "b") is None
    assert teardown.error("flush", "a") is None
    assert error.__notes__ == ["raised by stop of a"]


async def test_errors_outlast_what_went_well():
    works, teardown = Works(), Teardown(Deadlines())
    error = ValueError("of a")
    await teardown.attempt("stop", "a", works.raising("a", error))
    await teardown.attempt("stop", "b", works.succeeding("b"))
    teardown.forget_successes()
    assert (teardown.errors, teardown.error("stop", "a")) == ([error], error)
    assert teardown.error("stop", "b") is None
    await teardown.attempt("stop", "a", works.raising("a", ValueError("again")))
    assert works.begun == ["a", "b"]


async def test_an_overrun_is_reported_and_the_following_steps_have_their_own_time():
    works, teardown = Works(), Teardown(Deadlines(drain=NOW))
    await teardown.attempt("drain", "the bus", works.hanging("drain"))
    await teardown.attempt("flush", "a", works.succeeding("flush"))
    assert works.begun == ["drain", "flush"]
    assert [str(error) for error in teardown.errors] == ["drain of the bus took longer than 0 s"]
    assert isinstance(teardown.errors[0], DeadlineError)


async def test_each_overrun_halves_what_those_after_it_get():
    works, teardown = Works(), Teardown(Deadlines(flush=SOON))
    for name in "abc":
        await teardown.attempt("flush", name, works.hanging(name))
    await teardown.attempt("stop", "a", works.succeeding("stop"))
    assert [str(error).rpartition("than ")[2] for error in teardown.errors] == [
        "0.001 s",
        "0.0005 s",
        "0.00025 s",
    ]


async def test_work_that_ignores_the_deadline_and_succeeds_is_no_overrun():
    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(SOON)

    teardown = Teardown(Deadlines(stop=NOW))
    await teardown.attempt("stop", "a", stubborn)
    assert teardown.errors == []


async def test_a_cancellation_that_work_raises_by_itself_is_an_error_of_that_work():
    works, teardown = Works(), Teardown(Deadlines())
    await teardown.attempt("stop", "a", works.raising("a", asyncio.CancelledError()))
    assert isinstance(teardown.errors[0], WindowError)
    assert str(teardown.errors[0]) == "stop of a was cancelled from within"


async def test_a_cancellation_from_outside_is_passed_on_and_the_step_is_not_over():
    works, teardown = Works(), Teardown(Deadlines())
    task = asyncio.create_task(teardown.attempt("stop", "a", works.hanging("a")))
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert teardown.errors == []
    await teardown.attempt("stop", "a", works.succeeding("again"))
    assert works.begun == ["a", "again"]


@pytest.mark.parametrize("at_once", [1, 2, 3, 10])
async def test_side_by_side_no_more_run_than_allowed(at_once):
    running = peak = 0

    async def work() -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await anyio.lowlevel.checkpoint()
        running -= 1

    await Teardown(Deadlines()).attempt_all("flush", dict.fromkeys("abcdef", work), at_once=at_once)
    assert peak == min(at_once, 6)


async def test_errors_of_works_side_by_side_stand_in_the_order_of_the_works():
    gates = {name: anyio.Event() for name in "abc"}

    def failing(name: str):
        async def fail() -> None:
            await gates[name].wait()
            raise ValueError(name)

        return fail

    teardown = Teardown(Deadlines())
    async with anyio.create_task_group() as group:
        works = {name: failing(name) for name in gates}
        group.start_soon(lambda: teardown.attempt_all("flush", works, at_once=3))
        for name in reversed(gates):
            await anyio.wait_all_tasks_blocked()
            gates[name].set()
    assert [str(error) for error in teardown.errors] == ["a", "b", "c"]


async def test_works_whose_tasks_are_cancelled_one_by_one_are_done_all_the_same():
    ended: list[str] = []
    victims = {"a", "b"}

    def work(name: str):
        async def run() -> None:
            if name in victims:
                victims.discard(name)
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            await anyio.lowlevel.checkpoint()
            ended.append(name)

        return run

    teardown = Teardown(Deadlines())
    await teardown.attempt_all("flush", {name: work(name) for name in "abc"}, at_once=2)
    assert sorted(ended) == ["a", "b", "c"]
    assert teardown.errors == []


async def test_a_hurried_teardown_shortens_what_is_under_way_and_what_follows():
    works, teardown = Works(), Teardown(Deadlines())
    async with anyio.create_task_group() as group:
        group.start_soon(teardown.attempt, "flush", "a", works.hanging("a"))
        await anyio.wait_all_tasks_blocked()
        teardown.hurry(SOON)
    await teardown.attempt("release", "a", works.hanging("a"))
    await teardown.attempt("release", "b", works.succeeding("b"))
    assert [str(error) for error in teardown.errors] == [
        "flush of a took longer than 0.001 s",
        "release of a took longer than 0.001 s",
    ]


async def test_hurry_does_not_lengthen_a_deadline():
    works, teardown = Works(), Teardown(Deadlines(stop=SOON))
    teardown.hurry(60)
    await teardown.attempt("stop", "a", works.hanging("a"))
    assert [str(error) for error in teardown.errors] == ["stop of a took longer than 0.001 s"]


async def test_a_step_that_takes_no_time_is_done_once_and_its_error_is_noted_with_the_subject():
    teardown, begun = Teardown(Deadlines()), []

    def fail() -> None:
        begun.append("x")
        raise ValueError("broken")

    for _ in range(2):
        teardown.attempt_now("stop", "container 'x'", fail)
    error = teardown.error("stop", "container 'x'")
    assert isinstance(error, ValueError)
    assert error.__notes__ == ["raised by stop of container 'x'"]
    assert begun == ["x"]

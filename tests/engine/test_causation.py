from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from admf.engine.causation import HasCause, begin, resume

pytestmark = pytest.mark.anyio


async def attributed(bus: HasCause, cause: int, work: Awaitable[None]) -> None:
    outer, bus.cause = bus.cause, cause
    try:
        suspended = begin(work)
    finally:
        bus.cause = outer
    if suspended is not None:
        await resume(bus, cause, suspended)


class Holder:
    def __init__(self) -> None:
        self.cause = 0


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_the_cause_is_set_at_every_step_and_restored_between_them(anyio_backend: str):
    holder = Holder()
    within: list[int] = []
    between: list[int] = []
    running = 2

    async def work(cause: int) -> None:
        for _ in range(3):
            within.append(cause - holder.cause)
            await checkpoint()

    async def run(cause: int) -> None:
        nonlocal running
        await attributed(holder, cause, work(cause))
        running -= 1

    async def look() -> None:
        while running:
            between.append(holder.cause)
            await checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        tasks.start_soon(run, 1)
        tasks.start_soon(run, 2)
    assert within == [0] * 6
    assert set(between) == {0}


async def test_causes_nest():
    holder = Holder()
    seen: list[int] = []

    async def inner() -> None:
        seen.append(holder.cause)
        await checkpoint()
        seen.append(holder.cause)

    async def outer() -> None:
        await attributed(holder, 2, inner())
        seen.append(holder.cause)

    await attributed(holder, 1, outer())
    assert seen == [2, 2, 1]
    assert holder.cause == 0


async def test_errors_go_in_and_come_out():
    holder = Holder()
    log: list[object] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            log.append(holder.cause)
            raise ValueError("from within") from None

    async def run() -> None:
        with pytest.raises(ValueError, match="from within"):
            await attributed(holder, 7, work())
        log.append("out")

    task = asyncio.ensure_future(run())
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    await task
    assert log == [7, "out"]
    assert holder.cause == 0


async def test_what_is_awaited_gets_its_value_back():
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    got: list[str] = []

    async def work() -> None:
        got.append(await future)
        got.append(holder_says())

    holder = Holder()

    def holder_says() -> str:
        return str(holder.cause)

    asyncio.get_running_loop().call_soon(future.set_result, "value")
    await attributed(holder, 3, work())
    assert got == ["value", "3"]


async def test_any_awaitable_will_do():
    class Custom:
        def __await__(self) -> Generator[Any, Any, None]:
            seen.append(holder.cause)
            yield from checkpoint().__await__()
            seen.append(holder.cause)

    holder = Holder()
    seen: list[int] = []
    await attributed(holder, 5, Custom())
    await attributed(holder, 6, asyncio.ensure_future(checkpoint()))
    assert seen == [5, 5]
    assert holder.cause == 0


def test_a_step_that_is_closed_closes_the_work():
    holder = Holder()
    closed: list[int] = []

    class Pause:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def work() -> None:
        try:
            await Pause()
        finally:
            closed.append(holder.cause)

    async def run() -> None:
        await attributed(holder, 4, work())

    running = run()
    running.send(None)
    running.close()
    assert closed == [4]
    assert holder.cause == 0

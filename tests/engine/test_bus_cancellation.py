"""Guarantee 8: a handler's own CancelledError never stops the bus; a real one gets through."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from admf.engine.bus import Bus
from admf.engine.cancellation import cancellations, is_cancelled
from admf.engine.errors import HandlerError
from admf.engine.events import Event
from admf.engine.subscription import Mailbox, SubscriptionStats

pytestmark = pytest.mark.anyio


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    pass


TICKS = [*map(Tick, range(5))]


def raise_own(event: Tick) -> None:
    if event.ts == 2:
        raise asyncio.CancelledError


async def raise_own_later(event: Tick) -> None:
    await checkpoint()
    raise_own(event)


async def await_cancelled_task(event: Tick) -> None:
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    if event.ts == 2:
        await task
    with suppress(asyncio.CancelledError):
        await task


OWN = {"plain": raise_own, "async": raise_own_later, "another task's": await_cancelled_task}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("mailbox", [None, Mailbox()])
@pytest.mark.parametrize("handler", OWN.values(), ids=OWN)
async def test_guarantee_08_a_cancelled_error_of_a_handlers_own_is_a_failure_like_any_other(
    handler: Any, mailbox: Mailbox | None, traced: bool
):
    bus, seen = Bus(), []
    isolated = bus.subscribe(Tick, handler, mailbox=mailbox, on_error="isolate")
    failing = bus.subscribe(Tick, handler, mailbox=mailbox, name="failing")
    bus.subscribe(Tick, seen.append, blocks=False, mailbox=Mailbox() if traced else None)
    for event in TICKS:
        bus.publish(event)
    with pytest.raises(HandlerError, match="'failing' failed on TICK"):
        await bus.drain()
    await bus.drain()
    assert seen == TICKS
    assert isolated.stats == failing.stats == SubscriptionStats(5, 4, 0, 1, 0)


async def in_a_shielded_scope(bus: Bus) -> None:
    with anyio.CancelScope() as outer:
        outer.cancel()
        try:
            await checkpoint()
        finally:
            with anyio.CancelScope(shield=True):
                await bus.drain()


async def after_a_swallowed_cancellation(bus: Bus) -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await bus.drain()

    task = asyncio.ensure_future(stubborn())
    await checkpoint()
    task.cancel()
    await task


@pytest.mark.parametrize("mailbox", [None, Mailbox()])
@pytest.mark.parametrize("drain", [in_a_shielded_scope, after_a_swallowed_cancellation])
async def test_guarantee_08_holds_for_a_task_that_drains_although_it_was_cancelled_before(
    drain: Callable[[Bus], Awaitable[None]], mailbox: Mailbox | None
):
    bus = Bus()
    subscription = bus.subscribe(Tick, raise_own_later, mailbox=mailbox, on_error="isolate")
    for event in TICKS:
        bus.publish(event)
    await drain(bus)
    assert subscription.stats == SubscriptionStats(5, 4, 0, 1, 0)


# -- real cancellations ---------------------------------------------------------------------------


class Chain:
    """A bus with one subscriber of each kind around a slow one, and what each of them got."""

    def __init__(self, kind: str) -> None:
        self.bus = Bus()
        self.scope = self.bus.scope("scope")
        self.got: dict[str, list[int]] = {}
        self.is_slow = True
        self.waits = anyio.Event()
        self.before = [self._subscribe(self.bus, "before")]
        slow_bus = self.scope if "scope" in kind else self.bus
        mailbox = Mailbox(1) if "mailbox" in kind else None
        self.slow = slow_bus.subscribe(Tick, self._slow, mailbox=mailbox)
        self.after = [
            self._subscribe(self.bus, "after"),
            self._subscribe(self.bus, "mail", Mailbox()),
            self._subscribe(self.scope, "below"),
        ]

    def _subscribe(self, bus: Bus, name: str, mailbox: Mailbox | None = None):
        self.got[name] = []
        return bus.subscribe(Tick, lambda event: self.got[name].append(event.ts), mailbox=mailbox)

    async def _slow(self, event: Tick) -> None:
        if event.ts == 2 and self.is_slow:
            self.waits.set()
            await anyio.sleep_forever()
        self.got.setdefault("slow", []).append(event.ts)


async def cancel_scope(chain: Chain) -> None:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def cancel() -> None:
                await chain.waits.wait()
                await anyio.wait_all_tasks_blocked()
                scope.cancel()

            tasks.start_soon(cancel)
            await chain.bus.drain()
    assert scope.cancelled_caught


async def cancel_task(chain: Chain) -> None:
    task = asyncio.ensure_future(chain.bus.drain())
    await chain.waits.wait()
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def cancel_task_twice(chain: Chain) -> None:
    task = asyncio.ensure_future(chain.bus.drain())
    await chain.waits.wait()
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("cancel", [cancel_scope, cancel_task, cancel_task_twice])
@pytest.mark.parametrize("kind", ["async", "async in a scope", "mailbox", "mailbox in a scope"])
async def test_guarantee_08_a_real_cancellation_gets_through_and_loses_nothing(
    kind: str, cancel: Callable[[Chain], Awaitable[None]]
):
    chain = Chain(kind)
    for event in TICKS:  # with a mailbox, this blocks a put behind the event in hand
        chain.bus.publish(event)
    await cancel(chain)
    assert not chain.bus.dead_letters
    assert chain.bus.cause == chain.scope.cause == 0
    chain.is_slow = False
    chain.bus.publish(Tick(5))
    with anyio.fail_after(10):
        await chain.bus.drain()
    everything = [*range(6)]
    assert chain.got == dict.fromkeys(("before", "slow", "after", "mail", "below"), everything)
    for subscription in (*chain.before, chain.slow, *chain.after):
        assert subscription.stats == SubscriptionStats(6, 6, 0, 0, 0)


async def test_guarantee_08_a_cancellation_before_a_worker_has_begun_leaves_it_able_to_begin():
    bus, seen = Bus(), []
    bus.subscribe(Tick, seen.append, mailbox=Mailbox())
    with anyio.CancelScope() as scope:

        def cancel_everything(event: Tick) -> None:
            scope.cancel()

        once = bus.subscribe(Tick, cancel_everything)
        bus.publish(Tick(1))
        await bus.drain()
        await checkpoint()
    assert scope.cancelled_caught
    once.cancel()
    with anyio.fail_after(10):
        await bus.drain()
    assert seen == [Tick(1)]


async def test_guarantee_08_a_cancellation_that_has_not_come_yet_is_not_taken_for_an_old_one():
    bus, seen = Bus(max_block_ms=60_000), []
    await bus.drain()  # from now on, it has no reason of its own to yield

    async def handler(event: Tick) -> None:
        await checkpoint()
        seen.append(event)

    bus.subscribe(Tick, handler)
    bus.publish(Tick(1))

    async def cancelled_at_birth() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await bus.drain()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(cancelled_at_birth())
    await bus.drain()
    assert seen == [Tick(1)]


async def test_guarantee_08_a_handler_that_cancels_its_own_task_cancels_the_drain():
    bus, seen = Bus(), []

    def cancel(event: Tick) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def handler(event: Tick) -> None:
        await checkpoint()
        seen.append(event)

    once = bus.subscribe(Tick, cancel)
    bus.subscribe(Tick, handler)
    bus.publish(Tick(1))
    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(bus.drain())
    once.cancel()
    await bus.drain()
    assert seen == [Tick(1)]


async def test_guarantee_08_a_cancellation_keeps_an_error_that_was_about_to_be_raised():
    bus, gate = Bus(), anyio.Event()

    async def fail(event: Tick) -> None:
        await checkpoint()
        raise ValueError("no")

    async def tidy_up_slowly(event: Tick) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                gate.set()
                await anyio.wait_all_tasks_blocked()

    bus.subscribe(Tick, fail, mailbox=Mailbox(), name="failing")
    slow = bus.subscribe(Tick, tidy_up_slowly, mailbox=Mailbox())
    bus.publish(Tick(1))
    task = asyncio.ensure_future(bus.drain())
    await gate.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.stats.queued == 1
    with pytest.raises(HandlerError, match="'failing'"):
        await bus.drain()
    await bus.aclose()


async def test_guarantee_08_cancelled_at_every_suspension_in_turn_nothing_is_lost(monkeypatch):
    """Cancel the task at its n-th suspension, for every n until it gets through."""
    steps = 0
    for at in range(1, 500):
        chain = Chain("mailbox in a scope")
        chain.bus._drive.pace.max_block_s = (
            0.0  # yields, and so can be cancelled, between all events
        )
        chain.is_slow = False
        inline: list[int] = []

        async def asynchronous(event: Tick, inline: list[int] = inline) -> None:
            await checkpoint()
            inline.append(event.ts)

        chain.scope.subscribe(Tick, asynchronous)
        for event in TICKS:
            chain.bus.publish(event)
        steps = await drain_cancelled_at(chain.bus, at)
        await chain.bus.drain()
        everything = [*range(5)]
        assert inline == everything
        assert chain.got == dict.fromkeys(("before", "slow", "after", "mail", "below"), everything)
        assert chain.slow.stats == SubscriptionStats(5, 5, 0, 0, 0)
        if steps < at:
            break
    assert 20 < steps < at


async def drain_cancelled_at(bus: Bus, at: int) -> int:
    """Cancel a drain natively at its n-th suspension, and return how many there were."""
    steps = 0

    class Counting:
        def __await__(self) -> Iterator[Any]:
            nonlocal steps
            running = bus.drain().__await__()
            value: Any = None
            error: BaseException | None = None
            while True:
                try:
                    awaited = running.send(value) if error is None else running.throw(error)
                except StopIteration:
                    return
                steps += 1
                if steps == at:
                    assert task is not None
                    task.cancel()
                try:
                    value, error = (yield awaited), None
                except BaseException as raised:  # noqa: BLE001 - handed on
                    error = raised

    async def run() -> None:
        await Counting()

    task: asyncio.Task[None] | None = asyncio.ensure_future(run())
    with suppress(asyncio.CancelledError):
        await task
    return steps


# -- the module itself ----------------------------------------------------------------------------


async def test_cancellations_of_a_task_are_counted_until_they_are_undone():
    task = asyncio.current_task()
    assert task is not None
    assert (cancellations(), is_cancelled()) == (0, False)
    task.cancel()
    assert (cancellations(), is_cancelled(), is_cancelled(since=1)) == (1, True, False)
    with suppress(asyncio.CancelledError):
        await checkpoint()
    task.uncancel()
    assert (cancellations(), is_cancelled()) == (0, False)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_cancelled_scope_is_seen_unless_a_shield_hides_it(anyio_backend: str):
    with anyio.CancelScope() as scope:
        scope.cancel()
        assert is_cancelled()
        with anyio.CancelScope(shield=True):
            assert not is_cancelled()
            await checkpoint()


def test_outside_a_task_there_is_nothing_to_cancel():
    seen: list[int] = []

    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: seen.append(cancellations()))
        await checkpoint()

    asyncio.run(main())
    assert seen == [0]
    assert cancellations() == 0

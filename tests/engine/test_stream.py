from __future__ import annotations

from typing import Any

import anyio
import numpy as np
import pytest
from anyio.lowlevel import checkpoint

from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.errors import QueueFullError
from admf.engine.events import Envelope, Event
from admf.engine.stream import EventStream

pytestmark = pytest.mark.anyio


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    pass


class LateTick(Tick, frozen=True, gc=False, tag="LATE_TICK"):
    pass


class Echo(Event, frozen=True, gc=False, tag="ECHO"):
    pass


class Tape:
    types = frozenset({Event})

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    def record(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)


async def read(stream: EventStream) -> list[Envelope]:
    return [envelope async for envelope in stream]


async def drained(bus: Bus, *events: Any) -> None:
    for event in events:
        bus.publish(event)
    await bus.drain()


async def test_guarantee_15_a_stream_yields_the_envelopes_of_its_types_and_ends_with_the_bus():
    bus = Bus()
    bus.subscribe(Tick, lambda event: bus.publish(Echo(event.ts), "me"))
    stream = bus.stream([Tick, Echo])
    await drained(bus, Tick(1), LateTick(2), Block(Tick, {"ts": np.arange(3, 5)}))
    await bus.aclose()
    envelopes = await read(stream)
    assert [(e.seq, e.cause, e.source, e.event) for e in envelopes] == [
        (1, 0, "", Tick(1)), (2, 0, "", LateTick(2)), (3, 0, "", Tick(3)), (4, 0, "", Tick(4)),
        (5, 1, "me", Echo(1)), (6, 2, "me", Echo(2)), (7, 3, "me", Echo(3)), (8, 4, "me", Echo(4)),
    ]  # fmt: skip
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_guarantee_15_an_observer_may_wait_before_there_is_anything_to_see():
    bus, seen = Bus(), []
    stream = bus.stream(Tick)

    async def observe() -> None:
        async for envelope in stream:
            seen.append(envelope.event)
            if len(seen) == 4:
                break

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(observe)
            for ts in range(4):
                await anyio.wait_all_tasks_blocked()
                await drained(bus, Tick(ts))
    assert seen == [*map(Tick, range(4))]


async def test_guarantee_15_the_trace_does_not_depend_on_who_looks_on():
    async def trace(**stream: Any) -> list[tuple[int, int, Event]]:
        bus, tape = Bus(), Tape()
        bus.attach_tracer(tape)
        bus.subscribe(Tick, lambda event: bus.publish(Echo(event.ts)))
        if stream:
            bus.stream(Event, **stream)
        await drained(bus, *map(Tick, range(10)))
        return [(e.seq, e.cause, e.event) for e in tape.envelopes]

    unobserved = await trace()
    for overflow in ("drop_oldest", "drop_newest", "coalesce", "fail"):
        assert await trace(maxsize=2, overflow=overflow) == unobserved


@pytest.mark.parametrize(
    ("overflow", "kept"), [("drop_oldest", [3, 4]), ("drop_newest", [0, 1]), ("coalesce", [4])]
)
async def test_guarantee_15_a_slow_observer_misses_events_and_can_see_how_many(
    overflow: Any, kept: list[int]
):
    bus = Bus()
    with bus.stream(Tick, maxsize=2, overflow=overflow) as stream:
        await drained(bus, *map(Tick, range(5)))
    assert [envelope.event.ts for envelope in await read(stream)] == kept
    assert stream.dropped == 5 - len(kept)


async def test_guarantee_15_a_stream_that_may_not_miss_any_ends_with_an_error():
    bus, seen = Bus(), []
    bus.subscribe(Tick, seen.append)
    stream = bus.stream(Tick, maxsize=2, overflow="fail")
    await drained(bus, *map(Tick, range(5)))
    assert [(await anext(stream)).event for _ in range(2)] == [Tick(0), Tick(1)]
    for _ in range(2):
        with pytest.raises(QueueFullError, match=r"full \(2 events\)"):
            await anext(stream)
    assert seen == [*map(Tick, range(5))]


async def test_guarantee_15_a_blocking_stream_makes_the_bus_wait_for_its_observer():
    bus, handled = Bus(), []
    stream = bus.stream(Tick, maxsize=1, overflow="block")
    bus.subscribe(Tick, handled.append)
    for ts in range(4):
        bus.publish(Tick(ts))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bus.drain)
            await anyio.wait_all_tasks_blocked()
            assert handled == [Tick(0)]
            observed = [(await anext(stream)).event for _ in range(4)]
    assert observed == handled == [*map(Tick, range(4))]


async def test_guarantee_15_an_observer_who_leaves_sets_a_blocked_bus_free():
    bus, handled = Bus(), []
    bus.subscribe(Tick, handled.append)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            with bus.stream(Tick, maxsize=1, overflow="block"):
                for ts in range(4):
                    bus.publish(Tick(ts))
                tasks.start_soon(bus.drain)
                await anyio.wait_all_tasks_blocked()
    assert handled == [*map(Tick, range(4))]


async def test_guarantee_15_two_observers_of_one_stream_share_its_events():
    bus, seen = Bus(), []
    stream = bus.stream(Tick)

    async def observe() -> None:
        seen.extend(await read(stream))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(observe)
            await anyio.wait_all_tasks_blocked()
            await drained(bus, *map(Tick, range(5)))
            await anyio.wait_all_tasks_blocked()
            stream.close()
    assert sorted(envelope.event.ts for envelope in seen) == [*range(5)]


async def test_guarantee_15_a_cancelled_observer_loses_nothing():
    bus = Bus()
    stream = bus.stream(Tick)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anext, stream)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    await drained(bus, Tick(1))
    assert (await anext(stream)).event == Tick(1)


async def test_guarantee_15_the_stream_of_a_scope_that_fails_ends():
    bus = Bus()
    scope = bus.scope("scope", contain_failures=True)
    stream = scope.stream(Event)

    def fail(event: Tick) -> None:
        raise ValueError

    scope.subscribe(Tick, fail)
    await drained(bus, Tick(1), Tick(2))
    with anyio.fail_after(10):
        assert [envelope.event for envelope in await read(stream)] == [Tick(1)]


async def test_guarantee_15_a_closed_stream_is_let_go_of():
    bus = Bus()
    stream = bus.stream(Tick)
    await drained(bus, Tick(1))
    stream.close()
    stream.close()
    await drained(bus, Tick(2))
    assert [envelope.event for envelope in await read(stream)] == [Tick(1)]
    assert not bus._table._subscriptions


async def test_guarantee_10_holds_for_a_stream():
    bus = Bus()
    stream = bus.stream(Tick, maxsize=3)
    await drained(bus, *map(Tick, range(5)))
    await anext(stream)
    stats = stream._subscription.stats
    assert (stats.accepted, stats.handled, stats.dropped, stats.queued) == (5, 1, 2, 2)
    await checkpoint()

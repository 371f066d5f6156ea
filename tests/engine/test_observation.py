"""Observers of a bus, and what they hold for slow readers."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import numpy as np
import pytest
from anyio.lowlevel import checkpoint

from admf.engine.batch import Batch
from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.errors import QueueFullError
from admf.engine.events import Envelope, Event
from admf.engine.observation import Tap, Told, told_by
from admf.engine.queues import Overflow

pytestmark = pytest.mark.anyio

Seen = list[tuple[str, int, int, str, Event]]


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    key_field = "symbol"

    symbol: str = "A"


class Tock(Event, frozen=True, gc=False, tag="TOCK"):
    pass


def ticks(*rows: int, symbols: str = "A") -> Block[Tick]:
    column: str | list[str] = symbols if len(symbols) == 1 else [*symbols]
    if isinstance(column, str):
        return Block(Tick, {"ts": np.array(rows), "symbol": column})
    return Block.of([Tick(ts, symbol) for ts, symbol in zip(rows, column, strict=True)])


class Looker:
    """Sees everything, and lets the bus wait when it is told to."""

    types = frozenset({Tick})

    def __init__(self) -> None:
        self.seen: Seen = []
        self.must_wait = False
        self.waited = 0
        self.may_go_on = anyio.Event()

    async def wait_for_room(self) -> None:
        self.waited += 1
        await self.may_go_on.wait()
        self.must_wait = False

    def observe(self, scope: str, envelope: Envelope) -> None:
        told = told_by(envelope, lambda single: single)
        while told.left:
            self._note(scope, told.take())

    def observe_batch(self, scope: str, batch: Batch, first: int, cause: int) -> None:
        for envelope in batch.envelopes(first, cause):
            self._note(scope, envelope)

    def _note(self, scope: str, it: Envelope) -> None:
        self.seen.append((scope, it.seq, it.cause, it.source, it.event))


async def test_an_observer_sees_each_event_once_where_it_was_published():
    bus, looker = Bus("root"), Looker()
    bus.observe(looker)
    lane = bus.scope("lane", exports=Tick)
    lane.subscribe(Tick, lambda tick: tick.ts == 1 and lane.publish(Tick(2), "lane"), key="A")
    bus.publish(Tick(1), "data")
    bus.publish(Tock(5))
    await bus.drain()
    assert looker.seen == [("root", 1, 0, "data", Tick(1)), ("root.lane", 2, 1, "lane", Tick(2))]


async def test_an_observer_sees_scopes_that_are_there_and_those_that_come():
    bus, looker = Bus("root"), Looker()
    early = bus.scope("early")
    early.publish(Tick(1))
    await bus.drain()
    bus.observe(looker)
    late = bus.scope("late")
    early.publish(Tick(2))
    late.publish(ticks(3, 4))
    await bus.drain()
    assert looker.seen == [
        ("root.early", 2, 0, "", Tick(2)),
        ("root.late", 1, 0, "", Tick(3)),
        ("root.late", 2, 0, "", Tick(4)),
    ]


async def test_an_observer_sees_what_is_recorded_and_nobody_else_reached():
    bus, looker = Bus("root"), Looker()
    lane = bus.scope("lane")
    await bus.drain()
    bus.observe(looker)
    lane.record(Tick(1), "x")
    lane.record(ticks(2, 3), "y")
    lane.record(Batch([ticks(4), Block.of([Tock(5)])], np.array([1, 0], np.uint8)), cause=1)
    assert not lane.reaches_others([Tick])
    ticked = [it for it in looker.seen if isinstance(it[-1], Tick)]
    assert ticked == [
        ("root.lane", 1, 0, "x", Tick(1)),
        ("root.lane", 2, 0, "y", Tick(2)),
        ("root.lane", 3, 0, "y", Tick(3)),
        ("root.lane", 5, 1, "", Tick(4)),
    ]


async def test_a_drain_waits_for_an_observer_until_that_has_room():
    bus, looker = Bus(), Looker()
    bus.observe(looker)
    handled: list[Tick] = []
    bus.subscribe(Tick, handled.append)
    looker.must_wait = True
    for ts in range(3):
        bus.publish(Tick(ts))
    async with anyio.create_task_group() as group:
        group.start_soon(bus.drain)
        while not looker.waited:
            await checkpoint()
        assert handled == [Tick(0)]
        looker.may_go_on.set()
    assert handled == [*map(Tick, range(3))]
    assert looker.waited == 1


async def test_a_bus_that_comes_to_its_end_waits_for_no_observer():
    bus, looker = Bus(), Looker()
    bus.observe(looker)
    looker.must_wait = True
    bus.release_observers()
    bus.publish(Tick(1))
    await bus.drain()
    assert len(looker.seen) == 1
    assert not looker.waited


# -- what is held for a reader ---------------------------------------------------------------------


def told(*rows: int, symbols: str = "A", newest: bool = False) -> Told[Envelope]:
    """Return one event as such, and several as a block."""
    block = ticks(*rows, symbols=symbols)
    event = block.events()[0] if len(rows) == 1 else block
    return told_by(Envelope(rows[0], 0, "", event), lambda single: single, newest=newest)


def made_late(*rows: int) -> Told[Envelope]:
    """Return events as those of a batch are."""

    def make(start: int) -> Iterator[Envelope]:
        return (Envelope(ts, 0, "", Tick(ts)) for ts in rows[start:])

    return Told(len(rows), make)


async def held_by(tap: Tap[Envelope]) -> list[int]:
    tap.close(keep=True)
    return [it.event.ts async for it in tap]


@pytest.mark.parametrize("make", [told, made_late])
@pytest.mark.parametrize(
    ("overflow", "kept", "dropped"),
    [
        ("block", [1, 2, 3, 4, 5, 6, 7], 0),
        ("drop_oldest", [5, 6, 7], 4),
        ("drop_newest", [1, 2, 3], 4),
    ],
)
async def test_what_is_held_is_what_the_policy_says(make, overflow: Overflow, kept, dropped):
    tap: Tap[Envelope] = Tap(3, overflow)
    for rows in ([1], [2], [3, 4, 5], [6, 7]):
        tap.put(make(*rows))
    assert tap.dropped == dropped
    assert await held_by(tap) == kept


async def test_what_is_dropped_may_be_part_of_what_was_begun():
    tap: Tap[Envelope] = Tap(3, "drop_oldest")
    tap.put(told(1, 2, 3))
    assert (await anext(tap)).event.ts == 1
    tap.put(told(4, 5))
    assert tap.dropped == 1
    assert await held_by(tap) == [3, 4, 5]


async def test_more_than_fits_at_once_leaves_the_newest():
    tap: Tap[Envelope] = Tap(2, "drop_oldest")
    tap.put(told(*range(1, 5000)))
    assert tap.dropped == 4997
    assert [it.seq for it in [await anext(tap), await anext(tap)]] == [4998, 4999]


async def test_coalescing_keeps_the_newest_of_each_key_and_class_in_their_order():
    tap: Tap[Envelope] = Tap(2, "coalesce")
    assert tap.coalesces
    tap.put(told(1, 2, 3, symbols="ABA", newest=True))
    tap.put(told(4, symbols="B"))
    assert tap.dropped == 2
    tap.put(made_late())
    assert [(await anext(tap)).seq for _ in range(2)] == [3, 4]
    tap.put(told_by(Envelope(5, 0, "", Block.of([Tock(5), Tock(6)])), lambda it: it, newest=True))
    tap.put(told(7))
    tap.put(told(8, symbols="B"))
    assert tap.dropped == 4
    assert await held_by(tap) == [7, 8]


async def test_a_reader_who_is_too_slow_gets_what_is_held_and_then_an_error():
    tap: Tap[Envelope] = Tap(2, "fail")
    tap.put(told(1, 2))
    tap.put(told(3))
    tap.put(told(4))
    assert tap.is_closed
    assert [(await anext(tap)).seq for _ in range(2)] == [1, 2]
    with pytest.raises(QueueFullError, match="too slow for 2 events"):
        await anext(tap)


async def test_who_tells_waits_until_there_is_room_or_the_reader_has_left():
    tap: Tap[Envelope] = Tap(2, "block")
    assert not tap.must_wait
    for leave in (False, True):
        tap.put(told(1, 2))
        assert tap.must_wait
        async with anyio.create_task_group() as group:
            group.start_soon(tap.wait_for_room)
            await checkpoint()
            if leave:
                tap.close()
            else:
                await anext(tap)
        assert not tap.must_wait
    tap.put(told(3))
    assert [it async for it in tap] == []


async def test_a_reader_waits_for_events_and_lets_others_go_on_between_many():
    tap: Tap[Envelope] = Tap(1000, "block")
    turns = 0
    seen: list[int] = []

    async def read() -> None:
        seen.extend([it.seq async for it in tap])

    async def count() -> None:
        nonlocal turns
        while len(seen) < 1000:
            turns += 1
            await checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await checkpoint()
        tap.put(told(*range(1, 1001)))
        tap.close(keep=True)
        group.start_soon(count)
    assert seen == [*range(1, 1001)]
    assert turns >= 10


async def test_what_cannot_be_held_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Tap(0, "block")
    with pytest.raises(ValueError, match="overflow must be one of"):
        Tap(1, "forget")  # type: ignore[arg-type]

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import anyio
import numpy as np
import pytest
from anyio.lowlevel import checkpoint

from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.errors import HandlerError
from admf.engine.events import Dropped, Envelope, Event, HandlerFailed
from admf.engine.subscription import Mailbox, Overflow, SubscriptionStats

pytestmark = pytest.mark.anyio


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    key_field: ClassVar[str | None] = "symbol"

    symbol: str = "A"


class Echo(Event, frozen=True, gc=False, tag="ECHO"):
    pass


class Gate:
    """A slow async handler: it waits for leave before it handles each event."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self._leave = anyio.Event()

    async def __call__(self, event: Any) -> None:
        await self._leave.wait()
        self.seen.append(event)

    def open(self) -> None:
        self._leave.set()


class Tape:
    def __init__(self, *types: type[Event]) -> None:
        self.types = frozenset(types)
        self.events: list[Event] = []

    def record(self, envelope: Envelope) -> None:
        self.events.append(envelope.event)


async def overrun(overflow: Overflow, events: list[Event], maxsize: int = 2):
    """Publish to a slow handler; it takes the first event, then all the others come at once."""
    bus, gate, tape = Bus(), Gate(), Tape(Dropped, HandlerFailed)
    bus.attach_tracer(tape)
    subscription = bus.subscribe(
        Event, gate, name="slow", mailbox=Mailbox(maxsize, overflow), on_error="isolate"
    )
    inline: list[Event] = []
    bus.subscribe(Tick, inline.append)
    async with anyio.create_task_group() as tasks:
        bus.publish(events[0])
        tasks.start_soon(bus.drain)
        await anyio.wait_all_tasks_blocked()
        for event in events[1:]:
            bus.publish(event)
        await anyio.wait_all_tasks_blocked()
        waiting = subscription.stats
        caught_up = inline == [event for event in events if isinstance(event, Tick)]
        gate.open()
    return gate.seen, tape.events, waiting, subscription.stats, caught_up


TICKS: list[Event] = [Tick(n) for n in range(6)]


async def test_guarantee_09_block_loses_nothing_and_makes_the_drain_wait():
    seen, reports, waiting, stats, caught_up = await overrun("block", TICKS)
    assert seen == TICKS
    assert reports == []
    assert not caught_up
    assert waiting == SubscriptionStats(3, 0, 0, 0, 3)
    assert stats == SubscriptionStats(6, 6, 0, 0, 0)


@pytest.mark.parametrize(
    ("overflow", "kept", "dropped"),
    [("drop_oldest", [4, 5], [1, 2, 3]), ("drop_newest", [1, 2], [3, 4, 5])],
)
async def test_guarantee_09_lossy_policies_count_and_publish_what_they_drop(
    overflow: Overflow, kept: list[int], dropped: list[int]
):
    bus, gate, tape = Bus(), Gate(), Tape(Dropped)
    bus.attach_tracer(tape)
    subscription = bus.subscribe(Tick, gate, name="slow", mailbox=Mailbox(2, overflow))
    async with anyio.create_task_group() as tasks:
        bus.publish(TICKS[0])
        tasks.start_soon(bus.drain)
        await anyio.wait_all_tasks_blocked()
        for event in TICKS[1:]:
            bus.publish(event)
        await anyio.wait_all_tasks_blocked()
        assert subscription.stats == SubscriptionStats(6, 0, 3, 0, 3)
        gate.open()
    assert [event.ts for event in gate.seen] == [0, *kept]
    assert tape.events == [
        Dropped(ts, "slow", "TICK", total) for total, ts in enumerate(dropped, start=1)
    ]
    assert subscription.stats == SubscriptionStats(6, 3, 3, 0, 0)


async def test_guarantee_09_a_report_names_the_class_of_what_was_dropped():
    _, reports, *_ = await overrun("drop_oldest", [Tick(0), Echo(1), Echo(2), Tick(3), Tick(4)])
    assert reports[:2] == [Dropped(1, "slow", "ECHO", 1), Dropped(2, "slow", "ECHO", 2)]


async def test_guarantee_09_a_mailbox_that_also_takes_the_reports_of_its_drops_comes_to_rest():
    seen, reports, _, stats, _ = await overrun("drop_oldest", TICKS)
    assert stats.dropped > len(reports) > 0
    assert stats.accepted == stats.handled + stats.dropped
    assert isinstance(seen[-1], Dropped)


async def test_guarantee_09_coalesce_keeps_the_newest_of_each_class_and_key_in_order():
    events = [Tick(0), Tick(1, "A"), Tick(2, "B"), Echo(3), Tick(4, "A"), Echo(5), Tick(6, "A")]
    seen, reports, _, _, caught_up = await overrun("coalesce", events, maxsize=10)
    assert [event for event in seen if not isinstance(event, Dropped)] == [
        Tick(0), Tick(2, "B"), Echo(5), Tick(6, "A"),
    ]  # fmt: skip
    assert [(report.event_name, report.ts) for report in reports] == [
        ("TICK", 1), ("ECHO", 3), ("TICK", 4),
    ]  # fmt: skip
    assert caught_up


async def test_guarantee_09_coalesce_drops_the_oldest_when_all_differ():
    bus, seen = Bus(), []
    subscription = bus.subscribe(Tick, seen.append, mailbox=Mailbox(2, "coalesce"))
    for ts, symbol in enumerate("ABCBD"):
        bus.publish(Tick(ts, symbol))
    await bus.drain()
    assert [event.symbol for event in seen] == ["B", "D"]
    assert subscription.stats == SubscriptionStats(5, 2, 3, 0, 0)


async def test_guarantee_09_coalesce_never_merges_blocks():
    bus, seen = Bus(), []
    blocks = [Block(Tick, {"ts": np.arange(n), "symbol": "A"}) for n in (2, 3)]
    bus.subscribe(Tick, seen.append, mailbox=Mailbox(5, "coalesce"), blocks=True)
    for block in blocks:
        bus.publish(block)
    await bus.drain()
    assert seen == blocks


async def test_guarantee_09_a_key_that_cannot_be_hashed_dead_letters_the_event():
    class Odd(Event, frozen=True, gc=False, tag="ODD"):
        key_field: ClassVar[str | None] = "key"

        key: list[int]

    bus = Bus()
    subscription = bus.subscribe(
        Odd, print, mailbox=Mailbox(2, "coalesce"), name="odd", on_error="isolate"
    )
    bus.publish(Odd(1, [1]))
    await bus.drain()
    assert subscription.stats == SubscriptionStats(1, 0, 0, 1, 0)
    assert isinstance(bus.dead_letters[0].error, TypeError)


@pytest.mark.parametrize("on_error", ["isolate", "propagate"])
async def test_guarantee_09_fail_dead_letters_what_does_not_fit(on_error: Any):
    bus, seen, inline = Bus(), [], []
    subscription = bus.subscribe(
        Tick, seen.append, name="slow", mailbox=Mailbox(2, "fail"), on_error=on_error
    )
    bus.subscribe(Tick, inline.append)
    for event in TICKS[:3]:
        bus.publish(event)
    if on_error == "propagate":
        with pytest.raises(HandlerError, match=r"'slow'.*the queue is full"):
            await bus.drain()
    await bus.drain()
    assert seen == TICKS[:2]
    assert inline == TICKS[:3]
    assert subscription.stats == SubscriptionStats(3, 2, 0, 1, 0)


@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "drop_newest"])
async def test_guarantee_09_blocks_are_queued_whole_or_row_by_row_and_weighed(overflow: Overflow):
    bus = Bus()
    whole: list[Block[Tick]] = []
    single: list[Tick] = []
    big = bus.subscribe(Tick, whole.append, mailbox=Mailbox(1, overflow), blocks=True)
    small = bus.subscribe(Tick, single.append, mailbox=Mailbox(100, overflow))
    keyed = bus.subscribe(Tick, print, mailbox=Mailbox(100, overflow), key="B")
    for start in (0, 5):
        bus.publish(Block(Tick, {"ts": np.arange(start, start + 5), "symbol": "A"}))
    await bus.drain()
    assert [event.ts for event in single] == [*range(10)]
    assert sum(len(block) for block in whole) == big.stats.handled
    assert big.stats.accepted == 10 == big.stats.handled + big.stats.dropped
    assert small.stats == SubscriptionStats(10, 10, 0, 0, 0)
    assert keyed.stats == SubscriptionStats(0, 0, 0, 0, 0)


# -- guarantee 11 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "coalesce"])
async def test_guarantee_11_a_handler_that_publishes_to_its_own_full_queue_never_deadlocks(
    overflow: Overflow,
):
    bus = Bus()
    handled: Counter[int] = Counter()

    async def multiply(event: Tick) -> None:
        for _ in range(3):
            if event.ts < 3:
                bus.publish(Tick(event.ts + 1))
        await checkpoint()
        handled[event.ts] += 1

    subscription = bus.subscribe(Tick, multiply, mailbox=Mailbox(1, overflow))
    bus.publish(Tick(0))
    with anyio.fail_after(20):
        await bus.drain()
    if overflow == "block":
        assert handled == {0: 1, 1: 3, 2: 9, 3: 27}
    stats = subscription.stats
    assert stats.accepted == stats.handled + stats.dropped
    assert stats.queued == 0


async def test_guarantee_11_two_mailboxes_that_feed_each_other_never_deadlock():
    bus, seen = Bus(), []

    async def ping(event: Tick) -> None:
        await checkpoint()
        for _ in range(2):
            bus.publish(Echo(event.ts))

    async def pong(event: Echo) -> None:
        await checkpoint()
        seen.append(event.ts)
        if event.ts:
            bus.publish(Tick(event.ts - 1))

    bus.subscribe(Tick, ping, mailbox=Mailbox(1))
    bus.subscribe(Echo, pong, mailbox=Mailbox(1))
    bus.publish(Tick(5))
    with anyio.fail_after(20):
        await bus.drain()
    assert Counter(seen) == {5: 2, 4: 4, 3: 8, 2: 16, 1: 32, 0: 64}


@pytest.mark.parametrize("where", ["own bus", "other scope"])
async def test_guarantee_11_a_mailbox_handler_may_wait_for_an_answer_to_what_it_publishes(where):
    bus = Bus()
    asked = bus if where == "own bus" else bus.scope("other")
    answered = anyio.Event()
    asked.subscribe(Echo, lambda event: answered.set())

    async def ask(event: Tick) -> None:
        await checkpoint()
        asked.publish(Echo(1))
        await answered.wait()

    bus.subscribe(Tick, ask, mailbox=Mailbox())
    bus.publish(Tick(1))
    with anyio.fail_after(10):
        await bus.drain()
    assert answered.is_set()


async def test_a_slow_mailbox_handler_holds_up_nobody_who_publishes_meanwhile():
    bus, gate, inline = Bus(), Gate(), []
    bus.subscribe(Tick, gate, mailbox=Mailbox())
    bus.subscribe(Echo, inline.append)
    bus.publish(Tick(1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bus.drain)
        await anyio.wait_all_tasks_blocked()
        bus.publish(Echo(2))
        await anyio.wait_all_tasks_blocked()
        assert inline == [Echo(2)]
        gate.open()


# -- life -----------------------------------------------------------------------------------------


async def test_each_mailbox_has_one_worker_and_different_ones_work_side_by_side():
    bus = Bus()
    together: list[int] = []
    inside = 0

    async def handler(event: Tick) -> None:
        nonlocal inside
        inside += 1
        await checkpoint()
        together.append(inside)
        await checkpoint()
        inside -= 1

    for _ in range(3):
        bus.subscribe(Tick, handler, mailbox=Mailbox())
    for event in TICKS:
        bus.publish(event)
    await bus.drain()
    assert len(together) == 18
    assert max(together) == 3


async def test_a_cancelled_subscription_still_handles_its_mail_and_is_then_let_go_of():
    bus, seen = Bus(), []
    subscription = bus.subscribe(Tick, seen.append, mailbox=Mailbox())
    bus.publish(Tick(1))
    subscription.cancel()
    bus.publish(Tick(2))
    await bus.drain()
    assert seen == [Tick(1)]
    assert not bus._drive.mailboxes


@pytest.mark.parametrize(("maxsize", "overflow"), [(0, "block"), (1, "drop_random")])
async def test_an_impossible_mailbox_is_refused_at_once(maxsize: int, overflow: Any):
    with pytest.raises(ValueError, match=r"maxsize must be|overflow must be"):
        Bus().subscribe(Tick, print, mailbox=Mailbox(maxsize, overflow))


async def test_a_worker_that_fails_interrupts_the_others_who_go_on_in_the_next_drain():
    bus, seen = Bus(), []
    gate = Gate()

    async def fail(event: Tick) -> None:
        await checkpoint()
        raise ValueError("no")

    slow = bus.subscribe(Tick, gate, mailbox=Mailbox())
    bus.subscribe(Tick, fail, mailbox=Mailbox(), name="failing")
    bus.subscribe(Tick, seen.append)
    bus.publish(Tick(1))
    with pytest.raises(HandlerError, match="'failing' failed on TICK"):
        await bus.drain()
    assert slow.stats == SubscriptionStats(1, 0, 0, 0, 1)
    gate.open()
    await bus.drain()
    assert gate.seen == seen == [Tick(1)]
    assert slow.stats == SubscriptionStats(1, 1, 0, 0, 0)


async def test_a_failing_handler_of_failures_fails_the_drain_though_nothing_is_published():
    bus = Bus()

    async def fail_and_hang(event: HandlerFailed) -> None:
        await checkpoint()
        if event.ts == 1:
            raise ValueError("again")
        await anyio.sleep_forever()

    bus.subscribe(HandlerFailed, fail_and_hang, mailbox=Mailbox(), name="watch")
    for ts in (1, 2):
        bus.publish(HandlerFailed(ts, "x", "TICK", 1, "no"))
    with anyio.fail_after(10), pytest.raises(HandlerError, match="'watch'"):
        await bus.drain()
    await bus.aclose()

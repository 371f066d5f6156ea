from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import anyio
import anyio.to_thread
import numpy as np
import pytest
from anyio.lowlevel import checkpoint

from admf.engine import routes
from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.errors import BusClosedError, BusError, HandlerError, WrongThreadError
from admf.engine.events import Dropped, Envelope, Event, HandlerFailed
from admf.engine.subscription import Mailbox, SubscriptionStats

pytestmark = pytest.mark.anyio


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    key_field: ClassVar[str | None] = "symbol"

    symbol: str = "A"


class LateTick(Tick, frozen=True, gc=False, tag="LATE_TICK"):
    pass


class Echo(Event, frozen=True, gc=False, tag="ECHO"):
    pass


class Tape:
    """A tracer that keeps every envelope."""

    def __init__(self, *types: type[Event]) -> None:
        self.types = frozenset(types or (Event,))
        self.envelopes: list[Envelope] = []

    def record(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)

    @property
    def seqs(self) -> list[int]:
        return [envelope.seq for envelope in self.envelopes]


def ticks(first: int, count: int) -> Block[Tick]:
    return Block(Tick, {"ts": np.arange(first, first + count), "symbol": "A"})


KINDS = ("plain", "async", "mailbox", "async mailbox")


def subscribe(bus: Bus, kind: str, types: Any, handler: Callable[[Any], None], **options: Any):
    """Subscribe a plain function as if it were a handler of another kind."""

    async def asynchronous(event: Any) -> None:
        await checkpoint()
        handler(event)

    if "mailbox" in kind:
        options.setdefault("mailbox", Mailbox())
    return bus.subscribe(types, asynchronous if "async" in kind else handler, **options)


async def publish_and_drain(bus: Bus, *events: Event | Block[Any]) -> None:
    for event in events:
        bus.publish(event)
    await bus.drain()


# -- 1: sequence numbers --------------------------------------------------------------------------


async def test_guarantee_01_seq_is_gapless_and_strictly_increasing():
    bus, tape = Bus(), Tape()
    bus.attach_tracer(tape)

    def answer(event: Tick) -> None:
        bus.subscribe(Echo, lambda _: None)  # a change of the table takes no number
        bus.publish(Echo(event.ts))

    bus.subscribe(Tick, answer)
    returned = [bus.publish(item) for item in (Tick(1), ticks(2, 5), Tick(7))]
    await bus.drain()
    returned.append(bus.publish(ticks(8, 2)))
    await bus.drain()
    assert returned == [1, 2, 7, 15]
    assert tape.seqs == [1, 2, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18]
    assert [e.cause for e in tape.envelopes if isinstance(e.event, Echo)] == [*range(1, 8), 15, 16]


async def test_guarantee_01_each_bus_counts_for_itself():
    root = Bus()
    child = root.scope("child")
    upper, lower = Tape(), Tape()
    root.attach_tracer(upper)
    child.attach_tracer(lower)
    assert child.publish(Echo(0)) == 1
    await publish_and_drain(root, Tick(1), Tick(2))
    assert child.publish(Echo(3)) == 4
    await root.drain()
    assert upper.seqs == [1, 2]
    assert lower.seqs == [1, 2, 3, 4]


async def test_guarantee_01_an_empty_block_is_refused_and_takes_no_number():
    bus = Bus()
    with pytest.raises(BusError, match="Block of 0 TICK"):
        bus.publish(ticks(0, 0))
    assert bus.publish(Tick(1)) == 1
    await bus.drain()


@pytest.mark.parametrize("item", ["TICK", Tick, None, 3])
async def test_what_is_no_event_fails_the_drain_and_names_its_publisher(item: Any):
    bus, seen = Bus(), []
    bus.subscribe(Event, seen.append)
    bus.publish(item, source="careless")
    assert bus.publish(Tick(1)) == 2
    with pytest.raises(HandlerError, match=r"'careless'.*only events and blocks"):
        await bus.drain()
    await bus.drain()
    assert seen == [Tick(1)]


# -- 2: order, one at a time ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_guarantee_02_a_handler_gets_its_events_in_order_and_one_at_a_time(kind: str):
    bus = Bus(max_block_ms=0.001)
    seen: list[int] = []
    inside = 0

    async def handler(event: Tick) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        if "async" in kind:
            await checkpoint()
        if event.ts < 20:
            bus.publish(Tick(event.ts + 100))
        seen.append(event.ts)
        inside -= 1

    def plain(event: Tick) -> None:
        with pytest.raises(StopIteration):
            handler(event).send(None)

    mailbox = Mailbox(3) if "mailbox" in kind else None
    bus.subscribe(Tick, handler if "async" in kind else plain, mailbox=mailbox)
    await publish_and_drain(bus, *map(Tick, range(10)), ticks(10, 10))
    assert sorted(seen) == [*range(20), *range(100, 120)]
    assert [ts for ts in seen if ts < 20] == [*range(20)]
    assert [ts for ts in seen if ts >= 100] == [*range(100, 120)]


# -- 3: run to completion -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("traced", [False, True])
async def test_guarantee_03_what_is_published_meanwhile_waits_until_all_have_the_event(
    kind: str, traced: bool
):
    bus = Bus()
    order: list[tuple[str, int]] = []
    if traced:
        bus.attach_tracer(Tape())

    def first(event: Tick) -> None:
        order.append(("first", event.ts))
        if event.ts < 3:
            bus.publish(Tick(event.ts + 1))

    subscribe(bus, kind, Tick, first)
    bus.subscribe(Tick, lambda event: order.append(("second", event.ts)))
    child = bus.scope("child")
    child.subscribe(Tick, lambda event: order.append(("below", event.ts)))
    await publish_and_drain(bus, Tick(1))
    assert order == [(who, ts) for ts in (1, 2, 3) for who in ("first", "second", "below")]


async def test_guarantee_03_holds_for_a_mailbox_that_comes_up_in_the_middle_of_a_drain():
    bus = Bus()
    child = bus.scope("child")
    order: list[tuple[str, int]] = []
    mail: list[Event] = []

    async def first(event: Tick) -> None:
        order.append(("first", event.ts))
        if event.ts == 1:
            child.subscribe(Echo, mail.append, mailbox=Mailbox())
            child.publish(Echo(9))

    bus.subscribe(Tick, first)
    child.subscribe(Tick, lambda event: order.append(("below", event.ts)))
    await publish_and_drain(bus, Tick(1), Tick(2))
    assert order == [("first", 1), ("below", 1), ("first", 2), ("below", 2)]
    assert mail == [Echo(9)]


# -- 4: changes of the subscriptions --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "async", "async mailbox"])
async def test_guarantee_04_subscribing_takes_effect_from_the_next_seq(kind: str):
    bus, seen = Bus(), []

    def handler(event: Tick) -> None:
        if event.ts == 1:
            bus.publish(Tick(3))  # seq 3, before the subscription
            subscribe(bus, kind, Tick, lambda late: seen.append(late.ts))
            bus.publish(Tick(4))

    bus.subscribe(Tick, handler)
    await publish_and_drain(bus, Tick(1), Tick(2))
    assert seen == [4]
    await publish_and_drain(bus, Tick(5))
    assert seen == [4, 5]


@pytest.mark.parametrize("kind", KINDS)
async def test_guarantee_04_unsubscribing_takes_effect_from_the_next_seq(kind: str):
    bus, seen = Bus(), []
    subscription = subscribe(bus, kind, Tick, lambda event: seen.append(event.ts))

    def handler(event: Tick) -> None:
        if event.ts == 1:
            bus.publish(Tick(3))
            subscription.cancel()
            subscription.cancel()
            bus.publish(Tick(4))

    bus.subscribe(Tick, handler)
    await publish_and_drain(bus, Tick(1), Tick(2))
    assert seen == [1, 2, 3]
    assert not subscription.active


async def test_guarantee_04_between_drains_what_is_queued_goes_before_the_change():
    bus, seen = Bus(), []
    first = bus.subscribe(Tick, lambda event: seen.append(("first", event.ts)))
    bus.publish(Tick(1))
    first.cancel()
    bus.subscribe(Tick, lambda event: seen.append(("second", event.ts)))
    await publish_and_drain(bus, Tick(2))
    assert seen == [("first", 1), ("second", 2)]


# -- 5: matching ----------------------------------------------------------------------------------


async def test_guarantee_05_classes_match_by_identity_and_subclass_not_by_name():
    class Namesake(Event, frozen=True, gc=False, tag="TICK"):
        pass

    bus = Bus()
    seen: dict[str, list[Event]] = {"tick": [], "late": [], "all": [], "pair": []}
    bus.subscribe(Tick, seen["tick"].append)
    bus.subscribe(LateTick, seen["late"].append)
    bus.subscribe(Event, seen["all"].append)
    bus.subscribe([LateTick, Tick, Event], seen["pair"].append)
    events = [Tick(1), LateTick(2), Namesake(3)]
    await publish_and_drain(bus, *events)
    assert seen == {"tick": events[:2], "late": events[1:2], "all": events, "pair": events}


async def test_guarantee_05_the_handlers_of_a_class_are_looked_up_once(monkeypatch):
    looked_up: list[type[Event]] = []

    def counting(cls: type[Event], types: Any) -> bool:
        looked_up.append(cls)
        return issubclass(cls, tuple(types))

    monkeypatch.setattr(routes, "matches", counting)
    bus = Bus()
    bus.subscribe(Tick, lambda _: None)
    await publish_and_drain(bus, *[Tick(n) for n in range(50)], *[LateTick(n) for n in range(50)])
    assert looked_up == [Tick, LateTick]
    bus.subscribe(Echo, lambda _: None)
    await publish_and_drain(bus, Tick(50), Tick(51))
    assert looked_up[2:] == [Tick, Tick]  # once for each of the two subscriptions


# -- 6: tracers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_guarantee_06_the_tracer_has_an_event_before_any_handler(kind: str):
    bus, tape = Bus(), Tape(Tick)
    bus.subscribe(Tick, lambda _: None)
    handler_saw: list[bool] = []
    subscribe(bus, kind, Tick, lambda event: handler_saw.append(tape.envelopes[-1].event == event))
    bus.attach_tracer(tape)
    for ts in range(5):
        await publish_and_drain(bus, Tick(ts), Echo(ts))
    assert handler_saw == [True] * 5
    assert [envelope.event for envelope in tape.envelopes] == [Tick(ts) for ts in range(5)]


async def test_guarantee_06_the_tracer_has_what_a_full_mailbox_drops_and_whole_blocks():
    bus, tape = Bus(), Tape()
    bus.attach_tracer(tape)
    bus.subscribe(Tick, lambda _: None, mailbox=Mailbox(1, "drop_newest"))
    block = ticks(0, 10)
    await publish_and_drain(bus, block)
    assert tape.envelopes[0].event is block
    assert sum(isinstance(envelope.event, Dropped) for envelope in tape.envelopes) == 9


async def test_guarantee_06_tracers_record_in_the_order_of_attachment_until_detached():
    bus, order = Bus(), []

    class Named(Tape):
        def record(self, envelope: Envelope) -> None:
            order.append((self, envelope.event.ts))

    first, second = Named(), Named()
    bus.attach_tracer(first)
    bus.attach_tracer(second)
    bus.publish(Tick(1))
    bus.detach_tracer(first)
    await publish_and_drain(bus, Tick(2))
    bus.detach_tracer(first)  # it is not attached any more
    assert order == [(first, 1), (second, 1), (second, 2)]


async def test_guarantee_06_a_tracer_that_raises_fails_the_drain_but_loses_nobody_the_event():
    bus, seen, later = Bus(), [], Tape()

    class Broken(Tape):
        def record(self, envelope: Envelope) -> None:
            raise OSError("disk full")

    bus.attach_tracer(Broken())
    bus.attach_tracer(later)
    bus.subscribe(Tick, seen.append)
    bus.publish(Tick(1))
    with pytest.raises(HandlerError, match=r"Broken' failed on TICK \(seq 1\): OSError: disk full"):
        await bus.drain()
    assert seen == [Tick(1)]
    assert later.seqs == [1]


# -- 7: failures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("on_error", ["propagate", "isolate"])
@pytest.mark.parametrize("kind", KINDS)
async def test_guarantee_07_a_failure_is_recorded_published_and_reaches_no_sibling(
    kind: str, on_error: Any
):
    bus, tape = Bus("root"), Tape()
    seen: list[tuple[str, int]] = []
    failures: list[HandlerFailed] = []
    error = ValueError("no")

    def fail(event: Tick) -> None:
        if event.ts == 2:
            raise error
        seen.append(("failing", event.ts))

    bus.subscribe(Tick, lambda event: seen.append(("before", event.ts)))
    failing = subscribe(bus, kind, Tick, fail, name="failing", on_error=on_error)
    bus.subscribe(Tick, lambda event: seen.append(("after", event.ts)))
    bus.subscribe(HandlerFailed, failures.append)
    bus.attach_tracer(tape)
    for event in map(Tick, (1, 2, 3)):
        bus.publish(event)
    if on_error == "propagate":
        with pytest.raises(HandlerError, match=r"'failing' failed on TICK \(seq 2\)") as caught:
            await bus.drain()
        assert caught.value.__cause__ is error
        assert (caught.value.subscriber, caught.value.seq) == ("failing", 2)
    await bus.drain()
    for who in ("before", "after"):
        assert [ts for name, ts in seen if name == who] == [1, 2, 3]
    assert [ts for name, ts in seen if name == "failing"] == [1, 3]
    assert failures == [HandlerFailed(2, "failing", "TICK", 2, "ValueError: no")]
    assert [(e.cause, e.source) for e in tape.envelopes if e.event == failures[0]] == [(2, "root")]
    [letter] = bus.dead_letters
    assert (letter.subscriber, letter.seq, letter.event, letter.error) == (
        "failing", 2, Tick(2), error,
    )  # fmt: skip
    assert failing.stats == SubscriptionStats(3, 2, 0, 1, 0)


async def test_guarantee_07_the_first_of_several_failures_is_raised_and_all_are_dead_lettered():
    bus, seen = Bus(), []

    def fail(event: Tick) -> None:
        raise ValueError(event.ts)

    bus.subscribe(Tick, fail, name="one")
    bus.subscribe(Tick, fail, name="two")
    bus.subscribe(Tick, seen.append)
    bus.publish(Tick(1))
    with pytest.raises(HandlerError, match="'one'"):
        await bus.drain()
    await bus.drain()
    assert [letter.subscriber for letter in bus.dead_letters] == ["one", "two"]
    assert seen == [Tick(1)]


async def test_guarantee_07_one_function_subscribed_twice_fails_and_counts_as_two():
    bus, fail_now = Bus(), []

    def handler(event: Tick) -> None:
        fail_now.append(event)
        if len(fail_now) == 4:  # the second call for the second event, in a plain run
            raise ValueError

    subscriptions = [bus.subscribe(Tick, handler, on_error="isolate") for _ in range(2)]
    await publish_and_drain(bus, Tick(1), Tick(2), Tick(3))
    assert [sub.stats for sub in subscriptions] == [
        SubscriptionStats(3, 3, 0, 0, 0),
        SubscriptionStats(3, 2, 0, 1, 0),
    ]


async def test_guarantee_07_a_failing_handler_of_failures_is_not_called_again_for_its_own():
    bus = Bus()

    def fail(event: Event) -> None:
        raise ValueError

    bus.subscribe(Event, fail, on_error="isolate")
    await publish_and_drain(bus, Tick(1))
    assert [type(letter.event) for letter in bus.dead_letters] == [Tick, HandlerFailed]


async def test_guarantee_07_the_dead_letters_kept_are_bounded():
    bus = Bus()

    def fail(event: Event) -> None:
        raise ValueError

    bus.subscribe(Tick, fail, on_error="isolate")
    await publish_and_drain(bus, ticks(0, 1000))
    assert [letter.event.ts for letter in bus.dead_letters] == [*range(900, 1000)]


async def test_a_handler_interrupted_by_the_keyboard_gets_its_event_again_and_nobody_twice():
    bus, seen = Bus(), []
    strikes = {2, 30}

    def struck(event: Tick) -> None:
        seen.append(("struck", event.ts))
        if event.ts in strikes:
            strikes.remove(event.ts)
            raise KeyboardInterrupt

    bus.subscribe(Tick, lambda event: seen.append(("before", event.ts)))
    subscription = bus.subscribe(Tick, struck)
    bus.subscribe(Tick, lambda event: seen.append(("after", event.ts)))
    for event in map(Tick, range(40)):
        bus.publish(event)
    for _ in range(2):  # the first event is delivered alone, the others in a row
        with pytest.raises(KeyboardInterrupt):
            await bus.drain()
    await bus.drain()
    assert [ts for who, ts in seen if who == "struck"] == sorted([*range(40), 2, 30])
    for sibling in ("before", "after"):
        assert [ts for who, ts in seen if who == sibling] == [*range(40)]
    assert subscription.stats == SubscriptionStats(40, 40, 0, 0, 0)


# -- 8 is in test_bus_cancellation, 9 and 11 in test_mailbox, 10 also in test_bus_model -----------


async def test_guarantee_10_the_accounts_balance_whatever_becomes_of_the_events():
    bus = Bus()

    def fail_on_even(event: Tick) -> None:
        if event.ts % 2 == 0:
            raise ValueError

    plain = bus.subscribe(Tick, lambda _: None)
    failing = bus.subscribe(Tick, fail_on_even, on_error="isolate")
    blocks = bus.subscribe(Tick, lambda _: None, blocks=True)
    dropping = bus.subscribe(Tick, lambda _: None, mailbox=Mailbox(2, "drop_oldest"))
    refusing = bus.subscribe(
        Tick, lambda _: None, mailbox=Mailbox(3, "fail"), on_error="isolate", blocks=True
    )
    with bus.stream(Tick, maxsize=4):
        for ts in range(3):
            bus.publish(Tick(ts))
        await publish_and_drain(bus, ticks(3, 7))
    assert plain.stats == blocks.stats == SubscriptionStats(10, 10, 0, 0, 0)
    assert failing.stats == SubscriptionStats(10, 5, 0, 5, 0)
    assert dropping.stats == SubscriptionStats(10, 2, 8, 0, 0)
    assert refusing.stats == SubscriptionStats(10, 3, 0, 7, 0)


async def test_guarantee_10_the_accounts_may_be_read_from_within_a_handler():
    bus, read = Bus(), []

    def handler(event: Tick) -> None:
        read.append(subscription.stats)

    subscription = bus.subscribe(Tick, handler)
    await publish_and_drain(bus, Tick(1), Tick(2), Tick(3))
    for stats in read:
        assert stats.accepted == stats.handled
    assert subscription.stats == SubscriptionStats(3, 3, 0, 0, 0)


# -- 13: closing and threads ----------------------------------------------------------------------


async def test_guarantee_13_a_closed_bus_refuses_everything_but_ends_quietly():
    bus, tape, seen = Bus("b"), Tape(), []
    subscription = bus.subscribe(Tick, seen.append)
    bus.attach_tracer(tape)
    bus.publish(Tick(1))
    assert not bus.closed
    await bus.aclose()
    await bus.aclose()
    assert bus.closed
    refused: list[Callable[[], object]] = [
        lambda: bus.publish(Tick(2)),
        lambda: bus.publish_threadsafe(Tick(2)),
        lambda: bus.subscribe(Tick, seen.append),
        lambda: bus.attach_tracer(tape),
        lambda: bus.stream(Tick),
        lambda: bus.scope("child"),
        lambda: bus.advance(iter([None])),
    ]
    for call in refused:
        with pytest.raises(BusClosedError, match="<Bus b> is closed"):
            call()
    subscription.cancel()
    bus.detach_tracer(tape)
    await bus.drain()
    assert seen == tape.envelopes == []


async def test_guarantee_13_another_thread_is_refused_unless_it_publishes_threadsafe():
    bus, seen = Bus(), []
    bus.subscribe(Tick, lambda event: seen.append((event.ts, threading.get_ident())))

    def foreign() -> int:
        for call in (
            lambda: bus.publish(Tick(0)),
            lambda: bus.subscribe(Tick, seen.append),
            lambda: bus.scope("child"),
        ):
            with pytest.raises(WrongThreadError, match="publish_threadsafe"):
                call()
        return bus.publish_threadsafe(Tick(1), "foreign")

    with pytest.raises(BusError, match="drain it once"):
        await anyio.to_thread.run_sync(foreign)
    await bus.drain()
    assert await anyio.to_thread.run_sync(foreign) == 1
    assert bus.publish_threadsafe(Tick(2)) == 2  # in its own thread it does not wait for itself
    await bus.drain()
    here = threading.get_ident()
    assert seen == [(1, here), (2, here)]


def test_guarantee_13_a_bus_follows_its_thread_from_one_event_loop_to_the_next():
    bus, seen = Bus(), []
    bus.subscribe(Tick, seen.append)

    async def one_run() -> None:
        await bus.drain()
        await anyio.to_thread.run_sync(bus.publish_threadsafe, Tick(len(seen)))
        await bus.drain()

    for _ in range(2):
        anyio.run(one_run)
    assert seen == [Tick(0), Tick(1)]


async def test_closing_in_the_middle_of_a_delivery_ends_it_after_the_current_handler():
    bus, seen = Bus(), []

    async def close(event: Tick) -> None:
        seen.append(("closing", event.ts))
        await bus.aclose()

    bus.subscribe(Tick, close)
    bus.subscribe(Tick, lambda event: seen.append(("after", event.ts)))
    await publish_and_drain(bus, Tick(1), Tick(2))
    assert seen == [("closing", 1)]


# -- 14: determinism ------------------------------------------------------------------------------

PROGRAM = Path(__file__).with_name("deterministic_program.py")


def test_guarantee_14_the_same_input_gives_the_same_trace_under_any_hash_seed():
    digests = set()
    for seed in ("0", "1", "4242"):
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, str(PROGRAM)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=50,
        )
        digests.add(done.stdout)
    [digest] = digests
    assert len(digest) == len(hashlib.sha256().hexdigest())


# -- handlers -------------------------------------------------------------------------------------


class AsyncCallable:
    def __init__(self, seen: list[Event]) -> None:
        self._seen = seen

    async def __call__(self, event: Event) -> None:
        await checkpoint()
        self._seen.append(event)

    async def method(self, event: Event) -> None:
        await self(event)

    def wrapped(self, event: Event):
        """Return a coroutine without being a coroutine function."""
        return self.method(event)


@pytest.mark.parametrize("mailbox", [None, Mailbox()])
@pytest.mark.parametrize("attribute", ["__call__", "method", "wrapped"])
async def test_an_async_handler_is_awaited_in_whatever_form_it_comes(attribute: str, mailbox: Any):
    bus, seen = Bus(), []
    handler = AsyncCallable(seen)
    bus.subscribe(
        Tick,
        handler if attribute == "__call__" else getattr(handler, attribute),
        mailbox=mailbox,
    )
    events = [*map(Tick, range(5))]
    await publish_and_drain(bus, *events)
    assert seen == events


@pytest.mark.parametrize("mailbox", [None, Mailbox()])
async def test_a_handler_may_return_something_to_await_only_now_and_then(mailbox: Any):
    bus, seen = Bus(), []
    asynchronous = AsyncCallable(seen)

    def now_and_then(event: Tick) -> object:
        return asynchronous(event) if event.ts % 2 == 0 else seen.append(event) or "nothing"

    subscription = bus.subscribe(Tick, now_and_then, mailbox=mailbox)
    events = [*map(Tick, range(6))]
    await publish_and_drain(bus, *events)
    assert seen == events
    assert subscription.stats == SubscriptionStats(6, 6, 0, 0, 0)


@pytest.mark.parametrize("mailbox", [None, Mailbox()])
async def test_what_a_plain_handler_returns_is_of_no_matter(mailbox: Any):
    bus, seen = Bus(), {}
    bus.subscribe(Tick, lambda event: seen.setdefault(event.ts, "kept"), mailbox=mailbox)
    await publish_and_drain(bus, *map(Tick, range(3)))
    assert seen == dict.fromkeys(range(3), "kept")


async def test_a_subscription_is_named_after_its_handler_unless_it_has_a_name():
    bus = Bus()
    assert repr(bus.subscribe(Tick, AsyncCallable([]).method)) == (
        "<Subscription AsyncCallable.method>"
    )
    assert bus.subscribe(Tick, print, name="mine").name == "mine"


# -- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("traced", [False, True])
async def test_a_key_selects_events_and_rows_of_blocks_in_the_common_order(traced: bool):
    bus = Bus()
    seen: list[tuple[str, int]] = []
    if traced:
        bus.attach_tracer(Tape())
    for who, key in (("all", None), ("a", "A"), ("b", "B"), ("too", None), ("b2", "B")):
        bus.subscribe(Tick, lambda e, who=who: seen.append((who, e.ts)), key=key)
    await publish_and_drain(bus, Tick(1, "A"), Tick(2, "B"), LateTick(3, "C"))
    assert seen == [
        ("all", 1), ("a", 1), ("too", 1),
        ("all", 2), ("b", 2), ("too", 2), ("b2", 2),
        ("all", 3), ("too", 3),
    ]  # fmt: skip
    seen.clear()
    await publish_and_drain(bus, Block.of([Tick(4, "A"), Tick(5, "B"), Tick(6, "A")]))
    assert {who: [ts for name, ts in seen if name == who] for who, _ in seen} == {
        "all": [4, 5, 6], "a": [4, 6], "b": [5], "too": [4, 5, 6], "b2": [5],
    }  # fmt: skip


async def test_a_key_needs_a_key_field_and_a_hash():
    bus = Bus()
    with pytest.raises(BusError, match="ECHO has no key_field"):
        bus.subscribe([Tick, Echo], print, key="A")
    with pytest.raises(BusError, match=r"\['A'\] is not"):
        bus.subscribe(Tick, print, key=["A"])


async def test_a_subclass_that_gives_up_its_key_reaches_only_those_who_want_all():
    class Keyless(Tick, frozen=True, gc=False, tag="KEYLESS"):
        key_field: ClassVar[str | None] = None

    bus, seen = Bus(), []
    bus.subscribe(Tick, lambda event: seen.append("keyed"), key="A")
    bus.subscribe(Tick, lambda event: seen.append("all"))
    await publish_and_drain(bus, Keyless(1, "A"), Block.of([Keyless(2, "A")]))
    assert seen == ["all", "all"]


# -- causes and sources ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_an_event_carries_its_cause_and_its_source(kind: str):
    bus, tape = Bus(), Tape()
    bus.attach_tracer(tape)
    subscribe(bus, kind, Tick, lambda event: bus.publish(Echo(event.ts), "echoer"))
    bus.publish(Echo(0))
    await publish_and_drain(bus, ticks(1, 3))
    assert [(e.seq, e.cause, e.source) for e in tape.envelopes] == [
        (1, 0, ""), (2, 0, ""), (5, 2, "echoer"), (6, 3, "echoer"), (7, 4, "echoer"),
    ]  # fmt: skip
    assert bus.cause == 0


@pytest.mark.parametrize("kind", ["async", "async mailbox"])
async def test_what_others_publish_while_a_handler_waits_is_not_blamed_on_its_event(kind: str):
    bus = Bus()
    child = bus.scope("child")
    tape = Tape(Echo)
    bus.attach_tracer(tape)
    child.attach_tracer(tape)
    waits, go_on = anyio.Event(), anyio.Event()

    async def handler(event: Tick) -> None:
        waits.set()
        await go_on.wait()
        child.publish(Echo(2))

    child.subscribe(Tick, handler, mailbox=Mailbox() if "mailbox" in kind else None)
    bus.publish(Tick(1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bus.drain)
        await waits.wait()
        bus.publish(Echo(0))
        child.publish(Echo(1))
        go_on.set()
    assert {envelope.event.ts: envelope.cause for envelope in tape.envelopes} == {0: 0, 1: 0, 2: 1}


# -- draining -------------------------------------------------------------------------------------


async def test_two_tasks_may_drain_at_once_and_both_return_when_all_is_delivered():
    bus, seen, returned = Bus(), [], []

    async def handler(event: Tick) -> None:
        await checkpoint()
        seen.append(event.ts)

    bus.subscribe(Tick, handler)

    async def drain(name: str) -> None:
        bus.publish(Tick(len(name)))
        await bus.drain()
        returned.append((name, len(seen)))

    async with anyio.create_task_group() as tasks:
        for name in ("a", "bb", "ccc"):
            tasks.start_soon(drain, name)
    assert sorted(seen) == [1, 2, 3]
    assert sorted(returned) == [("a", 3), ("bb", 3), ("ccc", 3)]


@pytest.mark.parametrize("mailbox", [None, Mailbox()])
async def test_a_handler_cannot_drain_the_bus_it_is_called_by(mailbox: Any):
    bus = Bus()
    child = bus.scope("child")

    async def handler(event: Tick) -> None:
        await checkpoint()
        with pytest.raises(BusError, match="called by one of its own handlers"):
            await bus.drain()
        await other.drain()

    other = Bus("other")
    subscription = child.subscribe(Tick, handler, mailbox=mailbox)
    await publish_and_drain(bus, Tick(1))
    assert subscription.stats == SubscriptionStats(1, 1, 0, 0, 0)


async def test_a_task_that_waits_for_another_drain_may_be_cancelled():
    bus, go_on = Bus(), anyio.Event()

    async def handler(event: Tick) -> None:
        await go_on.wait()

    subscription = bus.subscribe(Tick, handler)
    bus.publish(Tick(1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bus.drain)
        await checkpoint()
        with anyio.move_on_after(0) as scope:
            await bus.drain()
        assert scope.cancelled_caught
        go_on.set()
    assert subscription.stats.handled == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_the_bus_works_on_both_backends(anyio_backend: str):
    bus, seen = Bus(), []

    async def handler(event: Tick) -> None:
        await checkpoint()
        seen.append(event.ts)
        if event.ts < 3:
            bus.publish(Tick(event.ts + 1))

    bus.subscribe(Tick, handler)
    bus.subscribe(Tick, handler, mailbox=Mailbox(1))
    with anyio.fail_after(30):
        await publish_and_drain(bus, Tick(3))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await publish_and_drain(bus, Tick(3))
        assert scope.cancelled_caught
        await bus.drain()
    assert seen == [3, 3, 3, 3]

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from anyio.lowlevel import checkpoint

from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.errors import HandlerError, WindowError
from admf.engine.events import Envelope, Event, HandlerFailed
from admf.engine.subscription import Mailbox, SubscriptionStats

pytestmark = pytest.mark.anyio


class Bar(Event, frozen=True, gc=False, tag="BAR"):
    pass


class Fill(Event, frozen=True, gc=False, tag="FILL"):
    pass


class PartialFill(Fill, frozen=True, gc=False, tag="PARTIAL_FILL"):
    pass


class Tape:
    def __init__(self, *types: type[Event]) -> None:
        self.types = frozenset(types or (Event,))
        self.envelopes: list[Envelope] = []

    def record(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)

    @property
    def events(self) -> list[Event]:
        return [envelope.event for envelope in self.envelopes]


def taped(bus: Bus) -> Tape:
    tape = Tape()
    bus.attach_tracer(tape)
    return tape


async def drained(bus: Bus, *events: Event) -> None:
    for event in events:
        bus.publish(event)
    await bus.drain()


# -- who sees what --------------------------------------------------------------------------------


async def test_a_scope_sees_its_parents_events_and_keeps_its_own():
    root = Bus("root")
    left, right = root.scope("left"), root.scope("right")
    inner = left.scope("inner")
    tapes = {bus.name: taped(bus) for bus in (root, left, right, inner)}
    root.publish(Bar(1))
    left.publish(Fill(2))
    inner.publish(Fill(3))
    await root.drain()
    assert {name: set(tape.events) for name, tape in tapes.items()} == {
        "root": {Bar(1)},
        "root.left": {Bar(1), Fill(2)},
        "root.right": {Bar(1)},
        "root.left.inner": {Bar(1), Fill(2), Fill(3)},
    }


@pytest.mark.parametrize("event", [Fill(1), PartialFill(1)])
async def test_an_exported_event_goes_up_and_to_the_siblings_but_not_back_to_its_origin(event):
    root = Bus("root")
    scopes = [root.scope(str(n), exports=Fill) for n in range(3)]
    tapes = [taped(bus) for bus in (root, *scopes)]
    scopes[0].publish(event, source="me")
    scopes[0].publish(Bar(2))
    await root.drain()
    assert [tape.events for tape in tapes] == [[event], [event, Bar(2)], [event], [event]]
    assert [tape.envelopes[0].source for tape in tapes] == ["me"] * 4


async def test_an_event_is_exported_level_by_level_as_far_as_each_scope_exports_it():
    root = Bus("root")
    middle = root.scope("middle", exports=Fill)
    inner = middle.scope("inner", exports=[Fill, Bar])
    beside = middle.scope("beside")
    tapes = [taped(bus) for bus in (root, middle, inner, beside)]
    inner.publish(Fill(1))
    inner.publish(Bar(2))
    await root.drain()
    own = [Fill(1), Bar(2)]
    assert [tape.events for tape in tapes] == [[Fill(1)], own, own, own]


async def test_blocks_are_exported_and_passed_down_whole():
    root = Bus("root")
    scope, sibling = root.scope("scope", exports=Fill), root.scope("sibling")
    tapes = [taped(bus) for bus in (root, scope, sibling)]
    block = Block(Fill, {"ts": np.arange(5)})
    assert scope.publish(block) == 1
    assert scope.publish(Fill(9)) == 6
    await root.drain()
    assert all(tape.events == [block, Fill(9)] for tape in tapes)
    assert all([e.seq for e in tape.envelopes] == [1, 6] for tape in tapes)


async def test_what_a_scope_exports_while_an_event_of_its_parent_is_handled_names_that_as_cause():
    root = Bus("root")
    scope = root.scope("scope", exports=Fill)
    upper, lower = taped(root), taped(scope)
    scope.subscribe(Bar, lambda event: scope.publish(Fill(event.ts)))
    root.publish(Fill(0))
    await drained(root, Bar(1))
    assert [(e.seq, e.cause) for e in upper.envelopes] == [(1, 0), (2, 0), (3, 2)]
    assert [(e.seq, e.cause) for e in lower.envelopes] == [(1, 0), (2, 0), (3, 2)]


async def test_every_scope_is_done_with_an_event_before_the_next_one_comes():
    root = Bus("root")
    order: list[tuple[str, str, int]] = []

    def lane(name: str) -> None:
        scope = root.scope(name)

        async def answer(event: Bar) -> None:
            await checkpoint()
            order.append((name, "bar", event.ts))
            scope.publish(Fill(event.ts))

        scope.subscribe(Bar, answer)
        scope.subscribe(Fill, lambda event: order.append((name, "fill", event.ts)))

    lane("a")
    lane("b")
    await drained(root, Bar(1), Bar(2))
    assert order == [
        (name, what, ts) for ts in (1, 2) for name in ("a", "b") for what in ("bar", "fill")
    ]


async def test_a_scope_made_in_a_handler_sees_events_from_the_next_seq_on():
    root = Bus("root")
    seen: list[Event] = []

    def handler(event: Bar) -> None:
        if event.ts == 1:
            root.publish(Bar(2))
            root.scope("new").subscribe(Bar, seen.append)
            root.publish(Bar(3))

    root.subscribe(Bar, handler)
    await drained(root, Bar(1))
    assert seen == [Bar(3)]


async def test_a_drain_of_a_scope_drains_the_whole_tree():
    root = Bus("root")
    left, right = root.scope("left"), root.scope("right")
    tape = taped(right)
    right.publish(Fill(1))
    await left.drain()
    assert tape.events == [Fill(1)]


# -- closing a scope ------------------------------------------------------------------------------


async def test_a_closed_scope_is_let_go_of_and_its_parent_goes_on():
    root = Bus("root")
    scope = root.scope("scope")
    inner = scope.scope("inner")
    tape = taped(inner)
    await drained(root, Bar(1))
    await scope.aclose()
    assert scope.closed
    assert inner.closed
    await drained(root, Bar(2))
    assert tape.events == [Bar(1)]
    gone = weakref.ref(scope)
    del scope, inner
    gc.collect()
    assert gone() is None


async def test_a_scope_closed_before_it_took_part_never_does():
    root = Bus("root")
    root.publish(Bar(1))
    scope = root.scope("scope")
    tape = taped(scope)
    await scope.aclose()
    await drained(root, Bar(2))
    assert tape.events == []
    gone = weakref.ref(scope)
    del scope
    gc.collect()
    assert gone() is None


async def test_closing_a_scope_drops_its_mail_and_lets_go_of_its_handlers():
    class Handler:
        def __call__(self, event: Event) -> None:
            raise AssertionError

    root = Bus("root")
    scope = root.scope("scope")
    handler = Handler()
    subscription = scope.subscribe(Bar, handler, mailbox=Mailbox())
    scope.publish(Bar(1))
    gone = weakref.ref(handler)
    del handler
    await scope.aclose()
    assert subscription.stats == SubscriptionStats(0, 0, 0, 0, 0)
    del subscription
    gc.collect()
    assert gone() is None


# -- failures -------------------------------------------------------------------------------------


def failing(at: int) -> Callable[[Event], None]:
    def fail(event: Event) -> None:
        if event.ts == at:
            raise ValueError(f"bar {at}")

    return fail


async def test_guarantee_07_without_containment_a_failure_fails_the_drain_after_all_scopes_had_it():
    root = Bus("root")
    bad, good = root.scope("bad"), root.scope("good")
    bad_tape, good_tape = taped(bad), taped(good)
    bad.subscribe(Bar, failing(1))
    for event in (Bar(1), Bar(2)):
        root.publish(event)
    with pytest.raises(HandlerError, match="bar 1"):
        await root.drain()
    assert good_tape.events == [Bar(1)]
    await root.drain()
    assert good_tape.events == [Bar(1), Bar(2)]
    assert [type(event) for event in bad_tape.events] == [Bar, HandlerFailed, Bar]
    assert root.failure is bad.failure is None


@pytest.mark.parametrize("kind", ["plain", "async", "mailbox"])
async def test_guarantee_07_a_contained_failure_ends_its_scope_alone(kind: str):
    root = Bus("root")
    bad = root.scope("bad", contain_failures=True, exports=HandlerFailed)
    good = root.scope("good", contain_failures=True)
    root_tape, bad_tape, good_tape = taped(root), taped(bad), taped(good)
    fail, called = failing(2), []

    def publish_and_fail(event: Bar) -> None:
        called.append(event.ts)
        bad.publish(Fill(event.ts))
        fail(event)

    async def fail_later(event: Bar) -> None:
        await checkpoint()
        publish_and_fail(event)

    handler: Any = publish_and_fail if kind == "plain" else fail_later
    bad.subscribe(Bar, handler, name="x", mailbox=Mailbox() if kind == "mailbox" else None)
    silent = bad.subscribe([Fill, HandlerFailed], lambda event: called.append(type(event)))
    for ts in (1, 2, 3):
        await drained(root, Bar(ts))
    failed = HandlerFailed(2, "x", "BAR", 3, "ValueError: bar 2")
    assert isinstance(bad.failure, HandlerError)
    assert good.failure is None
    assert good_tape.events[:3] == [Bar(1), Bar(2), failed]
    assert bad_tape.events == [Bar(1), Fill(1), Bar(2), Fill(2), failed]
    assert failed in root_tape.events
    assert called == [1, Fill, 2]
    assert not silent.active
    assert silent.stats == SubscriptionStats(1, 1, 0, 0, 0)


async def test_a_failed_scope_takes_no_more_events_and_holds_none():
    root = Bus("root")
    bad = root.scope("bad", contain_failures=True)
    inner = bad.scope("inner")
    tape, inner_tape = taped(bad), taped(inner)
    bad.subscribe(Bar, failing(1))
    await drained(root, Bar(1))
    recorded = len(tape.events), len(inner_tape.events)
    for _ in range(3):
        bad.publish(Fill(2))
        inner.publish(Fill(2))
    await drained(root, Bar(3))
    assert (len(tape.events), len(inner_tape.events)) == recorded
    assert not bad._queue
    assert not inner._queue
    bad.subscribe(Bar, tape.envelopes.append).cancel()
    await bad.aclose()


async def test_a_failure_below_a_containing_scope_fails_that_scope_and_is_traced_where_it_was():
    root = Bus("root")
    lane = root.scope("lane", contain_failures=True)
    inner = lane.scope("inner")
    beside = lane.scope("beside")
    tapes = [taped(bus) for bus in (lane, inner, beside)]
    called: list[Event] = []

    def publish_and_fail(event: Bar) -> None:
        inner.publish(Fill(event.ts))
        raise ValueError

    inner.subscribe(Bar, publish_and_fail)
    inner.subscribe(Fill, called.append)
    beside.subscribe(Bar, called.append)
    await drained(root, Bar(1), Bar(2))
    assert isinstance(lane.failure, HandlerError)
    assert inner.failure is None
    assert [[type(event) for event in tape.events] for tape in tapes] == [
        [Bar], [Bar, Fill, HandlerFailed], [Bar],
    ]  # fmt: skip
    assert called == [Bar(1)]


async def test_a_failed_scopes_mail_is_dropped_and_its_late_subscribers_hear_nothing():
    root = Bus("root")
    lane = root.scope("lane", contain_failures=True)
    called: list[Event] = []

    def subscribe_and_fail(event: Bar) -> None:
        lane.publish(Fill(event.ts))
        late.append(lane.subscribe(Event, called.append))
        lane.publish(Fill(event.ts))
        raise ValueError

    late: list[Any] = []
    mail = lane.subscribe(Bar, called.append, mailbox=Mailbox())
    lane.subscribe(Bar, subscribe_and_fail)
    await drained(root, Bar(1))
    assert called == []
    assert mail.stats == SubscriptionStats(1, 0, 1, 0, 0)
    assert not late[0].active


async def test_a_tracer_that_raises_all_the_time_fails_its_scope_alone():
    class Broken(Tape):
        def record(self, envelope: Envelope) -> None:
            raise OSError("full")

    root = Bus("root")
    lane = root.scope("lane", contain_failures=True)
    lane.attach_tracer(Broken())
    seen: list[Event] = []
    root.subscribe(Bar, seen.append)
    for _ in range(2000):
        lane.publish(Fill(0))
    await drained(root, Bar(1), Bar(2))
    assert "(seq 1): OSError: full" in str(lane.failure)
    assert seen == [Bar(1), Bar(2)]


async def test_of_several_scopes_that_fail_on_one_event_the_first_one_names_the_failure():
    root = Bus("root")
    for number in range(3):
        root.scope(str(number)).subscribe(Bar, failing(1), name=f"handler {number}")
    root.publish(Bar(1))
    with pytest.raises(HandlerError, match="'handler 0'"):
        await root.drain()
    await root.drain()


async def test_an_error_of_the_window_kind_is_raised_as_it_is():
    root = Bus("root")
    error = WindowError("mine")

    def fail(event: Bar) -> None:
        raise error

    root.subscribe(Bar, fail)
    root.publish(Bar(1))
    with pytest.raises(WindowError) as caught:
        await root.drain()
    assert caught.value is error


async def test_scopes_that_fail_in_turn_leave_the_others_the_whole_stream():
    root = Bus("root")
    lanes = [root.scope(str(n), contain_failures=True) for n in range(5)]
    tapes = [taped(lane) for lane in lanes]
    for at, lane in enumerate(lanes):
        lane.subscribe(Bar, failing(at))
    await drained(root, *map(Bar, range(10)))
    for at, (lane, tape) in enumerate(zip(lanes, tapes, strict=True)):
        assert f"bar {at}" in str(lane.failure)
        assert [event for event in tape.events if type(event) is Bar] == [
            *map(Bar, range(at + 1)),
        ]

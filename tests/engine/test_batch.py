"""Batches stand for their single events, whoever takes them."""

from __future__ import annotations

from typing import Any, ClassVar
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.batch import Arrangement, Batch
from admf.engine.batch_correlations import correlations_of
from admf.engine.block import Block, DictionaryColumn
from admf.engine.bus import Bus
from admf.engine.errors import BusError, HandlerError
from admf.engine.events import Envelope, Event
from admf.engine.retention import (
    Minimal,
    RetentionPolicy,
    SlidingWindow,
    TakesBatches,
    TradeComplete,
)
from admf.engine.tracer import EventTracer

pytestmark = pytest.mark.anyio


class Opened(Event, frozen=True, gc=False, tag="OPENED"):
    correlation_field: ClassVar[str | None] = "name"

    name: str


class Moved(Event, frozen=True, gc=False, tag="MOVED"):
    correlation_field: ClassVar[str | None] = "name"

    name: str
    by: int


class Closed(Event, frozen=True, gc=False, tag="CLOSED"):
    correlation_field: ClassVar[str | None] = "name"
    closes: ClassVar[bool] = True

    name: str


class Noise(Event, frozen=True, gc=False, tag="NOISE"):
    pass


IDS = ("a", "b", "c", "d", "e")
ALL = (Opened, Moved, Closed, Noise)


def batch_of(events: list[Event], *, shared: bool = True) -> Batch:
    """Return events as a batch, their ids as codes into the same values (or into their own)."""
    classes = list(dict.fromkeys(type(event) for event in events))
    blocks = []
    for cls in classes:
        own = [event for event in events if type(event) is cls]
        block = Block.of(own)
        if cls is not Noise and shared:
            codes = np.array([IDS.index(event.name) for event in own])  # type: ignore[attr-defined]
            block = Block(cls, {**block.columns, "name": DictionaryColumn(codes, IDS)})
        blocks.append(block)
    order = np.array([classes.index(type(event)) for event in events], dtype=np.uint8)
    sources = [cls.__name__ for cls in classes]
    causes = np.arange(-1, len(events) - 1)
    return Batch(blocks, order, causes=causes, sources=sources)


def events_of(kinds: list[tuple[int, int]]) -> list[Event]:
    """Return events of a kind and an id each."""
    found: list[Event] = []
    for ts, (kind, place) in enumerate(kinds):
        cls = ALL[kind]
        if cls is Noise:
            found.append(Noise(ts))
        elif cls is Moved:
            found.append(Moved(ts, IDS[place], kind))
        else:
            found.append(cls(ts, IDS[place]))  # type: ignore[call-arg]
    return found


KINDS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=30)


@given(KINDS)
def test_a_batch_yields_its_events_with_numbers_causes_and_sources(
    kinds: list[tuple[int, int]],
) -> None:
    events = events_of(kinds)
    batch = batch_of(events)
    assert list(batch) == events
    assert len(batch) == len(events)
    envelopes = list(batch.envelopes(100, 7))
    assert [it.event for it in envelopes] == events
    assert [it.seq for it in envelopes] == list(range(100, 100 + len(events)))
    assert [it.cause for it in envelopes] == [7, *range(100, 99 + len(events))]
    assert [it.source for it in envelopes] == [type(event).__name__ for event in events]
    chosen = batch.of((Opened, Closed))
    assert list(chosen or ()) == [it for it in events if isinstance(it, (Opened, Closed))]
    firsts = [block.cls for block in batch.by_appearance()]
    assert firsts == list(dict.fromkeys(type(event) for event in events))


def test_an_order_that_does_not_fit_the_blocks_is_refused() -> None:
    block = Block.of([Noise(1), Noise(2)])
    with pytest.raises(ValueError, match="does not fit its blocks"):
        Batch([block], np.zeros(3, dtype=np.uint8))
    assert repr(Batch([block], np.zeros(2, dtype=np.uint8))) == "<Batch of <Block of 2 NOISE>>"


def state(policy: RetentionPolicy) -> tuple[object, ...]:
    return (policy.retained(), policy.retained_count, policy.dropped, policy.overflowed)


POLICIES = {
    "trade_complete": TradeComplete,
    "few events": lambda: TradeComplete(max_events=2),
    "few open": lambda: TradeComplete(max_open=2),
    "minimal": Minimal,
    "minimal, few open": lambda: Minimal(max_open=2),
    "sliding_window": lambda: SlidingWindow(3),
}


@pytest.mark.parametrize("name", POLICIES)
@given(parts=st.lists(KINDS, min_size=1, max_size=4), shared=st.booleans())
def test_a_policy_is_after_a_batch_as_after_its_single_events(
    name: str, parts: list[list[tuple[int, int]]], shared: bool
) -> None:
    one_by_one, batched = POLICIES[name](), POLICIES[name]()
    assert isinstance(batched, TakesBatches)
    for part in parts:
        events = events_of(part)
        for event in events:
            one_by_one.observe(Envelope(0, 0, "", event))
        batched.observe_batch(batch_of(events, shared=shared))
        assert state(batched) == state(one_by_one)


def in_turn(runs: list[tuple[str, int, bool]]) -> tuple[list[Event], Batch]:
    """Return events one correlation after the other, and a batch of them that says so.

    Args:
        runs: Of each correlation its id, how many events it has, and whether it closes.
    """
    events: list[Event] = [Noise(0)]
    for name, count, closes in runs:
        events += [Opened(len(events), name), *(Moved(9, name, by) for by in range(count))]
        events += [Closed(len(events), name)] if closes else []
    eager = batch_of(events)
    ids = tuple(name for name, _, _ in runs)
    blocks = []
    for block in eager.blocks:
        if block.cls is not Noise:
            codes = np.array([ids.index(name) for name in block.listed("name")])
            block = Block(block.cls, {**block.columns, "name": DictionaryColumn(codes, ids)})
        blocks.append(block)
    arrange = Mock(return_value=Arrangement(eager.order, eager.causes))
    return events, Batch.arranged_later(blocks, arrange, sources=eager.sources, in_turn=True)


@pytest.mark.parametrize("name", POLICIES)
@given(
    parts=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.sampled_from([True, True, False])), max_size=5),
        min_size=1,
        max_size=3,
    )
)
def test_a_policy_is_after_events_in_turn_as_after_single_ones(
    name: str, parts: list[list[tuple[int, bool]]]
) -> None:
    one_by_one, batched = POLICIES[name](), POLICIES[name]()
    assert isinstance(batched, TakesBatches)
    for part in parts:
        runs = [(IDS[place], *run) for place, run in enumerate(part)]
        events, batch = in_turn(runs)
        for event in events:
            one_by_one.observe(Envelope(0, 0, "", event))
        batched.observe_batch(batch)
        assert state(batched) == state(one_by_one)


def test_the_order_of_events_is_computed_once_and_only_if_somebody_asks() -> None:
    arrange = Mock(return_value=Arrangement(np.array([1, 0, 1], dtype=np.uint8), None))
    blocks = [Block.of([Noise(2)]), Block.of([Opened(1, "a"), Opened(3, "b")])]
    batch = Batch.arranged_later(blocks, arrange)
    chosen = batch.of((Opened,))
    assert chosen is not None
    assert (len(batch), len(chosen), arrange.call_count) == (3, 2, 0)
    assert list(chosen) == [Opened(1, "a"), Opened(3, "b")]
    assert list(batch) == [Opened(1, "a"), Noise(2), Opened(3, "b")]
    assert batch.causes is None
    assert arrange.call_count == 1


def test_a_policy_need_not_know_the_order_of_events_in_turn_that_all_close() -> None:
    _, batch = in_turn([("a", 2, True), ("b", 0, True)])
    policy = TradeComplete()
    policy.observe_batch(batch)
    assert isinstance(batch._arrange, Mock)
    assert (policy.retained_count, batch._arrange.call_count) == (0, 0)
    found = correlations_of(batch)
    assert found is not None
    assert (found.most_open(), found.most_events) == (1, 4)


def test_a_policy_that_tells_of_completed_correlations_does_so_of_those_in_a_batch() -> None:
    told: list[tuple[object, list[Event]]] = []
    policy = TradeComplete(lambda name, events: told.append((name, events)))
    events = events_of([(0, 0), (1, 0), (2, 0), (0, 1)])
    policy.observe_batch(batch_of(events))
    assert told == [("a", events[:3])]
    assert policy.retained() == events[3:]


def test_correlations_of_many_ids_tell_how_many_are_open_at_once() -> None:
    events = [it for name in IDS for it in (Opened(0, name), Moved(1, name, 1), Closed(2, name))]
    found = correlations_of(batch_of([*events, Opened(3, "a")]))
    assert found is None  # it goes on after it was closed
    found = correlations_of(batch_of(events[:-1]))
    assert found is not None
    assert (found.most_open(), list(found.staying)) == (1, events[-3:-1])
    assert found.closed_among(["e", "d", "x", 5]) == ["d"]
    assert found.closed_among([*map(str, range(9)), "a", "e"]) == ["a"]


# -- the bus and the tracer ------------------------------------------------------------------------


class Seen:
    """A tracer that takes single events only."""

    types = frozenset({Opened, Closed})

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    def record(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)


async def test_what_is_recorded_is_numbered_and_shown_to_tracers_alone() -> None:
    bus, seen, heard = Bus(), Seen(), list[Event]()
    bus.attach_tracer(seen)
    bus.subscribe(Opened, heard.append)
    assert bus.record(Opened(1, "a"), "me", cause=4) == 1
    assert bus.record(batch_of(events_of([(0, 1), (1, 1), (2, 1)]))) == 2
    assert bus.record(Block.of([Opened(5, "c"), Opened(6, "d")]), "us") == 5
    assert bus.publish(Opened(7, "e")) == 7
    with pytest.raises(BusError, match="while other events wait"):
        bus.record(Opened(8, "e"))
    await bus.drain()
    assert [(it.seq, it.cause, it.source) for it in seen.envelopes] == [
        (1, 4, "me"),
        (2, 0, "Opened"),
        (4, 3, "Closed"),
        (5, 0, "us"),
        (7, 0, ""),
    ]
    assert heard == [Opened(7, "e")]
    await bus.aclose()


class Broken(Seen):
    def record(self, envelope: Envelope) -> None:
        raise OSError("no room")


async def test_a_tracer_that_fails_on_what_is_recorded_is_named() -> None:
    bus = Bus()
    bus.attach_tracer(Broken())
    with pytest.raises(HandlerError, match=r"handler 'Broken' failed on OPENED \(seq 1\)"):
        bus.record(Opened(1, "a"))
    with pytest.raises(HandlerError, match="no room"):
        bus.record(batch_of([Opened(1, "a")]))
    await bus.aclose()


async def test_a_bus_knows_whether_anybody_else_would_hear() -> None:
    bus = Bus()
    assert not bus.reaches_others([Opened])
    mine = bus.subscribe(Opened, print)
    assert bus.reaches_others([Opened])
    assert not bus.reaches_others([Opened], [mine])
    assert not bus.reaches_others([Closed])
    theirs = bus.subscribe(Event, print)
    assert bus.reaches_others([Closed], [mine])
    theirs.cancel()
    assert not bus.reaches_others([Closed], [mine])
    scope = bus.scope("lane", exports=[Moved])
    assert scope.reaches_others([Moved])
    assert not scope.reaches_others([Opened])
    assert bus.reaches_others([Opened], [mine])  # a scope below may hear it
    await bus.aclose()


class Watched:
    """A policy of somebody's own, which takes single events."""

    def __init__(self) -> None:
        self.seen: list[Envelope] = []

    retained_count = dropped = overflowed = 0

    def observe(self, envelope: Envelope) -> None:
        self.seen.append(envelope)

    def retained(self) -> list[Event]:
        return []

    def size_bytes(self) -> int:
        return 0


def test_a_policy_that_takes_no_batches_gets_single_events_that_are_traced() -> None:
    policy = Watched()
    tracer = EventTracer([Opened, Closed], policy)
    tracer.record_batch(batch_of(events_of([(0, 0), (1, 0), (3, 0), (2, 0)])), 10, 2)
    assert [(it.seq, it.cause, type(it.event)) for it in policy.seen] == [
        (10, 2, Opened),
        (13, 12, Closed),
    ]
    assert tracer.summary().by_type == {"CLOSED": 1, "OPENED": 1}
    tracer.record_batch(batch_of([Noise(1)]), 14, 0)
    assert len(policy.seen) == 2


class Log:
    """Stands in for an `EventLog` of some types."""

    store = "all"
    types = frozenset({Opened})

    def __init__(self) -> None:
        self.seen: list[Envelope] = []

    def record(self, envelope: Envelope) -> None:
        self.seen.append(envelope)


def test_a_log_gets_those_events_of_a_batch_that_it_wants() -> None:
    log: Any = Log()
    tracer = EventTracer([Closed], Minimal(), log=log)
    tracer.record_batch(batch_of(events_of([(0, 0), (2, 0), (0, 1)])), 10, 2)
    assert [(it.seq, it.cause, it.event.name) for it in log.seen] == [(10, 2, "a"), (12, 11, "b")]

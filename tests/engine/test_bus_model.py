"""Random programs on the bus against a naive model: guarantees 1, 2, 3, 4, 7 and 10."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, get_args

import anyio
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.engine.block import Block, is_block
from admf.engine.bus import Bus
from admf.engine.errors import HandlerError
from admf.engine.events import Envelope, Event, HandlerFailed
from admf.engine.subscription import Mailbox, Overflow, Subscription


class Red(Event, frozen=True, gc=False, tag="RED"):
    life: int


class Crimson(Red, frozen=True, gc=False, tag="CRIMSON"):
    pass


class Blue(Event, frozen=True, gc=False, tag="BLUE"):
    life: int


COLOURS: tuple[type[Any], ...] = (Red, Crimson, Blue)


@dataclass(frozen=True)
class Part:
    """What one handler does with the events it gets."""

    wants: type[Any]
    offspring: tuple[type[Any], ...]  # published for an event that has life left
    fails_on: int  # its remainder by 5 of the event's ts; 5 for never
    is_async: bool
    propagates: bool
    overflow: Overflow | None = None

    def fails(self, event: Any) -> bool:
        return event.ts % 5 == self.fails_on

    def children(self, event: Any) -> list[Any]:
        if not event.life:
            return []
        return [cls(event.ts * 3 + n, event.life - 1) for n, cls in enumerate(self.offspring)]


@dataclass
class Outcome:
    """Everything one can see of a program's run."""

    trace: list[tuple[int, int, Event]] = field(default_factory=list)
    got: list[list[Event]] = field(default_factory=list)
    raised: list[tuple[str, int]] = field(default_factory=list)


INPUT = st.lists(
    st.lists(st.integers(0, 40), min_size=1, max_size=4).flatmap(
        lambda stamps: st.builds(
            lambda cls, life: [cls(ts, life) for ts in stamps],
            st.sampled_from(COLOURS),
            st.integers(0, 2),
        )
    ),
    max_size=5,
)


def parts(overflow: st.SearchStrategy[Overflow | None]) -> st.SearchStrategy[list[Part]]:
    return st.lists(
        st.builds(
            Part,
            wants=st.sampled_from(COLOURS),
            offspring=st.lists(st.sampled_from(COLOURS), max_size=2).map(tuple),
            fails_on=st.integers(0, 5),
            is_async=st.booleans(),
            propagates=st.booleans(),
            overflow=overflow,
        ),
        max_size=5,
    )


# -- the model ------------------------------------------------------------------------------------


def expected(program: list[Part], groups: list[list[Any]]) -> Outcome:
    outcome = Outcome(got=[[] for _ in program])
    queue: deque[tuple[Event, int]] = deque((event, 0) for group in groups for event in group)
    while queue:
        event, cause = queue.popleft()
        seq = len(outcome.trace) + 1
        outcome.trace.append((seq, cause, event))
        failed = []
        for number, part in enumerate(program):
            if not isinstance(event, part.wants):
                continue
            outcome.got[number].append(event)
            queue.extend((child, seq) for child in part.children(event))
            if part.fails(event):
                name = type(event).__struct_config__.tag
                report = HandlerFailed(event.ts, str(number), name, seq, "ValueError: ")
                queue.append((report, seq))
                failed += [(str(number), seq)] * part.propagates
        outcome.raised += failed[:1]
    return outcome


# -- the bus --------------------------------------------------------------------------------------


class Run:
    def __init__(self, program: list[Part], max_block_ms: float, *, traced: bool) -> None:
        self.types = frozenset({Event})
        self.bus = Bus(max_block_ms=max_block_ms)
        if traced:
            self.bus.attach_tracer(self)
        self.envelopes: list[Envelope] = []
        self.got: list[list[Event]] = [[] for _ in program]
        self.raised: list[tuple[str, int]] = []
        self.subscriptions = [self._subscribe(*numbered) for numbered in enumerate(program)]

    def record(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)

    def _subscribe(self, number: int, part: Part) -> Subscription:
        def handle(event: Any) -> None:
            self.got[number].append(event)
            for child in part.children(event):
                self.bus.publish(child)
            if part.fails(event):
                raise ValueError

        async def handle_later(event: Any) -> None:
            await checkpoint()
            handle(event)

        return self.bus.subscribe(
            part.wants,
            handle_later if part.is_async else handle,
            name=str(number),
            mailbox=Mailbox(2, part.overflow) if part.overflow else None,
            on_error="propagate" if part.propagates else "isolate",
        )

    async def play(self, items: Iterable[Any]) -> None:
        for item in items:
            self.bus.publish(item)
        quiet = False
        while not quiet:
            try:
                await self.bus.drain()
                quiet = True
            except HandlerError as error:
                self.raised.append((error.subscriber, error.seq))

    @property
    def trace(self) -> list[tuple[int, int, Event]]:
        """Every event on its own, with the seq and the cause it had."""
        return [
            (envelope.seq + offset, envelope.cause, event)
            for envelope in self.envelopes
            for offset, event in enumerate(
                envelope.event.events() if is_block(envelope.event) else [envelope.event]
            )
        ]


def run(
    program: list[Part], items: Iterable[Any], max_block_ms: float = 5.0, *, traced: bool = True
) -> Run:
    played = Run(program, max_block_ms, traced=traced)
    anyio.run(played.play, list(items))
    return played


@settings(max_examples=150, deadline=None)
@given(
    program=parts(st.none()),
    groups=INPUT,
    max_block_ms=st.sampled_from([0.0, 5.0]),
    traced=st.booleans(),
)
def test_inline_handlers_give_exactly_the_models_trace(
    program: list[Part], groups: list[list[Any]], max_block_ms: float, traced: bool
):
    model = expected(program, groups)
    events = [event for group in groups for event in group]
    played = run(program, events, max_block_ms, traced=traced)
    assert played.trace == (model.trace if traced else [])
    assert played.got == model.got
    assert played.raised == model.raised
    for number, subscription in enumerate(played.subscriptions):
        stats = subscription.stats
        failures = sum(map(program[number].fails, model.got[number]))
        assert stats.accepted == len(model.got[number])
        assert (stats.handled, stats.dead_lettered) == (stats.accepted - failures, failures)
        assert stats.dropped == stats.queued == 0


@settings(max_examples=50, deadline=None)
@given(program=parts(st.none()), groups=INPUT)
def test_blocks_reach_each_handler_as_their_events_would(
    program: list[Part], groups: list[list[Any]]
):
    """With blocks a handler may be rows ahead of the next one, but each gets the same events."""
    childless = [Part(p.wants, (), p.fails_on, p.is_async, propagates=False) for p in program]
    model = expected(childless, groups)
    played = run(childless, map(Block.of, groups))
    assert [event for _, _, event in played.trace if not isinstance(event, HandlerFailed)] == [
        event for _, _, event in model.trace if not isinstance(event, HandlerFailed)
    ]
    assert played.got == model.got
    assert [seq for seq, _, _ in played.trace] == [*range(1, len(model.trace) + 1)]


@settings(max_examples=150, deadline=None)
@given(program=parts(st.one_of(st.none(), st.sampled_from(get_args(Overflow)))), groups=INPUT)
def test_with_mailboxes_the_trace_is_gapless_and_every_account_balances(
    program: list[Part], groups: list[list[Any]]
):
    played = run(program, (event for group in groups for event in group))
    assert [seq for seq, _, _ in played.trace] == [*range(1, len(played.trace) + 1)]
    for part, subscription, got in zip(program, played.subscriptions, played.got, strict=True):
        published = [event for _, _, event in played.trace if isinstance(event, part.wants)]
        stats = subscription.stats
        assert stats.accepted == len(published)
        assert stats.accepted == stats.handled + stats.dropped + stats.dead_lettered
        assert stats.queued == 0
        if part.overflow in (None, "block"):
            assert got == published
        else:
            rest = iter(published)
            assert all(any(event is other for other in rest) for event in got)

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.block import Block
from admf.engine.errors import Problem, RegistryError
from admf.engine.events import Envelope, Event, EventRegistry, WindowEnd, WindowStart
from admf.engine.retention import Minimal, RetentionPolicy, SlidingWindow, TradeComplete
from admf.engine.tracer import EventTracer, TracerSummary, resolve_types


class Opened(Event, frozen=True, gc=False, tag="OPENED"):
    correlation_field: ClassVar[str | None] = "pair"

    pair: int


class Closed(Event, frozen=True, gc=False, tag="CLOSED"):
    correlation_field: ClassVar[str | None] = "pair"
    closes: ClassVar[bool] = True

    pair: int


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    value: float


class LateTick(Tick, frozen=True, gc=False, tag="LATE_TICK"):
    pass


class Recorder:
    """A sink that also writes down the order in which it was called."""

    def __init__(self, name: str, types: set[type[Event]], log: list[tuple[str, object]]) -> None:
        self.types = frozenset(types)
        self._name = name
        self._log = log

    def fold(self, event: Event | Block[Any]) -> None:
        self._log.append((self._name, event))


class LoggedWindow(SlidingWindow):
    def __init__(self, log: list[tuple[str, object]]) -> None:
        super().__init__(10)
        self._log = log

    def observe(self, envelope: Envelope) -> None:
        self._log.append(("policy", envelope.event))
        super().observe(envelope)


def record(tracer: EventTracer, *items: Event | Block[Any]) -> None:
    for seq, item in enumerate(items, start=1):
        tracer.record(Envelope(seq, 0, "test", item))


POLICIES: dict[str, Callable[[], RetentionPolicy]] = {
    "trade_complete": TradeComplete,
    "trade_complete, capped": lambda: TradeComplete(max_open=2, max_events=3),
    "sliding_window": lambda: SlidingWindow(20),
    "sliding_window, narrow": lambda: SlidingWindow(3),
    "minimal": Minimal,
    "minimal, capped": lambda: Minimal(max_open=2),
}

PAIRS = st.integers(1, 5)
RUN = st.one_of(
    st.lists(st.builds(Opened, st.just(0), PAIRS), max_size=30),
    st.lists(st.builds(Closed, st.just(0), PAIRS), max_size=5),
    st.lists(st.builds(Tick, st.just(0), st.floats(0, 1)), max_size=40),
)


def stamped(runs: Sequence[Sequence[Event]]) -> list[Event]:
    events = (event for run in runs for event in run)
    return [msgspec.structs.replace(event, ts=ts) for ts, event in enumerate(events)]


STREAM = st.lists(RUN, max_size=8).map(stamped)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[list[Event], list[Event | Block[Any]]]:
    """Draw a stream, and the same stream with its runs of one type cut into random blocks."""
    stream: list[Event] = draw(STREAM)
    pieces: list[Event | Block[Any]] = []
    for _, group in groupby(stream, key=type):
        run = list(group)
        while run:
            taken = draw(st.integers(1, len(run)))
            single = taken == 1 and draw(st.booleans())
            pieces.append(run[0] if single else Block.of(run[:taken]))
            run = run[taken:]
    return stream, pieces


@pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)
@given(cut=cuts())
def test_nothing_depends_on_how_the_stream_is_cut_into_blocks(
    make: Callable[[], RetentionPolicy], cut: tuple[list[Event], list[Event | Block[Any]]]
) -> None:
    stream, pieces = cut
    by_event = EventTracer([Opened, Closed, Tick], make())
    by_block = EventTracer([Opened, Closed, Tick], make())
    record(by_event, *stream)
    record(by_block, *pieces)
    assert by_block.summary() == by_event.summary()
    assert by_block.policy.retained() == by_event.policy.retained()


@pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)
@given(cut=cuts())
def test_observed_is_retained_and_dropped_after_every_record(
    make: Callable[[], RetentionPolicy], cut: tuple[list[Event], list[Event | Block[Any]]]
) -> None:
    tracer = EventTracer([Opened, Closed, Tick], make())
    seen = 0
    for piece in cut[1]:
        record(tracer, piece)
        seen += len(piece) if isinstance(piece, Block) else 1
        summary = tracer.summary()
        assert summary.observed == seen == sum(summary.by_type.values())
        assert summary.observed == summary.retained + summary.dropped
        assert summary.retained == len(tracer.policy.retained())


def test_the_summary_counts_events_by_name() -> None:
    tracer = EventTracer([Tick, Opened], TradeComplete(max_events=1), policy_name="trade_complete")
    record(tracer, Tick(1, 0.0), Block.of([Tick(2, 0.0), Tick(3, 0.0)]), *[Opened(4, 1)] * 3)
    assert tracer.summary() == TracerSummary(
        policy="trade_complete",
        observed=6,
        retained=1,
        dropped=5,
        by_type={"TICK": 3, "OPENED": 3},
        overflowed=2,
    )


def test_a_summary_is_a_copy() -> None:
    tracer = EventTracer([Tick], Minimal())
    before = tracer.summary()
    record(tracer, Tick(1, 0.0))
    assert before.by_type == {}


def test_an_unnamed_policy_goes_by_its_class() -> None:
    assert EventTracer([Tick], Minimal()).summary().policy == "Minimal"


def test_an_event_that_nobody_wants_is_ignored() -> None:
    tracer = EventTracer([Opened], SlidingWindow(10))
    record(tracer, Tick(1, 0.0), Closed(2, 1), Block.of([Tick(3, 0.0)]))
    assert tracer.summary().observed == 0
    assert tracer.policy.retained() == []


def test_sinks_fold_in_order_before_the_policy_and_get_blocks_whole() -> None:
    log: list[tuple[str, object]] = []
    sinks = [Recorder("first", {Tick}, log), Recorder("second", {Tick, Opened}, log)]
    tracer = EventTracer([Tick], LoggedWindow(log), sinks)
    tick, block = Tick(1, 0.5), Block.of([Tick(2, 0.5), Tick(3, 0.5)])
    record(tracer, tick, block)
    assert log == [(name, item) for item in (tick, block) for name in ("first", "second", "policy")]


def test_a_sink_is_fed_whether_or_not_its_events_are_traced() -> None:
    log: list[tuple[str, object]] = []
    tracer = EventTracer([Opened], SlidingWindow(10), [Recorder("sink", {Tick}, log)])
    record(tracer, Tick(1, 0.5), Opened(2, 1))
    assert log == [("sink", Tick(1, 0.5))]
    assert tracer.summary().by_type == {"OPENED": 1}


def test_sinks_that_were_dropped_are_fed_no_more_and_the_rest_goes_on() -> None:
    log: list[tuple[str, object]] = []
    tracer = EventTracer((Tick,), LoggedWindow(log), [Recorder("sink", {Tick}, log)])
    for seq in (1, 2):
        tracer.record(Envelope(seq, 0, "", Tick(seq, 1.0)))
        tracer.drop_sinks()
    tracer.record(Envelope(3, 0, "", LateTick(3, 1.0)))
    assert [name for name, _ in log] == ["sink", "policy", "policy", "policy"]
    assert tracer.summary().by_type == {"LATE_TICK": 1, "TICK": 2}


def test_the_types_are_those_of_the_trace_and_of_the_sinks() -> None:
    sinks = [Recorder("a", {Tick, Closed}, []), Recorder("b", {Closed, WindowEnd}, [])]
    tracer = EventTracer([Opened, Tick], Minimal(), sinks)
    assert tracer.types == {Opened, Tick, Closed, WindowEnd}
    assert EventTracer([], Minimal()).types == frozenset()


def test_a_subclass_is_traced_and_folded_with_its_base_under_its_own_name() -> None:
    log: list[tuple[str, object]] = []
    tracer = EventTracer([Tick], SlidingWindow(10), [Recorder("sink", {Event}, log)])
    late = LateTick(1, 0.5)
    record(tracer, late, late, Block.of([LateTick(2, 0.5)]))
    assert tracer.summary().by_type == {"LATE_TICK": 3}
    assert len(log) == 3


def test_a_base_class_is_not_traced_with_its_subclass() -> None:
    tracer = EventTracer([LateTick], SlidingWindow(10))
    record(tracer, Tick(1, 0.5))
    assert tracer.summary().observed == 0


class Odd:
    """An application's own policy: keeps the first event and nothing else."""

    def __init__(self) -> None:
        self._kept: list[Event] = []
        self.dropped = 0
        self.overflowed = 0

    @property
    def retained_count(self) -> int:
        return len(self._kept)

    def observe(self, envelope: Envelope) -> None:
        event: Event | Block[Any] = envelope.event
        for single in event.events() if isinstance(event, Block) else [event]:
            if self._kept:
                self.dropped += 1
            else:
                self._kept.append(single)

    def retained(self) -> list[Event]:
        return list(self._kept)

    def size_bytes(self) -> int:
        return 0


def test_an_application_brings_its_own_policy() -> None:
    tracer = EventTracer([Tick], Odd(), policy_name="odd")
    record(tracer, Block.of([Tick(1, 0.0), Tick(2, 0.0)]), Tick(3, 0.0))
    assert tracer.summary() == TracerSummary("odd", 3, 1, 2, {"TICK": 3})


@pytest.fixture
def registry() -> EventRegistry:
    return EventRegistry([WindowStart, WindowEnd, Tick, Opened])


def test_names_resolve_to_their_classes_each_once(registry: EventRegistry) -> None:
    classes, warnings = resolve_types(["TICK", "WINDOW_END", "TICK"], registry, strict=True)
    assert classes == (Tick, WindowEnd)
    assert warnings == ()


def test_unknown_names_are_warnings_that_name_near_matches(registry: EventRegistry) -> None:
    classes, warnings = resolve_types(["TICKS", "OPENED", "window_end", "??"], registry)
    known = "; known are WINDOW_START, WINDOW_END, TICK, OPENED"
    assert classes == (Opened,)
    assert warnings == (
        Problem(f"unknown event 'TICKS' (did you mean 'TICK'?){known}", "event_tracing"),
        Problem(f"unknown event 'window_end' (did you mean 'WINDOW_END'?){known}", "event_tracing"),
        Problem(f"unknown event '??'{known}", "event_tracing"),
    )


def test_unknown_names_are_one_error_under_strict(registry: EventRegistry) -> None:
    with pytest.raises(RegistryError) as caught:
        resolve_types(["TICKS", "TICK", "OPEN"], registry, strict=True)
    assert [problem.message[:21] for problem in caught.value.problems] == [
        "unknown event 'TICKS'",
        "unknown event 'OPEN' ",
    ]

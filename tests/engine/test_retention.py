from __future__ import annotations

import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.block import Block, DictionaryColumn
from admf.engine.errors import RegistryError
from admf.engine.events import Envelope, Event, WindowStart
from admf.engine.retention import (
    BUILT_IN_POLICIES,
    MAX_EVENTS_PER_CORRELATION,
    MAX_OPEN_CORRELATIONS,
    CorrelationId,
    Minimal,
    OpenCorrelation,
    RetentionPolicy,
    SlidingWindow,
    TracingConfig,
    TradeComplete,
    make_policy,
)


class Request(Event, frozen=True, gc=False, tag="REQUEST"):
    correlation_field: ClassVar[str | None] = "request_id"

    request_id: str | None


class Step(Event, frozen=True, gc=False, tag="STEP"):
    correlation_field: ClassVar[str | None] = "of"

    of: str | None


class Response(Event, frozen=True, gc=False, tag="RESPONSE"):
    correlation_field: ClassVar[str | None] = "request_id"
    closes: ClassVar[bool] = True

    request_id: str | None


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    value: float


class Mark(Event, frozen=True, gc=False, tag="MARK"):
    equity: float
    cash: float
    exposure: float
    benchmark: float


POLICIES: dict[str, Callable[[], RetentionPolicy]] = {
    "trade_complete": lambda: TradeComplete(max_open=3, max_events=4),
    "sliding_window": lambda: SlidingWindow(5),
    "minimal": lambda: Minimal(max_open=3),
}
policies = pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)

IDS = st.sampled_from(["a", "b", "c", "d", "e"]) | st.none()
EVENT = st.one_of(
    st.builds(Request, st.just(0), IDS),
    st.builds(Step, st.just(0), IDS),
    st.builds(Response, st.just(0), IDS),
    st.builds(Tick, st.just(0), st.floats(0, 1)),
)
STREAM = st.lists(EVENT, max_size=60).map(
    lambda events: [msgspec.structs.replace(event, ts=ts) for ts, event in enumerate(events)]
)


def feed(policy: RetentionPolicy, *items: Event | Block[Any]) -> None:
    for item in items:
        policy.observe(Envelope(1, 0, "test", item))


def ticks(start: int, stop: int) -> Block[Tick]:
    ts = np.arange(start, stop)
    return Block(Tick, {"ts": ts, "value": ts.astype(np.float64)})


def marks(start: int, stop: int) -> Block[Mark]:
    ts = np.arange(start, stop)
    names = ("equity", "cash", "exposure", "benchmark")
    return Block(Mark, {"ts": ts, **dict.fromkeys(names, ts * 1.5)})


def tick_values(policy: RetentionPolicy) -> list[float]:
    return [event.value for event in policy.retained() if isinstance(event, Tick)]


@policies
@given(stream=STREAM)
def test_every_policy_accounts_for_every_event(
    make: Callable[[], RetentionPolicy], stream: list[Event]
) -> None:
    policy = make()
    for observed, event in enumerate(stream, start=1):
        feed(policy, event)
        assert policy.retained_count == len(policy.retained())
        assert policy.retained_count + policy.dropped == observed
        assert 0 <= policy.overflowed <= policy.dropped
        assert (policy.size_bytes() > 0) >= (policy.retained_count > 0)


@policies
@given(stream=STREAM)
def test_every_policy_returns_each_type_in_the_order_of_time(
    make: Callable[[], RetentionPolicy], stream: list[Event]
) -> None:
    policy = make()
    feed(policy, *stream)
    of_type: dict[type[Event], list[int]] = defaultdict(list)
    for event in policy.retained():
        of_type[type(event)].append(event.ts)
    assert all(times == sorted(times) for times in of_type.values())


def open_correlations(stream: Iterable[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in stream:
        if isinstance(event, Tick):
            continue
        correlation_id = event.of if isinstance(event, Step) else event.request_id  # type: ignore[attr-defined]
        if correlation_id is None:
            continue
        if isinstance(event, Response):
            found.pop(correlation_id, None)
        else:
            found.setdefault(correlation_id, []).append(event)
    return found


@given(stream=STREAM)
def test_trade_complete_keeps_exactly_the_events_of_open_correlations(stream: list[Event]) -> None:
    policy = TradeComplete()
    for count, event in enumerate(stream, start=1):
        feed(policy, event)
        held = [event for events in open_correlations(stream[:count]).values() for event in events]
        assert policy.retained() == sorted(held, key=lambda event: event.ts)
        assert policy.overflowed == 0


@given(stream=STREAM)
def test_minimal_keeps_exactly_one_state_for_each_open_correlation(stream: list[Event]) -> None:
    policy = Minimal()
    for count, event in enumerate(stream, start=1):
        feed(policy, event)
        expected = {
            correlation_id: (held[0].ts, held[-1].ts, type(held[-1]).__name__.upper(), len(held))
            for correlation_id, held in open_correlations(stream[:count]).items()
        }
        states = [state for state in policy.retained() if isinstance(state, OpenCorrelation)]
        assert policy.retained_count == len(expected)
        assert {
            state.correlation_id: (state.first_ts, state.ts, state.last_event, state.count)
            for state in states
        } == expected


@given(stream=STREAM, size=st.integers(1, 7))
def test_sliding_window_keeps_exactly_the_last_events_of_each_type(
    stream: list[Event], size: int
) -> None:
    policy = SlidingWindow(size)
    for count, event in enumerate(stream, start=1):
        feed(policy, event)
        of_type: dict[type[Event], list[Event]] = defaultdict(list)
        for seen in stream[:count]:
            of_type[type(seen)].append(seen)
        assert policy.retained() == [event for seen in of_type.values() for event in seen[-size:]]
        assert policy.retained_count <= size * len(of_type)


@given(
    size=st.integers(1, 80),
    pieces=st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=25),
)
def test_a_sliding_window_of_blocks_holds_its_bound_and_the_last_rows(
    size: int, pieces: list[tuple[int, bool]]
) -> None:
    policy = SlidingWindow(size)
    seen = 0
    for rows, single in pieces:
        if single:
            feed(policy, Tick(seen, float(seen)))
            seen += 1
        else:
            feed(policy, ticks(seen, seen + rows))
            seen += rows
        assert policy.retained_count == min(size, seen)
        assert policy.dropped == seen - policy.retained_count
        assert tick_values(policy) == [float(value) for value in range(max(0, seen - size), seen)]


@given(stream=STREAM)
def test_caps_hold_after_every_event(stream: list[Event]) -> None:
    trades, states = TradeComplete(max_open=2, max_events=3), Minimal(max_open=2)
    for event in stream:
        feed(trades, event)
        feed(states, event)
        held = open_correlations(trades.retained())
        assert len(held) <= 2
        assert all(len(events) <= 3 for events in held.values())
        assert states.retained_count <= 2


def test_trade_complete_drops_events_without_a_correlation_at_once() -> None:
    policy = TradeComplete()
    feed(policy, Tick(1, 0.5), ticks(2, 5_000), WindowStart(5_000, "w"), Step(5_001, None))
    assert (policy.retained_count, policy.dropped, policy.overflowed) == (0, 5_001, 0)
    assert policy.retained() == []


def test_a_block_without_a_correlation_is_not_unrolled() -> None:
    block = ticks(0, 10)
    feed(TradeComplete(), block)
    feed(Minimal(), block)
    assert block._events is None


def test_trade_complete_hands_a_completed_pair_over_and_forgets_it() -> None:
    completed: list[tuple[CorrelationId, list[Event]]] = []
    policy = TradeComplete(
        lambda correlation_id, events: completed.append((correlation_id, events))
    )
    first, step, last = Request(1, "a"), Step(2, "a"), Response(4, "a")
    other = Request(3, "b")
    feed(policy, first, step, other, last)
    assert completed == [("a", [first, step, last])]
    assert policy.retained() == [other]
    assert policy.dropped == 3


def test_a_closing_event_whose_correlation_never_opened_completes_alone() -> None:
    completed: list[list[Event]] = []
    policy = TradeComplete(lambda _, events: completed.append(events))
    feed(policy, Response(1, "a"))
    assert completed == [[Response(1, "a")]]
    assert (policy.retained_count, policy.dropped) == (0, 1)


def test_a_failing_completion_propagates_and_leaves_the_counts_right() -> None:
    def fail(correlation_id: CorrelationId, events: list[Event]) -> None:
        raise LookupError(correlation_id)

    policy = TradeComplete(fail)
    feed(policy, Request(1, "a"))
    with pytest.raises(LookupError, match="a"):
        feed(policy, Response(2, "a"))
    assert (policy.retained(), policy.retained_count, policy.dropped) == ([], 0, 2)


def test_correlated_blocks_are_taken_row_by_row() -> None:
    ids = DictionaryColumn(np.array([0, 1, 0]), ("a", "b"))
    opened = Block(Request, {"ts": np.array([1, 2, 3]), "request_id": ids})
    closed = Block(Response, {"ts": np.array([4, 5]), "request_id": "a"})
    policy, states = TradeComplete(), Minimal()
    for item in (opened, closed):
        feed(policy, item)
        feed(states, item)
    assert policy.retained() == [Request(2, "b")]
    assert states.retained() == [OpenCorrelation(2, "b", 2, "REQUEST", 1)]
    assert policy.dropped == states.dropped == 4


def test_a_correlation_that_never_closes_is_capped_and_counted() -> None:
    policy = TradeComplete()
    feed(policy, *(Step(ts, "leak") for ts in range(MAX_EVENTS_PER_CORRELATION + 10)))
    assert policy.retained_count == MAX_EVENTS_PER_CORRELATION
    assert policy.retained()[0].ts == 0
    assert policy.dropped == policy.overflowed == 10


def test_a_full_correlation_still_completes() -> None:
    completed: list[list[Event]] = []
    policy = TradeComplete(lambda _, events: completed.append(events), max_events=2)
    feed(policy, *(Step(ts, "a") for ts in range(5)), Response(5, "a"))
    assert completed == [[Step(0, "a"), Step(1, "a"), Response(5, "a")]]
    assert (policy.retained_count, policy.dropped, policy.overflowed) == (0, 6, 3)


@pytest.mark.parametrize("policy", [TradeComplete(), Minimal()], ids=lambda p: type(p).__name__)
def test_the_number_of_open_correlations_is_capped_and_counted(policy: RetentionPolicy) -> None:
    feed(policy, *(Request(ts, f"r{ts}") for ts in range(MAX_OPEN_CORRELATIONS + 7)))
    assert policy.retained_count == MAX_OPEN_CORRELATIONS
    assert policy.dropped == policy.overflowed == 7
    assert policy.retained()[0].ts == 7


def test_the_least_recently_seen_correlation_goes_first() -> None:
    policy = TradeComplete(max_open=2)
    old, leak, touch, new = Request(1, "old"), Request(2, "leak"), Step(3, "old"), Request(4, "new")
    feed(policy, old, leak, touch, new)
    assert policy.retained() == [old, touch, new]
    assert policy.overflowed == 1


def test_minimal_updates_the_state_in_place_of_the_last_one() -> None:
    policy = Minimal()
    feed(policy, Request(10, "a"), Step(20, "a"), Step(30, "a"))
    assert policy.retained() == [OpenCorrelation(30, "a", 10, "STEP", 3)]
    assert (policy.retained_count, policy.dropped) == (1, 2)
    feed(policy, Response(40, "a"))
    assert (policy.retained_count, policy.dropped, policy.overflowed) == (0, 4, 0)


def test_a_window_does_not_keep_the_block_it_was_fed_alive() -> None:
    policy = SlidingWindow(16)
    tracemalloc.start()
    try:
        feed(policy, ticks(0, 1_000_000))
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak > 16_000_000
    assert kept < 10_000


def test_reading_a_window_leaves_no_unrolled_events_behind() -> None:
    policy = SlidingWindow(1000)
    feed(policy, ticks(0, 1000))
    tracemalloc.start()
    try:
        assert len(policy.retained()) == 1000
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < 10_000


@pytest.mark.parametrize("rows", [250, 600, 700, 4096])
def test_a_hundred_windows_fed_with_blocks_stay_within_five_megabytes(rows: int) -> None:
    blocks = [marks(start, start + rows) for start in range(0, 3 * max(rows, 1000), rows)]
    windows = [SlidingWindow(1000) for _ in range(100)]
    tracemalloc.start()
    try:
        for block in blocks:
            for window in windows:
                feed(window, block)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(window.retained_count == 1000 for window in windows)
    assert kept <= 5_000_000


def repeated(policy: RetentionPolicy, make: Callable[[int], Event | Block[Any]], n: int) -> None:
    for index in range(n):
        feed(policy, make(index))


@pytest.mark.parametrize(
    ("make", "fill"),
    [
        (SlidingWindow, lambda p: repeated(p, lambda i: Tick(10**18 + i, i * 0.1), 3000)),
        (SlidingWindow, lambda p: repeated(p, lambda i: marks(50 * i, 50 * i + 50), 100)),
        (SlidingWindow, lambda p: repeated(p, lambda i: marks(i, i + 1), 3000)),
        (
            lambda _: TradeComplete(),
            lambda p: repeated(p, lambda i: Step(10**18, f"{i // 9}"), 3000),
        ),
        (lambda _: Minimal(), lambda p: repeated(p, lambda i: Step(10**18 + i, f"{i}"), 1000)),
    ],
    ids=["events", "blocks", "one-row blocks", "trade_complete", "minimal"],
)
def test_the_size_is_an_honest_estimate(
    make: Callable[[int], RetentionPolicy], fill: Callable[[RetentionPolicy], None]
) -> None:
    tracemalloc.start()
    try:
        policy = make(1000)
        fill(policy)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.7 < policy.size_bytes() / kept < 1.5


def test_the_size_of_nothing_is_nothing() -> None:
    assert SlidingWindow(10).size_bytes() == 0
    assert TradeComplete().size_bytes() < 1_000


def test_tuple_fields_count_into_the_size() -> None:
    class Wide(Event, frozen=True, gc=False, tag="WIDE"):
        values: tuple[float, ...]

    policy = SlidingWindow(10)
    feed(policy, Wide(0, tuple(i * 0.5 for i in range(1000))))
    assert 1000 * (24 + 8) <= policy.size_bytes() <= 1000 * (24 + 8) + 500


@pytest.mark.parametrize("size", [0, -1])
def test_a_window_of_no_events_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="at least one event"):
        SlidingWindow(size)


@pytest.mark.parametrize(
    ("name", "cls"),
    [("trade_complete", TradeComplete), ("sliding_window", SlidingWindow), ("minimal", Minimal)],
)
def test_the_built_in_policies_are_made_by_name(name: str, cls: type) -> None:
    policy = make_policy(TracingConfig(retention_policy=name))
    assert type(policy) is cls
    assert make_policy(TracingConfig(retention_policy=name)) is not policy


def test_the_configured_size_reaches_the_window() -> None:
    config = msgspec.convert(
        {"event_tracing": ["TICK"], "retention_policy": "sliding_window", "sliding_window_size": 3},
        TracingConfig,
    )
    policy = make_policy(config)
    feed(policy, ticks(0, 10))
    assert tick_values(policy) == [7.0, 8.0, 9.0]


def test_an_application_registers_its_own_policy() -> None:
    mine = {**BUILT_IN_POLICIES, "mine": lambda config: SlidingWindow(1)}
    assert isinstance(make_policy(TracingConfig(retention_policy="mine"), mine), SlidingWindow)


def test_an_unknown_policy_names_the_near_match_and_the_known_ones() -> None:
    with pytest.raises(RegistryError) as caught:
        make_policy(TracingConfig(retention_policy="trade_completed"))
    assert str(caught.value) == (
        "unknown retention policy 'trade_completed' (did you mean 'trade_complete'?); "
        "known are trade_complete, sliding_window, minimal"
    )


def test_the_built_in_policies_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        BUILT_IN_POLICIES["mine"] = lambda config: SlidingWindow(1)  # type: ignore[index]


@pytest.mark.parametrize("settings", [{"sliding_window_size": 0}, {"retention": "minimal"}])
def test_bad_tracing_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, TracingConfig)

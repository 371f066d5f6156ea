"""The quick ways of a lane against the reference: each event over the bus, each bar looked at."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers import bar_table, lane_arrays, portfolio
from admf.containers.bar_table import BarTable
from admf.containers.config import CarriedAccount, CarriedPosition
from admf.containers.events import Bar, Features, Fill, Order, PortfolioUpdate, PositionOpen, Signal
from admf.containers.lane_arrays import LaneArrays
from admf.containers.lane_bars import LaneBars
from admf.containers.lane_events import LANE_TYPES
from admf.containers.portfolio import PortfolioContainer
from admf.engine.batch import Batch
from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.events import Envelope, Event, WindowEnd, WindowStart
from admf.engine.window import ExecutionWindow
from tests.containers.harness import FIRST_TS, Lane, Recorder, random_bars, run_lanes, run_window
from tests.containers.random_lanes import Case, cases, plain_cases
from tests.containers.random_strategies import RandomMarketOrders, RandomOrders, RandomTargets

HUNTING = "ADMF_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("ADMF_EXAMPLES", "32"))
EVENTS = ("POSITION_OPEN", "POSITION_CLOSE", "FILL", "PORTFOLIO_UPDATE", "SIGNAL", "ORDER")


class Told(NamedTuple):
    """An event as a tracer is told it; as text, which tells -0.0 and types of numbers apart."""

    seq: int
    cause: int
    source: str
    event: str
    cls: type[Event]


class Envelopes(Recorder):
    """Keeps numbers, causes and sources, blocks unrolled."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Told] = []

    def record(self, envelope: Envelope) -> None:
        super().record(envelope)
        found: Event | Block[Any] = envelope.event
        events: list[Event] = found.events() if isinstance(found, Block) else [found]
        for seq, event in enumerate(events, envelope.seq):
            if not isinstance(event, (WindowStart, WindowEnd)):  # they tell when it was computed
                told = Told(seq, envelope.cause, envelope.source, repr(event), type(event))
                self.told.append(told)


def told_of(case: Case, **options: Any) -> list[list[Told]]:
    """Return what each lane's tracer is told."""
    recorders = [Envelopes() for _ in case.lanes]
    run_lanes(case.lanes, case.market, recorders=recorders, **case.options, **options)
    return [recorder.told for recorder in recorders]


def own_events(told: list[Told]) -> list[list[tuple[str, str, str]]]:
    """Return what of a lane's events is the same for all sizes of blocks.

    These are its events with what caused each, if that was one of them, and the marks apart.
    """
    own = [it for it in told if it.cls not in (Bar, Features)]
    events = {it.seq: it.event for it in own}
    shown = [(it.event, events.get(it.cause, ""), it.source) for it in own]
    is_mark = [it.cls is PortfolioUpdate for it in own]
    return [
        [it for it, mark in zip(shown, is_mark, strict=True) if mark == wanted]
        for wanted in (False, True)
    ]


SIZES = st.sampled_from([1, 2, 3, 7, 4096])


@settings(deadline=None, max_examples=EXAMPLES, derandomize=not HUNTING)
@given(case=cases(), size=SIZES, other_size=SIZES, rests=st.booleans(), at_once=SIZES)
def test_both_ways_tell_the_same_events_with_the_same_numbers_and_causes(
    case: Case, size: int, other_size: int, rests: bool, at_once: int
) -> None:
    reference = told_of(case, dispatch="bus", block_size=size)
    with pytest.MonkeyPatch.context() as patch:
        if rests:  # as on a machine that is so slow that each look at the clock finds time is up
            patch.setattr(Bus, "must_rest", True)
            patch.setattr(bar_table, "BARS_AT_ONCE", 5)
        patch.setattr(lane_arrays, "CHANGES_AT_ONCE", at_once)
        patch.setattr(portfolio, "MARKS_AT_ONCE", at_once)
        assert told_of(case, block_size=size) == reference
        other = told_of(case, block_size=other_size)
    assert list(map(own_events, other)) == list(map(own_events, reference))


@settings(deadline=None, max_examples=EXAMPLES, derandomize=not HUNTING)
@given(
    case=cases(),
    size=SIZES,
    tracing=st.fixed_dictionaries(
        {
            "retention": st.sampled_from(["trade_complete", "sliding_window", "minimal"]),
            "traced": st.lists(st.sampled_from(EVENTS), unique=True).map(tuple),
            "store": st.sampled_from(["none", "retained", "all"]),
            "series": st.booleans(),
        }
    ),
)
def test_both_ways_write_the_same_bytes(case: Case, size: int, tracing: dict[str, Any]) -> None:
    options = {**tracing, **case.options}
    reference = run_window(case.lanes, case.market, dispatch="bus", block_size=4096, **options)
    quick = run_window(case.lanes, case.market, block_size=size, **options)
    assert quick.files.keys() == reference.files.keys()
    for name, content in reference.files.items():
        assert quick.files[name] == content, name


@settings(deadline=None, max_examples=EXAMPLES // 2, derandomize=not HUNTING)
@given(case=plain_cases(), size=SIZES)
def test_a_lane_tells_the_same_alone_and_beside_others(case: Case, size: int) -> None:
    beside = told_of(case, block_size=size)
    for lane, told in zip(case.lanes, beside, strict=True):
        (alone,) = told_of(case._replace(lanes=[lane]), block_size=size)
        assert [it._replace(source="") for it in told] == [it._replace(source="") for it in alone]


def test_the_guard_of_a_carried_position_is_told_though_the_strategy_fails() -> None:
    position = CarriedPosition(
        symbol="A",
        direction=1,
        quantity=7.0,
        entry_price=50.0,
        entry_ts=FIRST_TS,
        position_id="A-4",
    )
    account = CarriedAccount(cash=10_000.0, positions=(position,), opened=4)
    lane = Lane(RandomTargets, {"fails": True}, risk={"stop_loss_pct": 5.0}, carried=account)
    case = Case({"A": {0: (52.0, 53.0, 52.0, 53.0)}}, [lane], {})
    reference = told_of(case, dispatch="bus")
    assert reference[0][-1].cls is Order
    assert told_of(case) == reference


def test_tracers_have_seen_what_led_to_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    recorders = {"bus": Envelopes(), "direct": Envelopes()}
    on_fill = PortfolioContainer._on_fill

    def defect(self: PortfolioContainer, fill: Fill) -> None:
        if fill.order_id >= 6:
            raise RuntimeError("a defect")
        on_fill(self, fill)

    monkeypatch.setattr(PortfolioContainer, "_on_fill", defect)
    lane = Lane(RandomOrders, {"seed": 1, "often": 0.3})
    for dispatch, recorder in recorders.items():
        run_lanes([lane], random_bars(60), recorders=[recorder], dispatch=dispatch)
    own = [
        [it.event for it in recorder.told if it.cls in (Signal, Order, Fill, PositionOpen)]
        for recorder in recorders.values()
    ]
    assert own[0] == own[1]
    assert len(own[0]) > 5


LONG_LANES = {
    "many_orders": Lane(
        RandomOrders,
        {"seed": 1, "often": 0.6},
        risk={"max_leverage": None, "trailing_stop_pct": 5.0},
    ),
    "orders_that_wait_long": Lane(
        RandomOrders,
        {"seed": 2, "often": 0.02},
        risk={"max_leverage": None, "stop_loss_pct": 30.0},
    ),
    "market_orders": Lane(
        RandomMarketOrders, {"seed": 6, "often": 0.4}, risk={"max_leverage": None}
    ),
    "arrays": Lane(
        RandomTargets,
        {"seed": 3, "often": 0.7},
        sizing={"type": "fixed_units", "value": 10.0},
    ),
    "targets_with_stops": Lane(
        RandomTargets,
        {"seed": 4, "often": 0.7, "kinds": "wild"},
        risk={"max_leverage": None, "trailing_stop_pct": 5.0},
    ),
}


@pytest.mark.parametrize("name", LONG_LANES)
def test_both_ways_agree_over_more_events_than_wait_anywhere(name: str) -> None:
    market = {"A": dict(enumerate(random_bars(1_500, seed=5)))}
    case = Case(market, [LONG_LANES[name]], {})
    reference = told_of(case, dispatch="bus")
    assert told_of(case) == reference
    assert len(reference[0]) > 4_500  # two events of the market a bar, and a mark
    written = [
        run_window(case.lanes, market, store="all", block_size=size, dispatch=dispatch).files
        for size, dispatch in ((4096, "bus"), (1_000, "direct"))
    ]
    assert written[0] == written[1]


def test_arrays_are_what_a_plain_columnar_lane_is_computed_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[bool] = []
    compute = LaneArrays.compute

    def watched(self: LaneArrays, *args: Any) -> bool:
        done.append(compute(self, *args))
        return done[-1]

    monkeypatch.setattr(LaneArrays, "compute", watched)
    lane = Lane(RandomTargets, {"seed": 3}, sizing={"type": "fixed_units", "value": 10.0})
    (run,) = run_lanes([lane], random_bars(300), block_size=100)
    assert done == [True] * 3
    assert len(run.of(Fill)) > 50


@pytest.mark.parametrize(("levels", "straight"), [(0.0, True), (0.05, False)])
def test_steps_in_which_market_orders_work_are_walked_through_without_turns(
    levels: float, straight: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    walk = LaneBars.walk

    def watched(self: LaneBars, table: BarTable, step: int, stop: int) -> int:
        reached = walk(self, table, step, stop)
        left.extend([reached] * (reached < stop))
        return reached

    monkeypatch.setattr(LaneBars, "walk", watched)
    monkeypatch.setattr(Bus, "must_rest", False)
    lane = Lane(RandomMarketOrders, {"seed": 3, "levels": levels})
    (run,) = run_lanes([lane], random_bars(300), block_size=100)
    assert (not left) == straight
    assert len(run.of(Fill)) > 50


def test_a_subscriber_in_the_lane_gets_each_event_before_the_next_is_made() -> None:
    """As over the bus: whoever listens sees the account as it is at that event."""
    lane = Lane("sma_cross", {"fast": 2, "slow": 5}, sizing={"type": "fixed_units", "value": 10.0})
    seen: list[tuple[int, float]] = []

    class Listening(Recorder):
        def record(self, envelope: Envelope) -> None:
            super().record(envelope)

    (run,) = run_lanes([lane], random_bars(200), recorders=[Listening()], listen=(Fill, seen))
    assert [order for order, _ in seen] == [fill.order_id for fill in run.of(Fill)]
    held = 0.0
    for fill, (_, quantity) in zip(run.of(Fill), seen, strict=True):
        held += fill.quantity if fill.side == "buy" else -fill.quantity
        assert quantity == held


class Onlooker:
    """Looks on from outside, and keeps what `Envelopes` keeps, by scope."""

    types = frozenset(LANE_TYPES)
    must_wait = False

    def __init__(self) -> None:
        self.told: dict[str, list[Told]] = {}

    async def wait_for_room(self) -> None:
        raise AssertionError("nobody waits for it")

    def observe(self, scope: str, envelope: Envelope) -> None:
        tape = Envelopes()
        tape.record(envelope)
        self.told.setdefault(scope, []).extend(tape.told)

    def observe_batch(self, scope: str, batch: Batch, first: int, cause: int) -> None:
        for envelope in batch.envelopes(first, cause):
            self.observe(scope, envelope)


@pytest.mark.parametrize("dispatch", ["bus", "direct"])
def test_who_looks_on_is_told_what_the_tracers_of_lanes_are(
    monkeypatch: pytest.MonkeyPatch, dispatch: str
) -> None:
    onlooker = Onlooker()
    start = ExecutionWindow.start

    async def observed(self: ExecutionWindow) -> None:
        self.bus.observe(onlooker)
        await start(self)

    monkeypatch.setattr(ExecutionWindow, "start", observed)
    market = {"A": dict(enumerate(random_bars(300, seed=5)))}
    case = Case(market, list(LONG_LANES.values()), {})
    traced = told_of(case, dispatch=dispatch)
    own = [[it for it in lane if issubclass(it.cls, LANE_TYPES)] for lane in traced]
    assert [it for _, it in sorted(onlooker.told.items())] == own
    assert len(own[0]) > 600

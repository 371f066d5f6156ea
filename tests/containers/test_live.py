from __future__ import annotations

import math
from typing import Any, ClassVar

import anyio
import msgspec
import numpy as np
import pytest

from admf.containers.bar_history import BarHistory
from admf.containers.config import CarriedAccount, CarriedPosition
from admf.containers.events import (
    Bar,
    Cancel,
    Features,
    Fill,
    Order,
    PortfolioUpdate,
    PositionClose,
    PositionOpen,
    Reject,
)
from admf.containers.features import FeatureSpec
from admf.containers.live_broker import BrokerExecution, BrokerReport
from admf.containers.live_config import LiveConfig
from admf.containers.live_intake import BarRefused
from admf.containers.market_data import Bars, MarketData
from admf.containers.strategies.base import Context, FeatureView, Strategy
from admf.engine.errors import ConfigError
from admf.engine.events import ENGINE_EVENTS, Event, EventRegistry, SourceHeld
from admf.engine.roll_rules import EveryEvents
from tests.containers.harness import FIRST_TS, Lane, day, flat, random_bars, script, step_of
from tests.containers.live_harness import bar_events, run_live


class Hello(Event, frozen=True, gc=False, tag="HELLO"):
    """Something that an application tells itself."""

    name: str


def bar(step: int, symbol: str = "A", price: float = 100.0) -> Bar:
    return Bar(day(step), symbol, price, price, price, price, 0.0)


class Counting(Strategy):
    """Buys at its second bar and keeps count on itself."""

    def __post_init__(self) -> None:
        self.count = 0

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        self.count += 1
        if self.count == 2:
            ctx.buy(1.0, stop_loss=bar.close * 0.9)
        if self.count == 4:
            ctx.buy(1.0, limit=50.0)


def test_the_record_of_a_window_says_what_carried_over():
    live = run_live([Lane(Counting)], [bar(step) for step in range(8)], "A", rolls=[EveryEvents(4)])
    first, second = live.records()
    assert first["report"]["intake"]["carried"] == {}
    carried = second["report"]["intake"]["carried"]
    (position,) = carried["portfolio_001"]["account"]["positions"]
    assert (position["symbol"], position["quantity"], position["direction"]) == ("A", 1.0, 1)
    assert carried["portfolio_001"]["equity"] == 10_000.0
    working = carried["execution_001"]["working"]
    assert [it["order"]["type"] for it in working] == ["stop", "limit"]
    assert carried["risk_001"] == {"peak": 10_000.0, "halted": False, "order_id": 3}
    assert carried["strategy_001"]["bars"] == {"A": 4}
    assert len(live.of(Order)) == 3  # nothing is ordered again


def test_the_record_of_a_window_says_what_each_lane_that_was_built_holds_at_its_end():
    lanes = [Lane(Counting), Lane("no_such_strategy")]
    live = run_live(lanes, [bar(step) for step in range(8)], "A", rolls=[EveryEvents(4)])
    first, second = (it["report"] for it in live.records())
    assert list(first["accounts"]) == ["portfolio_001"]
    held = first["accounts"]["portfolio_001"]
    assert held == second["intake"]["carried"]["portfolio_001"]["account"]
    assert [(it["symbol"], it["quantity"]) for it in held["positions"]] == [("A", 1.0)]
    rows = live.records("aggregate_results.json")[0]["portfolios"]
    assert held == rows[0]["account"]


def test_each_window_has_metrics_of_its_own_that_begin_where_the_last_one_ended():
    bars = random_bars(30, seed=4)
    live = run_live([Lane("buy_and_hold")], bar_events({"A": bars}), ["A"], rolls=[EveryEvents(10)])
    equity = [it.equity for it in live.of(PortfolioUpdate)]
    returns = [
        it["portfolios"][0]["metrics"]["total_return"]
        for it in live.records("aggregate_results.json")
    ]
    starts = [10_000.0, equity[9], equity[19]]
    ends = [equity[9], equity[19], equity[29]]
    expected = [end / start - 1 for start, end in zip(starts, ends, strict=True)]
    assert returns == pytest.approx(expected, rel=1e-12)
    bars_said = [it["data"]["bars"] for it in live.records("portfolio_001_results.json")]
    assert bars_said == [10, 10, 10]


def test_a_window_without_bars_hands_on_what_it_was_handed():
    def each(session: Any, event: Event) -> None:
        if isinstance(event, Hello):
            session._roll_wanted.set()

    events = [bar(0), bar(1), bar(2), Hello(day(3), "x"), Hello(day(3), "y"), bar(4)]
    live = run_live([Lane(Counting)], events, "A", each=each)
    documents = live.records("portfolio_001_results.json")
    assert [len(it["open_positions"]) for it in documents] == [1, 1, 1]
    assert [it["open_positions"][0]["last_price"] for it in documents] == [100.0] * 3
    assert documents[1]["data"]["bars"] == 0


REFUSED = [
    ([bar(0), bar(1), bar(0)], {"late": 1}),
    ([bar(1), bar(1)], {"late": 1}),
    ([bar(0), Bar(day(1), "A", 100.0, 99.0, 98.0, 100.0, 0.0)], {"invalid": 1}),
    ([bar(0), Bar(day(1), "A", 100.0, 100.0, math.nan, 100.0, 0.0)], {"invalid": 1}),
    ([bar(0), Bar(day(1), "A", 100.0, math.inf, 100.0, 100.0, 0.0)], {"invalid": 1}),
    ([bar(0), Bar(day(1), "A", 100.0, 100.0, 100.0, 100.0, -1.0)], {"invalid": 1}),
    ([bar(0), bar(1, "Z")], {"unknown_symbol": 1}),
]


@pytest.mark.parametrize(("events", "counts"), REFUSED)
def test_a_bar_that_cannot_be_is_refused_and_counted(events: list[Event], counts: dict[str, int]):
    live = run_live([Lane("buy_and_hold")], events, "A", traced=["BAR_REFUSED"])
    (record,) = live.records()
    assert record["report"]["bars_refused"] == counts
    assert [it.reason for it in live.of(BarRefused)] == list(counts)
    assert live.records("events_results.json")[0]["tracer"]["by_type"] == {"BAR_REFUSED": 1}
    assert len(live.of(PortfolioUpdate)) == len(events) - 1


def test_a_step_of_several_symbols_is_complete_when_all_are_there_or_the_next_one_begins():
    events = [bar(0, "B"), bar(0, "A"), bar(1, "A"), bar(1, "A"), bar(0, "B"), bar(2, "B")]
    live = run_live([Lane("buy_and_hold")], events, "AB", rolls=[EveryEvents(1)])
    assert [(step_of(it.ts), it.symbol) for it in live.of(Bar)] == [
        (0, "A"),
        (0, "B"),
        (1, "A"),
        (2, "B"),
    ]
    windows = [it["report"] for it in live.records()]
    assert [it["intake"]["events"] for it in windows] == [2, 3, 1]  # never within a step
    assert [it["bars_refused"] for it in windows] == [{}, {"duplicate": 1, "late": 1}, {}]
    assert len(live.of(PortfolioUpdate)) == 3


def test_a_source_that_waits_for_the_window_to_end_ends_a_step_as_well():
    held = SourceHeld(day(1), "redis", 1)
    live = run_live([Lane("buy_and_hold")], [bar(0, "A"), held, bar(0, "B"), bar(1, "B")], "AB")
    windows = [it["report"] for it in live.records()]
    assert [it["intake"]["events"] for it in windows] == [1, 3]
    assert [it["bars_refused"] for it in windows] == [{}, {"late": 1}]


def test_events_of_the_application_are_traced_beside_the_lanes():
    known = EventRegistry([*ENGINE_EVENTS, Hello])
    events = [bar(0), Hello(day(1), "ann"), bar(1), Hello(day(2), "bob")]
    live = run_live(
        [Lane("buy_and_hold")],
        events,
        "A",
        traced=["HELLO", "FILL", "WINDOW_START", "NONSENSE"],
        known=known,
        rolls=[EveryEvents(3)],
    )
    documents = live.records("events_results.json")
    assert [it["tracer"]["by_type"] for it in documents] == [
        {"HELLO": 1, "WINDOW_START": 1},
        {"HELLO": 1, "WINDOW_START": 1},
    ]


def test_features_are_published_with_each_step():
    class Declares(Strategy):
        def features(self) -> list[FeatureSpec]:
            return [FeatureSpec("sma", (2,))]

        def targets(self, bars: Bars, features: FeatureView) -> Any:
            return features("sma", 2) * 0

    prices = {symbol: random_bars(6, seed=ord(symbol)) for symbol in "AB"}
    live = run_live([Lane(Declares)], bar_events(prices), "AB", rolls=[EveryEvents(4)])
    for symbol, bars in prices.items():
        published = [it.values[0] for it in live.of(Features) if it.symbol == symbol]
        closes = np.array([it[3] for it in bars])
        assert math.isnan(published[0])
        assert published[1:] == pytest.approx((closes[1:] + closes[:-1]) / 2)


def test_a_lane_that_fails_begins_anew_in_the_next_window_with_its_account():
    class Fails(Strategy):
        def __post_init__(self) -> None:
            self.count = 0

        def on_bar(self, bar: Bar, ctx: Context) -> None:
            self.count += 1
            if self.count == 1 and not ctx.position:
                ctx.buy(3.0)
            if self.count == 3:
                raise ValueError("third")

    live = run_live(
        [Lane(Fails), Lane("buy_and_hold")],
        [bar(step) for step in range(6)],
        "A",
        rolls=[EveryEvents(4)],
    )
    first, second = live.records("aggregate_results.json")
    assert [it["status"] for it in first["portfolios"]] == ["failed", "completed"]
    assert [it["status"] for it in second["portfolios"]] == ["completed", "completed"]
    assert second["portfolios"][0]["account"]["positions"][0]["quantity"] == 3.0
    carried = live.records()[1]["report"]["intake"]["carried"]
    assert "strategy_001" not in carried


def test_targets_that_cannot_be_used_fail_their_lane_alone():
    class Odd(Strategy):
        def targets(self, bars: Bars, features: FeatureView) -> Any:
            return np.full(len(bars), np.inf)

    live = run_live([Lane(Odd), Lane("buy_and_hold")], [bar(0), bar(1)], "A")
    rows = live.records("aggregate_results.json")[0]["portfolios"]
    assert [it["status"] for it in rows] == ["failed", "completed"]
    assert "targets must be finite" in rows[0]["error"]


def test_a_lane_that_cannot_be_built_is_reported_and_the_others_run():
    lanes = [Lane("sma_cross", {"fast": 9, "slow": 3}), Lane("buy_and_hold")]
    live = run_live(lanes, [bar(0), bar(1)], "A")
    rows = live.records("aggregate_results.json")[0]["portfolios"]
    assert [it["status"] for it in rows] == ["failed", "completed"]
    with pytest.raises(ConfigError, match="fast"):
        run_live(lanes[:1], [bar(0)], "A")


def test_positions_are_not_closed_at_an_end_that_live_data_lack():
    with pytest.raises(ConfigError, match="close_at_end"):
        run_live([Lane("buy_and_hold", execution={"close_at_end": True})], [bar(0)], "A")


def test_a_session_may_begin_with_an_account():
    position = CarriedPosition(
        symbol="A",
        direction=1,
        quantity=5.0,
        entry_price=90.0,
        entry_ts=FIRST_TS - 1,
        position_id="A-3",
    )
    carried = CarriedAccount(cash=1_000.0, positions=(position,), opened=3)
    lane = Lane(script({2: lambda ctx: ctx.close()}), carried=carried, risk={"stop_loss_pct": 50.0})
    live = run_live([lane], [bar(step) for step in range(5)], "A", rolls=[EveryEvents(2)])
    (closed,) = live.of(PositionClose)
    assert (closed.position_id, closed.pnl, closed.bars_held) == ("A-3", 50.0, 4)
    assert live.of(PortfolioUpdate)[0].equity == 1_500.0
    assert [it.type for it in live.of(Order)] == ["stop", "market"]


def test_a_figure_is_undefined_where_no_position_was_priced_yet():
    carried = CarriedAccount(
        cash=0.0,
        positions=(
            CarriedPosition(
                symbol="B",
                direction=1,
                quantity=5.0,
                entry_price=90.0,
                entry_ts=FIRST_TS - 1,
                position_id="B-1",
            ),
        ),
        opened=1,
    )
    live = run_live(
        [Lane(script({}), carried=carried)], [bar(0), bar(1)], "AB", rolls=[EveryEvents(1)]
    )
    documents = live.records("portfolio_001_results.json")
    assert [it["open_positions"][0]["last_price"] for it in documents] == [90.0, 90.0]


def test_sizing_by_volatility_sees_bars_before_the_session():
    bars = random_bars(40, seed=9)
    columns = np.array(bars[:30]).T
    ts = np.array([day(step) for step in range(30)])
    before = MarketData([Bars("A", ts, *columns, np.zeros(30))])
    sizing = {"type": "volatility_target", "value": 0.1, "lookback": 20}
    lane = Lane("buy_and_hold", sizing=sizing)
    rest = bar_events({"A": {step: bars[step] for step in range(30, 40)}})
    live = run_live([lane], rest, "A", before=before)
    (fill,) = live.of(Fill)
    assert step_of(fill.ts) == 31
    closes = np.array([it[3] for it in bars[10:31]])
    volatility = np.std(np.diff(closes) / closes[:-1], ddof=1) * math.sqrt(
        365
    )  # they trade on weekends
    assert fill.quantity * fill.price == pytest.approx(10_000 * 0.1 / volatility)


def test_bars_before_the_session_must_have_its_symbols():
    before = MarketData([Bars("A", [1], [1.0], [1.0], [1.0], [1.0], [0.0])])
    with pytest.raises(ConfigError, match="no 'B'"):
        BarHistory("AB", keep=5, before=before)


def test_a_history_keeps_the_last_bars_and_views_of_them_stay_as_they_are():
    history = BarHistory("A", keep=3)
    seen = []
    for step in range(20):
        history.append([bar(step, price=float(step + 1))])
        seen.append((step, history.bars("A")))
    for step, bars in seen:
        first = max(step - 2, 0)
        assert bars.close.tolist() == [float(it + 1) for it in range(first, step + 1)]
    assert history.closes_before == {"A": 19.0}


def test_a_session_needs_its_history_among_the_resources():
    from admf.containers.live import LiveTopology
    from admf.engine.lifecycle import LifecycleManager
    from admf.engine.registry import Registry
    from admf.engine.results import WindowResults
    from admf.engine.storage import MemoryStorage
    from admf.engine.window_spec import WindowSpec

    registry = Registry()
    registry.register("topologies", "live", LiveTopology)
    config = LiveConfig(symbols=("A",), lanes=(Lane("x").config("001", "x"),))
    spec = WindowSpec(
        workflow_id="w",
        phase_name="p",
        topology="live",
        config=msgspec.Raw(msgspec.json.encode(config)),
    )
    window = LifecycleManager(registry=registry).window(spec, WindowResults(MemoryStorage(), "p"))
    with pytest.raises(ConfigError, match="share a BarHistory"):
        anyio.run(window.start)


class FakeBroker(BrokerExecution):
    """Fills what was placed when the test says so."""

    made: ClassVar[list[FakeBroker]] = []

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.placed: list[tuple[str, float]] = []
        self.withdrawn: list[int] = []
        self.made.append(self)

    def place(self, order: Order, quantity: float) -> None:
        self.placed.append((order.type, quantity))
        if order.type != "market":
            return
        price = self._quotes.price(order.symbol) + 1.0
        if abs(quantity) > 5_000.0:
            self.report(BrokerReport(order_id=order.order_id, reason="too_much"))
            return
        half = abs(quantity) / 2
        done = {"order_id": order.order_id, "quantity": half, "price": price, "commission": 2.0}
        self.report(BrokerReport(**done, is_last=False))
        self.report(BrokerReport(**done))

    def withdraw(self, order_id: int) -> None:
        self.withdrawn.append(order_id)


@pytest.fixture(autouse=True)
def forget_brokers() -> None:
    FakeBroker.made.clear()


def trade(plan: Any, **lane: Any) -> Any:
    events = [bar(step) for step in range(8)]
    return run_live([Lane(script(plan), **lane)], events, "A", broker=FakeBroker)


def test_a_broker_is_a_plug_in_that_fills_when_it_says_so():
    live = trade({1: lambda ctx: ctx.buy(10.0, stop_loss=90.0), 4: lambda ctx: ctx.close()})
    fills = [(step_of(it.ts), it.side, it.quantity, it.price) for it in live.of(Fill)]
    assert fills == [
        (2, "buy", 5.0, 101.0),
        (2, "buy", 5.0, 101.0),
        (5, "sell", 5.0, 101.0),
        (5, "sell", 5.0, 101.0),
    ]
    assert [it.quantity for it in live.of(PositionOpen)] == [5.0]
    (closed,) = live.of(PositionClose)
    assert (closed.quantity, closed.pnl) == (10.0, -8.0)
    (broker,) = FakeBroker.made
    assert [kind for kind, _ in broker.placed] == ["market", "stop", "stop", "market"]
    assert broker.withdrawn  # the protective orders, with the position


def test_what_a_broker_has_said_and_is_not_booked_yet_goes_to_the_next_window():
    plan = {1: lambda ctx: ctx.buy(10.0), 4: lambda ctx: ctx.close()}
    events = [bar(step) for step in range(8)]
    rolls = [EveryEvents(2)]  # right after the order, and so after the reports
    live = run_live([Lane(script(plan))], events, "A", broker=FakeBroker, rolls=rolls)
    assert [(step_of(it.ts), it.side, it.quantity) for it in live.of(Fill)] == [
        (2, "buy", 5.0),
        (2, "buy", 5.0),
        (5, "sell", 5.0),
        (5, "sell", 5.0),
    ]
    carried = live.records()[1]["report"]["intake"]["carried"]["execution_001"]
    assert [it["quantity"] for it in carried["reports"]] == [5.0, 5.0]


def test_a_reversal_by_a_broker_is_a_close_and_then_an_open():
    live = trade({1: lambda ctx: ctx.target(0.5), 4: lambda ctx: ctx.target(-0.5)})
    sides = [it.side for it in live.of(PositionOpen)]
    assert sides == ["long", "short"]
    assert len(live.of(PositionClose)) == 1
    final = live.records("portfolio_001_results.json")[0]["open_positions"][0]
    assert final["quantity"] == pytest.approx(50.0, rel=0.05)


def test_what_a_broker_refuses_or_nobody_can_fill_is_a_reject():
    live = trade({1: lambda ctx: ctx.buy(6_000.0), 3: lambda ctx: ctx.close()})
    assert [it.reason for it in live.of(Reject)] == ["too_much", "zero_quantity"]
    assert not live.of(Fill)


def test_reports_of_orders_that_are_gone_are_left_out():
    class Late(FakeBroker):
        def withdraw(self, order_id: int) -> None:
            self.report(BrokerReport(order_id=order_id, quantity=1.0, price=1.0))

    live = run_live(
        [Lane(script({1: lambda ctx: ctx.buy(1.0, limit=50.0), 2: lambda ctx: ctx.cancel()}))],
        [bar(step) for step in range(5)],
        "A",
        broker=Late,
    )
    assert [it.reason for it in live.of(Cancel)] == ["cancelled"]
    assert not live.of(Fill)


def test_an_unknown_broker_is_refused():
    from admf.containers.live_lane import LiveLaneBuilder

    assert LiveLaneBuilder.__doc__ is not None
    with pytest.raises(ConfigError, match="unknown name 'nobody' in brokers"):
        run_live([Lane("buy_and_hold")], flat_bars(), "A", chosen="nobody")


def flat_bars() -> list[Bar]:
    return bar_events({"A": flat(100.0, 3)})

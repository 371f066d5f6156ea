"""Hand-worked bars; a bar is (open, high, low, close)."""

from __future__ import annotations

from typing import Any

import pytest

from admf.containers.account import Account
from admf.containers.config import ExecutionConfig, SizingConfig
from admf.containers.costs import Costs
from admf.containers.events import Cancel, Fill, Order, PositionClose, PositionOpen, Reject
from admf.containers.execution import ExecutionContainer
from admf.containers.features import FeatureStore
from admf.containers.lane_events import LaneEvents
from admf.containers.market import Market, Quotes
from admf.containers.market_data import Bars, MarketData
from admf.containers.orders import BarPrices
from admf.containers.sizing import Sizer
from admf.engine.bus import Bus
from tests.containers.harness import DAY, Ohlc, flat, run, script

approx = pytest.approx


def test_a_market_order_fills_at_the_next_open() -> None:
    bars = [(100, 101, 99, 100), (102, 105, 101, 104), (103, 106, 100, 101)]
    result = run(script({0: lambda ctx: ctx.buy(10)}), bars)
    assert result.fills == [(1, "buy", 10, 102, "open", "signal")]
    assert result.names() == "SIGNAL ORDER FILL POSITION_OPEN"


def test_an_order_of_the_last_bar_is_not_filled() -> None:
    result = run(script({2: lambda ctx: ctx.buy(10)}), flat(100, 3))
    assert result.names() == "SIGNAL ORDER"
    assert result.document["open_positions"] == []


@pytest.mark.parametrize(
    ("side", "prices", "bar", "expected"),
    [
        ("buy", {"limit": 95}, (98, 99, 94, 97), (95, "intrabar")),
        ("buy", {"limit": 95}, (93, 99, 92, 97), (93, "open")),
        ("sell", {"limit": 105}, (98, 106, 94, 97), (105, "intrabar")),
        ("sell", {"limit": 105}, (107, 108, 94, 97), (107, "open")),
        ("buy", {"stop": 105}, (98, 106, 94, 97), (105, "intrabar")),
        ("buy", {"stop": 105}, (107, 108, 94, 97), (107, "open")),
        ("sell", {"stop": 95}, (98, 99, 94, 97), (95, "intrabar")),
        ("sell", {"stop": 95}, (93, 99, 92, 97), (93, "open")),
        ("buy", {"stop": 105, "limit": 106}, (98, 106, 94, 97), (105, "intrabar")),
        ("sell", {"stop": 95, "limit": 94}, (98, 99, 94, 97), (95, "intrabar")),
    ],
)
def test_an_entry_order_waits_for_its_price(
    side: str, prices: dict[str, float], bar: Ohlc, expected: tuple[float, str]
) -> None:
    def place(ctx: Any) -> None:
        (ctx.buy if side == "buy" else ctx.sell)(10, **prices)

    result = run(script({0: place}), [*flat(100, 3), bar])
    assert result.fills == [(3, side, 10, *expected, "signal")]


def test_a_stop_limit_that_is_jumped_over_waits_as_a_limit() -> None:
    bars = [*flat(100, 1), (108, 109, 107, 108), (107, 107, 105, 106), (107, 107, 104, 106)]
    result = run(script({0: lambda ctx: ctx.buy(10, stop=103, limit=104)}), bars)
    assert result.fills == [(3, "buy", 10, 104, "intrabar", "signal")]


# -- protective orders -------------------------------------------------------------------------


def bracket(ctx: Any) -> None:
    ctx.buy(10, stop_loss=95, take_profit=110)


@pytest.mark.parametrize(
    ("bar", "price", "moment", "reason"),
    [
        ((100, 109, 94, 100), 95, "intrabar", "stop_loss"),
        ((100, 111, 96, 100), 110, "intrabar", "take_profit"),
        ((100, 111, 94, 100), 95, "intrabar", "stop_loss"),  # both in the range: the stop wins
        ((90, 111, 89, 100), 90, "open", "stop_loss"),
        ((115, 116, 94, 100), 115, "open", "take_profit"),  # the open comes before the low
    ],
)
def test_a_bracket_ends_the_position_at_its_first_price(
    bar: Ohlc, price: float, moment: str, reason: str
) -> None:
    result = run(script({0: bracket}), [*flat(100, 2), bar, *flat(100, 1)])
    assert result.fills == [
        (1, "buy", 10, 100, "open", "signal"),
        (2, "sell", 10, price, moment, reason),
    ]
    (trade,) = result.document["trades"]
    assert (trade["exit_reason"], trade["bars_held"]) == (reason, 1)
    assert trade["pnl"] == approx(10 * (price - 100))
    other = 3 if reason == "stop_loss" else 2
    assert result.cancels == [(2, other, "position_closed")]


@pytest.mark.parametrize(
    ("bar", "price", "reason"),
    [
        ((100, 104, 94, 101), 95, "stop_loss"),
        ((100, 112, 96, 101), 110, "take_profit"),
        ((100, 112, 94, 101), 95, "stop_loss"),
    ],
)
def test_a_position_opened_at_the_open_is_protected_in_the_same_bar(
    bar: Ohlc, price: float, reason: str
) -> None:
    seen: list[float] = []
    plan = {0: bracket, 1: lambda ctx: seen.append(ctx.position)}
    result = run(script(plan), [*flat(100, 1), bar, *flat(100, 1)])
    assert result.fills[1:] == [(1, "sell", 10, price, "intrabar", reason)]
    assert seen == [0.0]
    assert result.document["trades"][0]["bars_held"] == 0


@pytest.mark.parametrize(
    ("bar", "price", "reason"),
    [((90, 94, 89, 92), 90, "stop_loss"), ((112, 114, 111, 113), 112, "take_profit")],
)
def test_a_bracket_that_the_opening_fill_is_beyond_acts_at_the_same_open(
    bar: Ohlc, price: float, reason: str
) -> None:
    result = run(script({0: bracket}), [*flat(100, 1), bar])
    assert result.fills == [
        (1, "buy", 10, price, "open", "signal"),
        (1, "sell", 10, price, "open", reason),
    ]


def test_of_a_position_entered_within_a_bar_only_the_stop_acts_in_that_bar() -> None:
    entry = script({0: lambda ctx: ctx.buy(10, limit=95, stop_loss=90, take_profit=98)})
    ends_well = [*flat(100, 1), (100, 105, 94, 97), (97, 99, 96, 98)]
    assert run(entry, ends_well).fills == [
        (1, "buy", 10, 95, "intrabar", "signal"),
        (2, "sell", 10, 98, "intrabar", "take_profit"),
    ]
    ends_badly = [*flat(100, 1), (100, 105, 89, 97)]
    assert run(entry, ends_badly).fills == [
        (1, "buy", 10, 95, "intrabar", "signal"),
        (1, "sell", 10, 90, "intrabar", "stop_loss"),
    ]


def test_a_stop_beyond_an_entry_within_the_bar_fills_at_the_price_of_the_entry() -> None:
    entry = script({0: lambda ctx: ctx.buy(10, stop=105, stop_loss=107)})
    assert run(entry, [*flat(100, 1), (100, 106, 99, 103)]).fills == [
        (1, "buy", 10, 105, "intrabar", "signal"),
        (1, "sell", 10, 105, "intrabar", "stop_loss"),
    ]


def test_percentages_count_from_the_entry_price_with_slippage() -> None:
    # entry 100 * 1.01 = 101; stop 101 * 0.9 = 90.9, filled at 90.9 * 0.99 = 89.991
    result = run(
        script({0: lambda ctx: ctx.buy(10)}),
        [*flat(100, 2), (100, 100, 90, 95)],
        risk={"stop_loss_pct": 10},
        execution={"slippage_bps": 100},
    )
    (step, side, quantity, price, moment, reason) = result.fills[1]
    assert (step, side, quantity, moment, reason) == (2, "sell", 10, "intrabar", "stop_loss")
    assert price == approx(89.991, rel=1e-12)


@pytest.mark.parametrize(
    ("bar", "price", "reason"),
    [((100, 111, 99, 100), 110, "stop_loss"), ((100, 101, 79, 100), 80, "take_profit")],
)
def test_percentages_of_a_short_position_are_mirrored(bar: Ohlc, price: float, reason: str) -> None:
    rules = {"stop_loss_pct": 10, "take_profit_pct": 20}
    result = run(script({0: lambda ctx: ctx.sell(10)}), [*flat(100, 2), bar], risk=rules)
    assert result.fills[1][1:] == ("buy", 10, approx(price), "intrabar", reason)


def test_the_prices_of_a_bracket_take_the_place_of_the_percentages() -> None:
    rules = {"stop_loss_pct": 10, "take_profit_pct": 20}
    result = run(script({0: lambda ctx: ctx.buy(10, stop_loss=97)}), flat(100, 2), risk=rules)
    stop, target = result.of(Order)[1:]
    assert (stop.type, stop.stop_price, stop.reason) == ("stop", 97, "stop_loss")
    assert (target.type, target.limit_price, target.reason) == ("limit", 120, "take_profit")
    assert stop.reduce_only
    assert target.reduce_only


def test_a_bracket_of_an_order_that_enlarges_a_position_replaces_the_one_before() -> None:
    plan = {0: bracket, 1: lambda ctx: ctx.buy(5, stop_loss=98)}
    result = run(script(plan), [*flat(100, 3), (100, 111, 97, 100)])
    assert result.cancels == [(2, 2, "replaced"), (3, 3, "position_closed")]
    assert result.fills[2:] == [(3, "sell", 15, 98, "intrabar", "stop_loss")]


def test_a_bracket_of_an_order_that_only_closes_is_not_used() -> None:
    plan = {0: lambda ctx: ctx.buy(10), 1: lambda ctx: ctx.sell(10, stop_loss=120)}
    result = run(script(plan), flat(100, 4))
    assert [order.order_id for order in result.of(Order)] == [1, 2]


def test_a_trailing_stop_follows_the_high_and_never_goes_back() -> None:
    bars = [
        *flat(100, 1),
        (100, 110, 100, 108),  # entry at 100; then the stop is at 110 * 0.9 = 99
        (108, 109, 105, 106),  # 109 * 0.9 is lower: still 99
        (106, 106, 98, 104),
    ]
    rules = {"trailing_stop_pct": 10}
    result = run(script({0: lambda ctx: ctx.buy(10)}), bars, risk=rules)
    assert result.fills[1:] == [(3, "sell", 10, approx(99.0), "intrabar", "trailing_stop")]


def test_a_trailing_stop_of_a_short_position_follows_the_low() -> None:
    # entry at 100; after bar 1 the stop is at 80 * 1.1 = 88, and bar 2 opens above it
    bars = [*flat(100, 1), (100, 100, 80, 85), (90, 91, 89, 90)]
    rules = {"trailing_stop_pct": 10}
    result = run(script({0: lambda ctx: ctx.sell(10)}), bars, risk=rules)
    assert result.fills[1:] == [(2, "buy", 10, 90, "open", "trailing_stop")]


def test_a_trailing_stop_ignores_the_high_before_an_entry_within_the_bar() -> None:
    # bought at 95 on the way down from 105: the stop is at 0.9 * 96, not at 0.9 * 105 = 94.5
    bars = [*flat(100, 1), (100, 105, 94, 96), (96, 97, 94, 95), (95, 95, 86, 90)]
    rules = {"trailing_stop_pct": 10}
    result = run(script({0: lambda ctx: ctx.buy(10, limit=95)}), bars, risk=rules)
    # bar 2 lifts the stop to 0.9 * 97 = 87.3
    assert result.fills[1:] == [(3, "sell", 10, approx(87.3), "intrabar", "trailing_stop")]


def test_of_two_stops_the_nearer_one_is_reached_first() -> None:
    # stop loss at 95, trailing stop at 0.9 * 120 = 108: the fall from 115 meets 108 first
    bars = [*flat(100, 1), (100, 120, 100, 118), (115, 116, 90, 92)]
    rules = {"stop_loss_pct": 5, "trailing_stop_pct": 10}
    result = run(script({0: lambda ctx: ctx.buy(10)}), bars, risk=rules)
    assert result.fills[1:] == [(2, "sell", 10, approx(108), "intrabar", "trailing_stop")]


def test_of_two_limits_the_nearer_one_is_reached_first() -> None:
    def ladder(ctx: Any) -> None:
        ctx.buy(1, limit=92)
        ctx.buy(2, limit=96)

    result = run(script({0: ladder}), [*flat(100, 1), (100, 101, 90, 95)])
    assert [fill[2:4] for fill in result.fills] == [(2, 96), (1, 92)]


# -- how long orders live ----------------------------------------------------------------------


@pytest.mark.parametrize(("placed_at", "expires_at"), [(0, 4), (2, 4), (3, 8)])
def test_a_day_order_works_on_the_day_of_its_next_bar_only(placed_at: int, expires_at: int) -> None:
    bars = [*flat(100, expires_at), (100, 100, 90, 100)]
    place = {placed_at: lambda ctx: ctx.buy(10, limit=95, time_in_force="day")}
    result = run(script(place), bars, step_ns=DAY // 4)
    assert result.fills == []
    assert [(it[1], it[2]) for it in result.cancels] == [(1, "expired")]


def test_a_day_order_fills_on_its_day() -> None:
    bars = [*flat(100, 3), (100, 100, 90, 100), *flat(100, 3)]
    place = {0: lambda ctx: ctx.buy(10, limit=95, time_in_force="day")}
    result = run(script(place), bars, step_ns=DAY // 4)
    assert [fill[3] for fill in result.fills] == [95]
    assert result.cancels == []


def test_an_order_good_till_cancelled_outlives_the_day() -> None:
    bars = [*flat(100, 30), (100, 100, 90, 100)]
    result = run(script({0: lambda ctx: ctx.buy(10, limit=95)}), bars)
    assert result.fills == [(30, "buy", 10, 95, "intrabar", "signal")]


def test_cancel_withdraws_working_orders_but_not_the_protection_of_a_position() -> None:
    plan = {0: bracket, 1: lambda ctx: ctx.buy(5, limit=99), 2: lambda ctx: ctx.cancel()}
    bars = [*flat(100, 3), (99.5, 99.5, 98, 99), (94, 94, 93, 93)]
    result = run(script(plan), bars)
    assert result.cancels == [(2, 4, "cancelled"), (4, 3, "position_closed")]
    assert result.fills[1:] == [(4, "sell", 10, 94, "open", "stop_loss")]


def test_cancel_leaves_the_orders_of_the_same_call() -> None:
    def renew(ctx: Any) -> None:
        ctx.buy(5, limit=90)
        ctx.cancel()

    result = run(script({0: lambda ctx: ctx.buy(5, limit=95), 1: renew}), flat(100, 3))
    assert result.cancels == [(1, 1, "cancelled")]


def test_a_target_replaces_the_one_that_still_waits() -> None:
    def change_of_mind(ctx: Any) -> None:
        ctx.target(1)
        ctx.target(0.5)

    result = run(script({0: change_of_mind}), flat(100, 2))
    assert result.cancels == [(0, 1, "replaced")]
    assert result.fills == [(1, "buy", 50, 100, "open", "signal")]


# -- several fills of one order ----------------------------------------------------------------


def test_a_reversal_closes_first_and_is_then_sized_from_the_new_cash() -> None:
    # slippage 1 %, commission 1 % of the value, capital 10201
    # buy:   price 100 * 1.01 = 101, quantity 10201 / (101 * 1.01) = 100, commission 101, cash 0
    # close: price 110 * 0.99 = 108.9, proceeds 10890, commission 108.9, cash 10781.1
    # short: quantity 10781.1 / (108.9 * 1.01)
    short = 10781.1 / (108.9 * 1.01)
    result = run(
        script({0: lambda ctx: ctx.target(1), 1: lambda ctx: ctx.target(-1)}),
        [*flat(100, 2), (110, 110, 110, 110)],
        capital=10_201,
        execution={"slippage_bps": 100, "commission": {"type": "rate", "value": 0.01}},
    )
    close, open_ = result.of(Fill)[1:]
    assert (close.side, close.quantity, close.price) == ("sell", approx(100), approx(108.9))
    assert (open_.side, open_.quantity, open_.price) == ("sell", approx(short), approx(108.9))
    assert (close.order_id, open_.order_id) == (2, 2)
    assert (close.position_id, open_.position_id) == ("A-1", "A-2")
    assert close.commission == approx(108.9)
    assert close.slippage == approx(110)  # 1 % of 110 on 100 units
    assert open_.commission == approx(short * 108.9 * 0.01)
    assert result.names() == (
        "SIGNAL ORDER FILL POSITION_OPEN SIGNAL ORDER FILL POSITION_CLOSE FILL POSITION_OPEN"
    )
    (trade,) = result.document["trades"]
    assert trade["pnl"] == approx(10890 - 10100 - 101 - 108.9)
    assert trade["commission"] == approx(209.9)
    assert result.equity[-1] == approx(10781.1 - open_.commission + short * (108.9 - 110))


def test_a_sale_larger_than_the_position_is_two_fills() -> None:
    plan = {0: lambda ctx: ctx.buy(10), 1: lambda ctx: ctx.sell(15)}
    result = run(script(plan), flat(100, 3))
    assert [fill[1:3] for fill in result.fills] == [("buy", 10), ("sell", 10), ("sell", 5)]
    assert [it.side for it in result.of(PositionOpen)] == ["long", "short"]
    (position,) = result.document["open_positions"]
    assert (position["side"], position["quantity"]) == ("short", 5)


def test_a_limit_order_that_reverses_fills_twice_at_its_price() -> None:
    plan = {0: lambda ctx: ctx.buy(10), 1: lambda ctx: ctx.sell(15, limit=105)}
    result = run(script(plan), [*flat(100, 2), (100, 106, 99, 104)])
    assert result.fills[1:] == [
        (2, "sell", 10, 105, "intrabar", "signal"),
        (2, "sell", 5, 105, "intrabar", "signal"),
    ]


def test_entries_and_exits_in_parts_are_one_trade_at_weighted_prices() -> None:
    # in: 10 at 100, 30 at 110 -> 4300 / 40 = 107.5; out: 20 at 120, 20 at 100 -> 110
    # commission 0.5 a unit on 80 units: 40; pnl 40 * 2.5 - 40 = 60
    plan = {
        0: lambda ctx: ctx.buy(10),
        1: lambda ctx: ctx.buy(30),
        2: lambda ctx: ctx.sell(20),
        3: lambda ctx: ctx.sell(20),
    }
    prices = [100, 100, 110, 120, 100]
    result = run(
        script(plan),
        [(price, price, price, price) for price in prices],
        execution={"commission": {"type": "per_unit", "value": 0.5}},
    )
    assert result.names().count("POSITION") == 2
    (trade,) = result.document["trades"]
    assert trade["quantity"] == 40
    assert trade["entry_price"] == approx(107.5)
    assert trade["exit_price"] == approx(110)
    assert trade["commission"] == approx(40)
    assert trade["pnl"] == approx(60)
    assert trade["return"] == approx(60 / 4300)
    assert trade["bars_held"] == 3
    (close,) = result.of(PositionClose)
    assert close.position_id == "A-1"


def test_a_sale_of_less_than_the_position_leaves_the_rest() -> None:
    plan = {0: lambda ctx: ctx.buy(10), 1: lambda ctx: ctx.sell(4)}
    result = run(script(plan), flat(100, 4))
    (position,) = result.document["open_positions"]
    assert (position["quantity"], position["entry_price"]) == (6, 100)


def test_a_target_of_part_of_the_position_shrinks_it() -> None:
    # 100 units at 100; at 200 the equity is 20000, half of it is 50 units
    plan = {0: lambda ctx: ctx.target(1), 1: lambda ctx: ctx.target(0.5)}
    result = run(script(plan), [*flat(100, 2), *flat(200, 1)])
    assert result.fills == [
        (1, "buy", 100, 100, "open", "signal"),
        (2, "sell", 50, 200, "open", "signal"),
    ]


def test_a_target_asked_for_again_and_again_trades_once() -> None:
    # 10010 pays for 100 units at 100 and 0.1 % of their value; whatever they are worth, it is all
    plan = dict.fromkeys(range(5), lambda ctx: ctx.target(1))
    bars = [(price, price, price, price) for price in (100, 100, 120, 90, 100, 100)]
    costs = {"commission": {"type": "rate", "value": 0.001}}
    result = run(script(plan), bars, capital=10_010, execution=costs)
    assert result.fills == [(1, "buy", approx(100), 100, "open", "signal")]
    assert result.cancels == [(step, step, "nothing_to_do") for step in range(2, 6)]


def test_what_rounding_leaves_of_a_target_is_not_traded() -> None:
    plan = dict.fromkeys(range(200), lambda ctx: ctx.target(1))
    bars = [
        (price, price, price, price) for price in (97.3 + (i * 7919 % 101) / 7 for i in range(200))
    ]
    result = run(script(plan), bars, execution={"commission": {"value": 0.001}, "slippage_bps": 5})
    assert [fill[:2] for fill in result.fills] == [(1, "buy")]


def test_a_target_of_part_of_the_equity_is_kept_by_rebalancing() -> None:
    # 50 units at 100; at 200 the equity is 15000, half of it 37.5 units; at 100 it is 11250
    plan = dict.fromkeys(range(3), lambda ctx: ctx.target(0.5))
    bars = [(price, price, price, price) for price in (100, 100, 200, 100)]
    result = run(script(plan), bars)
    assert [fill[1:3] for fill in result.fills] == [("buy", 50), ("sell", 12.5), ("buy", 18.75)]


def test_commission_is_set_aside_for_what_a_larger_target_adds() -> None:
    # 50 units and 50 of commission leave 4950, which pay for 4950 / 101 units and 4950 / 101
    plan = {0: lambda ctx: ctx.target(0.505), 1: lambda ctx: ctx.target(1)}
    costs = {"commission": {"type": "rate", "value": 0.01}}
    result = run(script(plan), flat(100, 3), execution=costs)
    first, second = (fill[2] for fill in result.fills)
    assert (first, second) == (approx(50), approx(4_950 / 101))
    assert result.equity[-1] == approx(10_000 - 50 - 4_950 / 101)


@pytest.mark.parametrize("act", ["close", "target"])
def test_there_is_nothing_to_close_when_flat(act: str) -> None:
    plan = {0: lambda ctx: ctx.close() if act == "close" else ctx.target(0)}
    result = run(script(plan), flat(100, 3))
    assert result.names() == "SIGNAL ORDER CANCEL"
    assert result.cancels == [(1, 1, "nothing_to_do")]


# -- fill_on: close, close_at_end --------------------------------------------------------------


def test_with_fill_on_close_a_market_order_fills_at_the_close_that_caused_it() -> None:
    plan = {1: lambda ctx: ctx.buy(10), 3: lambda ctx: ctx.close()}
    bars = [(100, 105, 95, 101), (100, 105, 95, 102), (100, 105, 95, 103), (100, 105, 95, 104)]
    result = run(script(plan), bars, execution={"fill_on": "close"})
    assert result.fills == [
        (1, "buy", 10, 102, "close", "signal"),
        (3, "sell", 10, 104, "close", "signal"),
    ]
    assert result.equity == [10_000, 10_000, 10_010, 10_020]


def test_with_fill_on_close_the_protection_begins_with_the_next_bar() -> None:
    bars = [(100, 105, 90, 100), (99, 100, 94, 96)]
    result = run(script({0: bracket}), bars, execution={"fill_on": "close"})
    assert result.fills == [
        (0, "buy", 10, 100, "close", "signal"),
        (1, "sell", 10, 95, "intrabar", "stop_loss"),
    ]


def test_with_fill_on_close_a_limit_order_works_from_the_next_bar() -> None:
    bars = [(100, 105, 90, 100), (99, 100, 94, 96)]
    result = run(
        script({0: lambda ctx: ctx.buy(10, limit=95)}), bars, execution={"fill_on": "close"}
    )
    assert result.fills == [(1, "buy", 10, 95, "intrabar", "signal")]


def test_with_fill_on_close_a_reversal_is_two_fills_at_the_close() -> None:
    plan = {0: lambda ctx: ctx.target(1), 1: lambda ctx: ctx.target(-1)}
    result = run(script(plan), flat(100, 2), execution={"fill_on": "close"})
    assert [fill[:3] for fill in result.fills] == [
        (0, "buy", 100),
        (1, "sell", 100),
        (1, "sell", 100),
    ]


def test_close_at_end_closes_at_the_last_close_and_drops_what_waits() -> None:
    plan = {0: lambda ctx: ctx.buy(10, stop_loss=50), 2: lambda ctx: ctx.buy(7)}
    bars = [*flat(100, 2), (100, 130, 90, 120)]
    result = run(
        script(plan),
        bars,
        execution={"close_at_end": True, "commission": {"type": "fixed", "value": 3}},
    )
    assert result.fills[1:] == [(2, "sell", 10, 120, "close", "end")]
    assert result.cancels == [(2, 2, "end"), (2, 3, "end")]
    document = result.document
    assert document["open_positions"] == []
    assert document["trades"][0]["exit_reason"] == "end"
    assert document["trades"][0]["pnl"] == approx(200 - 6)
    assert result.equity == [10_000, 9_997, 10_194]  # the last mark holds the closing
    assert document["metrics"]["final_equity"] == approx(10_194)


def test_without_close_at_end_positions_stay_open_and_are_marked() -> None:
    result = run(
        script({0: lambda ctx: ctx.buy(10)}),
        [*flat(100, 2), (100, 130, 90, 120)],
        execution={"commission": {"type": "fixed", "value": 3}},
    )
    (position,) = result.document["open_positions"]
    assert position == {
        "id": "A-1",
        "symbol": "A",
        "side": "long",
        "quantity": 10.0,
        "entry_time": "2024-01-02T00:00:00Z",
        "entry_price": 100.0,
        "last_price": 120.0,
        "unrealized_pnl": 197.0,
        "commission": 3.0,
    }
    assert result.document["trades"] == []


# -- orders that an application's own container places -------------------------------------------


class Unlimited:
    """Refuses nothing."""

    def refusal(self, symbol: str, quantity: float, price: float, commission: float) -> str:
        return ""

    def entering(self, order: Order) -> None:
        """Have no bracket to place."""


async def filled(order: Order, held: float) -> list[tuple[str, float]]:
    """Return the fills (or refusals and ends) of an order at an open, with a position held."""
    data = MarketData([Bars("A", [0, 1], *([[100.0, 100.0]] * 5))])
    quotes, account, costs, bus = Quotes(), Account(10_000), Costs(ExecutionConfig()), Bus()
    market = Market(data, FeatureStore(data), start_step=0, stop_step=2)
    quotes.move_to(market.table(data.block(0, 2)), 1, closed=False)
    sizer = Sizer(
        SizingConfig(),
        account=account,
        costs=costs,
        market=market,
        quotes=quotes,
        bars_per_year=252,
        max_leverage=None,
    )
    execution = ExecutionContainer(
        "execution",
        ExecutionConfig(),
        events=LaneEvents(bus),
        account=account,
        sizer=sizer,
        costs=costs,
        limits=Unlimited(),
        quotes=quotes,
    )
    await execution.start()
    found: list[tuple[str, float]] = []
    bus.subscribe(Fill, account.apply)
    bus.subscribe(Fill, lambda fill: found.append((fill.side, fill.quantity)))
    bus.subscribe((Cancel, Reject), lambda end: found.append((end.reason, 0)))
    if held:
        side = "buy" if held > 0 else "sell"
        account.apply(Fill(0, "A", 9, "A-1", side, abs(held), 100.0, 0.0, 0.0, "open", "signal"))
    bus.publish(order)
    await bus.drain()
    while execution.fill_next("A", BarPrices(100.0, 100.0, 100.0, 100.0), "open"):
        await bus.drain()
    await bus.aclose()
    return found


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("held", "quantity", "expected"),
    [
        (10, 4.0, [("sell", 4)]),
        (10, 10.0, [("sell", 10)]),
        (10, 14.0, [("sell", 10)]),
        (10, None, [("sell", 10)]),
        (0, 4.0, [("nothing_to_do", 0)]),
        (-10, 4.0, [("nothing_to_do", 0)]),
    ],
)
async def test_an_order_that_may_only_reduce_never_opens_or_enlarges_a_position(
    held: float, quantity: float | None, expected: list[tuple[str, float]]
) -> None:
    order = Order(1, "A", 1, "sell", quantity=quantity, reduce_only=True)
    assert await filled(order, held) == expected

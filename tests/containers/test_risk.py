"""Every refusal is a REJECT with its reason; a bar is (open, high, low, close)."""

from __future__ import annotations

from typing import Any

import pytest

from admf.containers.account import Account
from admf.containers.config import RiskConfig
from admf.containers.events import Order, PositionOpen
from admf.containers.features import FeatureStore
from admf.containers.lane_events import LaneEvents
from admf.containers.market import Market, Quotes
from admf.containers.market_data import Bars, MarketData
from admf.containers.risk import RiskContainer
from admf.engine.bus import Bus
from tests.containers.harness import flat, run, script

approx = pytest.approx


def test_more_than_the_equity_is_refused_by_default() -> None:
    plan = {0: lambda ctx: ctx.buy(101), 1: lambda ctx: ctx.buy(100), 2: lambda ctx: ctx.buy(1)}
    result = run(script(plan), flat(100, 4))
    assert result.refusals == [(1, 1, "max_leverage"), (3, 3, "max_leverage")]
    assert [fill[2] for fill in result.fills] == [100]
    assert result.document["rejects"] == {"max_leverage": 2}


def test_commission_and_slippage_count_against_the_leverage() -> None:
    plan = script({0: lambda ctx: ctx.buy(100)})
    for costs in ({"slippage_bps": 1}, {"commission": {"type": "fixed", "value": 1}}):
        assert run(plan, flat(100, 2), execution=costs).refusals == [(1, 1, "max_leverage")]


def test_leverage_counts_all_symbols_long_and_short() -> None:
    def both(ctx: Any) -> None:
        ctx.buy(100, symbol="A")
        ctx.sell(100, symbol="B")

    bars = {"A": flat(100, 2), "B": flat(100, 2)}
    result = run(script({("A", 0): both}), bars, risk={"max_leverage": 1.5})
    assert [fill[1] for fill in result.fills] == ["buy"]
    assert result.refusals == [(1, 2, "max_leverage")]
    result = run(script({("A", 0): both}), bars, risk={"max_leverage": 2.0})
    assert [fill[1] for fill in result.fills] == ["buy", "sell"]


def test_leverage_can_be_unlimited() -> None:
    result = run(script({0: lambda ctx: ctx.buy(1_000)}), flat(100, 2), risk={"max_leverage": None})
    assert result.fills[0][2] == 1_000


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_max_position_bounds_the_units_of_a_symbol(side: str) -> None:
    def trade(ctx: Any) -> None:
        (ctx.buy if side == "buy" else ctx.sell)(6)

    result = run(script({0: trade, 1: trade}), flat(100, 3), risk={"max_position": 10})
    assert result.refusals == [(2, 2, "max_position")]
    assert [fill[2] for fill in result.fills] == [6]


def test_the_second_half_of_a_reversal_can_be_refused() -> None:
    plan = {0: lambda ctx: ctx.buy(5), 1: lambda ctx: ctx.sell(20)}
    result = run(script(plan), flat(100, 3), risk={"max_position": 10})
    assert [fill[1:3] for fill in result.fills] == [("buy", 5), ("sell", 5)]
    assert result.refusals == [(2, 2, "max_position")]
    assert result.document["open_positions"] == []


def test_a_refusal_never_keeps_a_position_from_shrinking() -> None:
    # the position grows beyond its limits by itself: 90 units at 100, then at 10 with a loss
    plan = {0: lambda ctx: ctx.sell(90), 2: lambda ctx: ctx.buy(10), 3: lambda ctx: ctx.close()}
    result = run(script(plan), [*flat(100, 2), *flat(150, 3)])
    assert [fill[1:3] for fill in result.fills] == [("sell", 90), ("buy", 10), ("buy", 80)]
    assert result.refusals == []


def test_an_order_for_no_units_is_refused() -> None:
    plan = script({0: lambda ctx: ctx.buy()})
    sizing = {"type": "fixed_notional", "value": 50, "whole_units": True}
    result = run(plan, flat(100, 2), sizing=sizing)
    assert result.refusals == [(1, 1, "zero_quantity")]


def test_nothing_is_bought_with_an_equity_below_zero() -> None:
    # short 200 units at 100 with 10000: at 200 the equity is 10000 - 20000
    plan = {0: lambda ctx: ctx.sell(200), 1: lambda ctx: ctx.close(), 2: lambda ctx: ctx.buy()}
    result = run(script(plan), [*flat(100, 2), *flat(200, 3)], risk={"max_leverage": None})
    assert result.equity == [10_000, 10_000, -10_000, -10_000, -10_000]
    assert result.refusals == [(3, 3, "zero_quantity")]


# -- max drawdown ------------------------------------------------------------------------------

FALL = [*flat(100, 2), (100, 100, 85, 89), (88, 92, 88, 90), *flat(95, 3)]
"""100 units bought at 100 have lost 11 % at the close of bar 2."""


def test_a_drawdown_flattens_and_refuses_from_then_on() -> None:
    plan = {0: lambda ctx: ctx.buy(100), 3: lambda ctx: ctx.buy(10), 4: lambda ctx: ctx.target(1)}
    result = run(script(plan), FALL, risk={"max_drawdown_pct": 10})
    assert result.fills == [
        (1, "buy", 100, 100, "open", "signal"),
        (3, "sell", 100, 88, "open", "max_drawdown"),
    ]
    assert result.refusals == [(4, 3, "max_drawdown"), (5, 4, "max_drawdown")]
    assert result.document["trades"][0]["exit_reason"] == "max_drawdown"


def test_a_drawdown_is_noticed_while_the_strategy_has_nothing_to_say() -> None:
    result = run("buy_and_hold", FALL, risk={"max_drawdown_pct": 10})
    assert [fill[:2] for fill in result.fills] == [(1, "buy"), (3, "sell")]


def test_the_drawdown_is_measured_from_the_peak_of_the_closes() -> None:
    # peak 12000 at the close of bar 2; 10800 is 10 % below, 10810 is not
    bars = [*flat(100, 2), (100, 130, 100, 120), (110, 115, 100, 108.1), *flat(108, 2)]
    result = run(script({0: lambda ctx: ctx.buy(100)}), bars, risk={"max_drawdown_pct": 10})
    assert result.fills[1:] == [(5, "sell", 100, 108, "open", "max_drawdown")]


def test_a_drawdown_ends_the_orders_that_still_wait() -> None:
    def enter(ctx: Any) -> None:
        ctx.buy(100, stop_loss=50)
        ctx.buy(1, limit=60)

    bars = [*FALL, (60, 60, 60, 60)]
    result = run(script({0: enter}), bars, risk={"max_drawdown_pct": 10})
    assert result.cancels == [(3, 3, "position_closed")]
    assert result.refusals == [(7, 2, "max_drawdown")]


def test_a_signal_cannot_undo_the_flattening() -> None:
    # B has no bar at step 3, and the strategy asks for it again before its next one
    plan = {
        ("A", 0): lambda ctx: ctx.buy(100, symbol="B"),
        ("A", 3): lambda ctx: ctx.target(1, symbol="B"),
    }
    bars = {"A": flat(10, 6), "B": {0: FALL[0], 1: FALL[1], 2: FALL[2], 5: FALL[5]}}
    result = run(script(plan), bars, risk={"max_drawdown_pct": 10})
    assert result.fills[1:] == [(5, "sell", 100, 95, "open", "max_drawdown")]
    assert result.refusals == [(5, 3, "max_drawdown")]


def test_with_fill_on_close_a_drawdown_flattens_at_the_close_that_shows_it() -> None:
    result = run(
        script({1: lambda ctx: ctx.buy(100)}),
        FALL,
        risk={"max_drawdown_pct": 10},
        execution={"fill_on": "close"},
    )
    assert result.fills[1:] == [(2, "sell", 100, 89, "close", "max_drawdown")]


def test_a_drawdown_without_positions_halts_all_the_same() -> None:
    # bought and stopped out within bar 1: 20 % lost
    plan = {0: lambda ctx: ctx.buy(100, stop_loss=80), 1: lambda ctx: ctx.buy(1)}
    bars = [*flat(100, 1), (100, 100, 80, 90), *flat(90, 2)]
    result = run(script(plan), bars, risk={"max_drawdown_pct": 10})
    assert result.refusals == [(2, 3, "max_drawdown")]


# -- orders ------------------------------------------------------------------------------------


def test_order_ids_count_from_one_without_gaps() -> None:
    plan = {0: lambda ctx: ctx.buy(1), 1: lambda ctx: ctx.close(), 2: lambda ctx: ctx.sell(1)}
    rules = {"stop_loss_pct": 5, "take_profit_pct": 5, "trailing_stop_pct": 5}
    orders = run(script(plan), flat(100, 5), risk=rules).of(Order)
    assert [order.order_id for order in orders] == list(range(1, 10))
    assert [order.reason for order in orders[1:4]] == ["stop_loss", "take_profit", "trailing_stop"]


@pytest.mark.parametrize(
    ("held", "act", "side"),
    [
        (1, lambda ctx: ctx.close(), "sell"),
        (-1, lambda ctx: ctx.close(), "buy"),
        (-1, lambda ctx: ctx.target(0), "buy"),
        (1, lambda ctx: ctx.target(0), "sell"),
        (1, lambda ctx: ctx.target(-1), "sell"),
        (-1, lambda ctx: ctx.target(0.5), "buy"),
    ],
)
def test_an_order_says_which_side_it_is_on(held: int, act: Any, side: str) -> None:
    def enter(ctx: Any) -> None:
        ctx.target(held)

    assert run(script({0: enter, 1: act}), flat(100, 3)).of(Order)[1].side == side


@pytest.mark.anyio
async def test_a_position_that_another_container_opened_is_protected_too() -> None:
    bus, quotes = Bus(), Quotes()
    data = MarketData([Bars("A", [7], *([[100.0]] * 5))])
    market = Market(data, FeatureStore(data), start_step=0, stop_step=1)
    quotes.move_to(market.table(data.block(0, 1)), 0, closed=False)
    risk = RiskContainer(
        "risk",
        RiskConfig(stop_loss_pct=5.0),
        events=LaneEvents(bus),
        account=Account(1_000),
        quotes=quotes,
    )
    await risk.start()
    placed: list[Order] = []
    bus.subscribe(Order, placed.append)
    bus.publish(PositionOpen(7, "A", "A-1", 99, "long", 1.0, 100.0, 0.0))
    await bus.drain()
    assert [(it.stop_price, it.side, it.reduce_only) for it in placed] == [(95.0, "sell", True)]
    await bus.aclose()

"""What the portfolio reports; a bar is (open, high, low, close)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from admf.containers.events import (
    Cancel,
    Fill,
    Order,
    PortfolioUpdate,
    PositionClose,
    PositionOpen,
    Signal,
)
from tests.containers.harness import Ohlc, day, flat, run, script

approx = pytest.approx


def test_every_step_is_marked_at_its_close() -> None:
    plan = {0: lambda ctx: ctx.buy(10), 2: lambda ctx: ctx.close()}
    bars = [(100, 101, 99, 100), (102, 105, 101, 104), (103, 106, 100, 101), (99, 100, 98, 98)]
    result = run(script(plan), bars, execution={"commission": {"type": "fixed", "value": 1}})
    marks = [(it.ts, it.equity, it.cash, it.exposure) for it in result.of(PortfolioUpdate)]
    assert marks == [
        (day(0), 10_000, 10_000, 0),
        (day(1), 8_979 + 1_040, 8_979, 1_040),
        (day(2), 8_979 + 1_010, 8_979, 1_010),
        (day(3), 8_979 + 990 - 1, 8_979 + 990 - 1, 0),
    ]
    curve = result.document["equity_curve"]
    assert curve["equity"] == [10_000, 10_019, 9_989, 9_968]
    assert curve["ts"][0] == "2024-01-01T00:00:00Z"


def test_a_short_position_is_marked_with_what_it_owes() -> None:
    result = run(script({0: lambda ctx: ctx.sell(10)}), [*flat(100, 2), (100, 130, 90, 120)])
    (_, opened, last) = result.of(PortfolioUpdate)
    assert (opened.cash, opened.equity, opened.exposure) == (11_000, 10_000, 1_000)
    assert (last.cash, last.equity, last.exposure) == (11_000, 9_800, 1_200)


def test_symbols_without_a_bar_are_marked_at_their_last_close() -> None:
    def enter(ctx: Any) -> None:
        ctx.buy(10, symbol="A")
        ctx.sell(20, symbol="B")

    bars = {"A": flat(100, 5), "B": {0: (50, 50, 50, 50), 1: (50, 60, 40, 40), 4: (30, 30, 30, 30)}}
    result = run(script({("A", 0): enter}), bars)
    # B: sold at 50; marked at 40 on steps 1 to 3, at 30 on step 4
    assert result.equity == [10_000, 10_200, 10_200, 10_200, 10_400]
    assert [it.exposure for it in result.of(PortfolioUpdate)] == [0, 1_800, 1_800, 1_800, 1_600]


def test_a_fill_is_booked_before_anything_else_happens() -> None:
    costs = {"slippage_bps": 100, "commission": {"type": "rate", "value": 0.01}}
    result = run(script({0: lambda ctx: ctx.buy(10)}), flat(100, 2), execution=costs)
    (fill,), (opened,) = result.of(Fill), result.of(PositionOpen)
    # price 100 * 1.01 = 101, commission 1 % of 1010, slippage 1 a unit
    assert (fill.price, fill.commission, fill.slippage) == (101, approx(10.1), approx(10))
    assert opened == PositionOpen(
        day(1), "A", "A-1", 1, "long", fill.quantity, fill.price, fill.commission
    )
    assert result.equity[-1] == approx(10_000 - 10 - 10.1)
    metrics = result.document["metrics"]
    assert metrics["total_commission"] == approx(10.1)
    assert metrics["total_slippage"] == approx(10)


# -- trades ------------------------------------------------------------------------------------

BARS: list[Ohlc] = [
    (100, 101, 99, 100),
    (100, 130, 80, 110),  # entry bar
    (110, 140, 95, 120),
    (120, 150, 70, 100),  # exit bar
    (100, 100, 100, 100),
]


def closed(plan: Mapping[int, Any], bars: list[Ohlc] = BARS, **execution: Any) -> PositionClose:
    (trade,) = run(script(plan), bars, execution=execution).of(PositionClose)
    return trade


def test_excursions_of_a_long_trade_count_the_bars_between_entry_and_exit() -> None:
    trade = closed({0: lambda ctx: ctx.buy(10), 2: lambda ctx: ctx.close()})
    # in at 100, out at the open of bar 3, 120; lowest 80, highest 140
    assert (trade.entry_price, trade.exit_price, trade.bars_held) == (100, 120, 2)
    assert (trade.mae, trade.mfe) == (approx(-0.2), approx(0.4))
    assert trade.return_fraction == approx(0.2)


def test_excursions_of_a_short_trade_are_mirrored() -> None:
    trade = closed({0: lambda ctx: ctx.sell(10), 2: lambda ctx: ctx.close()})
    assert (trade.mae, trade.mfe) == (approx(-0.4), approx(0.2))
    assert trade.pnl == -200


def test_excursions_of_fills_at_the_close_leave_out_the_entry_bar_and_count_the_exit_bar() -> None:
    bars = [(100, 200, 50, 110), (110, 140, 95, 120), (120, 150, 70, 100)]
    trade = closed({0: lambda ctx: ctx.buy(10), 2: lambda ctx: ctx.close()}, bars, fill_on="close")
    # in at 110, out at the close of bar 2, 100; lowest 70, highest 150
    assert (trade.entry_price, trade.exit_price, trade.bars_held) == (110, 100, 2)
    assert (trade.mae, trade.mfe) == (approx(70 / 110 - 1), approx(150 / 110 - 1))


def test_the_exit_price_counts_as_an_excursion() -> None:
    trade = closed({0: lambda ctx: ctx.buy(10, stop_loss=75)})
    assert (trade.exit_price, trade.mae, trade.mfe) == (75, approx(-0.25), approx(0.4))


def test_a_trade_within_one_bar_has_the_excursions_of_its_exit() -> None:
    trade = closed({0: lambda ctx: ctx.buy(10, stop_loss=90)})
    assert (trade.bars_held, trade.mae, trade.mfe) == (0, approx(-0.1), 0)


def test_bars_held_are_those_of_the_symbol() -> None:
    # A closes at the window's end, two steps after its last bar
    bars = {"A": {0: BARS[0], 1: BARS[1], 3: BARS[2]}, "B": flat(10, 6)}
    plan = script({("A", 0): lambda ctx: ctx.buy(10)})
    (trade,) = run(plan, bars, execution={"close_at_end": True}).of(PositionClose)
    assert (trade.entry_ts, trade.ts, trade.exit_price) == (day(1), day(5), 120)
    assert trade.bars_held == 1
    assert (trade.mae, trade.mfe) == (approx(-0.2), approx(0.4))


def test_a_trade_stands_in_the_result_as_it_closed() -> None:
    plan = {0: lambda ctx: ctx.buy(10), 2: lambda ctx: ctx.close()}
    document = run(script(plan), BARS).document
    assert document["trades"] == [
        {
            "id": "A-1",
            "symbol": "A",
            "side": "long",
            "quantity": 10.0,
            "entry_time": "2024-01-02T00:00:00Z",
            "exit_time": "2024-01-04T00:00:00Z",
            "entry_price": 100.0,
            "exit_price": 120.0,
            "pnl": 200.0,
            "return": approx(0.2),
            "commission": 0.0,
            "bars_held": 2,
            "mae": approx(-0.2),
            "mfe": approx(0.4),
            "exit_reason": "signal",
        }
    ]


def test_the_open_part_of_a_position_keeps_what_its_closed_part_earned() -> None:
    # 10 at 100; 4 sold at 120 earn 80; 6 at 130 are worth 180 more than they cost
    plan = {0: lambda ctx: ctx.buy(10), 1: lambda ctx: ctx.sell(4)}
    document = run(script(plan), [*flat(100, 2), (120, 130, 120, 130)]).document
    (position,) = document["open_positions"]
    assert position["quantity"] == 6
    assert position["unrealized_pnl"] == approx(260)
    assert document["metrics"]["final_equity"] == approx(10_260)


# -- the document ------------------------------------------------------------------------------


def test_the_document_says_what_was_run() -> None:
    result = run(script({}), flat(100, 3), seed=5, risk={"max_position": 3})
    document = result.document
    assert list(document) == [
        "schema_version",
        "container_id",
        "role",
        "workflow_id",
        "phase_name",
        "window_id",
        "lane",
        "data",
        "window",
        "parameters",
        "status",
        "error",
        "pruned_at",
        "periods_per_year",
        "return_interval",
        "tracer",
        "metrics",
        "approximate",
        "rejects",
        "activity",
        "open_positions",
        "trades",
        "equity_curve",
        "content_sha256",
    ]
    assert document["container_id"] == "portfolio_001"
    assert (document["role"], document["status"], document["error"]) == (
        "portfolio",
        "completed",
        None,
    )
    assert document["pruned_at"] is None
    assert document["lane"]["seed"] == 5
    assert document["lane"]["risk"]["max_position"] == 3
    assert document["data"]["bars"] == 3
    assert document["data"]["end"] == "2024-01-03T00:00:00Z"
    assert document["tracer"]["by_type"] == {"PORTFOLIO_UPDATE": 3}


@pytest.mark.parametrize("block_size", [1, 2, 1000])
@pytest.mark.parametrize("traced", [(), ("SIGNAL", "FILL")])
@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ({}, (0, 0, 0, 0)),
        ({0: lambda ctx: ctx.buy(10), 2: lambda ctx: ctx.close()}, (2, 2, 0, 2)),
        ({0: lambda ctx: ctx.buy(10), 2: lambda ctx: ctx.sell(20)}, (2, 2, 0, 3)),
        ({0: lambda ctx: ctx.buy(10, limit=1.0), 2: lambda ctx: ctx.cancel()}, (2, 1, 1, 0)),
        ({0: lambda ctx: ctx.buy(10, stop_loss=50.0)}, (1, 2, 0, 1)),
        ({0: lambda ctx: ctx.buy(1e9)}, (1, 1, 0, 0)),
    ],
    ids=["nothing", "in and out", "reversal", "cancelled", "bracket", "refused"],
)
def test_signals_orders_cancels_and_fills_are_counted_whatever_is_traced(
    plan: Mapping[int, Any],
    expected: tuple[int, ...],
    traced: tuple[str, ...],
    block_size: int,
) -> None:
    result = run(script(plan), flat(100, 5), traced=traced, block_size=block_size)
    activity = result.document["activity"]
    assert tuple(activity.values()) == expected
    published = [len(result.of(cls)) for cls in (Signal, Order, Cancel, Fill)]
    assert list(activity.values()) == published
    assert list(activity) == ["signals", "orders", "cancels", "fills"]


def test_a_benchmark_is_marked_beside_the_portfolio() -> None:
    bars = {"A": flat(100, 4), "SPY": {1: (5, 5, 5, 5), 2: (6, 6, 6, 6)}}
    result = run(script({}), bars, benchmark="SPY", symbols=("A",))
    values = [it.benchmark for it in result.of(PortfolioUpdate)]
    assert math.isnan(values[0])
    assert values[1:] == [5, 6, 6]
    assert result.document["data"]["symbols"] == ["A"]

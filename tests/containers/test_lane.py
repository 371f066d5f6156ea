"""The order of a bar, several symbols, and lanes beside each other; a bar is (o, h, l, c)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from admf.containers import strategy
from admf.containers.events import Bar, Fill, PortfolioUpdate, Signal
from admf.containers.market_data import Bars
from admf.containers.strategies.base import Context, FeatureView, Strategy
from admf.containers.strategy import ColumnarStrategyContainer
from tests.containers.harness import Lane, day, flat, run, run_lanes, script
from tests.sealing import content

approx = pytest.approx


# -- the order of a bar ------------------------------------------------------------------------


def test_the_events_of_a_bar_come_in_causal_order() -> None:
    # bar 1: the reversal of bar 0 fills and is protected, is stopped out, and only then is seen
    plan = {
        0: lambda ctx: ctx.buy(10),
        1: lambda ctx: ctx.sell(15, stop_loss=106),
        2: lambda ctx: ctx.buy(1),
    }
    result = run(script(plan), [*flat(100, 2), (105, 107, 104, 105)])
    in_bar_2 = [
        f"{type(it).__name__}.{getattr(it, 'side', getattr(it, 'action', ''))}"
        for it in result.events
        if it.ts == day(2) and not isinstance(it, Bar)
    ]
    assert [it for it in in_bar_2 if not it.startswith(("Features", "PortfolioUpdate"))] == [
        "Fill.sell",
        "PositionClose.long",
        "Fill.sell",
        "PositionOpen.short",
        "Order.buy",
        "Fill.buy",
        "PositionClose.short",
        "Signal.buy",
        "Order.buy",
    ]


def test_all_events_of_a_bar_carry_its_time() -> None:
    rules = {"stop_loss_pct": 5}
    result = run(
        script({0: lambda ctx: ctx.buy(10)}), [*flat(100, 2), (100, 101, 90, 99)], risk=rules
    )
    times = {type(it).__name__: it.ts for it in result.events}
    assert times["Signal"] == day(0)
    assert times["PositionOpen"] == day(1)
    assert times["Cancel" if "Cancel" in times else "PositionClose"] == day(2)
    assert [it.ts for it in result.of(Fill)] == [day(1), day(2)]


# -- several symbols ---------------------------------------------------------------------------


def test_an_order_waits_for_the_next_bar_of_its_own_symbol() -> None:
    bars = {"A": flat(100, 6), "B": {0: (50, 50, 50, 50), 4: (60, 61, 59, 60)}}
    result = run(script({("B", 0): lambda ctx: ctx.buy(10)}), bars)
    assert result.fills == [(4, "buy", 10, 60, "open", "signal")]
    assert result.equity == [10_000] * 6


def test_a_target_waits_too_and_is_replaced_meanwhile() -> None:
    bars = {"A": flat(100, 6), "B": {0: (50, 50, 50, 50), 4: (50, 50, 50, 50)}}
    plan = {
        ("A", 0): lambda ctx: ctx.target(1, symbol="B"),
        ("A", 2): lambda ctx: ctx.target(0.5, symbol="B"),
    }
    result = run(script(plan), bars)
    assert result.cancels == [(2, 1, "replaced")]
    assert result.fills == [(4, "buy", 100, 50, "open", "signal")]


def test_three_symbols_on_one_merged_time_line() -> None:
    # each buys 10 at its second bar; A has bars 0 1 2 3 4, B 1 3, C 0 4
    bars = {
        "A": flat(100, 5),
        "B": {1: (20, 20, 20, 20), 3: (30, 40, 30, 40)},
        "C": {0: (5, 5, 5, 5), 4: (6, 7, 6, 7)},
    }

    class Buy(Strategy):
        def on_bar(self, bar: Bar, ctx: Context) -> None:
            if ctx.bar_index == 0:
                ctx.buy(10)

    for block_size in (1, 2, 3, 4096):
        result = run(Buy, bars, block_size=block_size)
        filled = [(it.symbol, it.ts, it.price, it.position_id) for it in result.of(Fill)]
        assert filled == [
            ("A", day(1), 100, "A-1"),
            ("B", day(3), 30, "B-2"),
            ("C", day(4), 6, "C-3"),
        ]
        assert result.equity == [10_000, 10_000, 10_000, 10_100, 10_110]


def test_symbols_act_in_the_order_of_the_configuration() -> None:
    seen: list[str] = []

    class Watch(Strategy):
        def on_bar(self, bar: Bar, ctx: Context) -> None:
            seen.append(bar.symbol)

    run(Watch, {"A": flat(1, 2), "B": flat(1, 2)}, symbols=("B", "A"))
    assert seen == ["B", "A", "B", "A"]


def test_what_fills_at_an_open_knows_nothing_of_what_fills_after_it() -> None:
    # A is stopped out within bar 2, with a loss of 500; B is bought at the open of that bar
    def enter(ctx: Any) -> None:
        ctx.buy(50, stop_loss=90)

    plan = {("A", 0): enter, ("A", 1): lambda ctx: ctx.target(0.5, symbol="B")}
    bars = {"A": [*flat(100, 2), (100, 100, 80, 85)], "B": flat(10, 3)}
    result = run(script(plan), bars)
    assert result.fills[1:] == [
        (2, "buy", approx(500), 10, "open", "signal"),  # half of 10000, not of 9500
        (2, "sell", 50, 90, "intrabar", "stop_loss"),
    ]


def test_a_position_of_one_symbol_does_not_touch_the_orders_of_another() -> None:
    def enter(ctx: Any) -> None:
        ctx.buy(10, symbol="A", stop_loss=90, take_profit=120)
        ctx.buy(10, symbol="B", stop_loss=40, take_profit=60)

    bars = {
        "A": [*flat(100, 2), (100, 100, 80, 85), *flat(85, 1)],
        "B": [*flat(50, 3), (50, 61, 50, 60)],
    }
    result = run(script({("A", 0): enter}), bars)
    assert [(it.symbol, it.price, it.reason) for it in result.of(Fill)[2:]] == [
        ("A", 90, "stop_loss"),
        ("B", 60, "take_profit"),
    ]


def test_close_at_end_closes_every_symbol_at_its_own_last_close() -> None:
    class Buy(Strategy):
        def on_bar(self, bar: Bar, ctx: Context) -> None:
            if ctx.bar_index == 0:
                ctx.buy(10)

    bars = {"A": flat(100, 5), "B": {0: (20, 20, 20, 20), 1: (20, 25, 20, 24)}}
    result = run(Buy, bars, execution={"close_at_end": True})
    assert [(it.symbol, it.price, it.ts) for it in result.of(Fill)[2:]] == [
        ("A", 100, day(4)),
        ("B", 24, day(4)),
    ]
    assert result.equity[-1] == 10_040


# -- lanes beside each other -------------------------------------------------------------------


class Alternate(Strategy):
    """Long on even bars, flat on odd ones."""

    period: int = 2

    def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        return (np.arange(len(bars)) % self.period == 0).astype(np.float64)


class Fails(Strategy):
    """Trades like the others, and raises at a bar."""

    at: int
    error: str = "ValueError"

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        if ctx.bar_index == self.at:
            {"ValueError": _raise, "SystemExit": sys.exit, "CancelledError": _cancel}[self.error]()
        ctx.target(ctx.bar_index % 2)


def _raise() -> None:
    raise ValueError("no more")


def _cancel() -> None:
    raise asyncio.CancelledError


class FailsAtOnce(Strategy):
    def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        raise ValueError("not even one bar")


WAVES = [(100 + i % 7, 107 + i % 7, 90 + i % 5, 99 + i % 3) for i in range(40)]


@pytest.mark.parametrize("block_size", [1, 7, 4096])
@pytest.mark.parametrize(
    "broken",
    [
        Lane(Fails, {"at": 0}),
        Lane(Fails, {"at": 25}),
        Lane(Fails, {"at": 25, "error": "SystemExit"}),
        Lane(Fails, {"at": 25, "error": "CancelledError"}),
        Lane(FailsAtOnce),
    ],
)
def test_a_lane_that_fails_fails_alone(broken: Lane, block_size: int) -> None:
    good = [Lane(Alternate), Lane(Alternate, {"period": 3})]
    alone = run_lanes(good, WAVES, block_size=block_size)
    first, failed, last = run_lanes([good[0], broken, good[1]], WAVES, block_size=block_size)
    assert first.raw == alone[0].raw
    renamed = content(last.raw).replace(b"003", b"002").replace(b"strategy_3", b"strategy_2")
    assert renamed == content(alone[1].raw)
    assert failed.document["status"] == "failed"
    containers = {it.id: it.status for it in failed.summary.containers}
    assert {name for name, status in containers.items() if status == "failed"} == {
        "portfolio_002",
        "risk_002",
        "execution_002",
        "strategy_002",
        "lane_002",
    }
    assert failed.summary.status == "completed"


def test_the_error_of_a_lane_names_the_users_line_the_bar_and_the_parameters() -> None:
    (failed,) = run_lanes([Lane(Fails, {"at": 25})], WAVES)
    line = _raise.__code__.co_firstlineno + 1
    assert failed.document["error"] == (
        f"{__file__}:{line}: ValueError: no more "
        "(strategy Fails, bar A 2024-01-26T00:00:00Z, parameters at=25, error=ValueError)"
    )


def test_the_result_of_a_failed_lane_holds_what_it_did_before() -> None:
    whole = run_lanes([Lane(Fails, {"at": 99})], WAVES)[0]
    failed = run_lanes([Lane(Fails, {"at": 25})], WAVES)[0]
    assert failed.equity == whole.equity[:25]
    document = failed.document
    assert document["equity_curve"]["equity"] == whole.equity[:25]
    assert document["metrics"]["bars"] == 25
    closed = [it for it in whole.document["trades"] if it["exit_time"] <= "2024-01-26T00:00:00Z"]
    assert document["trades"] == closed  # those of the failing bar's open are done


def test_the_result_of_a_failed_lane_does_not_depend_on_the_blocks() -> None:
    results = {
        run_lanes([Lane(Fails, {"at": 25})], WAVES, block_size=block_size)[0].raw
        for block_size in (1, 7, 26, 4096)
    }
    assert len(results) == 1


@pytest.mark.parametrize("block_size", [1, 3, 4096])
def test_many_lanes_give_what_each_gives_alone(block_size: int) -> None:
    lanes = [Lane(Alternate, {"period": period}) for period in (1, 2, 3, 5)]
    together = run_lanes(lanes, WAVES, block_size=block_size)
    for lane, result in zip(lanes, together, strict=True):
        (alone,) = run_lanes([lane], WAVES)
        assert result.equity == alone.equity
        assert result.of(Fill) == alone.of(Fill)


def test_a_lane_without_trades_is_marked_all_the_same() -> None:
    class Idle(Strategy):
        def on_bar(self, bar: Bar, ctx: Context) -> None:
            """Do nothing."""

    result = run(Idle, flat(100, 5), block_size=2)
    assert [it.equity for it in result.of(PortfolioUpdate)] == [10_000] * 5
    assert result.of(Signal) == []


def test_others_get_their_turn_between_the_pieces_of_a_long_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare, turns = ColumnarStrategyContainer.prepare, []

    def watched(self: ColumnarStrategyContainer) -> Iterator[None]:
        turns.append(0)
        for _ in prepare(self):
            turns[-1] += 1
            yield

    lanes = [Lane("sma_cross", params={"fast": 2, "slow": 4}) for _ in range(2)]
    whole = run_lanes(lanes, flat(100, 7) + flat(90, 8) + flat(110, 8))
    monkeypatch.setattr(ColumnarStrategyContainer, "prepare", watched)
    monkeypatch.setattr(strategy, "PIECE", 5)
    pieces = run_lanes(lanes, flat(100, 7) + flat(90, 8) + flat(110, 8))
    assert turns == [4, 0]  # 23 bars, and the second lane is configured alike
    assert [repr(it.events) for it in pieces] == [repr(it.events) for it in whole]  # NaN included
    assert any(isinstance(event, Fill) for event in whole[0].events)

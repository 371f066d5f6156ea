"""What a strategy sees and may ask for; a bar is (open, high, low, close)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from admf.containers import bar_table
from admf.containers.events import Bar, Fill, Signal
from admf.containers.strategies.base import Context, Strategy
from tests.containers.harness import DAY, FIRST_TS, LaneRun, flat, run, run_lanes, script
from tests.containers.harness import Lane as Settings

approx = pytest.approx


def test_a_strategy_sees_its_fills_before_its_bar() -> None:
    seen: list[tuple[int, float, float, float]] = []

    class Watch(Strategy):
        def on_bar(self, bar: Bar, ctx: Context) -> None:
            seen.append((ctx.bar_index, ctx.position, ctx.cash, ctx.equity))
            if ctx.bar_index == 0:
                ctx.buy(10)
            if ctx.bar_index == 1:
                ctx.sell(30)

    bars = [*flat(100, 1), (100, 120, 100, 110), (120, 120, 110, 115)]
    run(Watch, bars, execution={"commission": {"type": "fixed", "value": 1}})
    # bar 1: bought 10 at 100; bar 2: sold 10 and 20 at 120, one commission each
    assert seen == [
        (0, 0, 10_000, 10_000),
        (1, 10, 8_999, 8_999 + 1_100),
        (2, -20, 8_999 + 3_600 - 2, 12_597 - 2_300),
    ]


def test_a_strategy_sees_the_equity_of_all_symbols_at_the_closes_of_the_step() -> None:
    seen: dict[tuple[str, int], tuple[float, float]] = {}

    class Watch(Strategy):
        def on_bar(self, bar: Bar, ctx: Context) -> None:
            seen[bar.symbol, ctx.bar_index] = (ctx.position, ctx.equity)
            if ctx.bar_index == 0:
                ctx.buy(10)

    run(Watch, {"A": flat(100, 3), "B": [*flat(50, 2), (50, 60, 50, 60)]})
    assert seen["A", 2] == (10, 10_100)
    assert seen["B", 2] == (10, 10_100)


def test_bars_are_counted_by_symbol() -> None:
    seen: list[tuple[str, int, int]] = []

    class Watch(Strategy):
        def on_bar(self, bar: Bar, ctx: Context) -> None:
            seen.append((bar.symbol, ctx.bar_index, (bar.ts - FIRST_TS) // DAY))

    price = (1.0, 1.0, 1.0, 1.0)
    run(Watch, {"A": {0: price, 2: price}, "B": {1: price, 2: price}}, block_size=1)
    assert seen == [("A", 0, 0), ("B", 0, 1), ("A", 1, 2), ("B", 1, 2)]


def test_features_are_those_of_the_bar() -> None:
    seen: dict[str, list[float]] = {"A": [], "B": []}

    class Watch(Strategy):
        def on_bar(self, bar: Bar, ctx: Context) -> None:
            seen[bar.symbol].append(ctx.feature("sma", 2))
            assert ctx.feature("max", 2, on="high") >= ctx.feature("sma", 2) or ctx.bar_index == 0

    closes = {"A": [1.0, 3, 5, 4], "B": [20.0, 40]}
    bars = {name: [(x, x, x, x) for x in values] for name, values in closes.items()}
    bars["B"] = dict(zip((1, 3), bars["B"], strict=True))
    run(Watch, bars, block_size=3)
    assert math.isnan(seen["A"][0])
    assert seen["A"][1:] == [2, 4, 4.5]
    assert math.isnan(seen["B"][0])
    assert seen["B"][1:] == [30]


def test_a_window_of_a_longer_data_set_is_counted_from_its_own_first_bar() -> None:
    seen: list[tuple[int, float]] = []

    class Watch(Strategy):
        def on_bar(self, bar: Bar, ctx: Context) -> None:
            seen.append((ctx.bar_index, ctx.feature("sma", 3)))

    bars = [(x, x, x, x) for x in (1.0, 2, 3, 4, 5, 6)]
    run(Watch, bars, start_ts=FIRST_TS + 3 * DAY, end_ts=FIRST_TS + 5 * DAY)
    assert seen == [(0, 3), (1, 4)]  # the features know the bars before the window


def test_the_generator_belongs_to_the_lane_and_its_seed() -> None:
    drawn: dict[int, list[float]] = {}

    class Draw(Strategy):
        number: int

        def on_bar(self, bar: Bar, ctx: Context) -> None:
            drawn.setdefault(self.number, []).append(ctx.rng.random())

    lanes = [Settings(Draw, {"number": n}, seed=seed) for n, seed in enumerate((7, 8, 7))]
    run_lanes(lanes, flat(100, 5), block_size=2)
    assert drawn[0] == drawn[2] == np.random.default_rng(7).random(5).tolist()
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize(
    ("kwargs", "kind"),
    [
        ({}, "market"),
        ({"limit": 5}, "limit"),
        ({"stop": 5}, "stop"),
        ({"limit": 5, "stop": 6}, "stop_limit"),
    ],
)
def test_the_prices_make_the_type_of_the_order(kwargs: dict[str, float], kind: str) -> None:
    (signal,) = run(script({0: lambda ctx: ctx.buy(1, **kwargs)}), flat(100, 1)).of(Signal)
    assert signal.type == kind


def test_numbers_of_any_kind_become_plain_floats() -> None:
    def enter(ctx: Any) -> None:
        ctx.buy(np.float32(2), limit=np.int64(101), stop_loss=np.float64(90))

    result = run(script({0: enter}), flat(100, 2))
    (signal,), (fill,) = result.of(Signal), result.of(Fill)
    numbers = (signal.quantity, signal.limit_price, signal.stop_loss, fill.quantity)
    assert numbers == (2.0, 101.0, 90.0, 2.0)
    assert {type(number) for number in numbers} == {float}


def failed(action: Any) -> LaneRun:
    result = run(script({1: action}), flat(100, 3))
    assert result.document["status"] == "failed"
    return result


@pytest.mark.parametrize("block_size", [1, 2, 4096])
@pytest.mark.parametrize("symbols", ["A", "AB"])
def test_what_a_strategy_sees_depends_on_no_block_and_on_no_other_lane(
    symbols: str, block_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar_table, "BARS_AT_ONCE", 3)
    seen: list[tuple[str, int, float, float, float]] = []

    class Watch(Strategy):
        fast: int = 2

        def on_bar(self, bar: Bar, ctx: Context) -> None:
            values = ctx.feature("max", self.fast), ctx.feature("max", self.fast, on="high")
            seen.append((bar.symbol, ctx.bar_index, *values, ctx.equity))
            if ctx.bar_index == 0:
                ctx.buy(1.0)

    bars = [(close, close + 1.0, close, close) for close in (100.0, 104.0, 102.0, 101.0, 105.0)]
    lanes = [Settings(Watch, {"fast": fast}, capital=1_000.0) for fast in (2, 2, 3)]
    run_lanes(lanes, dict.fromkeys(symbols, bars), block_size=block_size)
    closes = [bar[3] for bar in bars]
    expected = {
        (symbol, index, top, top + 1.0, 1_000.0 + bool(index) * len(symbols) * (close - 104.0))
        for fast in (2, 3)
        for symbol in symbols
        for index, close in enumerate(closes)
        if index >= fast - 1
        for top in [max(closes[index - fast + 1 : index + 1])]
    }
    assert {it for it in seen if not math.isnan(it[2])} == expected
    assert len(seen) == 3 * len(symbols) * len(bars)


@pytest.mark.parametrize("block_size", [2, 4096])
def test_a_lane_that_fails_is_marked_to_the_bar_at_which_it_does(block_size: int) -> None:
    class Fails(Strategy):
        def on_bar(self, bar: Bar, ctx: Context) -> None:
            if ctx.bar_index == 3:
                raise ValueError("no more")

    assert len(run(Fails, flat(100, 6), block_size=block_size).equity) == 3


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda ctx: ctx.buy(0), "quantity must be positive and finite, got 0"),
        (lambda ctx: ctx.sell(-1), "quantity must be positive and finite, got -1"),
        (lambda ctx: ctx.buy(math.nan), "quantity must be positive and finite, got nan"),
        (lambda ctx: ctx.buy(limit=math.inf), "limit must be positive and finite, got inf"),
        (lambda ctx: ctx.buy(stop=-5), "stop must be positive and finite, got -5"),
        (lambda ctx: ctx.buy(stop_loss=0), "stop_loss must be positive and finite, got 0"),
        (lambda ctx: ctx.buy(take_profit=0), "take_profit must be positive and finite, got 0"),
        (lambda ctx: ctx.buy(time_in_force="week"), "must be 'gtc' or 'day', got 'week'"),
        (lambda ctx: ctx.buy(symbol="AA"), "no symbol 'AA' in this window (did you mean 'A'?)"),
        (lambda ctx: ctx.close(symbol="Z"), "no symbol 'Z' in this window"),
        (lambda ctx: ctx.target(math.nan), "exposure must be finite, got nan"),
        (lambda ctx: ctx.target(-math.inf), "exposure must be finite, got -inf"),
        (lambda ctx: ctx.feature("smaa", 3), "sma"),
        (lambda ctx: ctx.buy("ten"), "TypeError"),
    ],
)
def test_what_cannot_be_asked_for_fails_the_lane_with_a_message(action: Any, message: str) -> None:
    error = failed(action).document["error"]
    assert message in error
    assert error.startswith(f"{__file__}:")


def test_orders_for_another_symbol() -> None:
    plan = {
        ("A", 0): lambda ctx: ctx.buy(1, symbol="B"),
        ("A", 1): lambda ctx: ctx.close(symbol="B"),
        ("A", 2): lambda ctx: ctx.target(-1, symbol="B"),
    }
    result = run(script(plan), {"A": flat(100, 4), "B": flat(50, 4)})
    assert [(it.symbol, it.side, it.quantity) for it in result.of(Fill)] == [
        ("B", "buy", 1),
        ("B", "sell", 1),
        ("B", "sell", 200),
    ]

"""How large a position is; a bar is (open, high, low, close)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from admf.containers.events import Fill
from tests.containers.harness import DAY, LaneRun, flat, run, script

approx = pytest.approx


def bought(
    sizing: Mapping[str, object], execution: Mapping[str, object] | None = None, **options: Any
) -> float:
    """Return how many units a purchase at an open of 100 gives, with 10,000 in cash."""
    plan = script({2: lambda ctx: ctx.buy()})
    result = run(
        plan, options.pop("bars", flat(100, 4)), sizing=sizing, execution=execution, **options
    )
    (fill,) = result.of(Fill)
    return fill.quantity


def test_percent_equity_counts_slippage_and_commission() -> None:
    costs = {"slippage_bps": 5, "commission": {"type": "rate", "value": 0.001}}
    sizing = {"type": "percent_equity", "value": 1.0}
    assert bought(sizing, costs) == approx(10_000 / (100 * 1.0005 * 1.001), rel=1e-14)
    half = {"type": "percent_equity", "value": 0.5}
    assert bought(half, costs) == approx(5_000 / (100 * 1.0005 * 1.001), rel=1e-14)


def test_percent_equity_counts_other_kinds_of_commission() -> None:
    per_unit = {"commission": {"type": "per_unit", "value": 0.25}}
    fixed = {"commission": {"type": "fixed", "value": 50}}
    minimum = {"commission": {"type": "rate", "value": 0.001, "minimum": 20}}
    assert bought({}, per_unit) == approx(10_000 / 100.25)
    assert bought({}, fixed) == approx(99.5)
    assert bought({}, minimum) == approx(99.8)


def test_percent_equity_is_resolved_when_the_order_fills() -> None:
    result = run(script({0: lambda ctx: ctx.buy()}), [*flat(100, 1), (125, 125, 125, 125)])
    assert result.fills[0][2:4] == (approx(80), 125)


def test_percent_equity_counts_what_open_positions_are_worth_at_that_moment() -> None:
    # B: 50 units at 100, worth 10000 at the open of 200; equity 15000; a third of it in A at 100
    def enter(ctx: Any) -> None:
        ctx.buy(50, symbol="B")

    result = run(
        script({("A", 0): enter, ("A", 1): lambda ctx: ctx.buy()}),
        {"A": flat(100, 3), "B": [*flat(100, 2), (200, 900, 100, 900)]},
        sizing={"value": 1 / 3},
    )
    assert result.fills[1][:4] == (2, "buy", approx(50), 100)


def test_whole_units_are_rounded_down() -> None:
    costs = {"commission": {"type": "rate", "value": 0.001}}
    assert bought({"whole_units": True}, costs) == 99  # 99.9 units
    assert bought({"whole_units": True}) == 100
    assert bought({"type": "fixed_units", "value": 2.5, "whole_units": True}) == 2
    assert bought({"type": "fixed_notional", "value": 999, "whole_units": True}) == 9


def test_whole_units_hold_for_quantities_of_the_strategy_in_both_directions() -> None:
    plan = {
        0: lambda ctx: ctx.buy(10.7),
        1: lambda ctx: ctx.sell(2.5),
        2: lambda ctx: ctx.sell(0.5),
    }
    result = run(script(plan), flat(100, 4), sizing={"whole_units": True})
    assert [fill[1:3] for fill in result.fills] == [("buy", 10), ("sell", 2)]
    assert result.refusals == [(3, 3, "zero_quantity")]


def test_fixed_units() -> None:
    assert bought({"type": "fixed_units", "value": 2.5}) == 2.5


def test_fixed_notional_is_divided_by_the_price_of_the_fill() -> None:
    sizing = {"type": "fixed_notional", "value": 5_000}
    assert bought(sizing) == 50
    assert bought(sizing, {"slippage_bps": 100}) == approx(5_000 / 101)


ALTERNATING = [(100, 110, 90, 100), (100, 110, 90, 110), (110, 110, 90, 99), (100, 100, 100, 100)]
"""Closes 100, 110, 99: returns +10 % and -10 %, standard deviation (ddof 1) 0.1 * sqrt(2)."""

VOLATILITY = 0.1 * math.sqrt(2)


def test_volatility_target_divides_by_the_volatility_of_the_last_bars() -> None:
    sizing = {"type": "volatility_target", "value": VOLATILITY, "lookback": 2}
    # 100 bars a year: volatility 0.1 * sqrt(2) * 10, so a tenth of the equity
    assert bought(sizing, bars=ALTERNATING, periods_per_year=100) == approx(10)
    assert bought(sizing, bars=ALTERNATING) == approx(100 / math.sqrt(252))


def test_volatility_target_annualises_with_the_bars_in_a_year() -> None:
    sizing = {"type": "volatility_target", "value": VOLATILITY, "lookback": 2}
    assert bought(sizing, bars=ALTERNATING, step_ns=DAY // 4) == approx(100 / math.sqrt(252 * 4))


def test_volatility_target_does_not_exceed_the_leverage() -> None:
    sizing = {"type": "volatility_target", "value": 1_000, "lookback": 2}
    assert bought(sizing, bars=ALTERNATING) == approx(100)
    assert bought(sizing, bars=ALTERNATING, risk={"max_leverage": 3.0}) == approx(300)
    many = bought(sizing, bars=ALTERNATING, risk={"max_leverage": None}, periods_per_year=1)
    assert many == approx(100_000 / VOLATILITY)


def refused(sizing: Mapping[str, object], bars: Any) -> LaneRun:
    return run(script({2: lambda ctx: ctx.buy()}), bars, sizing=sizing)


def test_volatility_target_needs_its_lookback_and_prices_that_move() -> None:
    too_long = {"type": "volatility_target", "value": 0.1, "lookback": 3}
    assert refused(too_long, ALTERNATING).refusals == [(3, 1, "zero_quantity")]
    short = {"type": "volatility_target", "value": 0.1, "lookback": 2}
    assert refused(short, flat(100, 4)).refusals == [(3, 1, "zero_quantity")]


def test_exposure_scales_every_rule() -> None:
    def half(sizing: Mapping[str, object]) -> float:
        result = run(script({0: lambda ctx: ctx.target(0.5)}), flat(100, 2), sizing=sizing)
        return result.of(Fill)[0].quantity

    assert half({}) == 50
    assert half({"type": "fixed_units", "value": 3}) == 1.5
    assert half({"type": "fixed_notional", "value": 3_000}) == 15

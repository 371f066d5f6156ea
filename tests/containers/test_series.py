"""What ``series.json`` holds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from admf.containers.strategies.base import Strategy
from tests.containers.harness import Lane, WindowRun, day, flat, random_bars, run_window, script

approx = pytest.approx

BARS = random_bars(300)
COSTS = {"slippage_bps": 5, "commission": {"type": "rate", "value": 0.001}}
FAST = Lane("sma_cross", {"fast": 3, "slow": 9, "mode": "long_short"}, execution=COSTS)


def run(*lanes: Lane, **options: object) -> WindowRun:
    return run_window(lanes, BARS, series=True, **options)  # type: ignore[arg-type]


def test_it_is_written_only_if_asked_for() -> None:
    assert "series.json" not in run_window([FAST], BARS).files


@pytest.mark.parametrize("traced", [(), ("FILL",), ("PORTFOLIO_UPDATE", "POSITION_CLOSE")])
@pytest.mark.parametrize("retention", ["trade_complete", "minimal", "sliding_window"])
def test_it_is_the_same_whatever_is_traced_and_retained(
    traced: tuple[str, ...], retention: str
) -> None:
    found = run(FAST, traced=traced, retention=retention)
    assert found.files["series.json"] == run(FAST).files["series.json"]


@pytest.mark.parametrize("block_size", [1, 7, 4096])
def test_it_does_not_depend_on_the_size_of_blocks(block_size: int) -> None:
    assert run(FAST, block_size=block_size).files["series.json"] == run(FAST).files["series.json"]


def test_marks_trades_and_totals_are_those_of_the_result() -> None:
    found = run(FAST)
    (series,), document = found.series, found.document()
    assert series.container_id == "portfolio_001"
    assert series.ts == tuple(day(step) for step in range(300))
    assert list(series.equity) == document["equity_curve"]["equity"]
    assert sum(it > 0 for it in series.exposure) / 300 == document["metrics"]["exposure_time"]
    assert series.benchmark == (None,) * 300
    assert [(it.side, it.pnl, it.return_fraction, it.bars_held) for it in series.trades] == [
        (it["side"], it["pnl"], it["return"], it["bars_held"]) for it in document["trades"]
    ]
    assert len(series.trades) > 10
    metrics = document["metrics"]
    assert (series.commission, series.slippage) == (
        metrics["total_commission"],
        metrics["total_slippage"],
    )
    turnover = series.traded_value / np.mean(series.equity)
    assert turnover == approx(metrics["turnover"])
    assert series.initial_capital == 10_000


def test_returns_on_equity_compound_to_the_final_equity() -> None:
    lane = Lane(FAST.strategy, FAST.params, execution={**COSTS, "close_at_end": True})
    (series,) = run(lane).series
    growth = math.prod(1 + (it.equity_return or 0) for it in series.trades)
    assert growth * 10_000 == approx(series.equity[-1], rel=1e-12)


def test_equity_at_an_entry_counts_what_else_is_held() -> None:
    # A: 50 bought at 100 and worth 110 when B is bought at 20: 10500 then
    plan = {
        ("A", 0): lambda ctx: ctx.buy(50),
        ("B", 1): lambda ctx: ctx.buy(100),
        ("B", 2): lambda ctx: ctx.close(),
    }
    bars = {
        "A": [*flat(100, 2), (110, 110, 110, 110), *flat(120, 1)],
        "B": [*flat(20, 3), *flat(25, 1)],
    }
    (series,) = run_window([Lane(script(plan))], bars, series=True).series
    (trade,) = series.trades
    assert (trade.entry_ts, trade.exit_ts, trade.side) == (day(2), day(3), "long")
    assert (trade.pnl, trade.return_fraction) == (500, 0.25)
    assert trade.equity_return == approx(500 / 10_500)


def test_the_benchmark_is_null_before_its_first_bar() -> None:
    bars = {"A": flat(100, 4), "SPY": {1: (5, 5, 5, 5), 2: (6, 6, 6, 6)}}
    found = run_window([Lane("buy_and_hold")], bars, benchmark="SPY", symbols=("A",), series=True)
    assert found.series[0].benchmark == (None, 5, 6, 6)


def test_lanes_stand_in_their_order_and_refused_ones_have_none() -> None:
    found = run(FAST, Lane("sma_cross", {"fast": 9, "slow": 3}), Lane("buy_and_hold"))
    assert [it.container_id for it in found.series] == ["portfolio_001", "portfolio_003"]


def test_a_lane_that_fails_has_what_it_did_before() -> None:
    class Fails(Strategy):
        def on_bar(self, bar: object, ctx: object) -> None:
            if ctx.bar_index == 20:  # type: ignore[attr-defined]
                raise ValueError("no more")

    found = run(Lane(Fails), FAST)
    assert len(found.series[0].ts) == 20
    assert [row.status for row in found.rows] == ["failed", "completed"]
    assert "no more" in (found.rows[0].error or "")

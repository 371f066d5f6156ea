"""A live session does with bars that come one by one what one window of a backtest does."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from admf.containers.events import (
    Bar,
    Cancel,
    Fill,
    Order,
    PortfolioUpdate,
    PositionClose,
    PositionOpen,
    Reject,
    Signal,
)
from admf.containers.market_data import Bars, MarketData
from admf.containers.strategies.base import FeatureView
from admf.engine.roll_rules import EveryDuration, EveryEvents
from tests.containers.harness import DAY, Lane, day, random_bars, run_lanes
from tests.containers.live_harness import bar_events, run_live
from tests.containers.random_lanes import Case, mixed_cases
from tests.containers.random_strategies import RandomOrders, RandomTargets

TOLD = (Signal, Order, Reject, Cancel, Fill, PositionOpen, PositionClose)


class CausalTargets(RandomTargets):
    """Asks for exposures drawn by seed, of which each stays the same when there are more bars."""

    def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        seed = [self.seed, ord(bars.symbol[0])]
        found = np.random.default_rng(seed).choice([0.0, 1.0, -1.0, 0.5, 2.0], len(bars))
        keeps = np.random.default_rng([*seed, 1]).random(len(bars)) > self.often
        found[keeps] = np.nan
        found[features("sma", 3) > bars.close * 1.01] = 0.0
        return found


def without_end(lane: Lane) -> Lane:
    """Return a lane that neither fails nor begins with positions, nor closes them at an end."""
    params: dict[str, Any] = {**lane.params}
    if lane.strategy is RandomOrders:
        params["fails_at"] = -1
    else:
        params["fails"] = False
    strategy = CausalTargets if lane.strategy is RandomTargets else lane.strategy
    execution = {**lane.execution, "close_at_end": False}
    return replace(lane, strategy=strategy, params=params, execution=execution, carried=None)


def told(events: list[Any], kinds: tuple[type[Any], ...]) -> list[str]:
    return [repr(event) for event in events if isinstance(event, kinds)]


rules = st.lists(
    st.one_of(
        st.builds(EveryEvents, st.integers(4, 40)),
        st.builds(EveryDuration, st.sampled_from([86_400, 5 * 86_400])),
    ),
    max_size=2,
)


@settings(max_examples=5)
@given(case=mixed_cases(), rolls=rules, seed=st.integers(0, 99))
def test_whatever_the_rolls_a_session_trades_as_one_window_of_a_backtest(
    case: Case, rolls: list[Any], seed: int
) -> None:
    lanes = [without_end(lane) for lane in case.lanes]
    expected = run_lanes(lanes, case.market, periods_per_year=252.0, dispatch="bus")
    events = bar_events(case.market)
    random.Random(seed).shuffle(events)  # within a time step, symbols come in any order
    events.sort(key=lambda bar: bar.ts)
    live = run_live(lanes, events, list(case.market), rolls=rolls, periods_per_year=252.0)
    for backtest, recorder in zip(expected, live.recorders, strict=True):
        assert told(recorder.events, TOLD) == told(backtest.events, TOLD)
        assert told(recorder.events, (PortfolioUpdate,)) == told(
            backtest.events, (PortfolioUpdate,)
        )
    bars = sum(it["report"]["intake"]["events"] for it in live.records())
    assert bars == len(events)


STRATEGIES = [
    ("sma_cross", {"fast": 5, "slow": 20}),
    ("rsi_reversion", {}),
    ("bollinger_reversion", {}),
    ("donchian_breakout", {}),
    ("macd_cross", {}),
    ("momentum", {"lookback": 10}),
    ("random_entry", {"probability": 0.2, "hold_bars": 4}),
    ("buy_and_hold", {}),
]


@pytest.mark.parametrize(("name", "params"), STRATEGIES)
def test_built_in_strategies_trade_alike_with_bars_before_the_session(
    name: str, params: dict[str, object]
) -> None:
    bars = random_bars(160, seed=7)
    risk = {"stop_loss_pct": 4.0, "trailing_stop_pct": 6.0}
    lane = Lane(name, params, risk=risk, seed=3, execution={"slippage_bps": 2.0})
    (backtest,) = run_lanes([lane], bars, start_ts=day(60))
    live = run_live(
        [lane],
        bar_events({"A": {step: bars[step] for step in range(60, 160)}}),
        ["A"],
        rolls=[EveryEvents(17)],
        before=MarketData([bars_of("A", bars[:60])]),
    )
    assert told(live.recorders[0].events, TOLD) == told(backtest.events, TOLD)
    assert [it.equity for it in live.of(PortfolioUpdate)] == backtest.equity
    final = live.records("portfolio_001_results.json")[-1]
    assert final["open_positions"] == backtest.document["open_positions"]


def bars_of(symbol: str, rows: list[Any]) -> Bars:
    columns = np.array(rows).T
    ts = np.array([day(step) for step in range(len(rows))])
    return Bars(symbol, ts, *columns, np.zeros(len(rows)))


@pytest.mark.parametrize(("name", "params"), STRATEGIES[:3])
def test_a_bounded_history_changes_figures_by_their_last_digits_at_most(
    name: str, params: dict[str, object]
) -> None:
    bars = random_bars(200, seed=5)
    lane = Lane(name, params)
    whole = run_live([lane], bar_events({"A": bars}), ["A"])
    short = run_live([lane], bar_events({"A": bars}), ["A"], history=100, rolls=[EveryEvents(50)])
    fills = [it.ts for it in whole.of(Fill)]
    assert fills
    assert [it.ts for it in short.of(Fill)] == fills
    last = [run.of(PortfolioUpdate)[-1].equity for run in (whole, short)]
    assert last[0] == pytest.approx(last[1], rel=1e-9)


def test_a_session_of_one_bar_a_window_is_still_one_session() -> None:
    bars = random_bars(60, seed=2)
    lane = Lane("sma_cross", {"fast": 3, "slow": 8}, risk={"max_drawdown_pct": 10.0})
    (backtest,) = run_lanes([lane], bars)
    live = run_live([lane], bar_events({"A": bars}), ["A"], rolls=[EveryEvents(1)])
    assert live.session.counts.closed == 60
    assert told(live.recorders[0].events, TOLD) == told(backtest.events, TOLD)
    assert len(live.of(Bar)) == 60
    assert live.of(Bar)[-1].ts - live.of(Bar)[0].ts == DAY * 59

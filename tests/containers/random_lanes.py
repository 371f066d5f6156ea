"""Random markets, strategies and rules, to compare one way of running a lane with another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from admf.containers.config import (
    CarriedAccount,
    CarriedPosition,
    CarriedTargets,
    LanePruning,
    StrategyConfig,
)
from tests.containers.harness import DAY, FIRST_TS, Lane, Ohlc
from tests.containers.random_strategies import RandomMarketOrders, RandomOrders, RandomTargets

__all__ = ["Case", "RandomBars", "cases", "plain_cases"]

PRICES = st.sampled_from([50.0, 90.0, 95.0, 99.0, 100.0, 100.0, 101.0, 105.0, 110.0, 150.0])
MOVES = (0.0, 0.0, 0.0, 0.01, -0.01, 0.05, -0.05, 0.2, -0.2)
CAPITALS = (10_000.0, 5_000.0, 1_000.0, 800.0)  # also just what a fixed size costs
LEAPS = (*MOVES, 0.9, -0.6)

RandomBars = dict[str, dict[int, Ohlc]]


class Case(NamedTuple):
    """Lanes that run side by side, and the settings of their window."""

    market: RandomBars
    lanes: list[Lane]
    options: dict[str, Any]


@st.composite
def series(draw: st.DrawFn, steps: int) -> dict[int, Ohlc]:
    """Bars by step: gaps, ties, flat prices; few of them differ, so that levels are met exactly."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    exact, present = draw(st.booleans()), draw(st.sampled_from([1.0, 1.0, 0.7]))
    moves = draw(st.sampled_from([MOVES, MOVES, LEAPS]))
    close, found = float(draw(PRICES)), dict[int, Ohlc]()
    for step in range(steps):
        open_ = close * (1 + float(rng.choice(moves)) * rng.random())
        last = open_ * (1 + float(rng.choice(moves)) * rng.random())
        if exact:
            open_, last = max(round(open_), 5.0), max(round(last), 5.0)
        wide = float(rng.choice([0.0, 0.02])) * rng.random()
        high, low = max(open_, last) * (1 + wide), min(open_, last) * (1 - wide)
        if rng.random() < present or not found:
            found[step], close = (open_, high, low, last), last
    return found


@st.composite
def markets(draw: st.DrawFn) -> RandomBars:
    """One symbol, or two or three of which each misses bars of its own."""
    steps = draw(st.one_of(st.integers(1, 60), st.integers(1, 120)))
    symbols = draw(st.sampled_from(["A", "A", "AB", "ABC"]))
    return {symbol: draw(series(steps)) for symbol in symbols}


SIZINGS: tuple[Mapping[str, object], ...] = (
    {"type": "fixed_units", "value": 10.0},
    {"type": "fixed_units", "value": 0.4, "whole_units": True},
    {"type": "fixed_units", "value": 3.0 - 1e-10, "whole_units": True},
    {"type": "fixed_units", "value": 1000.0},
    {"type": "fixed_notional", "value": 5_000.0},
    {"type": "fixed_notional", "value": 5_000.0, "whole_units": True},
    {"type": "percent_equity", "value": 0.5},
    {"type": "percent_equity", "value": 1.0},
    {"type": "volatility_target", "value": 0.2, "lookback": 3},
    {"type": "volatility_target", "value": 0.5, "lookback": 2, "whole_units": True},
    {"type": "fixed_units", "value": 1e-9},
    {"type": "fixed_notional", "value": 0.01},
    {"type": "percent_equity", "value": 1e-6},
)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, object]:
    """Rules of risk: mostly none, or any combination."""
    found: dict[str, object] = {"max_leverage": draw(st.sampled_from([None, None, 1.0, 0.3]))}
    if draw(st.booleans()):
        return found
    for name in ("stop_loss_pct", "take_profit_pct", "trailing_stop_pct"):
        found[name] = draw(st.sampled_from([None, 1.0, 5.0]))
    found["max_drawdown_pct"] = draw(st.sampled_from([None, 2.0, 20.0]))
    found["max_position"] = draw(st.sampled_from([None, 15.0]))
    return found


@st.composite
def executions(draw: st.DrawFn) -> dict[str, object]:
    """When orders fill, and what that costs."""
    kind = draw(st.sampled_from(["rate", "per_unit", "fixed"]))
    value = draw(st.sampled_from([0.0, 0.001, 0.5 if kind != "rate" else 0.01]))
    minimum = draw(st.sampled_from([0.0, 0.0, 2.0]))
    return {
        "fill_on": draw(st.sampled_from(["next_open", "close"])),
        "slippage_bps": draw(st.sampled_from([0.0, 7.0])),
        "close_at_end": draw(st.booleans()),
        "commission": {"type": kind, "value": value, "minimum": minimum},
    }


@st.composite
def positions(draw: st.DrawFn, symbol: str, bars: Mapping[int, Ohlc]) -> CarriedPosition:
    """A position that a lane begins with, a part of which may have been left already."""
    dear = max(high for _, high, _, _ in bars.values()) > 400.0  # too dear to owe
    exited = draw(st.sampled_from([0.0, 0.0, 3.0]))
    price = draw(PRICES)
    return CarriedPosition(
        symbol=symbol,
        direction=1 if dear else draw(st.sampled_from([1, -1])),
        quantity=7.0,
        entry_price=price,
        entry_ts=FIRST_TS - draw(st.sampled_from([0, 3])) * DAY,
        entry_moment=draw(st.sampled_from(["open", "intrabar", "close"])),
        commission=1.5,
        opening_price=draw(st.sampled_from([None, 99.0])),
        entered=7.0 + exited,
        exited=exited,
        exit_value=exited * 101.0,
        position_id=f"{symbol}-4",
    )


@st.composite
def accounts(
    draw: st.DrawFn, market: RandomBars, wanted: StrategyConfig | None
) -> CarriedAccount | None:
    """Mostly nothing, or an account as another window has left it, known targets included."""
    symbols = [symbol for symbol, bars in market.items() if 0 in bars]
    if not symbols or draw(st.integers(0, 3)):
        return None
    held = [symbol for symbol in symbols if draw(st.booleans())]
    targets = None
    if wanted is not None and draw(st.booleans()):
        known = {symbol: draw(st.sampled_from([0.0, 1.0, -1.0])) for symbol in symbols}
        targets = CarriedTargets(strategy=wanted, targets=known)
    return CarriedAccount(
        cash=10_000.0,
        positions=tuple(draw(positions(symbol, market[symbol])) for symbol in held),
        opened=4,
        wanted=targets,
    )


@st.composite
def columnar(draw: st.DrawFn) -> dict[str, object]:
    """Parameters of `RandomTargets`, all of them, as results tell them."""
    return {
        "seed": draw(st.integers(0, 10_000)),
        "often": draw(st.sampled_from([0.1, 0.3, 0.7, 1.0])),
        "kinds": draw(st.sampled_from(["long", "plain", "plain", "rising", "wild"])),
        "fails": draw(st.integers(0, 30)) == 0,
    }


@st.composite
def by_bar(draw: st.DrawFn, symbols: str) -> dict[str, object]:
    """Parameters of `RandomOrders`; one in ten fails."""
    fails = draw(st.integers(0, 9)) == 0
    return {
        "seed": draw(st.integers(0, 10_000)),
        "often": draw(st.sampled_from([0.1, 0.3, 0.7])),
        "symbols": symbols,
        "fails_at": draw(st.integers(0, 20)) if fails else -1,
    }


PLAIN_SIZINGS: tuple[Mapping[str, object], ...] = (
    *SIZINGS[:8],
    {"type": "volatility_target", "value": 0.2, "lookback": 2},
)


@st.composite
def plain_lanes(draw: st.DrawFn, market: RandomBars) -> Lane:
    """A lane whose blocks can be computed as arrays, unless an order is refused or resizes."""
    params = draw(columnar())
    params["kinds"] = draw(st.sampled_from(["long", "plain", "plain", "wild"]))
    limits = {"max_leverage": draw(st.sampled_from([None, 1.0, 0.5, 3.0]))}
    return Lane(
        RandomTargets,
        params,
        capital=draw(st.sampled_from(CAPITALS)),
        sizing=draw(st.sampled_from(PLAIN_SIZINGS)),
        risk={**limits, "max_position": draw(st.sampled_from([None, None, None, 60.0]))},
        execution=draw(executions()),
        carried=draw(accounts(market, StrategyConfig(type="strategy_1", params=params))),
    )


@st.composite
def plain_bar_lanes(draw: st.DrawFn, market: RandomBars) -> Lane:
    """A lane with a strategy that sees bar after bar and mostly places market orders."""
    params = {
        "seed": draw(st.integers(0, 10_000)),
        "often": draw(st.sampled_from([0.05, 0.2, 0.5])),
        "levels": draw(st.sampled_from([0.0, 0.02, 0.2])),
        "fails_at": draw(st.integers(0, 60)) if not draw(st.integers(0, 9)) else -1,
    }
    return Lane(
        RandomMarketOrders,
        params,
        capital=draw(st.sampled_from(CAPITALS)),
        sizing=draw(st.sampled_from(PLAIN_SIZINGS)),
        risk={
            "max_leverage": draw(st.sampled_from([None, 1.0, 0.5, 3.0])),
            "max_position": draw(st.sampled_from([None, None, 60.0])),
        },
        execution=draw(executions()),
        carried=draw(accounts(market, None)),
    )


@st.composite
def lanes(draw: st.DrawFn, market: RandomBars) -> Lane:
    """A lane of either kind of strategy."""
    in_columns = draw(st.booleans())
    params = draw(columnar() if in_columns else by_bar("".join(market)))
    wanted = StrategyConfig(type="strategy_1", params=params) if in_columns else None
    return Lane(
        RandomTargets if in_columns else RandomOrders,
        params,
        capital=draw(st.sampled_from(CAPITALS)),
        sizing=draw(st.sampled_from(SIZINGS)),
        risk=draw(rules()),
        execution=draw(executions()),
        carried=draw(accounts(market, wanted)),
    )


@st.composite
def windows(draw: st.DrawFn, market: RandomBars) -> dict[str, Any]:
    """Settings of a window: mostly all bars, in steps of a day or less, and no lane is given up."""
    step_ns = draw(st.sampled_from([DAY, DAY, DAY // 4]))
    found: dict[str, Any] = {
        "step_ns": step_ns,
        "benchmark": draw(st.sampled_from([None, "A"])),
        "return_blocks": draw(st.sampled_from([0, 3])),
        "periods_per_year": draw(st.sampled_from([None, 252.0])),
    }
    if not draw(st.integers(0, 3)):
        found["pruning"] = LanePruning(
            max_drawdown_pct=draw(st.sampled_from([None, 1.0, 10.0])),
            metric="total_return",
            threshold=draw(st.sampled_from([0.0, -0.05])),
            after_bars=draw(st.integers(1, 20)),
            every_bars=draw(st.integers(1, 10)),
        )
    if not draw(st.integers(0, 3)):
        steps = sorted({step for bars in market.values() for step in bars})
        first = draw(st.integers(0, len(steps) - 1))
        last = draw(st.integers(first, len(steps) - 1))
        found["start_ts"] = FIRST_TS + steps[first] * step_ns
        found["end_ts"] = FIRST_TS + steps[last] * step_ns + 1
        found["warmup"] = draw(st.sampled_from([None, 0, 2]))
    return found


@st.composite
def plain_cases(draw: st.DrawFn) -> Case:
    """Lanes in one symbol that arrays can be made of; some have the same strategy."""
    market = {"A": draw(series(draw(st.integers(1, 120))))}
    found = draw(st.lists(plain_lanes(market), min_size=1, max_size=2))
    if draw(st.booleans()):
        strategy = StrategyConfig(type="strategy_1", params=dict(found[0].params))
        carried = draw(accounts(market, strategy))
        found.append(replace(found[0], execution=draw(executions()), carried=carried))
    return Case(market, found, draw(windows(market)))


@st.composite
def plain_bar_cases(draw: st.DrawFn) -> Case:
    """Lanes in one symbol whose strategies see bar after bar."""
    market = {"A": draw(series(draw(st.integers(1, 120))))}
    found = draw(st.lists(plain_bar_lanes(market), min_size=1, max_size=2))
    return Case(market, found, draw(windows(market)))


@st.composite
def mixed_cases(draw: st.DrawFn) -> Case:
    """Lanes of every kind in any market."""
    market = draw(markets())
    found = draw(st.lists(lanes(market), min_size=1, max_size=2))
    return Case(market, found, draw(windows(market)))


def cases() -> st.SearchStrategy[Case]:
    """Return every kind of lane: such that arrays, or straight walks, are made of them, or any."""
    return st.one_of(plain_cases(), plain_bar_cases(), mixed_cases())

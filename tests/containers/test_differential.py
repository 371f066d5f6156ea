"""The engine against a plain simulator, and its two kinds of strategies against each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from admf.containers.events import Bar, Features, Fill, PortfolioUpdate
from admf.containers.market_data import Bars
from admf.containers.strategies.base import Context, FeatureView, Strategy
from tests.containers.harness import Lane, LaneRun, Ohlc, Series, run, run_lane, step_of

# -- random markets ----------------------------------------------------------------------------


def random_bars(rng: np.random.Generator, count: int) -> list[Ohlc]:
    """Return bars that walk, gap and sometimes stand still; prices have two decimals."""
    bars: list[Ohlc] = []
    close = float(rng.integers(20, 200))
    for _ in range(count):
        open_ = round(close * (1 + rng.choice([0, 0, 0.01, -0.01, 0.1, -0.1]) * rng.random()), 2)
        close = round(max(open_ * (1 + rng.normal(0, 0.03)), 0.5), 2)
        high = round(max(open_, close) * (1 + 0.03 * rng.random()), 2)
        low = round(min(open_, close) * (1 - 0.03 * rng.random()), 2)
        bars.append((open_, max(high, open_, close), min(low, open_, close), close))
    return bars


# -- a plain simulator -------------------------------------------------------------------------


@dataclass
class Rules:
    """The settings that the simulator knows."""

    fill_on: str
    slippage: float
    commission: str
    value: float
    minimum: float
    sizing: str
    size: float
    max_leverage: float | None

    def fee(self, units: float, price: float) -> float:
        if self.commission == "rate":
            return max(units * price * self.value, self.minimum)
        return max(
            units * self.value if self.commission == "per_unit" else self.value, self.minimum
        )

    def lane(self, strategy: type[Strategy]) -> Lane:
        return Lane(
            strategy,
            sizing={"type": self.sizing, "value": self.size},
            risk={"max_leverage": self.max_leverage},
            execution={
                "fill_on": self.fill_on,
                "slippage_bps": self.slippage * 10_000,
                "commission": {
                    "type": self.commission,
                    "value": self.value,
                    "minimum": self.minimum,
                },
            },
        )


@dataclass
class Simulator:
    """One symbol, market orders only: a list of intentions per bar, one bar after the other."""

    rules: Rules
    cash: float = 10_000.0
    units: float = 0.0
    fills: list[tuple[int, str, float, float, float]] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)
    rejects: list[tuple[int, str]] = field(default_factory=list)

    def run(self, bars: list[Ohlc], intentions: list[list[tuple[str, float]]]) -> None:
        pending: list[tuple[str, float]] = []
        for bar, (open_, _, _, close) in enumerate(bars):
            if self.rules.fill_on == "next_open":
                self.fill_all(bar, pending, open_)
                pending = self.without_replaced(intentions[bar])
            else:
                self.fill_all(bar, self.without_replaced(intentions[bar]), close)
            self.equity.append(self.cash + self.units * close)

    @staticmethod
    def without_replaced(orders: list[tuple[str, float]]) -> list[tuple[str, float]]:
        targets = [i for i, (kind, _) in enumerate(orders) if kind in ("target", "close")]
        return [it for i, it in enumerate(orders) if i not in targets[:-1]]

    def fill_all(self, bar: int, orders: list[tuple[str, float]], price: float) -> None:
        for kind, amount in orders:
            if kind in ("target", "close"):
                self.go_to(bar, 0.0 if kind == "close" else amount, price)
            else:
                self.trade(bar, 1 if kind == "buy" else -1, amount, price)

    def go_to(self, bar: int, exposure: float, price: float) -> None:
        if self.units and (exposure == 0.0 or (exposure > 0) != (self.units > 0)):
            self.book(bar, -self.units, price)
        if exposure == 0.0:
            return
        sign = math.copysign(1, exposure)
        wanted = sign * self.full(sign, price, abs(exposure))
        if wanted == 0.0 and self.units == 0.0:
            self.rejects.append((bar, "zero_quantity"))
        elif abs(wanted - self.units) > 1e-9 * abs(self.units):
            self.grow_or_shrink(bar, wanted - self.units, price)

    def trade(self, bar: int, sign: int, units: float, price: float) -> None:
        if self.units * sign < 0:
            closing = min(units, abs(self.units))
            self.book(bar, sign * closing, price)
            units -= closing
        if units > 0:
            self.grow_or_shrink(bar, sign * units, price)

    def full(self, sign: float, price: float, exposure: float) -> float:
        """Return units such that units * price + fee of the growth is the wanted equity."""
        rules, held = self.rules, abs(self.units)
        at = price * (1 + sign * rules.slippage)
        if rules.sizing == "fixed_units":
            return rules.size * exposure
        if rules.sizing == "fixed_notional":
            return rules.size * exposure / at
        room = rules.size * exposure * (self.cash + self.units * at) - held * at
        if room <= 0:
            return max(held + room / at, 0.0)
        low, high = 0.0, room / at
        for _ in range(200):  # bisection needs no formula
            middle = (low + high) / 2
            affordable = middle * at + rules.fee(middle, at) <= room
            low, high = (middle, high) if affordable else (low, middle)
        return held + (low if low > 1e-12 else 0.0)

    def grow_or_shrink(self, bar: int, change: float, price: float) -> None:
        rules = self.rules
        if change * self.units >= 0 and rules.max_leverage is not None:
            at = price * (1 + math.copysign(rules.slippage, change))
            equity = self.cash + self.units * at - rules.fee(abs(change), at)
            if abs(self.units + change) * at > rules.max_leverage * equity * (1 + 1e-9):
                self.rejects.append((bar, "max_leverage"))
                return
        self.book(bar, change, price)

    def book(self, bar: int, change: float, price: float) -> None:
        at = price * (1 + math.copysign(self.rules.slippage, change))
        fee = self.rules.fee(abs(change), at)
        self.cash -= change * at + fee
        self.units += change
        if abs(self.units) < 1e-12:
            self.units = 0.0
        self.fills.append((bar, "buy" if change > 0 else "sell", abs(change), at, fee))


def scripted(intentions: list[list[tuple[str, float]]]) -> type[Strategy]:
    class Scripted(Strategy):
        def on_bar(self, bar: Bar, ctx: Context) -> None:
            for kind, amount in intentions[ctx.bar_index]:
                if kind == "close":
                    ctx.close()
                else:
                    {"target": ctx.target, "buy": ctx.buy, "sell": ctx.sell}[kind](amount)

    return Scripted


RULES = st.builds(
    Rules,
    fill_on=st.sampled_from(["next_open", "close"]),
    slippage=st.sampled_from([0.0, 0.0005, 0.01]),
    commission=st.sampled_from(["rate", "per_unit", "fixed"]),
    value=st.sampled_from([0.0, 0.001, 0.01]),
    minimum=st.sampled_from([0.0, 2.0]),
    sizing=st.sampled_from(["percent_equity", "percent_equity", "fixed_units", "fixed_notional"]),
    size=st.sampled_from([0.25, 0.9, 1.0]),
    max_leverage=st.sampled_from([None, 1.0, 1.0]),
)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(rules=RULES, seed=st.integers(0, 2**32), count=st.integers(2, 40))
def test_market_orders_fill_as_in_a_plain_simulator(rules: Rules, seed: int, count: int) -> None:
    rules.size *= {"fixed_units": 40, "fixed_notional": 8_000}.get(rules.sizing, 1)
    rng = np.random.default_rng(seed)
    bars = random_bars(rng, count)
    kinds = ["target", "target", "buy", "sell", "close"]
    intentions = [
        [
            (
                str(kind),
                float(
                    rng.choice([-1, -0.5, 0, 0.5, 1]) if kind == "target" else rng.integers(1, 60)
                ),
            )
            for kind in rng.choice(kinds, size=rng.choice([0, 0, 0, 1, 1, 2]))
        ]
        for _ in bars
    ]
    expected = Simulator(rules)
    expected.run(bars, intentions)
    result = run_lane(rules.lane(scripted(intentions)), bars, block_size=int(rng.integers(1, 50)))
    found = [
        (step_of(it.ts), it.side, it.quantity, it.price, it.commission) for it in result.of(Fill)
    ]
    assert [it[:2] for it in found] == [it[:2] for it in expected.fills]
    for one, other in zip(found, expected.fills, strict=True):
        assert one[2:] == pytest.approx(other[2:], rel=1e-9, abs=1e-9)
    assert result.equity == pytest.approx(expected.equity, rel=1e-9, abs=1e-6)
    assert [(it[0], it[2]) for it in result.refusals] == expected.rejects


# -- columnar and per bar ----------------------------------------------------------------------


def traded(result: LaneRun) -> list[bytes]:
    """Return all events but the market's own; marks come by the block, so they stand apart."""
    others = [it for it in result.events if not isinstance(it, (Bar, Features, PortfolioUpdate))]
    return [msgspec.json.encode(it) for it in (*others, *result.of(PortfolioUpdate))]


def pair_of_strategies(targets: dict[str, NDArray[np.float64]]) -> tuple[Any, Any]:
    class ByColumn(Strategy):
        def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
            return targets[bars.symbol]

    class ByBar(Strategy):
        def __post_init__(self) -> None:
            self.wanted = dict.fromkeys(targets, 0.0)

        def on_bar(self, bar: Bar, ctx: Context) -> None:
            target = float(targets[bar.symbol][ctx.bar_index])
            if not math.isnan(target) and target != self.wanted[bar.symbol]:
                self.wanted[bar.symbol] = target
                ctx.target(target)

    return ByColumn, ByBar


def with_gaps(rng: np.random.Generator, bars: list[Ohlc]) -> Series:
    """Return a part of the bars by their step, at least one."""
    kept = {step: bar for step, bar in enumerate(bars) if rng.random() < 0.7}
    return kept or {0: bars[0]}


@settings(max_examples=25, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    symbols=st.integers(1, 3),
    fill_on=st.sampled_from(["next_open", "close"]),
    stops=st.booleans(),
    block_size=st.sampled_from([1, 3, 4096]),
)
def test_both_kinds_of_strategies_give_the_same_events(
    seed: int, symbols: int, fill_on: str, stops: bool, block_size: int
) -> None:
    rng = np.random.default_rng(seed)
    bars = {name: with_gaps(rng, random_bars(rng, 30)) for name in "ABC"[:symbols]}
    targets = {
        name: rng.choice([np.nan, np.nan, np.nan, -1, 0, 0.5, 1], size=len(series)) / symbols
        for name, series in bars.items()
    }
    by_column, by_bar = pair_of_strategies(targets)
    options: dict[str, Any] = {
        "execution": {
            "fill_on": fill_on,
            "slippage_bps": 5,
            "commission": {"value": 0.001},
            "close_at_end": bool(seed % 2),
        },
        "risk": {"stop_loss_pct": 3, "take_profit_pct": 6, "trailing_stop_pct": 5} if stops else {},
        "block_size": block_size,
    }
    one, other = run(by_column, bars, **options), run(by_bar, bars, **options)
    assert traded(one) == traded(other)
    assert one.raw == other.raw


class SmaByBar(Strategy):
    """`SmaCross` as a user would write it bar by bar."""

    fast: int
    slow: int

    def __post_init__(self) -> None:
        self.above: bool | None = None

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        difference = ctx.feature("sma", self.fast) - ctx.feature("sma", self.slow)
        if math.isnan(difference) or abs(difference) <= 1e-12 * bar.close:
            return
        above, before = difference > 0, self.above
        self.above = above
        if before is not None and above != before:
            ctx.target(1.0 if above else -1.0)


@pytest.mark.parametrize("seed", range(3))
def test_sma_cross_is_what_it_is_bar_by_bar(seed: int) -> None:
    bars = random_bars(np.random.default_rng(seed), 300)
    costs = {"slippage_bps": 5, "commission": {"value": 0.001}}
    columnar = run(
        "sma_cross", bars, params={"fast": 3, "slow": 8, "mode": "long_short"}, execution=costs
    )
    by_bar = run(SmaByBar, bars, params={"fast": 3, "slow": 8}, execution=costs, block_size=17)
    assert len(columnar.of(Fill)) > 20
    assert traded(columnar) == traded(by_bar)

"""What holds for any strategy: random strategies issue random orders on random markets."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.events import (
    Bar,
    Cancel,
    Fill,
    Order,
    PortfolioUpdate,
    PositionClose,
    PositionOpen,
    Reject,
)
from admf.containers.strategies.base import Context, Strategy
from admf.engine.batch import Batch
from admf.engine.events import Envelope
from tests.containers.harness import Lane, LaneRun, Ohlc, Recorder, run_lanes

TRACED = ("BAR", "ORDER", "REJECT", "CANCEL", "FILL", "POSITION_OPEN", "POSITION_CLOSE")


class Restless(Strategy):
    """Asks for whatever the lane's generator comes up with."""

    activity: float = 0.5

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        while ctx.rng.random() < self.activity:
            self.act(bar, ctx)

    def act(self, bar: Bar, ctx: Context) -> None:
        near = bar.close * ctx.rng.uniform(0.95, 1.05, size=4)
        kind = ctx.rng.integers(0, 8)
        if kind == 0:
            ctx.close()
        elif kind == 1:
            ctx.target(float(ctx.rng.choice([-1, -0.3, 0, 0.4, 1])))
        elif kind == 2:
            ctx.cancel()
        else:
            (ctx.buy if ctx.rng.random() < 0.5 else ctx.sell)(
                ctx.rng.choice([None, round(ctx.rng.uniform(0.1, 60), 2)]),
                limit=near[0] if ctx.rng.random() < 0.4 else None,
                stop=near[1] if ctx.rng.random() < 0.3 else None,
                stop_loss=near[2] if ctx.rng.random() < 0.3 else None,
                take_profit=near[3] if ctx.rng.random() < 0.3 else None,
                time_in_force=str(ctx.rng.choice(["gtc", "day"])),
            )


def market(rng: np.random.Generator, symbols: int, steps: int) -> dict[str, dict[int, Ohlc]]:
    """Return bars of symbols with gaps, which walk, jump and sometimes stand still."""
    found: dict[str, dict[int, Ohlc]] = {}
    for name in "ABC"[:symbols]:
        close, series = float(rng.uniform(5, 500)), {}
        for step in range(steps):
            if series and rng.random() < 0.25:
                continue
            open_ = close * rng.choice([1, 1, rng.uniform(0.93, 1.07)])
            close = open_ * rng.choice([1, rng.uniform(0.95, 1.05)])
            high = max(open_, close) * rng.uniform(1, 1.04)
            low = min(open_, close) * rng.uniform(0.96, 1)
            series[step] = (open_, high, low, close)
        found[name] = series
    return found


def settings_of(rng: np.random.Generator) -> dict[str, Any]:
    """Return random settings of a lane."""

    def maybe(value: object) -> object:
        return value if rng.random() < 0.4 else None

    return {
        "params": {"activity": float(rng.choice([0.2, 0.5, 0.7]))},
        "sizing": {
            "type": str(rng.choice(["percent_equity", "fixed_notional", "volatility_target"])),
            "value": float(rng.choice([0.2, 0.9, 3_000])),
            "whole_units": bool(rng.random() < 0.3),
            "lookback": 3,
        },
        "risk": {
            "stop_loss_pct": maybe(2.0),
            "take_profit_pct": maybe(3.0),
            "trailing_stop_pct": maybe(2.5),
            "max_drawdown_pct": maybe(15.0),
            "max_leverage": maybe(float(rng.choice([0.5, 1.0, 3.0]))),
            "max_position": maybe(50.0),
        },
        "execution": {
            "fill_on": str(rng.choice(["next_open", "close"])),
            "slippage_bps": float(rng.choice([0, 0, 5, 50])),
            "close_at_end": bool(rng.random() < 0.3),
            "commission": {
                "type": str(rng.choice(["rate", "per_unit", "fixed"])),
                "value": float(rng.choice([0, 0.001, 0.01])),
                "minimum": float(rng.choice([0, 1])),
            },
        },
        "seed": int(rng.integers(0, 2**31)),
    }


def random_run(seed: int, **options: Any) -> tuple[LaneRun, dict[str, dict[int, Ohlc]], Lane]:
    rng = np.random.default_rng(seed)
    bars = market(rng, int(rng.integers(1, 4)), int(rng.integers(1, 60)))
    lane = Lane(Restless, **settings_of(rng))
    (result,) = run_lanes([lane], bars, **options)
    assert result.document["status"] == "completed"
    return result, bars, lane


SEEDS = st.integers(0, 2**32)
examples = settings(max_examples=25, derandomize=True, deadline=None)
close_to = pytest.approx


# -- money -------------------------------------------------------------------------------------


def books(result: LaneRun) -> tuple[list[float], list[float]]:
    """Return cash and equity at each mark, from the FILLs and the closes alone."""
    cash, units, price = 10_000.0, Counter[str](), dict[str, float]()
    fills, bars = result.of(Fill), result.of(Bar)
    cashes, equities = [], []
    for mark in result.of(PortfolioUpdate):
        for fill in (it for it in fills if it.ts == mark.ts):
            sign = 1 if fill.side == "buy" else -1
            cash -= sign * fill.quantity * fill.price + fill.commission
            units[fill.symbol] += sign * fill.quantity
        price |= {bar.symbol: bar.close for bar in bars if bar.ts == mark.ts}
        cashes.append(cash)
        equities.append(cash + sum(held * price[symbol] for symbol, held in units.items() if held))
    return cashes, equities


@examples
@given(SEEDS)
def test_cash_and_positions_make_the_equity_of_every_bar(seed: int) -> None:
    result, _, _ = random_run(seed)
    cash, equity = books(result)
    marks = result.of(PortfolioUpdate)
    assert [mark.ts for mark in marks] == sorted({bar.ts for bar in result.of(Bar)})
    assert [mark.cash for mark in marks] == close_to(cash, rel=1e-9, abs=1e-6)
    assert [mark.equity for mark in marks] == close_to(equity, rel=1e-9, abs=1e-6)


@examples
@given(SEEDS)
def test_closed_trades_and_open_positions_explain_the_change_of_the_equity(seed: int) -> None:
    document = random_run(seed)[0].document
    closed = sum(trade["pnl"] for trade in document["trades"])
    still_open = sum(position["unrealized_pnl"] for position in document["open_positions"])
    change = document["metrics"]["final_equity"] - 10_000
    assert closed + still_open == close_to(change, rel=1e-9, abs=1e-6)


@examples
@given(SEEDS)
def test_costs_of_the_fills_are_the_costs_of_the_portfolio(seed: int) -> None:
    result, _, _ = random_run(seed)
    document, fills = result.document, result.of(Fill)
    commission = sum(fill.commission for fill in fills)
    assert document["metrics"]["total_commission"] == close_to(commission)
    assert document["metrics"]["total_slippage"] == close_to(sum(fill.slippage for fill in fills))
    records = [*document["trades"], *document["open_positions"]]
    assert sum(it["commission"] for it in records) == close_to(commission)


# -- orders and positions ----------------------------------------------------------------------


class OrderBook:
    """What became of each order, as the events tell it; wrong sequences fail at once."""

    def __init__(self, result: LaneRun) -> None:
        self.orders: dict[int, Order] = {}
        self.filled: Counter[int] = Counter()
        self.ended: set[int] = set()
        for event in result.events:
            if isinstance(event, Order):
                assert event.order_id not in self.orders
                self.orders[event.order_id] = event
            elif isinstance(event, (Fill, Cancel, Reject)):
                assert event.order_id in self.orders
                assert event.order_id not in self.ended
                self.take(event)

    def take(self, event: Fill | Cancel | Reject) -> None:
        if isinstance(event, Fill):
            self.filled[event.order_id] += event.quantity
        else:
            self.ended.add(event.order_id)

    @property
    def working(self) -> list[Order]:
        return [
            order
            for order_id, order in self.orders.items()
            if order_id not in self.filled and order_id not in self.ended
        ]


@examples
@given(SEEDS)
def test_an_order_ends_once_and_fills_no_more_than_it_asks_for(seed: int) -> None:
    result, _, lane = random_run(seed)
    book = OrderBook(result)
    for order_id, order in book.orders.items():
        if order.quantity is None or lane.sizing["whole_units"]:
            continue
        if order_id in book.ended:
            assert book.filled[order_id] < order.quantity
        elif order_id in book.filled:
            assert book.filled[order_id] == close_to(order.quantity, rel=1e-12)


@examples
@given(SEEDS)
def test_a_market_order_waits_only_for_a_bar_that_does_not_come(seed: int) -> None:
    result, _, lane = random_run(seed)
    last = {bar.symbol: bar.ts for bar in result.of(Bar)}
    working = OrderBook(result).working
    assert all(order.ts >= last[order.symbol] for order in working if order.type == "market")
    if lane.execution["close_at_end"]:
        assert working == []


@examples
@given(SEEDS)
def test_fills_belong_to_positions_and_never_cross_zero(seed: int) -> None:
    result, _, _ = random_run(seed)
    held: dict[str, float] = {}
    current: dict[str, str] = {}
    seen: list[str] = []
    for event in result.events:
        if isinstance(event, Fill):
            change = event.quantity if event.side == "buy" else -event.quantity
            before = held.get(event.symbol, 0.0)
            after = before + change
            if abs(after) <= 1e-9 * event.quantity:
                after = 0.0
            assert event.quantity > 0
            assert before * after >= 0
            assert current.get(event.symbol, event.position_id) == event.position_id
            held[event.symbol] = after
        elif isinstance(event, PositionOpen):
            assert event.symbol not in current
            assert event.side == ("long" if held[event.symbol] > 0 else "short")
            current[event.symbol] = event.position_id
            seen.append(event.position_id)
        elif isinstance(event, PositionClose):
            assert current.pop(event.symbol) == event.position_id
            assert held.pop(event.symbol) == 0.0
    assert [name.rpartition("-")[2] for name in seen] == [str(i) for i in range(1, len(seen) + 1)]
    reported = {it["id"]: it["quantity"] for it in result.document["open_positions"]}
    assert set(reported) == set(current.values())
    for symbol, position_id in current.items():
        assert reported[position_id] == close_to(abs(held[symbol]), rel=1e-9)


@examples
@given(SEEDS)
def test_fills_lie_within_their_bar(seed: int) -> None:
    result, _, lane = random_run(seed)
    bars = {(bar.symbol, bar.ts): bar for bar in result.of(Bar)}
    slippage = float(lane.execution["slippage_bps"]) / 10_000  # type: ignore[arg-type]
    orders = {order.order_id: order for order in result.of(Order)}
    for fill in result.of(Fill):
        if fill.reason == "end" and (fill.symbol, fill.ts) not in bars:
            continue
        bar, order = bars[fill.symbol, fill.ts], orders[fill.order_id]
        price = fill.price / (1 + slippage if fill.side == "buy" else 1 - slippage)
        assert bar.low * (1 - 1e-9) <= price <= bar.high * (1 + 1e-9)
        if fill.moment == "open":
            assert price == close_to(bar.open, rel=1e-9)
        if fill.moment == "close":
            assert price == close_to(bar.close, rel=1e-9)
        if order.limit_price is not None:
            better = order.limit_price - price if fill.side == "buy" else price - order.limit_price
            assert better >= -1e-9 * price
        assert fill.slippage == close_to(slippage * price * fill.quantity, rel=1e-6)


@examples
@given(SEEDS)
def test_limits_hold_at_every_fill_that_enlarges_a_position(seed: int) -> None:
    result, _, lane = random_run(seed)
    most = lane.risk["max_position"]
    held: Counter[str] = Counter()
    for fill in result.of(Fill):
        before = abs(held[fill.symbol])
        held[fill.symbol] += fill.quantity if fill.side == "buy" else -fill.quantity
        if most is not None and abs(held[fill.symbol]) > before:
            assert abs(held[fill.symbol]) <= most * (1 + 1e-6)  # type: ignore[operator]
    halted = [it.ts for it in result.of(Order) if it.reason == "max_drawdown"]
    if halted:
        opened = [it.ts for it in result.of(PositionOpen)]
        assert all(ts <= halted[0] for ts in opened)


# -- memory ------------------------------------------------------------------------------------


class Auditor(Recorder):
    """Compares what the policy keeps with what it may keep, after each event or batch."""

    def __init__(self, retention: str) -> None:
        super().__init__()
        self.retention = retention
        self.open: dict[str, int] = {}
        self.counts: Counter[str] = Counter()

    def record(self, envelope: Envelope) -> None:
        self._take(envelope)
        self._compare()

    def record_batch(self, batch: Batch, first: int, cause: int) -> None:
        for envelope in batch.envelopes(first, cause):
            self._take(envelope)
        self._compare()

    def _take(self, envelope: Envelope) -> None:
        super().record(envelope)
        event = envelope.event
        if isinstance(event, (Fill, PositionOpen)):
            self.open[event.position_id] = self.open.get(event.position_id, 0) + 1
        elif isinstance(event, PositionClose):
            self.open.pop(event.position_id, None)

    def _compare(self) -> None:
        assert self.tracer is not None
        policy = self.tracer.policy
        assert policy.retained_count == len(policy.retained())
        if self.retention == "trade_complete":
            assert policy.retained_count == sum(self.open.values())
        elif self.retention == "minimal":
            assert policy.retained_count == len(self.open)
        else:
            kept = Counter(type(it) for it in policy.retained())
            assert max(kept.values(), default=0) <= 1000


@settings(max_examples=15, derandomize=True, deadline=None)
@given(
    SEEDS,
    st.sampled_from(["trade_complete", "sliding_window", "minimal"]),
    st.sampled_from(["bus", "direct"]),
)
def test_retention_is_bounded_after_every_event(seed: int, retention: str, dispatch: str) -> None:
    auditor = Auditor(retention)
    options = {"retention": retention, "traced": TRACED, "dispatch": dispatch}
    result, _, _ = random_run(seed, recorders=[auditor], **options)
    tracer = result.document["tracer"]
    assert tracer["observed"] == tracer["retained"] + tracer["dropped"]
    names = Counter(str(type(it).__struct_config__.tag) for it in result.events)
    assert tracer["by_type"] == {name: names[name] for name in sorted(TRACED) if names[name]}


# -- determinism -------------------------------------------------------------------------------


@settings(max_examples=20, derandomize=True, deadline=None)
@given(SEEDS, st.sampled_from(["trade_complete", "sliding_window", "minimal"]))
def test_results_do_not_depend_on_the_size_of_blocks(seed: int, retention: str) -> None:
    runs = [
        random_run(seed, block_size=size, retention=retention, traced=(*TRACED, "PORTFOLIO_UPDATE"))
        for size in (1, 7, 4096)
    ]
    assert len({result.raw for result, _, _ in runs}) == 1
    orders = [[repr(it) for it in result.of(Order)] for result, _, _ in runs]
    assert orders[0] == orders[1] == orders[2]


DIGEST = """
import sys
from tests.containers.test_properties import digest
sys.stderr.write(digest())
"""


def digest() -> str:
    """Return a digest of the results and events of a few random runs."""
    found = hashlib.sha256()
    for seed in range(4):
        result, _, _ = random_run(seed)
        found.update(result.raw)
        found.update(repr(result.events).encode())
    return found.hexdigest()


def test_results_do_not_depend_on_the_hash_seed() -> None:
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(  # noqa: S603 - runs this very interpreter
            [sys.executable, "-c", DIGEST],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "4242")
    ]
    digests = {process.communicate()[1] for process in processes}
    assert digests == {digest()}

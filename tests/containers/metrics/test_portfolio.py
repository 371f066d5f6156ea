from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.events import Fill, PortfolioUpdate, PositionClose
from admf.containers.metrics import Annualisation, MetricsResult, PortfolioMetrics
from admf.containers.times import DAY_NS
from admf.engine.block import Block

Marks: TypeAlias = Block[PortfolioUpdate]
MakeMarks: TypeAlias = Callable[..., Marks]

PER_BAR = Annualisation(252.0, "bar")
PER_DAY = Annualisation()
MINUTES_17 = 17 * 60 * 1_000_000_000


def random_marks(make: MakeMarks, count: int, seed: int, *, ruin: bool = False) -> Marks:
    rng = np.random.default_rng(seed)
    equity = 100 * np.cumprod(1 + rng.standard_t(4, count) * 0.002)
    benchmark = 30 * np.cumprod(1 + rng.standard_normal(count) * 0.002)
    benchmark[: rng.integers(0, count)] = math.nan
    if ruin:
        equity[rng.integers(0, count)] = -1.0
    exposure = np.where(rng.random(count) < 0.5, 0.0, equity)
    return make(equity, step_ns=MINUTES_17, exposure=exposure, benchmark=benchmark)


def fold(marks: Marks, annualisation: Annualisation, cuts: list[int]) -> MetricsResult:
    """Fold the marks cut into blocks of these sizes, over and over; size 0 is a single event."""
    metrics = PortfolioMetrics(100.0, annualisation)
    start, turn = 0, 0
    while start < len(marks):
        size = cuts[turn % len(cuts)]
        part = marks.slice(start, start + max(size, 1))
        metrics.sinks[0].fold(part if size else part.events()[0])
        start, turn = start + max(size, 1), turn + 1
    return metrics.result()


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 5000),
    cuts=st.lists(st.integers(0, 2500), min_size=1, max_size=5).filter(lambda c: sum(c) > 50),
    annualisation=st.sampled_from([PER_BAR, PER_DAY]),
    ruin=st.booleans(),
)
def test_results_do_not_depend_on_how_marks_are_cut_into_blocks(
    marks: MakeMarks, count: int, cuts: list[int], annualisation: Annualisation, ruin: bool
) -> None:
    whole = random_marks(marks, count, count, ruin=ruin)
    assert fold(whole, annualisation, cuts) == fold(whole, annualisation, [count])


@pytest.mark.parametrize("annualisation", [PER_BAR, PER_DAY])
@pytest.mark.parametrize("cuts", [[0], [1], [7], [1000], [4096]])
def test_usual_block_sizes_give_the_same_bits(
    marks: MakeMarks, annualisation: Annualisation, cuts: list[int]
) -> None:
    whole = random_marks(marks, 20_000, 1)
    assert fold(whole, annualisation, cuts) == fold(whole, annualisation, [20_000])


@pytest.mark.parametrize("annualisation", [PER_BAR, PER_DAY])
def test_asking_midway_gives_the_metrics_so_far_and_changes_nothing_later(
    marks: MakeMarks, annualisation: Annualisation
) -> None:
    whole = random_marks(marks, 20_000, 2)
    metrics = PortfolioMetrics(100.0, annualisation)
    for start in range(0, 20_000, 1500):
        metrics.sinks[0].fold(whole.slice(start, start + 1500))
        so_far = whole.slice(0, min(start + 1500, 20_000))
        assert metrics.result() == fold(so_far, annualisation, [len(so_far)])
        assert metrics.result() == metrics.result()


def test_estimates_are_named_once_there_are_too_many_returns(marks: MakeMarks) -> None:
    tails = ("value_at_risk_95", "conditional_value_at_risk_95", "tail_ratio")
    whole = random_marks(marks, 17_000, 3)
    exact, estimated = fold(whole.slice(0, 16_384), PER_BAR, [4096]), fold(whole, PER_BAR, [4096])
    assert exact.approximate == ()
    assert estimated.approximate == tails
    returns = np.diff(whole.column("equity"), prepend=100.0) / np.concatenate(
        ([100.0], whole.column("equity")[:-1])
    )
    low = np.quantile(returns, 0.05)
    assert estimated.values["value_at_risk_95"] == pytest.approx(low, rel=0.01)


def test_the_used_annualisation_is_echoed(marks: MakeMarks) -> None:
    result = fold(marks([101.0]), Annualisation(365.0, "day"), [1])
    assert (result.periods_per_year, result.interval) == (365.0, "day")


def a_fill(quantity: float, price: float) -> Fill:
    return Fill(
        ts=4 * DAY_NS,
        symbol="GOOG",
        order_id=1,
        position_id="GOOG-1",
        side="buy" if quantity > 0 else "sell",
        quantity=abs(quantity),
        price=price,
        commission=0.1,
        slippage=0.7,
        moment="open",
        reason="signal",
    )


def test_turnover_is_the_value_of_both_sides_over_mean_equity(marks: MakeMarks) -> None:
    metrics = PortfolioMetrics(100.0, PER_BAR)
    for event in (a_fill(10.0, 9.0), marks([90.0, 120.0]), a_fill(-10.0, 12.0), marks([150.0])):
        metrics.sinks[1 if isinstance(event, Fill) else 0].fold(event)
    values = metrics.result().values
    assert values["turnover"] == pytest.approx((90.0 + 120.0) / 120.0)
    assert values["total_commission"] == pytest.approx(0.2)
    assert values["total_slippage"] == pytest.approx(1.4)


def test_a_block_of_fills_adds_up_like_single_fills() -> None:
    fills = [a_fill(quantity, 9.7) for quantity in (1.1, -2.2, 3.3, 0.7)]
    columns = {
        name: np.array([getattr(fill, name) for fill in fills]) for name in Fill.__struct_fields__
    }
    single, block = PortfolioMetrics(100.0, PER_BAR), PortfolioMetrics(100.0, PER_BAR)
    for fill in fills:
        single.sinks[1].fold(fill)
    block.sinks[1].fold(Block(Fill, columns))
    assert single.result() == block.result()
    assert single.result().values["total_slippage"] == pytest.approx(2.8)


def long_stream(make: MakeMarks, count: int) -> Iterator[Marks]:
    rng = np.random.default_rng(11)
    for _ in range(count // 10_000):
        yield make(100.0 + rng.standard_normal(10_000), step_ns=MINUTES_17)


def test_memory_does_not_grow_with_the_number_of_marks(marks: MakeMarks) -> None:
    metrics = PortfolioMetrics(100.0, PER_BAR)
    for block in long_stream(marks, 50_000):
        metrics.sinks[0].fold(block)
    tracemalloc.start()
    try:
        for block in long_stream(marks, 1_000_000):
            metrics.sinks[0].fold(block)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert metrics.result().values["bars"] == 1_050_000
    assert kept < 1_000_000
    assert peak < 3_000_000


def test_the_metrics_of_many_lanes_of_minute_bars_take_little_memory(
    marks: MakeMarks, close: Callable[..., PositionClose]
) -> None:
    minutes = marks(100.0 + np.arange(40_000.0) % 9, step_ns=60 * 1_000_000_000)
    trades: Block[PositionClose] = Block.of([close(1.0, number=number) for number in range(1400)])
    tracemalloc.start()
    try:
        lanes = [PortfolioMetrics(100.0, PER_DAY) for _ in range(20)]
        assert tracemalloc.get_traced_memory()[0] < 20 * 16_000
        for lane in lanes:
            for start in range(0, 40_000, 8192):
                lane.sinks[0].fold(minutes.slice(start, start + 8192))
            for start in range(0, 1400, 100):
                lane.sinks[2].fold(trades.slice(start, start + 100))
        assert tracemalloc.get_traced_memory()[0] < 20 * 40_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("annualisation", [PER_BAR, PER_DAY])
@pytest.mark.parametrize(("count", "ruin"), [(0, False), (1, False), (1024, False), (3000, True)])
def test_a_single_metric_is_what_it_is_among_all(
    marks: MakeMarks,
    close: Callable[..., PositionClose],
    annualisation: Annualisation,
    count: int,
    ruin: bool,
) -> None:
    metrics = PortfolioMetrics(100.0, annualisation)
    if count:
        metrics.sinks[0].fold(random_marks(marks, count, 1, ruin=ruin))
        metrics.sinks[1].fold(a_fill(3.0, 9.0))
        metrics.sinks[2].fold(close(12.0))
    values = metrics.result().values
    assert {name: metrics.value(name) for name in values} == values
    with pytest.raises(KeyError):
        metrics.value("nonsense")

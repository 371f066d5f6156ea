from __future__ import annotations

import statistics
import tracemalloc
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.aggregate import AggregateMetrics, AggregateResult, BestPortfolio
from admf.containers.metrics.catalogue import HEADLINE_METRICS, METRICS
from admf.containers.report import LaneReport

BETTER = {info.name: info.higher_is_better for info in METRICS}


def row(
    number: int = 1, status: str = "completed", rejects: Any = None, **metrics: float | None
) -> LaneReport:
    return LaneReport(
        f"portfolio_{number:03}",
        f"{number:03}",
        status,
        None,
        {"fast": number},
        metrics,
        rejects=rejects or {},
    )


def fold(*rows: LaneReport) -> AggregateResult:
    metrics = AggregateMetrics()
    for it in rows:
        metrics.fold(it)
    return metrics.result()


def test_nothing_has_no_figures() -> None:
    result = fold()
    assert (result.portfolio_count, result.failed_count, result.pruned_count) == (0, 0, 0)
    assert (result.best_sharpe_ratio, result.best_portfolio_metrics) == (None, None)
    assert (result.total_trades, result.rejects) == (0, {})
    assert list(result.metrics) == list(HEADLINE_METRICS)
    for summary in result.metrics.values():
        assert msgspec.structs.astuple(summary) == (None, None, None, 0, 0)


values = st.none() | st.floats(-1e6, 1e6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(HEADLINE_METRICS, values)), min_size=1))
def test_each_headline_metric_is_summed_up_over_those_that_have_it(
    rows: list[dict[str, float | None]],
) -> None:
    result = fold(*(row(**metrics) for metrics in rows))
    for name in HEADLINE_METRICS:
        known = [it for metrics in rows if (it := metrics[name]) is not None]
        found = result.metrics[name]
        assert (found.count, found.missing) == (len(known), len(rows) - len(known))
        if not known:
            assert (found.avg, found.median, found.worst) == (None, None, None)
            continue
        assert found.avg == pytest.approx(statistics.fmean(known), abs=1e-6)
        assert found.median == pytest.approx(statistics.median(known))
        worst = {True: min(known), False: max(known), None: None}
        assert found.worst == worst[BETTER[name]]


def test_the_worst_value_is_the_greatest_where_lower_is_better() -> None:
    result = fold(
        row(annual_volatility=0.1, max_drawdown=-0.1, trade_count=3),
        row(annual_volatility=0.4, max_drawdown=-0.5, trade_count=9),
    )
    assert result.metrics["annual_volatility"].worst == 0.4
    assert result.metrics["max_drawdown"].worst == -0.5
    assert result.metrics["trade_count"].worst is None


def test_the_best_portfolio_is_the_first_of_the_greatest_sharpe_ratio() -> None:
    rows = [
        row(1, sharpe_ratio=None, total_return=9.0),
        row(2, sharpe_ratio=-1.0, total_return=8.0),
        row(3, sharpe_ratio=0.5, total_return=0.2),
        row(4, sharpe_ratio=0.5, total_return=0.3),
    ]
    result = fold(*rows)
    assert result.best_sharpe_ratio == 0.5
    assert result.best_portfolio_metrics == BestPortfolio(
        "portfolio_003", {"fast": 3}, {"sharpe_ratio": 0.5, "total_return": 0.2}
    )
    assert fold(*rows[:2]).best_sharpe_ratio == -1.0
    assert fold(rows[0]).best_sharpe_ratio is None


def test_a_failed_portfolio_is_counted_and_nothing_else() -> None:
    good = row(1, rejects={"max_leverage": 1}, sharpe_ratio=1.0, trade_count=3)
    failed = row(2, "failed", {"max_leverage": 9}, sharpe_ratio=5.0, trade_count=7)
    result = fold(failed, good)
    alone = fold(good)
    assert msgspec.structs.replace(result, portfolio_count=1, failed_count=0) == alone
    assert (result.portfolio_count, result.failed_count) == (2, 1)


def test_a_pruned_portfolio_counts_but_is_never_the_best() -> None:
    result = fold(
        row(1, "pruned", sharpe_ratio=5.0, trade_count=7), row(2, sharpe_ratio=1.0, trade_count=3)
    )
    assert (result.portfolio_count, result.pruned_count, result.total_trades) == (2, 1, 10)
    assert result.best_sharpe_ratio == 1.0
    assert result.metrics["sharpe_ratio"].avg == 3.0


def test_rejects_and_trades_add_up() -> None:
    result = fold(
        row(1, rejects={"max_leverage": 2, "zero_quantity": 1}, trade_count=4),
        row(2, rejects={"max_drawdown": 1, "max_leverage": 3}, trade_count=None),
    )
    assert result.rejects == {"max_drawdown": 1, "max_leverage": 5, "zero_quantity": 1}
    assert list(result.rejects) == sorted(result.rejects)
    assert result.total_trades == 4


def test_memory_does_not_grow_with_the_number_of_portfolios() -> None:
    rng = np.random.default_rng(7)
    metrics = AggregateMetrics()
    one = row(sharpe_ratio=0.0)
    values = rng.standard_normal(20_000).tolist()
    tracemalloc.start()
    try:
        for value in values:
            metrics.fold(msgspec.structs.replace(one, metrics={"sharpe_ratio": value}))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    summary = metrics.result().metrics["sharpe_ratio"]
    assert summary.count == 20_000
    assert summary.median == pytest.approx(statistics.median(values), abs=0.02)
    assert kept < 500_000


def test_it_goes_on_after_it_was_asked() -> None:
    metrics = AggregateMetrics()
    metrics.fold(row(sharpe_ratio=1.0))
    metrics.result()
    metrics.fold(row(sharpe_ratio=3.0))
    assert metrics.result() == fold(row(sharpe_ratio=1.0), row(sharpe_ratio=3.0))

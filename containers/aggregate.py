"""The figures of many portfolios together, in one pass and bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from admf.containers.metrics.catalogue import HEADLINE_METRICS, METRICS
from admf.containers.metrics.quantiles import QuantileAccumulator
from admf.containers.metrics.ratio import ratio

if TYPE_CHECKING:
    from admf.containers.report import LaneReport

__all__ = ["AggregateMetrics", "AggregateResult", "BestPortfolio", "MetricSummary"]


EXACT_PORTFOLIOS = 4_096
"""Portfolios up to which medians are exact; there is a buffer for each headline metric."""


class MetricSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One metric over all portfolios that have it.

    Args:
        avg: Mean; None if no portfolio has the metric.
        median: Exact up to 4,096 portfolios, an estimate beyond.
        worst: Least value, or greatest if lower is better; None if neither is better as such.
        count: Portfolios that have the metric.
        missing: Portfolios of which it is null; they are left out of the other figures.
    """

    avg: float | None
    median: float | None
    worst: float | None
    count: int
    missing: int


class BestPortfolio(msgspec.Struct, frozen=True):
    """The portfolio with the greatest Sharpe ratio, and all of its metrics."""

    container_id: str
    parameters: Mapping[str, object]
    metrics: Mapping[str, float | None]


class AggregateResult(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of many portfolios.

    Args:
        portfolio_count: All portfolios, also those that failed or were pruned.
        failed_count: Those that failed, or could not be built; no other figure has them in it.
        pruned_count: Those that were given up early.
        best_sharpe_ratio: Greatest Sharpe ratio of those that were not pruned; None without one.
        best_portfolio_metrics: The portfolio it belongs to, the first of equals.
        metrics: Each of the headline metrics.
        total_trades: Closed trades.
        rejects: Refused orders by reason.
    """

    portfolio_count: int
    failed_count: int
    pruned_count: int
    best_sharpe_ratio: float | None
    best_portfolio_metrics: BestPortfolio | None
    metrics: dict[str, MetricSummary]
    total_trades: int
    rejects: dict[str, int]


class AggregateMetrics:
    """Folds the reports of portfolios; `result` gives the figures up to now.

    What a pruned portfolio did up to its end counts, since leaving the worst ones out would flatter
    the rest; but it is never the best one. A failed portfolio is only counted.
    """

    def __init__(self) -> None:
        self._portfolios = 0
        self._failed = 0
        self._pruned = 0
        self._best: tuple[float, LaneReport] | None = None
        better = {info.name: info.higher_is_better for info in METRICS}
        self._spreads = {name: _Spread(better[name]) for name in HEADLINE_METRICS}
        self._trades = 0
        self._rejects: Counter[str] = Counter()

    def fold(self, row: LaneReport) -> None:
        """Take the report of one portfolio."""
        self._portfolios += 1
        if row.status == "failed":
            self._failed += 1
            return
        if row.status == "pruned":
            self._pruned += 1
        else:
            self._compare(row)
        for name, spread in self._spreads.items():
            spread.fold(row.metrics.get(name))
        self._trades += int(row.metrics.get("trade_count") or 0)
        self._rejects.update(row.rejects)

    def result(self) -> AggregateResult:
        """Return the figures of all portfolios up to now; later ones go on from there."""
        sharpe, best = self._best or (None, None)
        return AggregateResult(
            portfolio_count=self._portfolios,
            failed_count=self._failed,
            pruned_count=self._pruned,
            best_sharpe_ratio=sharpe,
            best_portfolio_metrics=None if best is None else _best(best),
            metrics={name: spread.summary() for name, spread in self._spreads.items()},
            total_trades=self._trades,
            rejects=dict(sorted(self._rejects.items())),
        )

    def _compare(self, row: LaneReport) -> None:
        sharpe = row.metrics.get("sharpe_ratio")
        if sharpe is not None and (self._best is None or sharpe > self._best[0]):
            self._best = (sharpe, row)


def _best(row: LaneReport) -> BestPortfolio:
    return BestPortfolio(row.container_id, row.parameters, row.metrics)


class _Spread:
    """Mean, median and worst value of one metric."""

    def __init__(self, higher_is_better: bool | None) -> None:
        self._higher_is_better = higher_is_better
        self._quantiles = QuantileAccumulator(EXACT_PORTFOLIOS)
        self._count = 0
        self._missing = 0
        self._sum = 0.0
        self._worst: float | None = None

    def fold(self, value: float | None) -> None:
        if value is None:
            self._missing += 1
            return
        self._count += 1
        self._sum += value
        self._quantiles.fold(np.array([value]))
        if self._higher_is_better is not None:
            worse = min if self._higher_is_better else max
            self._worst = value if self._worst is None else worse(self._worst, value)

    def summary(self) -> MetricSummary:
        median = self._quantiles.quantiles(0.5)
        return MetricSummary(
            avg=ratio(self._sum, self._count),
            median=None if median is None else median[0],
            worst=self._worst,
            count=self._count,
            missing=self._missing,
        )

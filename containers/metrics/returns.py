"""Metrics of the per-period returns."""

from __future__ import annotations

import copy
import math

import numpy as np

from admf.containers.metrics.benchmark import BenchmarkAccumulator
from admf.containers.metrics.chunks import ChunkBuffer, Floats, changes, running_sum
from admf.containers.metrics.duplicate import duplicate
from admf.containers.metrics.moments import Moments
from admf.containers.metrics.quantiles import QuantileAccumulator
from admf.containers.metrics.ratio import compounded, ratio
from admf.containers.metrics.return_blocks import ReturnBlocks
from admf.containers.metrics.sharpe import probability_above

__all__ = ["ReturnAccumulator"]


class ReturnAccumulator:
    """Simple returns r of sampled equity, the initial capital before the first sample.

    The risk-free rate and every threshold are 0. Ratios of returns that are all equal (to within
    rounding) are undefined.

    Args:
        initial_capital: Quote currency.
        periods_per_year: Samples in a year.
        blocks: Sums of groups of the returns.
    """

    def __init__(
        self, initial_capital: float, periods_per_year: float, blocks: ReturnBlocks | None = None
    ) -> None:
        self._buffer = ChunkBuffer(2)
        self._initial_capital = initial_capital
        self._periods_per_year = periods_per_year
        self._equity = initial_capital
        self._benchmark_price = math.nan
        self._moments = Moments()
        self._gains = 0.0
        self._losses = 0.0
        self._squared_losses = 0.0
        self.blocks = blocks or ReturnBlocks()
        self.quantiles = QuantileAccumulator()
        self.benchmark = BenchmarkAccumulator(periods_per_year)

    def fold(self, equity: Floats, benchmark: Floats) -> None:
        """Take samples in any portions.

        Args:
            equity: float64 (n,), finite and positive.
            benchmark: float64 (n,), price of the benchmark; NaN where there is none.
        """
        for chunks in self._buffer.extend(equity, benchmark):
            self._fold_chunks(*chunks)

    def finish(self) -> None:
        """Fold the incomplete chunk; no more samples may follow."""
        rest = self._buffer.rest()
        if rest is not None:
            self._fold_chunks(*rest)

    def copied(self) -> ReturnAccumulator:
        """Return an accumulator of the same returns, which goes on by itself."""
        copied = duplicate(self)
        copied._buffer = self._buffer.copied()
        copied._moments = copy.copy(self._moments)
        copied.blocks = self.blocks.copied()
        copied.quantiles = self.quantiles.copied()
        copied.benchmark = self.benchmark.copied()
        return copied

    @property
    def count(self) -> int:
        """Number of returns."""
        return self._moments.count

    def cagr(self) -> float | None:
        """(last sample / initial capital) ** (periods_per_year / n) - 1.

        Null: without returns. Source: empyrical ``cagr``.
        """
        if not self._moments.count:
            return None
        growth = self._equity / self._initial_capital
        return compounded(growth, self._periods_per_year / self._moments.count)

    def annual_volatility(self) -> float | None:
        """std(r, ddof 1) * sqrt(periods_per_year). Null: fewer than two returns."""
        deviation = self._moments.deviation()
        return None if deviation is None else deviation * math.sqrt(self._periods_per_year)

    def sharpe_ratio(self) -> float | None:
        """mean(r) / std(r, ddof 1) * sqrt(periods_per_year).

        Null: fewer than two returns, or all equal. Source: Sharpe (1994).
        """
        return self._annualised(self._sharpe_per_period())

    def sortino_ratio(self) -> float | None:
        """mean(r) / sqrt(sum(min(r, 0) ** 2) / n) * sqrt(periods_per_year), n counting all returns.

        Null: without losses. Source: Sortino and Price (1994); empyrical ``sortino_ratio``.
        """
        count = self._moments.count
        downside = math.sqrt(self._squared_losses / count) if count else 0.0
        return self._annualised(ratio(self._moments.mean, downside))

    def omega_ratio(self) -> float | None:
        """sum(max(r, 0)) / sum(max(-r, 0)).

        Null: without losses. Source: Keating and Shadwick (2002), threshold 0.
        """
        return ratio(self._gains, self._losses)

    def skew(self) -> float | None:
        """Adjusted skewness G1 of r, see `Moments.skew`. Null: below 3 returns, or all equal."""
        return self._moments.skew() if self._spread() is not None else None

    def kurtosis(self) -> float | None:
        """Excess kurtosis G2 of r, see `Moments.kurtosis`. Null: below 4 returns, or all equal."""
        return self._moments.kurtosis() if self._spread() is not None else None

    def probabilistic_sharpe_ratio(self) -> float | None:
        """Probability that the true Sharpe ratio is above 0.

        See `probability_above`, with the `skew` and `kurtosis` of r.

        Null: below 4 returns, all equal, or a variance that is not positive.
        Source: Bailey and Lopez de Prado (2012), "The Sharpe ratio efficient frontier".
        """
        sharpe, skew, kurtosis = self._sharpe_per_period(), self.skew(), self.kurtosis()
        if sharpe is None or skew is None or kurtosis is None:
            return None
        return probability_above(sharpe, self._moments.count, skew, kurtosis)

    def _fold_chunks(self, equity: Floats, benchmark: Floats) -> None:
        returns = changes(equity, self._equity)
        returns -= 1.0
        self._equity = float(equity[-1])
        self._moments.fold(returns)
        self.quantiles.fold(returns)
        self.blocks.fold(returns)
        self._fold_gains(returns)
        if not np.isnan(benchmark).all():
            self.benchmark.fold(returns, changes(benchmark, self._benchmark_price) - 1.0)
        self._benchmark_price = float(benchmark[-1])

    def _fold_gains(self, returns: Floats) -> None:
        losses = np.minimum(returns, 0.0)
        self._gains = running_sum(self._gains, np.maximum(returns, 0.0))
        self._losses = -running_sum(-self._losses, losses)
        self._squared_losses = running_sum(
            self._squared_losses, np.multiply(losses, losses, out=losses)
        )

    def _spread(self) -> float | None:
        return self._moments.spread(1.0)

    def _sharpe_per_period(self) -> float | None:
        return ratio(self._moments.mean, self._spread())

    def _annualised(self, per_period: float | None) -> float | None:
        return None if per_period is None else per_period * math.sqrt(self._periods_per_year)

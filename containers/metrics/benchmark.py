"""Returns against those of a benchmark."""

from __future__ import annotations

import copy
import math

import numpy as np

from admf.containers.metrics.chunks import CHUNK, Floats
from admf.containers.metrics.duplicate import duplicate
from admf.containers.metrics.moments import Moments
from admf.containers.metrics.ratio import compounded, ratio

__all__ = ["BenchmarkAccumulator"]


class BenchmarkAccumulator:
    """Covariance of returns with a benchmark's, and moments of their difference.

    Only returns whose benchmark return is known count: the first return has none, because the
    benchmark has no price before the first mark. The risk-free rate is 0.

    Args:
        periods_per_year: Returns in a year.
    """

    def __init__(self, periods_per_year: float) -> None:
        self._periods_per_year = periods_per_year
        self._returns = Moments()
        self._benchmark = Moments()
        self._active = Moments()
        self._comoment = 0.0

    def fold(self, returns: Floats, benchmark: Floats) -> None:
        """Take pairs of returns; whole chunks, or one incomplete chunk.

        Args:
            returns: float64 (n,).
            benchmark: float64 (n,), not finite where it is not known.
        """
        known = np.isfinite(benchmark)
        if not known.any():
            return
        for start in range(0, len(returns), CHUNK):
            rows = slice(start, start + CHUNK)
            if known[rows].any():
                self._fold_chunk(returns[rows][known[rows]], benchmark[rows][known[rows]])

    def copied(self) -> BenchmarkAccumulator:
        """Return an accumulator of the same returns, which goes on by itself."""
        copied = duplicate(self)
        for name in ("_returns", "_benchmark", "_active"):
            setattr(copied, name, copy.copy(getattr(self, name)))
        return copied

    def beta(self) -> float | None:
        """cov(r, b) / var(b) (any ddof: it cancels).

        Null: fewer than two pairs, or a benchmark that did not move.
        Source: Sharpe (1964); empyrical ``beta``.
        """
        if self._benchmark.spread(1.0) is None:
            return None
        return ratio(self._comoment, self._benchmark.m2)

    def alpha(self) -> float | None:
        """(1 + mean(r - beta b)) ** periods_per_year - 1, compounded to a year.

        Null: where beta is. Source: Jensen (1968); empyrical ``alpha``.
        """
        beta = self.beta()
        if beta is None:
            return None
        mean = self._returns.mean - beta * self._benchmark.mean
        return compounded(1.0 + mean, self._periods_per_year)

    def information_ratio(self) -> float | None:
        """mean(r - b) / std(r - b, ddof 1) * sqrt(periods_per_year).

        Null: fewer than two pairs, or differences that are all equal. Source: Goodwin (1998).
        """
        per_period = ratio(self._active.mean, self._active.spread(1.0))
        return None if per_period is None else per_period * math.sqrt(self._periods_per_year)

    def _fold_chunk(self, returns: Floats, benchmark: Floats) -> None:
        count, mine = len(returns), self._returns.count
        mean, mean_b = float(returns.sum()) / count, float(benchmark.sum()) / count
        apart = (mean - self._returns.mean) * (mean_b - self._benchmark.mean)
        within = ((returns - mean) * (benchmark - mean_b)).sum()
        self._comoment += float(within) + apart * mine * count / (mine + count)
        self._returns.fold(returns)
        self._benchmark.fold(benchmark)
        self._active.fold(returns - benchmark)

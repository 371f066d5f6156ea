"""Mean, deviation, skew and kurtosis of a stream."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from admf.containers.metrics.chunks import Floats, by_chunk

__all__ = ["Moments", "moments_of"]

_EPSILON = float(np.finfo(np.float64).eps)


def moments_of(values: Floats) -> list[tuple[int, float, float, float, float]]:
    """Return count, mean and sums of powers of deviations of each chunk, as `Moments` has them.

    Args:
        values: float64 (n,), whole chunks, or one incomplete chunk.
    """
    chunks = by_chunk(values)
    size = chunks.shape[1]
    means = np.add.reduce(chunks, axis=1) / size
    deviations = chunks - means[:, np.newaxis]
    squares = deviations * deviations
    m2s = np.add.reduce(squares, axis=1)
    m3s = np.add.reduce(np.multiply(squares, deviations, out=deviations), axis=1)
    m4s = np.add.reduce(np.multiply(squares, squares, out=squares), axis=1)
    columns = (means.tolist(), m2s.tolist(), m3s.tolist(), m4s.tolist())
    return [(size, *row) for row in zip(*columns, strict=True)]


class Moments(msgspec.Struct):
    """Count, mean and sums of the 2nd to 4th powers of deviations, updated chunk by chunk.

    Source: Pebay (2008), "Formulas for robust, one-pass parallel computation of covariances and
    arbitrary-order statistical moments", Sandia report SAND2008-6212.
    """

    count: int = 0
    mean: float = 0.0
    m2: float = 0.0
    m3: float = 0.0
    m4: float = 0.0

    def fold(self, values: Floats) -> None:
        """Take float64 (n,) values: whole chunks, or one incomplete chunk."""
        for moments in moments_of(values):
            self.merge(*moments)

    def merge(self, count: int, mean: float, m2: float, m3: float, m4: float) -> None:
        """Take the moments of ``count`` (> 0) other values."""
        mine, total = self.count, self.count + count
        delta = mean - self.mean
        step = delta / total
        square = delta * step * mine * count
        self.m4 += (
            m4
            + square * step * step * (mine * mine - mine * count + count * count)
            + 6.0 * step * step * (mine * mine * m2 + count * count * self.m2)
            + 4.0 * step * (mine * m3 - count * self.m3)
        )
        self.m3 += m3 + square * step * (mine - count) + 3.0 * step * (mine * m2 - count * self.m2)
        self.m2 += m2 + square
        self.mean += step * count
        self.count = total

    def deviation(self) -> float | None:
        """Standard deviation with ddof 1; None for fewer than two values."""
        return math.sqrt(self.m2 / (self.count - 1)) if self.count > 1 else None

    def spread(self, scale: float) -> float | None:
        """`deviation`, or None where it is not larger than the rounding of values of that scale.

        Equal returns differ in their last bits; a ratio to that residue would be an arbitrary
        figure near 1e15.
        """
        deviation = self.deviation()
        return None if deviation is None or deviation <= 4.0 * _EPSILON * scale else deviation

    def skew(self) -> float | None:
        """Adjusted Fisher-Pearson skewness G1 = sqrt(n (n-1)) / (n-2) * g1; None below 3 values.

        Source: Joanes and Gill (1998); as pandas and ``scipy.stats.skew(bias=False)``.
        """
        n = self.count
        if n < 3 or self.m2 * self.m2 == 0.0:
            return None
        biased = math.sqrt(n) * self.m3 / (self.m2 * math.sqrt(self.m2))
        return math.sqrt(n * (n - 1)) / (n - 2) * biased

    def kurtosis(self) -> float | None:
        """Excess kurtosis G2 = (n-1) / ((n-2)(n-3)) * ((n+1) g2 + 6); None below 4 values.

        Source: Joanes and Gill (1998); as pandas and ``scipy.stats.kurtosis(bias=False)``.
        """
        n = self.count
        if n < 4 or self.m2 * self.m2 == 0.0:
            return None
        biased = n * self.m4 / (self.m2 * self.m2) - 3.0
        return (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * biased + 6.0)

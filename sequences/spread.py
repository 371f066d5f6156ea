"""Mean and variance of values that come one at a time."""

from __future__ import annotations

import math

__all__ = ["Spread"]


class Spread:
    """Count, mean and variance of values, taken one after the other.

    Source: Welford (1962), "Note on a method for calculating corrected sums of squares".

    Attributes:
        count: Values so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = 0.0
        self._m2 = 0.0

    def fold(self, value: float) -> None:
        """Take the next value."""
        self.count += 1
        delta = value - self._mean
        self._mean += delta / self.count
        self._m2 += delta * (value - self._mean)

    @property
    def mean(self) -> float | None:
        """None without values."""
        return self._mean if self.count else None

    @property
    def variance(self) -> float | None:
        """With ddof 1; None for fewer than two values."""
        return self._m2 / (self.count - 1) if self.count > 1 else None

    @property
    def deviation(self) -> float | None:
        """With ddof 1; None for fewer than two values."""
        return None if self.variance is None else math.sqrt(self.variance)

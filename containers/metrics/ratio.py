"""Arithmetic in which what is undefined is None."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["compounded", "finite", "ratio"]


def finite(value: float | None) -> float | None:
    """Return the value, or None if it is NaN or infinite."""
    return value if value is not None and math.isfinite(value) else None


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """Return the quotient; None if a part is undefined, the denominator 0, or it overflows."""
    if numerator is None or denominator is None or denominator == 0.0:
        return None
    return finite(numerator / denominator)


def compounded(growth: float, periods: float) -> float | None:
    """Return growth ** periods - 1; None if that is not a finite real number."""
    with np.errstate(all="ignore"):
        return finite(float(np.power(growth, periods)) - 1.0)

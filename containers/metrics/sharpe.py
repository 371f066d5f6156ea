"""How sure a Sharpe ratio is."""

from __future__ import annotations

import math

__all__ = ["probability_above"]


def probability_above(
    sharpe: float, count: int, skew: float, kurtosis: float, *, benchmark: float = 0.0
) -> float | None:
    """Probability that the true Sharpe ratio is above a benchmark.

    Phi((SR - SR0) sqrt(n - 1) / sqrt(1 - g3 SR + (g4 - 1) / 4 SR ** 2)).

    Args:
        sharpe: SR per period (not annualised), with ddof 1.
        count: n, the returns it is made of.
        skew: g3, their skewness G1.
        kurtosis: g4 - 3, their excess kurtosis G2.
        benchmark: SR0 per period.

    Returns:
        None if the variance of the estimate is not positive.

    Source: Bailey and Lopez de Prado (2012), "The Sharpe ratio efficient frontier".
    """
    variance = 1.0 - skew * sharpe + (kurtosis + 2.0) / 4.0 * sharpe * sharpe
    if variance <= 0.0:
        return None
    score = (sharpe - benchmark) * math.sqrt((count - 1) / variance)
    return 0.5 * math.erfc(-score / math.sqrt(2.0))

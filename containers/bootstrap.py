"""The stationary bootstrap: which observations a resampled series is made of, in what blocks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["optimal_block_length", "stationary_indices"]


def stationary_indices(
    count: int, length: int, block_length: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw blocks of consecutive observations until there are enough.

    The length of a block is geometrically distributed; a block that reaches the end of the series
    goes on at its beginning.

    Args:
        count: How many indices to draw.
        length: Observations in the series.
        block_length: Mean length of a block, at least 1.
        rng: Source of randomness.

    Returns:
        int64 (count,), each from 0 to ``length`` - 1.

    Source: Politis and Romano (1994), "The stationary bootstrap".
    """
    begins = rng.random(count) < 1.0 / block_length
    places = rng.integers(length, size=count)
    begins[:1] = True
    firsts = np.flatnonzero(begins)
    block = np.cumsum(begins) - 1
    drawn: NDArray[np.int64] = (places[firsts][block] + np.arange(count) - firsts[block]) % length
    return drawn


def optimal_block_length(values: NDArray[np.float64]) -> float:
    """Estimate the mean length of the blocks with which the bootstrap's error is least.

    Autocorrelations are noise from the first lag on at which max(5, log10 n) of them in a row are
    below 2 sqrt(log10(n) / n). With M twice that lag, at most sqrt(n) + max(5, log10 n), and a
    window w that is 1 up to M / 2 and falls to 0 at M, the length is (2 G^2 / D n)^(1/3) where
    G = sum(w |k| R(k)), D = 2 sum(w R(k))^2 over the lags -M to M, R being autocovariances.

    Args:
        values: float64 (n,), a stationary series, n at least 2.

    Returns:
        Observations, from 1 to min(3 sqrt(n), n / 3) rounded up.

    Source: Politis and White (2004), "Automatic block-length selection for the dependent
        bootstrap", corrected by Patton, Politis and White (2009). Equal to the package
        arch, but where an autocorrelation lies on the threshold: arch scales it by sums that are
        shorter by one.
    """
    count = len(values)
    covariances, correlations = _autocorrelations(values)
    if covariances[0] == 0.0:
        return 1.0
    lags = np.arange(1, _lags_that_matter(correlations, count) + 1)
    share = lags / lags[-1]
    weights = np.where(share <= 0.5, 1.0, 2.0 * (1.0 - share))
    spread = 2.0 * float(np.sum(weights * lags * covariances[lags]))
    variance = float(covariances[0]) + 2.0 * float(np.sum(weights * covariances[lags]))
    if variance == 0.0:
        return 1.0
    length = float(np.cbrt((spread / variance) ** 2 * count))
    return max(1.0, min(length, math.ceil(min(3.0 * math.sqrt(count), count / 3.0))))


def _autocorrelations(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return autocovariances and absolute autocorrelations from lag 0 on, as far as they count."""
    count = len(values)
    deviations = values - values.mean()
    most = min(math.ceil(math.sqrt(count)) + _noise_lags(count), count - 1)
    products = np.array([deviations[lag:] @ deviations[: count - lag] for lag in range(most + 1)])
    squares = np.concatenate(([0.0], np.cumsum(deviations * deviations)))
    lags = np.arange(most + 1)
    scale = np.sqrt((squares[-1] - squares[lags]) * squares[count - lags])
    correlations = np.abs(products) / np.where(scale > 0.0, scale, np.inf)
    return products / count, correlations


def _noise_lags(count: int) -> int:
    return max(5, int(math.log10(count)))


def _lags_that_matter(correlations: NDArray[np.float64], count: int) -> int:
    """Return twice the first lag that begins a row of autocorrelations that are noise."""
    most, row = len(correlations) - 1, _noise_lags(count)
    is_noise = correlations < 2.0 * math.sqrt(math.log10(count) / count)
    for lag in range(most - row + 1):
        if is_noise[lag : lag + row].all():
            return min(2 * max(lag, 1), most)
    return most

"""How much of a search's best result may be luck: deflated Sharpe ratio, backtest overfitting."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.containers.metrics.sharpe import probability_above

__all__ = [
    "BLOCKS",
    "Overfitting",
    "SharpeSample",
    "deflated_sharpe_ratio",
    "expected_maximum_sharpe",
    "probabilistic_sharpe_ratio",
    "probability_of_backtest_overfitting",
]

BLOCKS = 16
"""Groups of consecutive returns; half of them at a time are in sample, in 12,870 combinations."""

_HALVES_AT_ONCE = 256
"""Halves that are computed at once, so that what is in between stays in the cache."""

_TRIALS_AT_ONCE = 32
_SLICES_KEPT = 4
"""Slices of trials, 3.3 MB each, whose Sharpe ratios are not computed again for the second pass."""

_TINY = 4.0 * float(np.finfo(np.float64).eps)
_HALF = BLOCKS // 2
_EULER_GAMMA = 0.57721566490153286
_NORMAL = NormalDist()

Floats = NDArray[np.float64]


class SharpeSample(msgspec.Struct, frozen=True):
    """A Sharpe ratio, and what its uncertainty depends on.

    Args:
        sharpe: Per period, not annualised, with ddof 1.
        count: Returns it is made of.
        skew: Their adjusted skewness G1.
        kurtosis: Their excess kurtosis G2.
    """

    sharpe: float
    count: int
    skew: float
    kurtosis: float


class Overfitting(msgspec.Struct, frozen=True):
    """What combinatorially symmetric cross-validation says of a search.

    Args:
        probability: Share of the combinations whose best trial in sample is not above the median
            out of sample.
        mean_rank: Mean relative rank out of sample of the best trial in sample, from 0 to 1.
        trials: Number of trials.
    """

    probability: float
    mean_rank: float
    trials: int


def probabilistic_sharpe_ratio(sample: SharpeSample, benchmark: float = 0.0) -> float | None:
    """Probability that the true Sharpe ratio is above a benchmark.

    Args:
        sample: The observed one.
        benchmark: Per period.

    Returns:
        A probability; None if the variance of the estimate is not positive.

    Source: see `probability_above`.
    """
    return probability_above(
        sample.sharpe, sample.count, sample.skew, sample.kurtosis, benchmark=benchmark
    )


def expected_maximum_sharpe(trials: int, variance: float) -> float:
    """Greatest Sharpe ratio that trials without skill would be expected to show.

    sqrt(V) * ((1 - g) * Z(1 - 1/N) + g * Z(1 - 1/(N e))) with g Euler's constant and Z the inverse
    of the normal distribution; 0 for a single trial. The trials are taken to be independent, so
    the hurdle is too high for trials that resemble each other.

    Args:
        trials: N.
        variance: V, of the trials' Sharpe ratios, per period.

    Source: Bailey and Lopez de Prado (2014), "The deflated Sharpe ratio", Journal of Portfolio
        Management 40(5).
    """
    if trials < 2:
        return 0.0
    mix = (1.0 - _EULER_GAMMA) * _NORMAL.inv_cdf(1.0 - 1.0 / trials)
    mix += _EULER_GAMMA * _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * mix


def deflated_sharpe_ratio(sample: SharpeSample, trials: int, variance: float) -> float | None:
    """Probability that the true Sharpe ratio of the best of several trials is above 0.

    It is the probabilistic Sharpe ratio against `expected_maximum_sharpe`.

    Args:
        sample: The best trial.
        trials: Trials that it was chosen from.
        variance: Of their Sharpe ratios, per period, ddof 1.

    Source: Bailey and Lopez de Prado (2014); as skfolio and ffn.
    """
    return probabilistic_sharpe_ratio(sample, expected_maximum_sharpe(trials, variance))


def probability_of_backtest_overfitting(
    read_trials: Callable[[], Iterable[Floats]],
) -> Overfitting | None:
    """Probability that the best trial in sample is below the median out of sample (CSCV).

    The returns of a trial come in 16 consecutive groups. For each way to take half of the groups as
    in sample, the trial with the best Sharpe ratio there is looked up, and its rank among all
    trials in the other half. Only the sums of each group are needed, and the trials are read
    twice, so the memory depends neither on the number of returns nor on that of trials. A trial
    whose returns do not vary in a half did nothing there, and has Sharpe ratio 0; of equal ones in
    sample the first is the best, and equal ones out of sample share their mean rank.

    Args:
        read_trials: Returns the trials anew each time: float64 (n, 16, 3) each, any n, with count,
            sum and sum of squares of each group of returns.

    Returns:
        None for fewer than two trials, or if one has fewer than two returns per group on average,
        or in some half.

    Source: Bailey, Borwein, Lopez de Prado and Zhu (2017), "The probability of backtest
        overfitting", Journal of Computational Finance 20(4); as ffn, where all Sharpe ratios are
        defined and the number of returns is a multiple of 16.
    """
    kept: list[Floats] = []
    best, best_outside, trials = _best_in_sample(read_trials(), kept)
    if trials < 2 or best is None:
        return None
    below = np.zeros(len(best_outside))
    equal = np.zeros(len(best_outside))
    for number, blocks in enumerate(_in_slices(read_trials())):
        sharpes = kept[number] if number < len(kept) else _half_sharpes(blocks)
        outside = sharpes[::-1]
        below += np.count_nonzero(outside < best_outside[:, np.newaxis], axis=1)
        equal += np.count_nonzero(outside == best_outside[:, np.newaxis], axis=1)
    ranks = (below + (equal + 1.0) / 2.0) / (trials + 1.0)
    return Overfitting(float(np.mean(ranks <= 0.5)), float(np.mean(ranks)), trials)


def _best_in_sample(
    batches: Iterable[Floats], kept: list[Floats]
) -> tuple[Floats | None, Floats, int]:
    """Return, by combination, the best Sharpe ratio in sample and the same trial's out of sample.

    The first is None without trials, or without enough returns. Into ``kept`` go the Sharpe ratios
    of the first slices.
    """
    best: Floats | None = None
    best_outside = np.empty(0)
    trials = 0
    for blocks in _in_slices(batches):
        trials += len(blocks)
        if _too_few(blocks[:, :, 0]):
            return None, best_outside, trials
        sharpes = _half_sharpes(blocks)
        if len(kept) < _SLICES_KEPT:
            kept.append(sharpes)
        leaders = sharpes.argmax(axis=1)
        rows = np.arange(len(sharpes))
        inside, outside = sharpes[rows, leaders], sharpes[::-1][rows, leaders]
        if best is None:
            best, best_outside = inside, outside
            continue
        better = inside > best
        best = np.where(better, inside, best)
        best_outside = np.where(better, outside, best_outside)
    return best, best_outside, trials


def _too_few(counts: Floats) -> bool:
    """Whether a trial has too few returns in all, or in its emptiest half; float64 (n, 16)."""
    emptiest = np.sort(counts, axis=1)[:, :_HALF].sum(axis=1)
    return bool(counts.sum(axis=1).min() < 2 * BLOCKS or emptiest.min() < 2)


def _in_slices(batches: Iterable[Floats]) -> Iterator[Floats]:
    """Yield the trials in slices of one size, so that bits do not depend on how they come."""
    waiting = np.empty((0, BLOCKS, 3))
    for batch in batches:
        waiting = np.concatenate((waiting, batch))
        while len(waiting) >= _TRIALS_AT_ONCE:
            yield waiting[:_TRIALS_AT_ONCE]
            waiting = waiting[_TRIALS_AT_ONCE:]
    if len(waiting):
        yield waiting


def _half_sharpes(blocks: Floats) -> Floats:
    """Return the Sharpe ratio of every trial in every half, float64 (12,870, n).

    The complement of a half stands at the same distance from the other end.
    """
    low, high = _subset_sums(blocks[:, :_HALF]), _subset_sums(blocks[:, _HALF:])
    sharpes = np.empty((len(_HALVES), len(blocks)))
    for start in range(0, len(_HALVES), _HALVES_AT_ONCE):
        masks = _HALVES[start : start + _HALVES_AT_ONCE]
        sums = low.take(masks & 0xFF, axis=1)
        sums += high.take(masks >> _HALF, axis=1)
        _sharpes_of(*sums, out=sharpes[start : start + len(masks)])
    return sharpes


def _sharpes_of(count: Floats, total: Floats, squares: Floats, *, out: Floats) -> None:
    """Write the Sharpe ratios of returns into ``out``; overwrites what is given, for speed.

    The variance is (squares - total ** 2 / count) / (count - 1), and it has to be more than the
    rounding of 4 eps * squares / count.
    """
    variance = np.multiply(total, total)
    variance /= count
    np.subtract(squares, variance, out=variance)
    np.divide(total, count, out=out)
    squares *= _TINY
    squares /= count
    count -= 1.0
    variance /= count
    constant = ~(variance > squares)
    variance[constant] = 1.0
    out /= np.sqrt(variance, out=variance)
    out[constant] = 0.0


def _subset_sums(blocks: Floats) -> Floats:
    """Return the sums over every subset of eight groups, float64 (3, 256, n); bit i is group i."""
    sums = np.zeros((3, 1, len(blocks)))
    for group in range(_HALF):
        sums = np.concatenate((sums, sums + blocks[:, group].T[:, np.newaxis]), axis=1)
    return sums


def _halves() -> NDArray[np.int64]:
    """Return the bit masks of all subsets of half of the groups, in ascending order."""
    masks = np.arange(1 << BLOCKS)
    members = np.zeros(len(masks), dtype=np.int64)
    for group in range(BLOCKS):
        members += (masks >> group) & 1
    return np.flatnonzero(members == _HALF).astype(np.int64)


_HALVES = _halves()

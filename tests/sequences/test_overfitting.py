"""Statistics of searches, beside other people's libraries, naive versions and hand-worked cases."""

from __future__ import annotations

import itertools

import ffn
import numpy as np
import pandas as pd
import pytest
from scipy.stats import kurtosis, skew
from skfolio import measures

from admf.sequences.overfitting import (
    BLOCKS,
    SharpeSample,
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    probabilistic_sharpe_ratio,
    probability_of_backtest_overfitting,
)
from admf.sequences.spread import Spread


def sample_of(returns) -> SharpeSample:
    return SharpeSample(
        sharpe=returns.mean() / returns.std(ddof=1),
        count=len(returns),
        skew=float(skew(returns, bias=False)),
        kurtosis=float(kurtosis(returns, bias=False)),
    )


def blocks_of(returns):
    """Return the sums of each of 16 groups of rows of a (T, N) matrix, (N, 16, 3)."""
    groups = np.array_split(returns, BLOCKS)
    sums = [
        np.stack([np.full(returns.shape[1], len(it)), it.sum(axis=0), (it * it).sum(axis=0)], 1)
        for it in groups
    ]
    return np.stack(sums, axis=1)


def noise(seed: int, trials: int, rows: int = 16 * 20, drift: float = 0.0):
    return np.random.default_rng(seed).normal(drift, 0.01, (rows, trials))


def overfitting(returns):
    return probability_of_backtest_overfitting(lambda: [blocks_of(returns)])


@pytest.mark.parametrize("seed", range(5))
def test_the_deflated_sharpe_ratio_is_that_of_skfolio_and_ffn(seed) -> None:
    returns = noise(seed, 30, rows=500, drift=0.0005)
    sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    best = returns[:, sharpes.argmax()]
    spread = Spread()
    for sharpe in sharpes:
        spread.fold(sharpe)
    assert spread.variance == pytest.approx(np.var(sharpes, ddof=1))
    deflated = deflated_sharpe_ratio(sample_of(best), spread.count, spread.variance)
    series = pd.Series(best, index=pd.date_range("2020-01-01", periods=len(best)))
    expected = ffn.core.calc_deflated_sharpe_ratio(
        series, sharpes, nperiods=1, annualized_trials=False
    )
    assert deflated == pytest.approx(expected, rel=1e-9)
    hurdle = measures.expected_max_sharpe_ratio(
        n_trials=30, trial_sharpe_ratio_std=float(np.std(sharpes, ddof=1))
    )
    assert expected_maximum_sharpe(30, spread.variance) == pytest.approx(hurdle, rel=1e-9)


def biased_sample_of(returns) -> SharpeSample:
    """Return the sample with the moments that skfolio takes, those without a correction of bias."""
    return SharpeSample(
        sharpe=returns.mean() / returns.std(ddof=1),
        count=len(returns),
        skew=float(skew(returns)),
        kurtosis=float(kurtosis(returns)),
    )


@pytest.mark.parametrize("benchmark", [0.0, 0.05, -0.1])
def test_the_probabilistic_sharpe_ratio_is_that_of_skfolio(benchmark) -> None:
    returns = noise(3, 1, rows=400, drift=0.001)[:, 0]
    theirs = measures.probabilistic_sharpe_ratio(returns, benchmark_sharpe_ratio=benchmark)
    ours = probabilistic_sharpe_ratio(biased_sample_of(returns), benchmark)
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_the_deflated_sharpe_ratio_is_that_of_skfolio_with_its_moments() -> None:
    returns = noise(3, 30, rows=400, drift=0.0005)
    sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    best = returns[:, sharpes.argmax()]
    ours = deflated_sharpe_ratio(biased_sample_of(best), 30, float(np.var(sharpes, ddof=1)))
    assert ours == pytest.approx(measures.deflated_sharpe_ratio(best, sharpes), rel=1e-9)


def test_a_single_trial_is_not_deflated() -> None:
    sample = sample_of(noise(1, 1, drift=0.001)[:, 0])
    assert deflated_sharpe_ratio(sample, 1, 0.0) == probabilistic_sharpe_ratio(sample)


def test_a_variance_that_is_not_positive_gives_nothing() -> None:
    assert probabilistic_sharpe_ratio(SharpeSample(2.0, 100, 5.0, 0.0)) is None


def test_the_variance_of_fewer_than_two_trials_is_unknown() -> None:
    spread = Spread()
    assert spread.variance is None
    spread.fold(1.0)
    assert spread.variance is None


def naive(returns) -> float:
    """Return the probability from the full matrix, one combination after the other."""
    group = np.repeat(range(BLOCKS), [len(it) for it in np.array_split(returns, BLOCKS)])
    lost = []
    for chosen in itertools.combinations(range(BLOCKS), BLOCKS // 2):
        inside = np.isin(group, chosen)
        sharpes = [
            returns[rows].mean(axis=0) / returns[rows].std(axis=0, ddof=1)
            for rows in (inside, ~inside)
        ]
        rank = np.count_nonzero(sharpes[1] <= sharpes[1][sharpes[0].argmax()])  # no ties
        lost.append(rank / (returns.shape[1] + 1) <= 0.5)
    return float(np.mean(lost))


def test_the_probability_is_that_of_the_full_matrix() -> None:
    returns = noise(1, 9, 331)
    assert overfitting(returns).probability == naive(returns)


def test_the_probability_is_that_of_ffn() -> None:
    """ffn takes ten seconds for it; these are the figures of ffn 1.4.1 for the same returns."""
    found = overfitting(noise(2, 6, rows=16 * 4))
    assert found.probability == pytest.approx(0.24716394716394716, rel=1e-12)
    assert found.mean_rank == pytest.approx(0.6742146742146741, rel=1e-12)


def test_on_noise_the_probability_is_near_a_half() -> None:
    found = [overfitting(noise(seed, 20)).probability for seed in range(40)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)


def test_a_trial_that_is_truly_better_makes_it_small() -> None:
    returns = noise(5, 20)
    returns[:, 7] += 0.01
    assert overfitting(returns).probability < 0.001


def test_trials_that_are_all_alike_share_their_rank() -> None:
    returns = np.repeat(noise(1, 1), 3, axis=1)
    found = overfitting(returns)
    assert found.mean_rank == 0.5
    assert found.probability == 1.0


@pytest.mark.parametrize("sizes", [[70], [1] * 70, [33, 37], [64, 6]])
def test_the_result_does_not_depend_on_how_trials_are_batched(sizes) -> None:
    blocks = blocks_of(noise(4, 70))
    batches = np.split(blocks, np.cumsum(sizes)[:-1])
    whole = probability_of_backtest_overfitting(lambda: [blocks])
    assert probability_of_backtest_overfitting(lambda: batches) == whole
    assert whole.trials == 70


def test_a_trial_that_did_nothing_has_a_sharpe_ratio_of_zero() -> None:
    returns = noise(4, 4)
    returns -= returns.mean(axis=0) + 0.002
    returns[:, 2] = 0.0
    assert overfitting(returns).probability == 0.0


@pytest.mark.parametrize(("trials", "rows"), [(1, 160), (0, 160), (5, 20)])
def test_too_little_to_go_by_gives_nothing(trials, rows) -> None:
    assert overfitting(noise(1, trials, rows)) is None


@pytest.mark.parametrize("filled", [[0, 8], [0, 3, 6, 9, 12], list(range(8))])
def test_halves_without_returns_give_nothing(filled) -> None:
    """Short stretches of a cross-validation leave groups empty; so may a run that ends early."""
    blocks = blocks_of(noise(1, 4, rows=16 * 20))
    empty = np.setdiff1d(np.arange(BLOCKS), filled)
    blocks[-1, empty] = 0.0
    assert probability_of_backtest_overfitting(lambda: [blocks]) is None


def test_some_groups_without_returns_do_no_harm() -> None:
    blocks = blocks_of(noise(1, 4, rows=16 * 20))
    blocks[:, [3, 6, 9, 12, 15]] = 0.0
    assert probability_of_backtest_overfitting(lambda: [blocks]).trials == 4


def test_what_is_kept_for_the_second_pass_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = blocks_of(noise(1, 70))
    found = probability_of_backtest_overfitting(lambda: [trials])
    for kept in (0, 1):
        monkeypatch.setattr("admf.sequences.overfitting._SLICES_KEPT", kept)
        assert probability_of_backtest_overfitting(lambda: [trials]) == found


def test_the_memory_does_not_depend_on_the_number_of_trials() -> None:
    import tracemalloc

    batch = blocks_of(noise(1, 100))
    peaks = []
    for batches in (2, 5):
        tracemalloc.start()
        probability_of_backtest_overfitting(lambda count=batches: (batch for _ in range(count)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]

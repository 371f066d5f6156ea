from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from admf.containers.metrics.chunks import CHUNK
from admf.containers.metrics.moments import Moments

FINITE = st.floats(-1e3, 1e3, allow_nan=False).map(lambda value: round(value, 6))


def fold_all(values: NDArray[np.float64]) -> Moments:
    moments = Moments()
    whole = len(values) - len(values) % CHUNK
    if whole:
        moments.fold(values[:whole])
    if whole < len(values):
        moments.fold(values[whole:])
    return moments


def central_sum(values: NDArray[np.float64], power: int) -> float:
    return float(((values - values.mean()) ** power).sum())


@settings(deadline=None)
@given(st.lists(st.lists(FINITE, min_size=1, max_size=30), min_size=1, max_size=8))
def test_merged_portions_have_the_moments_of_the_whole(portions: list[list[float]]) -> None:
    merged = Moments()
    for portion in portions:
        merged.fold(np.array(portion))
    values = np.concatenate([np.array(portion) for portion in portions])
    size = max(1.0, float(np.abs(values).max()))
    assert merged.count == len(values)
    assert merged.mean == pytest.approx(values.mean(), abs=1e-12 * size)
    for power, found in ((2, merged.m2), (3, merged.m3), (4, merged.m4)):
        tolerance = 1e-12 * len(values) * (2 * size) ** power
        assert found == pytest.approx(central_sum(values, power), rel=1e-9, abs=tolerance)


@pytest.mark.parametrize("count", [4, 5, 1023, 1024, 1025, 5000, 20_480])
def test_skew_and_kurtosis_are_those_of_scipy_without_bias(count: int) -> None:
    values = np.random.default_rng(count).standard_t(4, count) * 0.01 + 0.001
    moments = fold_all(values)
    assert moments.deviation() == pytest.approx(values.std(ddof=1), rel=1e-12)
    assert moments.skew() == pytest.approx(stats.skew(values, bias=False), rel=1e-9)
    assert moments.kurtosis() == pytest.approx(stats.kurtosis(values, bias=False), rel=1e-9)


def test_a_large_mean_does_not_cost_the_deviation() -> None:
    noise = np.random.default_rng(1).standard_normal(10_000)
    assert fold_all(noise + 1e9).deviation() == pytest.approx(noise.std(ddof=1), rel=1e-6)


@pytest.mark.parametrize(
    ("values", "deviation", "skew", "kurtosis"),
    [
        ([1.0], False, False, False),
        ([1.0, 2.0], True, False, False),
        ([1.0, 2.0, 4.0], True, True, False),
        ([1.0, 2.0, 4.0, 8.0], True, True, True),
        ([3.0, 3.0, 3.0, 3.0, 3.0], True, False, False),
    ],
)
def test_a_moment_is_undefined_below_its_least_count(
    values: list[float], deviation: bool, skew: bool, kurtosis: bool
) -> None:
    moments = fold_all(np.array(values))
    assert (moments.deviation() is not None) is deviation
    assert (moments.skew() is not None) is skew
    assert (moments.kurtosis() is not None) is kurtosis


def test_nothing_folded_has_no_deviation() -> None:
    assert Moments().deviation() is None
    assert Moments().spread(1.0) is None


def test_a_residue_of_rounding_is_no_spread() -> None:
    equity = 100.0 * 1.01 ** np.arange(50)
    moments = fold_all(equity[1:] / equity[:-1] - 1.0)
    assert moments.deviation() != 0.0
    assert moments.spread(1.0) is None


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_whole_chunks_folded_together_or_alone_give_the_same_bits(chunks: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(chunks * CHUNK)
    alone = Moments()
    for chunk in values.reshape(-1, CHUNK):
        alone.fold(chunk)
    together = fold_all(values)
    assert (alone.mean, alone.m2, alone.m3, alone.m4) == (
        together.mean,
        together.m2,
        together.m3,
        together.m4,
    )

from __future__ import annotations

import numpy as np
import pytest
from arch.bootstrap import optimal_block_length as arch_block_length
from hypothesis import given
from hypothesis import strategies as st

from admf.containers.bootstrap import optimal_block_length, stationary_indices


def autoregressive(seed: int, count: int, memory: float):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=count)
    for row in range(1, count):
        values[row] += memory * values[row - 1]
    return values


@pytest.mark.parametrize("memory", [0.0, 0.3, 0.9, -0.4])
@pytest.mark.parametrize(("seed", "count"), [(1, 100), (2, 250), (3, 2000)])
def test_the_block_length_is_that_of_arch(seed, count, memory) -> None:
    values = autoregressive(seed, count, memory)
    expected = float(arch_block_length(values)["stationary"].iloc[0])
    assert optimal_block_length(values) == pytest.approx(max(1.0, expected), rel=1e-8)


@pytest.mark.parametrize("values", [np.ones(50), np.array([1.0, 2.0]), np.array([1.0, -1.0, 1.0])])
def test_short_and_constant_series_have_a_length_too(values) -> None:
    assert 1.0 <= optimal_block_length(values) <= 5.0


@given(
    count=st.integers(1, 300),
    length=st.integers(1, 50),
    block_length=st.floats(1, 40),
    seed=st.integers(0, 10),
)
def test_indices_are_blocks_of_consecutive_observations(count, length, block_length, seed) -> None:
    indices = stationary_indices(count, length, block_length, np.random.default_rng(seed))
    assert indices.shape == (count,)
    assert indices.min() >= 0
    assert indices.max() < length
    again = stationary_indices(count, length, block_length, np.random.default_rng(seed))
    assert np.array_equal(indices, again)


@pytest.mark.parametrize("block_length", [1.0, 5.0, 20.0])
def test_blocks_have_the_mean_length_that_was_asked_for(block_length) -> None:
    length = 10_000
    indices = stationary_indices(200_000, length, block_length, np.random.default_rng(1))
    breaks = np.count_nonzero(np.diff(indices) % length != 1)
    assert 200_000 / (breaks + 1) == pytest.approx(block_length, rel=0.05)

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from admf.containers.metrics.quantiles import EXACT_SAMPLES, QuantileAccumulator


def accumulate(values: NDArray[np.float64], portion: int = 1000) -> QuantileAccumulator:
    quantiles = QuantileAccumulator()
    for start in range(0, len(values), portion):
        quantiles.fold(values[start : start + portion])
    return quantiles


def results(quantiles: QuantileAccumulator) -> tuple[float | None, ...]:
    return (
        quantiles.value_at_risk_95(),
        quantiles.conditional_value_at_risk_95(),
        quantiles.tail_ratio(),
    )


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 1000, EXACT_SAMPLES])
def test_up_to_the_limit_quantiles_are_those_of_numpy(count: int) -> None:
    values = np.random.default_rng(count).standard_normal(count)
    low, high = np.quantile(values, [0.05, 0.95])
    quantiles = accumulate(values)
    assert not quantiles.approximate
    assert quantiles.value_at_risk_95() == low
    assert quantiles.conditional_value_at_risk_95() == pytest.approx(values[values <= low].mean())
    assert quantiles.tail_ratio() == pytest.approx(abs(high) / abs(low))


@pytest.mark.parametrize("shape", ["normal", "fat", "regimes"])
@pytest.mark.parametrize("count", [EXACT_SAMPLES + 1, 100_000])
def test_beyond_the_limit_estimates_are_close_and_marked(count: int, shape: str) -> None:
    rng = np.random.default_rng(5)
    values = rng.standard_t(3, count) if shape == "fat" else rng.standard_normal(count)
    if shape == "regimes":
        values *= np.repeat([0.2, 1.0, 5.0, 0.5], -(-count // 4))[:count]
    low, high = np.quantile(values, [0.05, 0.95])
    quantiles = accumulate(values)
    assert quantiles.approximate
    assert quantiles.value_at_risk_95() == pytest.approx(low, rel=0.005)
    assert quantiles.conditional_value_at_risk_95() == pytest.approx(
        values[values <= low].mean(), rel=0.002
    )
    assert quantiles.tail_ratio() == pytest.approx(abs(high / low), rel=0.01)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40_000), st.integers(1, 5000))
def test_portions_do_not_change_a_bit(count: int, portion: int) -> None:
    values = np.random.default_rng(count).standard_normal(count)
    assert results(accumulate(values, portion)) == results(accumulate(values, count))


def test_asking_does_not_disturb_what_follows() -> None:
    values = np.random.default_rng(2).standard_normal(60_000)
    asked, copied = QuantileAccumulator(), QuantileAccumulator()
    for start in range(0, len(values), 7_000):
        results(asked)
        for quantiles in (asked, copied):
            quantiles.fold(values[start : start + 7_000])
        copied = copy.deepcopy(copied)
    assert results(asked) == results(accumulate(values)) == results(copied)


def test_no_returns_have_no_quantiles() -> None:
    assert results(QuantileAccumulator()) == (None, None, None)


def test_a_lower_quantile_of_zero_has_no_tail_ratio() -> None:
    quantiles = accumulate(np.array([0.0] * 50 + [0.1] * 10))
    assert quantiles.value_at_risk_95() == 0.0
    assert quantiles.conditional_value_at_risk_95() == 0.0
    assert quantiles.tail_ratio() is None


@pytest.mark.parametrize("count", [1, 2, 7, EXACT_SAMPLES, EXACT_SAMPLES + 1, 100_000])
def test_any_quantile_can_be_asked_for(count: int) -> None:
    values = np.random.default_rng(count).standard_normal(count)
    shares = (0.05, 0.25, 0.5, 0.9)
    found = accumulate(values).quantiles(*shares)
    exact = np.quantile(values, shares).tolist()
    assert found == pytest.approx(exact, abs=0.02 if count > EXACT_SAMPLES else 0)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.1]) | st.floats(-1e9, 1e9), min_size=1, max_size=60),
    st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0.0, 1.0),
)
def test_exact_quantiles_are_those_of_numpy_bit_by_bit(values: list[float], share: float) -> None:
    unsigned_zeros = np.array(values) + 0.0
    found = accumulate(unsigned_zeros).quantiles(share)
    assert found is not None
    assert found[0].hex() == float(np.quantile(unsigned_zeros, share)).hex()


def test_no_values_have_no_median() -> None:
    assert QuantileAccumulator().quantiles(0.5) is None

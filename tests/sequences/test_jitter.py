from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.containers.config import ExecutionConfig
from admf.engine.errors import ConfigError
from admf.sequences.jitter import costs_of, jittered, numbers_of


@given(
    st.dictionaries(st.text(min_size=1), st.integers(1, 999) | st.floats(0.1, 1e6), min_size=1),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_values_stay_within_the_jitter_and_keep_their_kind(values, jitter, seed) -> None:
    changed = jittered(values, jitter, np.random.default_rng(seed))
    assert list(changed) == list(values)
    for name, value in values.items():
        assert type(changed[name]) is type(value)
        rounding = 0.5 if isinstance(value, int) else 1e-9 * value
        assert abs(changed[name] - value) <= jitter * value + rounding


def test_each_value_has_a_factor_of_its_own_that_is_uniform() -> None:
    rng = np.random.default_rng(1)
    drawn = [jittered({"a": 1.0, "b": 10.0}, 0.4, rng) for _ in range(4000)]
    factors = np.array([[it["a"], it["b"] / 10.0] for it in drawn])
    assert abs(np.corrcoef(factors.T)[0, 1]) < 0.05
    assert factors.mean(axis=0) == pytest.approx([1.0, 1.0], abs=0.02)
    assert factors.std(axis=0) == pytest.approx([0.8 / np.sqrt(12)] * 2, rel=0.05)


def test_numbers_are_parameters_that_chance_can_change() -> None:
    parameters = {"fast": 3, "share": 0.5, "seed": 4, "on": True, "mode": "x", "off": 0, "no": None}
    assert numbers_of(parameters) == {"fast": 3, "share": 0.5}
    with pytest.raises(ConfigError, match="there are none") as caught:
        numbers_of({"on": True})
    assert caught.value.problems[0].field == "monte_carlo.method"


def test_costs_are_those_that_are_not_zero() -> None:
    assert costs_of(ExecutionConfig(slippage_bps=5.0)) == {"execution.slippage_bps": 5.0}
    with pytest.raises(ConfigError, match=r"set execution\.commission or") as caught:
        costs_of(ExecutionConfig())
    assert caught.value.problems[0].field == "monte_carlo.method"

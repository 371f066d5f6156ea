"""The last row of each day, however rows are cut into portions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.metrics.sampling import DaySampler
from admf.containers.times import DAY_NS

HOUR_NS = DAY_NS // 24


@settings(deadline=None)
@given(
    steps=st.lists(st.integers(1, 9) | st.sampled_from([24, 48, 240]), min_size=1, max_size=60),
    portions=st.lists(st.integers(1, 20), min_size=60, max_size=60),
)
@pytest.mark.parametrize("first_hour", [-30, 0, 23])
def test_samples_are_the_last_rows_of_the_days(
    first_hour: int, steps: list[int], portions: list[int]
) -> None:
    ts = (first_hour + np.cumsum(steps)) * HOUR_NS
    rows = np.arange(len(ts), dtype=np.float64)
    sampler, found, start = DaySampler(), list[float](), 0
    for portion in portions:
        part = slice(start, start + portion)
        if start < len(ts):
            numbers, shared = sampler.take(ts[part], rows[part], np.array(7.0))
            assert shared.tolist() == [7.0] * len(numbers)
            found.extend(numbers.tolist())
        start += portion
    last = sampler.rest()
    assert last is not None
    assert [it.tolist() for it in last] == [[rows[-1]], [7.0]]
    last_of_day = {int(time) // DAY_NS: row for row, time in enumerate(ts)}
    assert [*found, rows[-1]] == list(last_of_day.values())


def test_no_rows_have_no_last_one() -> None:
    assert DaySampler().rest() is None

"""The parameter space: its values, its combinations, and its constraint."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from admf.engine.errors import ConfigError
from admf.sequences.axes import Interval
from admf.sequences.config import Dimension, ParameterRange, Scalar
from admf.sequences.expressions import Expression
from admf.sequences.space import ParameterSpace


def span(low: float, high: float, **options: Any) -> ParameterRange:
    return ParameterRange(min=low, max=high, **options)


def values(dimension: Dimension) -> list[Scalar]:
    return [point["x"] for point in ParameterSpace({"x": dimension}).grid()]


def problems(dimensions: dict[str, Dimension], text: str = "", **options: Any) -> dict[str, str]:
    constraint = Expression.parse(text, "constraint") if text else None
    with pytest.raises(ConfigError) as caught:
        ParameterSpace(dimensions, constraint, **options)
    return {it.field: it.message for it in caught.value.problems}


@pytest.mark.parametrize(
    ("dimension", "expected"),
    [
        ((5, 1, 3), [5, 1, 3]),
        (["a", "b"], ["a", "b"]),
        ([True, False], [True, False]),
        ([1, 2.5, "auto"], [1, 2.5, "auto"]),
        (span(1, 4), [1, 2, 3, 4]),
        (span(-2, 2, step=2), [-2, 0, 2]),
        (span(1, 10, step=4), [1, 5, 9]),
        (span(1, 10, step=20), [1]),
        (span(0.1, 0.5, step=0.1), [0.1, 0.2, 0.3, 0.4, 0.5]),
        (span(1, 3, step=0.5), [1.0, 1.5, 2.0, 2.5, 3.0]),
        (span(1.0, 3, step=1), [1.0, 2.0, 3.0]),
        (span(1, 4, step=2.0), [1.0, 3.0]),
        (span(0, 1e-5, step=5e-6), [0.0, 5e-6, 1e-5]),
        (span(-0.3, 0.3, step=0.3), [-0.3, 0.0, 0.3]),
        (span(0.0, 1.0, points=5), [0.0, 0.25, 0.5, 0.75, 1.0]),
        (span(0, 1.0, points=4), [0.0, 1 / 3, 2 / 3, 1.0]),
        (span(1, 10, points=4), [1, 4, 7, 10]),
        (span(1, 10, points=3), [1, 6, 10]),
        (span(1, 3, points=50), [1, 2, 3]),
        (span(0, 3, points=4), [0, 1, 2, 3]),
        (span(0.0001, 0.1, points=4, log=True), [0.0001, 0.001, 0.01, 0.1]),
        (span(1, 1000, points=4, log=True), [1, 10, 100, 1000]),
        (span(1, 16, points=9, log=True), [1, 2, 3, 4, 6, 8, 11, 16]),
        (span(2.0, 8, points=3, log=True), [2.0, 4.0, 8.0]),
        (span(2, 8, points=2, log=True), [2, 8]),
        (span(1, 4, log=True), [1, 2, 3, 4]),
        (span(7, 7), [7]),
        (span(7.5, 7.5), [7.5]),
        (span(7, 7.0), [7.0]),
        (span(7, 7, points=1), [7]),
        (span(7.0, 7.0, step=0.5), [7.0]),
        (span(7.0, 7.0, log=True), [7.0]),
    ],
)
def test_the_values_of_a_dimension(dimension: Dimension, expected: list[Scalar]) -> None:
    found = values(dimension)
    assert found == expected
    assert [type(it) for it in found] == [type(it) for it in expected]
    assert ParameterSpace({"x": dimension}).size == len(expected)


@given(st.integers(-500, 500), st.integers(0, 300), st.integers(1, 60), st.integers(0, 4))
def test_float_steps_are_the_decimal_ones(low: int, steps: int, step: int, digits: int) -> None:
    unit = Decimal(1).scaleb(-digits)
    expected = [float((low + index * step) * unit) for index in range(steps + 1)]
    whole_range = span(expected[0], expected[-1], step=float(step * unit))
    assert values(whole_range) == expected


@pytest.mark.parametrize(
    ("step", "count"),
    [(1 / 3, 4), (0.33333333333333337, 4), (0.3333333334, 4), (0.334, 3), (0.33, 4)],
)
def test_the_end_is_included_if_it_is_missed_by_a_billionth_of_a_step(
    step: float, count: int
) -> None:
    found = values(span(0.0, 1.0, step=step))
    assert len(found) == count
    assert max(found) <= 1.0  # type: ignore[type-var,operator]


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(2, 40))
def test_points_are_spread_evenly_from_end_to_end(low: float, high: float, points: int) -> None:
    low, high = min(low, high), max(low, high)
    assume(high - low > 1e-3)
    found = values(span(low, high, points=points))
    assert (found[0], found[-1], len(found)) == (low, high, points)
    assert np.allclose(np.array(found), np.linspace(low, high, points), rtol=1e-12, atol=1e-9)


@given(st.integers(1, 500), st.integers(1, 500), st.integers(2, 200))
def test_whole_points_are_distinct_and_as_even_as_whole_numbers_can_be(
    low: int, length: int, points: int
) -> None:
    found = values(span(low, low + length, points=points))
    assert found == sorted(set(found), key=float)
    assert (found[0], found[-1]) == (low, low + length)
    assert len(found) == min(points, length + 1)
    if points <= length:
        exact = np.linspace(low, low + length, points)
        assert np.abs(np.array(found) - exact).max() <= 0.5 + 1e-9


@given(st.floats(1e-9, 1e9), st.floats(1.01, 1e6), st.integers(2, 30))
def test_logarithmic_points_keep_their_ratio(low: float, factor: float, points: int) -> None:
    found = values(span(low, low * factor, points=points, log=True))
    assert (found[0], found[-1], len(found)) == (low, low * factor, points)
    assert np.allclose(np.array(found), np.geomspace(low, low * factor, points), rtol=1e-11, atol=0)


@pytest.mark.parametrize(
    ("dimension", "said"),
    [
        ([], "no values"),
        ((), "no values"),
        ([1, 2, 1], "1 is listed 2 times"),
        (["a", "a"], "'a' is listed 2 times"),
        ([1, 1.0], "listed 2 times"),
        ([1.0, math.nan], "nan is not a finite number"),
        ([math.inf], "inf is not a finite number"),
        (span(3, 1), "min 3 is above max 1"),
        (span(1, 3, step=0), "step must be above 0"),
        (span(1, 3, step=-1), "step must be above 0"),
        (span(1.0, 3.0, step=-0.5), "step must be above 0"),
        (span(0, 3, log=True), "min must be above 0"),
        (span(-1.0, 3.0, log=True), "min must be above 0"),
        (span(0, 0, log=True), "min must be above 0"),
        (span(1, 3, step=1, points=2), "step and points"),
        (span(1, 3, step=1, log=True), "step cannot be used on a logarithmic"),
        (span(1, 3, points=1), "points must be from 2"),
        (span(1, 3, points=0), "points must be from 2"),
        (span(0.0, 1.0, points=1_000_001), "to 1000000"),
        (span(math.nan, 1.0), "must be numbers"),
        (span(0.0, math.inf), "must be numbers"),
        (span(0.0, 1.0, step=math.nan), "must be numbers"),
        (span(0, 10**400), "must be numbers"),
        (span(0.0, 1.0, step=1e-300), "too small"),
        (span(-5.0, 5.0, step=5e-324), "too small"),
        (span(1.0, 1.0 + 1e-14, points=1000), "too many to be told apart"),
    ],
)
def test_a_dimension_that_makes_no_sense_is_refused(dimension: Dimension, said: str) -> None:
    found = problems({"fine": [1], "risk.stop": dimension})
    assert set(found) == {"parameter_space.risk.stop"}
    assert said in found["parameter_space.risk.stop"]


def test_every_problem_is_listed() -> None:
    found = problems({"a": [], "b": [1], "c": span(2, 1)}, "b < d")
    assert set(found) == {"parameter_space.a", "parameter_space.c", "constraint"}


def test_a_constraint_with_an_unknown_name_is_refused() -> None:
    found = problems({"fast": [1], "slow": [2]}, "fast < slwo", fixed={"period": 3})
    assert "did you mean 'slow'" in found["constraint"]
    assert "there are fast, slow, period" in found["constraint"]


def test_the_last_parameter_varies_fastest() -> None:
    space = ParameterSpace({"a": span(1, 2), "b.c": ["x", "y", "z"], "d": (True, False)})
    expected = itertools.product([1, 2], ["x", "y", "z"], [True, False])
    found = list(space.grid())
    assert [tuple(point.values()) for point in found] == list(expected)
    assert {tuple(point) for point in found} == {("a", "b.c", "d")}
    assert space.names == ("a", "b.c", "d")
    assert space.size == 12
    assert [space.point(index) for index in range(12)] == found


def test_a_grid_leaves_out_what_the_constraint_excludes() -> None:
    axis = span(1, 6)
    space = ParameterSpace(
        {"fast": axis, "slow": axis}, Expression.parse("fast < slow and slow <= most"), {"most": 4}
    )
    found = [(point["fast"], point["slow"]) for point in space.grid()]
    assert found == [(a, b) for a in range(1, 7) for b in range(1, 7) if a < b <= 4]
    assert space.size == 36


def test_a_searched_value_goes_before_a_fixed_one() -> None:
    space = ParameterSpace({"x": [1, 5]}, Expression.parse("x > 3"), fixed={"x": 9})
    assert list(space.grid()) == [{"x": 5}]
    assert not space.admits({"x": 1})


def test_a_constraint_that_cannot_be_worked_out_is_an_error_of_the_user() -> None:
    space = ParameterSpace({"x": ["a", 1]}, Expression.parse("x > 0", "constraint"))
    with pytest.raises(ConfigError, match="constraint: 'x > 0' cannot be worked out"):
        list(space.grid())


def test_an_empty_space_has_one_combination() -> None:
    space = ParameterSpace({})
    assert (space.names, space.size, list(space.grid()), space.at([])) == ((), 1, [{}], {})
    excluded = ParameterSpace({}, Expression.parse("x > 1"), fixed={"x": 1})
    assert list(excluded.grid()) == []


@pytest.mark.parametrize("endless", [span(0.0, 1.0), span(1, 10.5), span(0.1, 1.0, log=True)])
def test_a_grid_over_a_parameter_without_end_is_refused_at_once(endless: ParameterRange) -> None:
    space = ParameterSpace({"a": span(1, 3), "x": endless, "y": endless})
    assert space.size is None
    with pytest.raises(ConfigError) as caught:
        space.grid()
    fields = [problem.field for problem in caught.value.problems]
    assert fields == ["parameter_space.x", "parameter_space.y"]
    assert all("step or points" in problem.message for problem in caught.value.problems)


@pytest.mark.parametrize(
    "dimensions",
    [
        {name: span(1, 10) for name in "abcdefg"},
        {"a": span(0.0, 1e6, step=0.1)},
        {"a": span(1, 10**7), "b": span(1, 10**9, log=True)},
    ],
)
def test_ten_million_combinations_cost_no_memory(dimensions: dict[str, Dimension]) -> None:
    tracemalloc.start()
    try:
        space = ParameterSpace(dimensions)
        count = sum(1 for _ in itertools.islice(space.grid(), 1000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 1000
    assert (space.size or 0) >= 10**7
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "dimension",
    [
        [3, 1, 2, "a"],
        span(1, 4),
        span(0.0, 0.3, step=0.1),
        span(1, 10, points=4),
        span(1.0, 1000.0, points=4, log=True),
    ],
)
def test_equal_parts_of_the_unit_interval_fall_to_each_of_four_values(dimension: Dimension) -> None:
    space = ParameterSpace({"x": dimension})
    units = (np.arange(4000) + 0.5) / 4000
    found = Counter(space.at([float(unit)])["x"] for unit in units)
    assert found == dict.fromkeys(values(dimension), 1000)
    assert [space.at([edge])["x"] for edge in (0.0, 0.25, 0.5, 0.75)] == values(dimension)
    assert space.at([math.nextafter(1.0, 0.0)])["x"] == values(dimension)[-1]


def at(dimension: Dimension, units: Sequence[float]) -> list[Any]:
    space = ParameterSpace({"x": dimension})
    return [space.at([unit])["x"] for unit in units]


def test_numbers_without_steps_are_mapped_evenly() -> None:
    assert at(span(-1.0, 3), [0.0, 0.25, 0.5]) == [-1.0, 0.0, 1.0]
    assert at(span(0.01, 100.0, log=True), [0.0, 0.5, 0.75]) == pytest.approx([0.01, 1.0, 10.0])


def test_whole_numbers_on_a_logarithmic_scale_are_drawn_by_their_logarithm() -> None:
    units = (np.arange(100_000) + 0.5) / 100_000
    found = Counter(at(span(1, 8, log=True), [float(unit) for unit in units]))
    assert sorted(found) == list(range(1, 9))
    for value, count in found.items():
        share = math.log((value + 0.5) / (value - 0.5)) / math.log(8.5 / 0.5)
        assert count / 100_000 == pytest.approx(share, abs=1e-4)


@given(
    st.floats(-9e15, 9e15), st.floats(-9e15, 9e15), st.booleans(), st.floats(0, 1, exclude_max=True)
)
def test_drawn_numbers_lie_within_the_range(
    low: float, high: float, log: bool, unit: float
) -> None:
    low, high = min(low, high), max(low, high)
    assume(low < high and not (log and low <= 0))
    (found,) = at(span(low, high, log=log), [unit])
    assert low <= found <= high
    assert type(found) is float


@given(st.integers(1, 2**53), st.integers(1, 2**53), st.floats(0, 1, exclude_max=True))
def test_drawn_whole_numbers_lie_within_the_range(low: int, high: int, unit: float) -> None:
    low, high = min(low, high), max(low, high)
    for log in (True, False):
        (found,) = at(span(low, high, log=log), [unit])
        assert low <= found <= high
        assert type(found) is int


@pytest.mark.parametrize(
    "dimension",
    [
        ["b", "a", 3],
        span(3, 90, step=7),
        span(0.1, 0.9, step=0.1),
        span(0, 1.0, step=1 / 7),
        span(0.0, 1.0, step=0.33333333333333337),
        span(1, 99, points=17),
        span(0.1, 7.3, points=11),
        span(1, 500, points=20, log=True),
        span(1e-5, 1.0, points=20, log=True),
    ],
)
def test_positions_and_values_belong_together(dimension: Dimension) -> None:
    (axis,) = ParameterSpace({"x": dimension}).axes
    assert not isinstance(axis, Interval)
    assert [axis.index(axis.value(index)) for index in range(axis.count)] == list(range(axis.count))

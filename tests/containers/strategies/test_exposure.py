from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.strategies.exposure import (
    TIE,
    Crossing,
    Mode,
    Trigger,
    between,
    crossing,
    hold,
    long_and_short,
    side,
)

NAN = math.nan

sides = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), max_size=30)
marks = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30)


def test_sides_tell_above_below_tie_and_unknown() -> None:
    left = np.array([2.0, 1.0, 1.0, NAN, 1.0])
    right = np.array([1.0, 2.0, 1.0, 1.0, NAN])
    np.testing.assert_array_equal(side(left, right, left), [1, -1, 0, NAN, NAN])


@pytest.mark.parametrize(("gap", "expected"), [(0.5, 0.0), (2.0, 1.0), (-0.5, 0.0), (-2.0, -1.0)])
def test_a_tie_is_judged_by_the_scale(gap: float, expected: float) -> None:
    scale = 1000.0
    right = np.array([0.0])
    assert side(right + gap * TIE * scale, right, scale).tolist() == [expected]


def test_hold_fills_forward_and_leaves_what_is_unknown_at_first() -> None:
    values = np.array([NAN, NAN, 1.0, NAN, 2.0, NAN])
    np.testing.assert_array_equal(hold(values), [NAN, NAN, 1, 1, 2, 2])
    assert hold(np.array([])).tolist() == []


@pytest.mark.parametrize(
    ("trigger", "line", "expected"),
    [
        # below, tie, tie, above is one cross, at "above"
        ("cross", [NAN, -1, 0, 0, 1, 1], [NAN, NAN, NAN, NAN, 1, NAN]),
        ("state", [NAN, -1, 0, 0, 1, 1], [NAN, -1, -1, -1, 1, 1]),
        # a tie that falls back is none
        ("cross", [-1, 0, -1, 0, -1], [NAN, NAN, NAN, NAN, NAN]),
        # the first side known, and ties before it, start nothing
        ("cross", [NAN, 0, 0, 1, 1, -1], [NAN, NAN, NAN, NAN, NAN, -1]),
        ("state", [NAN, 0, 0, 1, 1, -1], [NAN, NAN, NAN, 1, 1, -1]),
        ("cross", [1], [NAN]),
        ("cross", [], []),
    ],
)
def test_crossings_wait_ties_out(
    trigger: Trigger, line: list[float], expected: list[float]
) -> None:
    found = crossing(np.array(line), "long_short", trigger)
    np.testing.assert_array_equal(found, expected)


def test_long_flat_is_flat_where_long_short_is_short() -> None:
    line = np.array([NAN, -1.0, 1.0, -1.0])
    np.testing.assert_array_equal(crossing(line, "long_flat", "cross"), [NAN, NAN, 1, 0])
    np.testing.assert_array_equal(crossing(line, "long_flat", "state"), [NAN, 0, 1, 0])


@settings(deadline=None)
@given(line=sides, mode=st.sampled_from(["long_flat", "long_short"]))
def test_after_the_first_cross_both_triggers_hold_the_same(line: list[float], mode: Mode) -> None:
    by_cross = hold(crossing(np.array(line), mode, "cross"))
    by_state = hold(crossing(np.array(line), mode, "state"))
    known = ~np.isnan(by_cross)
    np.testing.assert_array_equal(by_cross[known], by_state[known])


@settings(deadline=None)
@given(marks)
def test_between_is_a_loop_with_one_flag(pairs: list[tuple[bool, bool]]) -> None:
    expected, inside = [], False
    for enter, leave in pairs:
        inside = enter or (inside and not leave)
        expected.append(float(inside))
    enter, leave = (np.array([pair[i] for pair in pairs], dtype=bool) for i in (0, 1))
    assert between(enter, leave).tolist() == expected


def test_shorts_count_in_long_short_only() -> None:
    long, short = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
    assert long_and_short(long, short, "long_short").tolist() == [1, -1, 0]
    assert long_and_short(long, short, "long_flat").tolist() == [1, 0, 0]


@pytest.mark.parametrize("trigger", ["cross", "state"])
@pytest.mark.parametrize("mode", ["long_flat", "long_short"])
@pytest.mark.parametrize("unclear", [0.0, NAN])
def test_to_follow_lines_is_to_take_their_sides(
    mode: Mode, trigger: Trigger, unclear: float
) -> None:
    rng = np.random.default_rng(3)
    scale = np.full(50_000, 100.0)
    right = scale + rng.normal(0.0, 1.0, 50_000)
    gap = rng.normal(0.0, 1.0, 50_000)
    gap[[0, 1, 17_000, 40_000]] = unclear  # the pieces between have no such row
    left = right + gap
    following, taking = Crossing(mode, trigger), Crossing(mode, trigger)
    for rows in (slice(0, 20_000), slice(20_000, 20_001), slice(20_001, None)):
        found = following.follow(left[rows], right[rows], scale[rows])
        expected = taking.take(side(left[rows], right[rows], scale[rows]))
        np.testing.assert_array_equal(found, expected)

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.metrics.chunks import CHUNK
from admf.containers.metrics.drawdown import DrawdownAccumulator

HAND_WORKED = [110.0, 99.0, 104.5, 110.0, 121.0, 96.8, 108.9, 130.0, 117.0]
"""From 100: falls of 10 % (2 marks), 20 % (2 marks) and 10 % (1 mark, open)."""


def accumulate(equity: list[float], capital: float = 100.0) -> DrawdownAccumulator:
    drawdown = DrawdownAccumulator(capital)
    for start in range(0, len(equity), CHUNK):
        drawdown.fold(np.array(equity[start : start + CHUNK]))
    drawdown.finish()
    return drawdown


def naive_drawdowns(equity: list[float], capital: float) -> list[tuple[float, int]]:
    """Depth and length of each drawdown, mark by mark."""
    peak, found, inside = capital, [], False
    for worth in equity:
        peak = max(peak, worth)
        depth = (worth - peak) / peak
        if depth < 0 and inside:
            found[-1] = (min(found[-1][0], depth), found[-1][1] + 1)
        elif depth < 0:
            found.append((depth, 1))
        inside = depth < 0
    return found


def test_the_hand_worked_curve() -> None:
    drawdown = accumulate(HAND_WORKED)
    assert drawdown.max_drawdown() == pytest.approx(-0.2)
    assert drawdown.max_drawdown_duration() == 2
    assert drawdown.longest_drawdown_duration() == 2
    assert drawdown.avg_drawdown() == pytest.approx((-0.1 - 0.2 - 0.1) / 3)
    assert drawdown.ulcer_index() == pytest.approx(
        math.sqrt((0.1**2 + 0.05**2 + 0.2**2 + 0.1**2 + 0.1**2) / 9)
    )
    assert drawdown.largest_loss() == pytest.approx(96.8 - 121.0)


def test_the_initial_capital_is_the_first_peak() -> None:
    drawdown = accumulate([90.0, 95.0])
    assert drawdown.max_drawdown() == pytest.approx(-0.1)
    assert drawdown.max_drawdown_duration() == 2


def test_the_deepest_drawdown_need_not_be_the_longest() -> None:
    drawdown = accumulate([99.0, 98.0, 99.0, 101.0, 50.0, 102.0])
    assert drawdown.max_drawdown_duration() == 1
    assert drawdown.longest_drawdown_duration() == 3


def test_without_a_fall_depth_and_length_are_zero_and_the_mean_undefined() -> None:
    drawdown = accumulate([100.0, 101.0, 101.0])
    assert drawdown.max_drawdown() == 0.0
    assert drawdown.max_drawdown_duration() == 0
    assert drawdown.longest_drawdown_duration() == 0
    assert drawdown.ulcer_index() == 0.0
    assert drawdown.avg_drawdown() is None


def test_without_marks_everything_is_undefined() -> None:
    drawdown = DrawdownAccumulator(100.0)
    assert drawdown.max_drawdown() is None
    assert drawdown.max_drawdown_duration() is None
    assert drawdown.longest_drawdown_duration() is None
    assert drawdown.avg_drawdown() is None
    assert drawdown.ulcer_index() is None


@settings(deadline=None)
@given(st.lists(st.integers(1, 30).map(float), min_size=1, max_size=80), st.integers(1, 9))
def test_drawdowns_equal_those_found_mark_by_mark(equity: list[float], portion: int) -> None:
    drawdown = DrawdownAccumulator(15.0)
    for start in range(0, len(equity), portion):
        drawdown.fold(np.array(equity[start : start + portion]))
    drawdown.finish()
    naive = naive_drawdowns(equity, 15.0)
    deepest = min(naive, key=lambda item: item[0], default=(0.0, 0))
    assert (drawdown.max_drawdown(), drawdown.max_drawdown_duration()) == deepest
    assert drawdown.longest_drawdown_duration() == max((n for _, n in naive), default=0)
    mean = sum(depth for depth, _ in naive) / len(naive) if naive else None
    assert drawdown.avg_drawdown() == (pytest.approx(mean) if naive else None)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_drawdowns_reach_across_chunks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    equity = (100 * np.cumprod(1 + rng.standard_normal(3000) * 0.01)).tolist()
    drawdown = accumulate(equity)
    naive = naive_drawdowns(equity, 100.0)
    assert drawdown.longest_drawdown_duration() == max(n for _, n in naive)
    assert drawdown.max_drawdown() == min(depth for depth, _ in naive)
    assert drawdown.avg_drawdown() == pytest.approx(np.mean([depth for depth, _ in naive]))

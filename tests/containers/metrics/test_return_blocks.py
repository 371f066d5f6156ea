from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from admf.containers.events import PortfolioUpdate
from admf.containers.metrics import Annualisation, MetricsResult, PortfolioMetrics, ReturnBlocks
from admf.containers.times import DAY_NS
from admf.engine.block import Block

MakeMarks: TypeAlias = Callable[..., Block[PortfolioUpdate]]

PER_BAR = Annualisation(252.0, "bar")
PER_DAY = Annualisation()
HOURS_7 = 7 * 3600 * 10**9


def random_equity(count: int, seed: int = 1) -> NDArray[np.float64]:
    returns = np.random.default_rng(seed).standard_t(4, count) * 0.01
    equity: NDArray[np.float64] = 100 * np.cumprod(1 + returns)
    return equity


def measure(
    marks: Block[PortfolioUpdate],
    groups: int,
    annualisation: Annualisation = PER_BAR,
    *,
    portion: int = 4096,
    expected: int | None = None,
) -> MetricsResult:
    count = annualisation.return_count(marks.ts) if expected is None else expected
    metrics = PortfolioMetrics(100.0, annualisation, ReturnBlocks(groups, count))
    for start in range(0, len(marks), portion):
        metrics.sinks[0].fold(marks.slice(start, start + portion))
    return metrics.result()


@pytest.mark.parametrize("groups", [1, 2, 16, 60])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 100, 5000])
def test_groups_are_consecutive_and_nearly_equal(marks: MakeMarks, groups: int, count: int) -> None:
    equity = random_equity(count)
    returns = equity / np.concatenate(([100.0], equity[:-1])) - 1
    members: list[list[float]] = [[] for _ in range(groups)]
    for place, value in enumerate(returns.tolist()):
        members[place * groups // count].append(value)
    result = measure(marks(equity), groups)
    assert [block[0] for block in result.return_blocks] == [len(it) for it in members]
    for (_, total, squares), group in zip(result.return_blocks, members, strict=True):
        assert total == pytest.approx(math.fsum(group), abs=1e-12)
        assert squares == pytest.approx(math.fsum(value * value for value in group), abs=1e-12)
    sizes = [len(it) for it in members]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("annualisation", "step_ns"), [(PER_BAR, DAY_NS), (PER_DAY, HOURS_7)])
def test_they_are_the_returns_that_the_sharpe_ratio_is_made_of(
    marks: MakeMarks, annualisation: Annualisation, step_ns: int
) -> None:
    result = measure(marks(random_equity(3000), step_ns=step_ns), 16, annualisation)
    count, total, squares = np.sum(result.return_blocks, axis=0)
    mean = total / count
    deviation = math.sqrt((squares - count * mean * mean) / (count - 1))
    sharpe = mean / deviation * math.sqrt(252)
    assert result.return_count == count
    assert sharpe == pytest.approx(result.values["sharpe_ratio"])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 3000), st.sampled_from([PER_BAR, PER_DAY]))
def test_they_do_not_depend_on_how_marks_are_cut_into_blocks(
    marks: MakeMarks, count: int, portion: int, annualisation: Annualisation
) -> None:
    whole = marks(random_equity(count), step_ns=HOURS_7)
    cut = measure(whole, 16, annualisation, portion=portion)
    assert cut == measure(whole, 16, annualisation, portion=count)


def test_a_lane_that_ends_early_leaves_the_later_groups_empty(marks: MakeMarks) -> None:
    result = measure(marks(random_equity(25)), 4, expected=100)
    assert [block[0] for block in result.return_blocks] == [25, 0, 0, 0]


@pytest.mark.parametrize("ruined_at", [0, 5, 1500])
def test_after_ruin_there_are_no_returns(marks: MakeMarks, ruined_at: int) -> None:
    equity = random_equity(2000)
    equity[ruined_at] = -1.0
    result = measure(marks(equity), 4)
    assert result.return_count == 0
    assert result.return_blocks == ((0, 0.0, 0.0),) * 4


def test_without_groups_there_are_none(marks: MakeMarks) -> None:
    result = measure(marks(random_equity(20)), 0)
    assert (result.return_count, result.return_blocks) == (20, ())


def test_asking_midway_changes_nothing_later(marks: MakeMarks) -> None:
    whole = marks(random_equity(3000))
    asked = PortfolioMetrics(100.0, PER_BAR, ReturnBlocks(16, 3000))
    for start in range(0, 3000, 700):
        asked.sinks[0].fold(whole.slice(start, start + 700))
        asked.result()
    assert asked.result() == measure(whole, 16)

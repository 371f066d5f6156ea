from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.events import Bar
from admf.containers.strategies.baseline import BuyAndHold, RandomEntry
from admf.containers.strategies.exposure import Mode

Exposures = Callable[..., list[float]]


class RecordingContext:
    """Takes down what a strategy asks for; knows nothing of fills."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.bar_index = 0
        self.wanted: list[tuple[int, float]] = []

    def target(self, exposure: float) -> None:
        self.wanted.append((self.bar_index, exposure))

    def close(self) -> None:
        self.wanted.append((self.bar_index, 0.0))


def run(strategy: RandomEntry, seed: int, n_bars: int, symbols: Sequence[str] = ("X",)) -> Any:
    context: Any = RecordingContext(seed)
    for index in range(n_bars):
        context.bar_index = index
        for symbol in symbols:
            strategy.on_bar(Bar(index, symbol, 1.0, 1.0, 1.0, 1.0, 1.0), context)
    return context.wanted


def test_buy_and_hold_is_long_from_the_first_bar(exposures: Exposures) -> None:
    assert exposures(BuyAndHold(), [3.0, 2.0, 1.0]) == [1.0, 1.0, 1.0]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    probability=st.floats(0, 1),
    hold_bars=st.integers(1, 5),
    mode=st.sampled_from(["long_flat", "long_short"]),
)
def test_random_entry_equals_a_loop_over_the_same_draws(
    seed: int, probability: float, hold_bars: int, mode: Mode
) -> None:
    rng = np.random.default_rng(seed)
    expected, index = [], 0
    while index < 40:
        if rng.random() < probability:
            short = mode == "long_short" and rng.random() < 0.5
            expected.append((index, -1.0 if short else 1.0))
            index += hold_bars
            if index < 40:
                expected.append((index, 0.0))
        index += 1
    assert run(RandomEntry(probability, hold_bars, mode), seed, 40) == expected


def test_the_same_seed_gives_the_same_trades_and_another_seed_others() -> None:
    first, again, other = (run(RandomEntry(0.3, 2), seed, 200) for seed in (7, 7, 8))
    assert first == again != other


def test_certain_entries_follow_each_other_with_one_bar_between() -> None:
    wanted = run(RandomEntry(1.0, 2), 0, 7)
    assert wanted == [(0, 1.0), (2, 0.0), (3, 1.0), (5, 0.0), (6, 1.0)]


def test_without_a_chance_nothing_happens() -> None:
    assert run(RandomEntry(0.0, 1), 0, 100) == []


def test_symbols_have_trades_of_their_own() -> None:
    wanted = run(RandomEntry(0.5, 3), 1, 50, symbols=("X", "Y"))
    entries = [index for index, exposure in wanted if exposure]
    assert len(set(entries)) > 10
    assert any(a != b for a, b in zip(entries[::2], entries[1::2], strict=False))


@pytest.mark.parametrize("mode", ["long_flat", "long_short"])
def test_directions_are_drawn_with_even_chances(mode: Mode) -> None:
    wanted = run(RandomEntry(1.0, 1, mode), 3, 4000)
    shorts = sum(exposure < 0 for _, exposure in wanted)
    assert (shorts == 0) if mode == "long_flat" else (900 < shorts < 1100)

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.strategies.exposure import Mode
from admf.containers.strategies.trend import DonchianBreakout, Momentum

Exposures = Callable[..., list[float]]

modes = st.sampled_from(["long_flat", "long_short"])
bar = st.tuples(st.integers(90, 110), st.integers(0, 3), st.integers(0, 3))


def donchian(
    closes: list[float], highs: list[float], lows: list[float], entry: int, exit_: int, mode: Mode
) -> list[float]:
    held, now = [], 0.0
    for i, close in enumerate(closes):
        if i >= exit_:
            out_low, out_high = min(lows[i - exit_ : i]), max(highs[i - exit_ : i])
            if (now > 0 and close < out_low) or (now < 0 and close > out_high):
                now = 0.0
        if i >= entry:
            if close > max(highs[i - entry : i]):
                now = 1.0
            elif mode == "long_short" and close < min(lows[i - entry : i]):
                now = -1.0
        held.append(now)
    return held


@settings(deadline=None)
@given(
    bars=st.lists(bar, min_size=1, max_size=60),
    periods=st.tuples(st.integers(2, 8), st.integers(2, 8)).map(sorted),
    mode=modes,
)
def test_donchian_breakout_equals_a_loop(
    exposures: Exposures, bars: list[tuple[int, int, int]], periods: list[int], mode: Mode
) -> None:
    exit_, entry = periods
    closes = [float(close) for close, _, _ in bars]
    highs = [float(close + above) for close, above, _ in bars]
    lows = [float(close - below) for close, _, below in bars]
    strategy = DonchianBreakout(entry, exit_, mode)
    expected = donchian(closes, highs, lows, entry, exit_, mode)
    assert exposures(strategy, closes, highs, lows) == expected


def test_a_bar_is_not_part_of_its_own_channel(exposures: Exposures) -> None:
    closes = [10.0] * 5 + [11.0, 11.0, 9.0]
    highs = [*closes[:-1], 12.0]
    assert exposures(DonchianBreakout(5, 3), closes, highs) == [0.0] * 5 + [1.0, 1.0, 0.0]


def test_touching_the_channel_is_no_breakout(exposures: Exposures) -> None:
    closes, highs = [10.0] * 5 + [11.0], [11.0] * 6
    assert exposures(DonchianBreakout(5, 3), closes, highs) == [0.0] * 6


def test_the_exit_channel_may_not_be_longer() -> None:
    with pytest.raises(ValueError, match="exit must be at most entry, got exit=30 and entry=20"):
        DonchianBreakout(20, 30)


@settings(deadline=None)
@given(
    closes=st.lists(st.integers(90, 110), min_size=1, max_size=40),
    lookback=st.integers(1, 10),
    threshold=st.sampled_from([Fraction(0), Fraction(3, 100), Fraction(1, 10)]),
    mode=modes,
)
def test_momentum_equals_a_loop_in_exact_arithmetic(
    exposures: Exposures, closes: list[int], lookback: int, threshold: Fraction, mode: Mode
) -> None:
    expected = []
    for i, close in enumerate(closes):
        change = Fraction(close, closes[i - lookback]) - 1 if i >= lookback else Fraction(0)
        short = mode == "long_short" and change < -threshold
        expected.append(1.0 if change > threshold else -1.0 if short else 0.0)
    strategy = Momentum(lookback, float(threshold), mode)
    assert exposures(strategy, [float(close) for close in closes]) == expected


def test_momentum_first_acts_at_bar_index_lookback(exposures: Exposures) -> None:
    assert exposures(Momentum(3), [1.0, 2.0, 3.0, 4.0, 5.0]) == [0, 0, 0, 1, 1]


def test_a_return_at_the_threshold_on_paper_is_not_beyond_it(exposures: Exposures) -> None:
    assert 2.1 / 2.0 - 1.0 > 0.05
    assert exposures(Momentum(1, 0.05), [2.0, 2.1]) == [0.0, 0.0]


def test_no_change_is_no_momentum(exposures: Exposures) -> None:
    assert exposures(Momentum(2, mode="long_short"), [0.1] * 6) == [0.0] * 6

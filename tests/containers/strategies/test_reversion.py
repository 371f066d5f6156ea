from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from admf.containers.strategies.exposure import Mode
from admf.containers.strategies.reversion import BollingerReversion, RsiReversion

Exposures = Callable[..., list[float]]

modes = st.sampled_from(["long_flat", "long_short"])
closes_in_cents = st.lists(st.integers(900, 1100), min_size=1, max_size=60).map(
    lambda values: [Fraction(value, 100) for value in values]
)


def rsi(closes: list[Fraction], period: int) -> list[Fraction | None]:
    """Wilder's: means of the first changes, then each change weighs 1 / period."""
    line: list[Fraction | None] = [None] * len(closes)
    up = down = Fraction(0)
    for i in range(1, len(closes)):
        change = closes[i] - closes[i - 1]
        weight = Fraction(1, period)
        if i <= period:
            up, down = (
                up + max(change, Fraction(0)) * weight,
                down + max(-change, Fraction(0)) * weight,
            )
        else:
            up += (max(change, Fraction(0)) - up) * weight
            down += (max(-change, Fraction(0)) - down) * weight
        if i >= period and up + down:
            line[i] = 100 * up / (up + down)
    return line


def revert(rules: list[tuple[bool, bool, bool, bool]], mode: Mode) -> list[float]:
    """Walk bar by bar; each rule says: enter long, leave long, enter short, leave short."""
    held, now = [], 0.0
    for enter_long, leave_long, enter_short, leave_short in rules:
        if (now > 0 and leave_long) or (now < 0 and leave_short):
            now = 0.0
        if enter_long:
            now = 1.0
        elif enter_short and mode == "long_short":
            now = -1.0
        held.append(now)
    return held


@settings(deadline=None)
@given(
    closes=closes_in_cents,
    period=st.integers(2, 6),
    levels=st.tuples(*[st.integers(0, 100)] * 3).map(sorted),
    mode=modes,
)
def test_rsi_reversion_equals_a_loop_in_exact_arithmetic(
    exposures: Exposures, closes: list[Fraction], period: int, levels: list[int], mode: Mode
) -> None:
    low, middle, high = levels
    assume(low < high)
    rules = [
        (False,) * 4
        if value is None
        else (value < low, value >= middle, value > high, value <= middle)
        for value in rsi(closes, period)
    ]
    strategy = RsiReversion(period, low, high, middle, mode)
    assert exposures(strategy, list(map(float, closes))) == revert(rules, mode)


def test_rsi_at_a_level_is_not_beyond_it(exposures: Exposures) -> None:
    # ups of 0.3 and downs of 0.7 in ten bars: the first RSI is 30 on paper
    closes = [10.0, 10.1, 10.2, 10.3, 10.2, 10.1, 10.0, 9.9, 9.8, 9.7, 9.6]
    assert exposures(RsiReversion(10), closes)[-1] == 0.0
    assert exposures(RsiReversion(10, oversold=30.001), closes)[-1] == 1.0
    assert exposures(RsiReversion(10, 10.0, 29.999, 20.0, "long_short"), closes)[-1] == -1.0


def test_rsi_reversion_leaves_at_the_exit_level_itself(exposures: Exposures) -> None:
    # two changes down, then one up: gains and losses are even, an RSI of 50 on paper
    assert exposures(RsiReversion(2), [1.0, 0.9, 0.8, 0.9]) == [0.0, 0.0, 1.0, 0.0]
    short = RsiReversion(2, mode="long_short")
    assert exposures(short, [1.0, 1.1, 1.2, 1.1]) == [0.0, 0.0, -1.0, 0.0]


def test_rsi_reversion_first_acts_at_bar_index_period(exposures: Exposures) -> None:
    falling = [100.0 - i for i in range(20)]
    assert exposures(RsiReversion(14), falling) == [0.0] * 14 + [1.0] * 6


def test_rsi_reversion_stays_out_until_a_price_has_changed(exposures: Exposures) -> None:
    closes = [5.0] * 30 + [4.0] * 3
    assert exposures(RsiReversion(14), closes) == [0.0] * 30 + [1.0] * 3


def test_rsi_reversion_stays_in_when_prices_stop_changing(exposures: Exposures) -> None:
    closes = [100.0, 101.0] + [100.0 - i for i in range(18)] + [83.0] * 20
    assert exposures(RsiReversion(14), closes) == [0.0] * 14 + [1.0] * 26
    assert exposures(RsiReversion(14), closes, start=25) == [1.0] * 15


@settings(deadline=None)
@given(
    closes=closes_in_cents,
    period=st.integers(2, 8),
    deviations=st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(13, 10), Fraction(2)]),
    mode=modes,
)
def test_bollinger_reversion_equals_a_loop_in_exact_arithmetic(
    exposures: Exposures, closes: list[Fraction], period: int, deviations: Fraction, mode: Mode
) -> None:
    rules = []
    for i, close in enumerate(closes):
        if i < period - 1:
            rules.append((False,) * 4)
            continue
        window = closes[i - period + 1 : i + 1]
        mean = sum(window, Fraction(0)) / period
        variance = sum(((value - mean) ** 2 for value in window), Fraction(0)) / period
        beyond = (close - mean) ** 2 - deviations**2 * variance
        # bands carry the rounding of a running sum of squares: a close at a band is left out
        assume(not variance or abs(beyond) > Fraction(1, 10**9))
        far = beyond > 0
        rules.append((far and close < mean, close >= mean, far and close > mean, close <= mean))
    strategy = BollingerReversion(period, float(deviations), mode)
    assert exposures(strategy, list(map(float, closes))) == revert(rules, mode)


def test_bollinger_reversion_first_acts_at_bar_index_period_minus_one(exposures: Exposures) -> None:
    closes = [10.0] * 19 + [9.0, 9.5, 10.0, 10.0]
    assert exposures(BollingerReversion(20), closes) == [0.0] * 19 + [1.0, 1.0, 0.0, 0.0]


def test_bollinger_reversion_ignores_the_rounding_of_a_standstill(exposures: Exposures) -> None:
    closes = [123.4, 0.7, 99.9, 3.3, *[0.1] * 200]
    held = exposures(BollingerReversion(5, 0.001, "long_short"), closes)
    assert not any(held[20:])


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (
            (70, 30, 50),
            "oversold must be less than overbought, got oversold=70.0 and overbought=30",
        ),
        ((50, 50, 50), "oversold must be less than overbought"),
        ((30, 70, 80), "exit_level must lie between oversold=30.0 and overbought=70.0, got exit_"),
        ((30, 70, 20), "exit_level must lie between"),
    ],
)
def test_levels_must_be_in_order(levels: tuple[float, float, float], message: str) -> None:
    oversold, overbought, exit_level = map(float, levels)
    with pytest.raises(ValueError, match=message):
        RsiReversion(14, oversold, overbought, exit_level)

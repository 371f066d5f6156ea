from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.config import DataConfig
from admf.containers.readers import load_market_data
from admf.containers.strategies.crossover import EmaCross, MacdCross, SmaCross
from admf.containers.strategies.exposure import TIE, Mode, Trigger

Exposures = Callable[..., list[float]]
Line = list[Fraction | None]

modes = st.sampled_from(["long_flat", "long_short"])
triggers = st.sampled_from(["cross", "state"])

# cents around 10.00, in small steps and with standstills, so that averages often tie
cents = st.lists(st.sampled_from([-2, -1, 0, 0, 0, 1, 2]), min_size=1, max_size=60).map(
    lambda steps: [Fraction(1000 + sum(steps[:i]), 100) for i in range(len(steps) + 1)]
)


def sma(closes: list[Fraction], period: int) -> Line:
    return [
        sum(closes[i - period + 1 : i + 1], Fraction(0)) / period if i >= period - 1 else None
        for i in range(len(closes))
    ]


def ema(values: list[Fraction], period: int) -> Line:
    """Start as the mean of the first values, then weigh each new one with 2 / (period + 1)."""
    line: Line = [None] * len(values)
    for i, value in enumerate(values):
        before = line[i - 1] if i else None
        if before is not None:
            line[i] = before + (value - before) * Fraction(2, period + 1)
        elif i == period - 1:
            line[i] = sum(values[:period], Fraction(0)) / period
    return line


def macd(closes: list[Fraction], fast: int, slow: int, signal: int) -> tuple[Line, Line]:
    """Both averages start at index slow - 1, the signal line at its own first full period."""
    fast_line = ema(closes[slow - fast :], fast)
    slow_line = ema(closes, slow)[slow - fast :]
    pairs = zip(fast_line, slow_line, strict=True)
    known = [f - s for f, s in pairs if f is not None and s is not None]
    line: Line = [*[None] * (len(closes) - len(known)), *known]
    signal_line: Line = [*[None] * (len(closes) - len(known)), *ema(known, signal)]
    return [
        m if s is not None else None for m, s in zip(line, signal_line, strict=True)
    ], signal_line


def follow(
    closes: list[Fraction], upper: Line, lower: Line, mode: Mode, trigger: Trigger
) -> list[float]:
    """Walk bar by bar: hold 1 above, 0 or -1 below, change where the side changes."""
    under = -1.0 if mode == "long_short" else 0.0
    held, now, known_side = [], 0.0, 0
    for close, a, b in zip(closes, upper, lower, strict=True):
        if a is not None and b is not None and abs(a - b) > close * Fraction(TIE):
            new_side = 1 if a > b else -1
            if new_side != known_side and (known_side or trigger == "state"):
                now = 1.0 if new_side > 0 else under
            known_side = new_side
        held.append(now)
    return held


@settings(deadline=None)
@given(closes=cents, fast=st.integers(1, 5), more=st.integers(1, 8), mode=modes, trigger=triggers)
def test_sma_cross_equals_a_loop_in_exact_arithmetic(
    exposures: Exposures, closes: list[Fraction], fast: int, more: int, mode: Mode, trigger: Trigger
) -> None:
    slow = fast + more
    expected = follow(closes, sma(closes, fast), sma(closes, slow), mode, trigger)
    assert exposures(SmaCross(fast, slow, mode, trigger), list(map(float, closes))) == expected


@settings(deadline=None)
@given(closes=cents, fast=st.integers(1, 5), more=st.integers(1, 8), mode=modes, trigger=triggers)
def test_ema_cross_equals_a_loop_in_exact_arithmetic(
    exposures: Exposures, closes: list[Fraction], fast: int, more: int, mode: Mode, trigger: Trigger
) -> None:
    slow = fast + more
    expected = follow(closes, ema(closes, fast), ema(closes, slow), mode, trigger)
    assert exposures(EmaCross(fast, slow, mode, trigger), list(map(float, closes))) == expected


@settings(deadline=None)
@given(
    closes=cents,
    fast=st.integers(2, 5),
    more=st.integers(1, 6),
    signal=st.integers(1, 5),
    mode=modes,
    trigger=triggers,
)
def test_macd_cross_equals_a_loop_in_exact_arithmetic(
    exposures: Exposures,
    closes: list[Fraction],
    fast: int,
    more: int,
    signal: int,
    mode: Mode,
    trigger: Trigger,
) -> None:
    slow = fast + more
    expected = follow(closes, *macd(closes, fast, slow, signal), mode, trigger)
    strategy = MacdCross(fast, slow, signal, mode, trigger)
    assert exposures(strategy, list(map(float, closes))) == expected


def test_sma_cross_on_real_bars_equals_a_loop_over_cumulative_sums(exposures: Exposures) -> None:
    data = load_market_data(DataConfig(source="sample", symbols=("GOOG",)))
    closes: list[float] = data.bars("GOOG").close.tolist()
    sums = [0.0, *accumulate(closes)]
    expected, now, above = [], 0.0, None
    for i in range(len(closes)):
        if i >= 49:
            was_above, above = above, (sums[i + 1] - sums[i - 9]) * 5 > sums[i + 1] - sums[i - 49]
            if was_above is not None and was_above is not above:
                now = float(above)
        expected.append(now)
    assert exposures(SmaCross(), closes) == expected
    entries = sum(after > before for before, after in pairwise(expected))
    assert (entries, expected[-1]) == (20, 1.0)  # nineteen closed trades, one open


def test_equal_averages_that_rounding_keeps_apart_are_a_tie(exposures: Exposures) -> None:
    # below; then 0.1 for so long that both averages are 0.1 on paper; then above
    closes = [0.7, 0.3, 0.2, *[0.1] * 20, 0.9, 0.1]
    held = exposures(SmaCross(3, 5, "long_short"), closes)
    assert held == [0.0] * 23 + [1.0] * 2


def test_a_tie_that_falls_back_is_no_cross(exposures: Exposures) -> None:
    closes = [9.0, 8.0, 7.0, *[6.0] * 5, 5.0, 4.0]
    assert exposures(SmaCross(2, 4, "long_short"), closes) == [0.0] * 10


@pytest.mark.parametrize(("signal", "first"), [("cross", 50), ("state", 49)])
def test_sma_cross_acts_at_the_first_possible_bar(
    exposures: Exposures, signal: Trigger, first: int
) -> None:
    falling = [100.0 - i for i in range(first)]
    held = exposures(SmaCross(10, 50, "long_flat", signal), [*falling, 1e4, 1e4])
    assert held == [0.0] * first + [1.0, 1.0]


@pytest.mark.parametrize(("signal", "first"), [("cross", 34), ("state", 33)])
def test_macd_cross_acts_at_the_first_possible_bar(
    exposures: Exposures, signal: Trigger, first: int
) -> None:
    falling = [1000.0 - i * i / 10 for i in range(first)]
    held = exposures(MacdCross(signal=signal), [*falling, 1e5])
    assert held == [0.0] * first + [1.0]


def test_a_window_is_warm_from_the_bars_before_it(exposures: Exposures) -> None:
    closes = [*(100.0 - i for i in range(60)), 1e4, 1e4]
    assert exposures(SmaCross(10, 50), closes, start=58) == [0.0, 0.0, 1.0, 1.0]
    assert exposures(SmaCross(10, 50), closes, start=60) == [0.0, 0.0]  # it has seen no other side


def test_constant_prices_never_trade(exposures: Exposures) -> None:
    for strategy in (SmaCross(3, 7), EmaCross(3, 7), MacdCross(3, 7, 4)):
        assert not any(exposures(strategy, [0.1] * 200))


@pytest.mark.parametrize("cls", [SmaCross, EmaCross, MacdCross])
@pytest.mark.parametrize(("fast", "slow"), [(50, 10), (20, 20)])
def test_fast_must_be_less_than_slow(
    cls: type[SmaCross | EmaCross | MacdCross], fast: int, slow: int
) -> None:
    message = f"fast must be less than slow, got fast={fast} and slow={slow}"
    with pytest.raises(ValueError, match=message):
        cls(fast=fast, slow=slow)

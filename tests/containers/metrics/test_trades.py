from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.events import PositionClose
from admf.containers.metrics.chunks import CHUNK
from admf.containers.metrics.trades import TradeMetrics
from admf.engine.block import Block, DictionaryColumn

Values: TypeAlias = dict[str, float | None]
MakeClose: TypeAlias = Callable[..., PositionClose]

PNL = [100.0, -50.0, 0.0, 200.0, 50.0, -100.0, -25.0, -25.0, 150.0, 0.0]
"""4 wins (500), 4 losses (200), 2 breakeven; 300 in all."""


def measure(closes: list[PositionClose]) -> Values:
    metrics = TradeMetrics()
    for close in closes:
        metrics.fold(close)
    return metrics.values()


def as_block(closes: list[PositionClose]) -> Block[PositionClose]:
    names = PositionClose.__struct_fields__
    columns: dict[str, Any] = {name: [getattr(c, name) for c in closes] for name in names}
    for name, values in columns.items():
        if isinstance(values[0], str):
            known = sorted(set(values))
            codes = np.array([known.index(value) for value in values])
            columns[name] = DictionaryColumn(codes, known)
        else:
            columns[name] = np.array(values)
    return Block(PositionClose, columns)


def test_the_hand_worked_trades(close: MakeClose) -> None:
    closes = [close(pnl, bars=bars) for bars, pnl in enumerate(PNL, start=1)]
    values = measure(closes)
    win_rate, payoff = 4 / 10, (500 / 4) / (200 / 4)
    expected = {
        "trade_count": 10,
        "win_rate": win_rate,
        "profit_factor": 2.5,
        "expectancy": 30.0,
        "payoff_ratio": payoff,
        "average_trade": 0.03,
        "best_trade": 0.2,
        "worst_trade": -0.1,
        "max_win_streak": 2,
        "max_loss_streak": 3,
        "average_bars_held": 5.5,
        "sqn": math.sqrt(10) * 30.0 / float(np.std(PNL, ddof=1)),
        "kelly": win_rate - (1 - win_rate) / payoff,
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, rel=1e-12), name
        assert values["long_" + name] == pytest.approx(value, rel=1e-12), name
    assert values["short_trade_count"] == 0


def test_sides_are_counted_apart_and_streaks_within_their_side(close: MakeClose) -> None:
    pnl_and_side = [
        (10.0, "long"),
        (-5.0, "short"),
        (20.0, "long"),
        (-5.0, "short"),
        (-6.0, "long"),
        (30.0, "short"),
    ]
    values = measure([close(pnl, side) for pnl, side in pnl_and_side])
    assert (values["trade_count"], values["long_trade_count"], values["short_trade_count"]) == (
        6,
        3,
        3,
    )
    assert (values["max_win_streak"], values["max_loss_streak"]) == (1, 2)
    assert (values["long_max_win_streak"], values["long_max_loss_streak"]) == (2, 1)
    assert (values["short_max_win_streak"], values["short_max_loss_streak"]) == (1, 2)
    assert values["long_profit_factor"] == pytest.approx(5.0)
    assert values["short_profit_factor"] == pytest.approx(3.0)
    assert values["expectancy"] == pytest.approx(44 / 6)


def test_a_breakeven_trade_ends_both_streaks(close: MakeClose) -> None:
    values = measure([close(pnl) for pnl in (1.0, 1.0, 0.0, 1.0, -1.0, 0.0, -1.0)])
    assert (values["max_win_streak"], values["max_loss_streak"]) == (2, 1)


def test_a_streak_goes_on_from_chunk_to_chunk(close: MakeClose) -> None:
    values = measure([close(1.0)] * (CHUNK + 5) + [close(-1.0)] * (CHUNK + 9))
    assert (values["max_win_streak"], values["max_loss_streak"]) == (CHUNK + 5, CHUNK + 9)


COUNTS = {"trade_count", "max_win_streak", "max_loss_streak"}
OF_WINS_AND_LOSSES = {"payoff_ratio", "sqn", "kelly"}


@pytest.mark.parametrize(
    ("pnl", "undefined"),
    [
        pytest.param([10.0], OF_WINS_AND_LOSSES | {"profit_factor"}, id="one win"),
        pytest.param([-10.0], OF_WINS_AND_LOSSES, id="one loss"),
        pytest.param([0.0, 0.0], OF_WINS_AND_LOSSES | {"profit_factor"}, id="breakeven"),
        pytest.param([0.1] * 3, OF_WINS_AND_LOSSES | {"profit_factor"}, id="equal wins"),
        pytest.param([-1.0, -2.0], {"payoff_ratio", "kelly"}, id="losses"),
        pytest.param([10.0, -5.0], set(), id="both"),
    ],
)
def test_what_is_undefined_is_none(close: MakeClose, pnl: list[float], undefined: set[str]) -> None:
    values = measure([close(each) for each in pnl])
    assert {name for name in values if values[name] is None} == (
        undefined
        | {f"long_{name}" for name in undefined}
        | {name for name in values if name.startswith("short_") and name[6:] not in COUNTS}
    )


def test_without_trades_only_the_counts_are_defined() -> None:
    values = measure([])
    defined = {name for name in values if values[name] is not None}
    assert defined == {side + name for side in ("", "long_", "short_") for name in COUNTS}
    assert all(values[name] == 0 for name in defined)


def test_losses_only_have_a_profit_factor_of_zero(close: MakeClose) -> None:
    values = measure([close(-10.0), close(-20.0)])
    assert values["profit_factor"] == 0.0
    assert values["win_rate"] == 0.0


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 2 * CHUNK + 100),
    st.integers(1, 700),
    st.integers(0, 2**32 - 1),
)
def test_blocks_and_single_trades_give_the_same_bits(
    close: MakeClose, count: int, portion: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pnl = np.round(rng.standard_normal(count) * 50)
    closes = [
        close(float(each), "long" if up else "short", number=number, bars=number % 9)
        for number, (each, up) in enumerate(zip(pnl, rng.random(count) < 0.5, strict=True), 1)
    ]
    metrics = TradeMetrics()
    for start in range(0, count, portion):
        metrics.fold(as_block(closes[start : start + portion]))
        metrics.values()
    assert metrics.values() == measure(closes)
    assert metrics.values()["max_win_streak"] == longest_run(pnl > 0)
    assert metrics.values()["max_loss_streak"] == longest_run(pnl < 0)
    assert metrics.values()["expectancy"] == pytest.approx(pnl.mean(), abs=1e-9)


def longest_run(flags: np.ndarray[Any, Any]) -> int:
    longest = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        longest = max(longest, run)
    return longest

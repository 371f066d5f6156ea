from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.events import PortfolioUpdate, PositionClose
from admf.containers.metrics.history import EquityHistory, TradeHistory
from admf.containers.times import DAY_NS
from admf.engine.block import Block

BYTES_PER_MARK = 16


@settings(deadline=None)
@given(
    portions=st.lists(st.integers(0, 3000) | st.integers(4000, 5000), min_size=1, max_size=8),
    limit=st.none() | st.integers(1, 2500),
)
def test_the_curve_is_the_last_marks_however_they_arrive(
    marks: Callable[..., Block[PortfolioUpdate]], portions: list[int], limit: int | None
) -> None:
    total = sum(max(portion, 1) for portion in portions)
    whole = marks(np.arange(total, dtype=np.float64))
    history, start = EquityHistory(limit), 0
    for portion in portions:
        part = whole.slice(start, start + max(portion, 1))
        history.fold(part if portion else part.events()[0])
        start += max(portion, 1)
    first = 0 if limit is None else max(0, total - limit)
    assert list(history.values("equity")) == list(range(first, total))
    assert list(history.values("ts")) == whole.ts[first:].tolist()


def test_the_memory_of_a_limited_curve_is_bounded(
    marks: Callable[..., Block[PortfolioUpdate]],
) -> None:
    history = EquityHistory(1000)
    for event in marks(np.arange(20_000.0)).events():
        history.fold(event)
        assert history.size_bytes() <= 4 * 1000 * BYTES_PER_MARK


def test_a_growing_curve_is_copied_seldom(marks: Callable[..., Block[PortfolioUpdate]]) -> None:
    history, capacities = EquityHistory(), set()
    for event in marks(np.arange(20_000.0)).events():
        history.fold(event)
        capacities.add(history.size_bytes())
    assert len(capacities) <= 6


def test_a_curve_is_text_and_numbers(marks: Callable[..., Block[PortfolioUpdate]]) -> None:
    history = EquityHistory()
    history.fold(marks([100.0, 101.5]))
    assert {name: list(values) for name, values in history.curve().items()} == {
        "ts": ["1970-01-05T00:00:00Z", "1970-01-06T00:00:00Z"],
        "equity": [100.0, 101.5],
    }


def test_a_trade_has_the_fields_of_the_result_file(close: Callable[..., PositionClose]) -> None:
    history = TradeHistory()
    history.fold(close(25.0, "short", number=3, bars=2))
    assert msgspec.to_builtins(list(history.trades())) == [
        {
            "id": "GOOG-3",
            "symbol": "GOOG",
            "side": "short",
            "quantity": 10.0,
            "entry_time": "1970-01-05T00:00:00Z",
            "exit_time": "1970-01-08T00:00:00Z",
            "entry_price": 100.0,
            "exit_price": 102.5,
            "pnl": 25.0,
            "return": 0.025,
            "commission": 1.0,
            "bars_held": 2,
            "mae": -0.01,
            "mfe": 0.02,
            "exit_reason": "signal",
        }
    ]


@pytest.mark.parametrize(
    ("limit", "kept"), [(None, [1, 2, 3, 4, 5]), (2, [4, 5]), (9, [1, 2, 3, 4, 5])]
)
def test_the_last_trades_are_kept_from_events_and_blocks_alike(
    close: Callable[..., PositionClose], limit: int | None, kept: list[int]
) -> None:
    closes = [close(1.0, number=number) for number in range(1, 6)]
    columns = {
        name: np.array([getattr(each, name) for each in closes])
        for name in PositionClose.__struct_fields__
    }
    single, block = TradeHistory(limit), TradeHistory(limit)
    for each in closes:
        single.fold(each)
    block.fold(Block(PositionClose, columns))
    trades = list(single.trades())
    assert [trade.id for trade in trades] == [f"GOOG-{number}" for number in kept]
    assert trades == list(block.trades())
    assert trades[-1].exit_time == f"1970-01-{5 + 5:02d}T00:00:00Z"
    assert closes[-1].ts == (4 + 5) * DAY_NS

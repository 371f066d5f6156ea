from __future__ import annotations

import math

import numpy as np
import pytest

from admf.containers import bar_table
from admf.containers.bar_table import BarTable
from admf.containers.events import Bar
from admf.containers.market_data import Bars, MarketData
from admf.engine.block import Block


def bars(symbol: str, steps: list[int]) -> Bars:
    close = np.array(steps, dtype=np.float64) + (100 if symbol == "A" else 200)
    return Bars(symbol, steps, close - 0.5, close + 1, close - 1, close, close * 0)


DATA = MarketData([bars("B", [1, 2, 4]), bars("A", [0, 2, 3])])


def table(first: int = 0, stop: int = 5, **closes_before: float) -> BarTable:
    return BarTable(
        DATA.block(first, stop),
        DATA.symbols,
        first_step=first,
        closes_before=closes_before,
        window_steps=5,
    )


def test_steps_are_the_distinct_times() -> None:
    whole = table()
    assert whole.steps == 5
    assert whole.ts.tolist() == [0, 1, 2, 3, 4]
    assert [list(whole.rows(step)) for step in range(5)] == [[0], [1], [2, 3], [4], [5]]
    assert whole.step_of_row.tolist() == [0, 1, 2, 2, 3, 4]
    assert whole.symbol == ["A", "B", "B", "A", "A", "B"]


def test_rows_are_found_by_symbol() -> None:
    whole = table()
    assert [whole.row_at("A", step) for step in range(5)] == [0, -1, 3, 4, -1]
    assert whole.rows_of("A").tolist() == [0, 3, 4]
    assert whole.rows_of("B").tolist() == [1, 2, 5]


def test_prices_of_a_row() -> None:
    prices = table().prices(3)
    assert (prices.open, prices.high, prices.low, prices.close) == (101.5, 103.0, 101.0, 102.0)
    assert type(prices.open) is float


@pytest.mark.parametrize("at_once", [1, 2, 4, 100])
def test_bars_are_made_into_events_some_at_a_time(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar_table, "BARS_AT_ONCE", at_once)
    whole, expected = table(), DATA.block(0, 5).events()
    for row in (0, 1, 5, 2, 3):
        first, made = whole.bars_around(row)
        assert made == expected[first : first + at_once]
        assert made[row - first] == expected[row]
        assert whole.bars_around(row)[1] is made


def test_the_last_close_lives_until_the_next_bar() -> None:
    whole = table()
    assert [whole.last_close("A", step) for step in range(5)] == [100, 100, 102, 103, 103]
    assert whole.closes("A").tolist() == [100, 100, 102, 103, 103]
    assert math.isnan(whole.last_close("B", 0))
    np.testing.assert_array_equal(whole.closes("B"), [np.nan, 201, 202, 202, 204])


def test_a_block_knows_the_closes_before_it() -> None:
    later = table(3, 5, A=102.0, B=202.0)
    assert later.last_close("B", 0) == 202.0
    assert later.closes("B").tolist() == [202, 204]
    assert later.closes("A").tolist() == [103, 103]


@pytest.mark.parametrize(("first", "stop", "is_last"), [(0, 5, True), (0, 4, False), (4, 5, True)])
def test_the_last_block_ends_the_window(first: int, stop: int, is_last: bool) -> None:
    assert table(first, stop).is_last is is_last


def test_one_symbol_needs_no_lookup() -> None:
    data = MarketData([bars("A", [0, 2, 3])])
    single = BarTable(
        data.block(0, 3), data.symbols, first_step=0, closes_before={}, window_steps=3
    )
    assert single.symbol == ["A", "A", "A"]
    assert single.rows_of("A").tolist() == [0, 1, 2]
    assert single.closes("A").tolist() == [100, 102, 103]


def test_an_unknown_encoding_of_the_symbols_is_refused() -> None:
    columns = dict(DATA.block(0, 5).columns)
    columns["symbol"] = np.array(["A", "B", "B", "A", "A", "B"], dtype=object)
    with pytest.raises(TypeError, match="one name or a dictionary column"):
        BarTable(Block(Bar, columns), DATA.symbols, first_step=0, closes_before={}, window_steps=5)

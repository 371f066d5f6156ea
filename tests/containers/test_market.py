from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from admf.containers.bar_table import BarTable
from admf.containers.features import FeatureStore
from admf.containers.market import Market, Quotes
from admf.containers.market_data import Bars, MarketData


def bars(symbol: str, steps: list[int]) -> Bars:
    close = np.array(steps, dtype=np.float64) + (100 if symbol == "A" else 200)
    return Bars(symbol, steps, close - 0.5, close + 1, close - 1, close, close * 0)


DATA = MarketData([bars("A", [0, 2, 3]), bars("B", [1, 2, 4])], extras=[bars("SPY", [1, 3])])


def market(start: int = 0, stop: int = 5, benchmark: str | None = None) -> Market:
    return Market(DATA, FeatureStore(DATA), start_step=start, stop_step=stop, benchmark=benchmark)


def tables(of: Market, *edges: int) -> list[BarTable]:
    return [of.table(DATA.block(first, stop)) for first, stop in pairwise(edges)]


def test_lanes_share_the_table_of_a_block() -> None:
    shared = market()
    block = DATA.block(0, 2)
    assert shared.table(block) is shared.table(block)


def test_a_table_goes_on_where_the_one_before_ended() -> None:
    first, second, third = tables(market(), 0, 1, 2, 5)
    assert [it.first_step for it in (first, second, third)] == [0, 1, 2]
    assert [it.is_last for it in (first, second, third)] == [False, False, True]
    assert second.last_close("A", 0) == 100
    assert second.last_close("B", 0) == 201
    assert third.closes("B").tolist() == [202, 202, 204]


def test_the_bars_and_features_of_a_window() -> None:
    part = market(2, 4)
    assert part.bars("A").close.tolist() == [102, 103]
    assert part.bars("B").close.tolist() == [202]
    assert part.feature_window("A")("max", 2).tolist() == [102, 103]


def test_closes_before_a_time_reach_beyond_the_window() -> None:
    part = market(3, 5)
    assert part.closes_before("A", 3, 2).tolist() == [100, 102]
    assert part.closes_before("A", 3, 9).tolist() == [100, 102]
    assert part.closes_before("A", 0, 2).tolist() == []


@pytest.mark.parametrize(
    ("start", "benchmark", "expected"),
    [(0, "SPY", [np.nan, 201, 201]), (2, "SPY", [201, 203, 203]), (0, "B", [np.nan, 201, 202])],
)
def test_the_benchmark_is_its_last_close(start: int, benchmark: str, expected: list[float]) -> None:
    part = market(start, start + 3, benchmark)
    (table,) = tables(part, start, start + 3)
    np.testing.assert_array_equal(part.benchmark_closes(table, slice(0, table.steps)), expected)


def test_without_a_benchmark_there_is_none() -> None:
    part = market()
    (table,) = tables(part, 0, 5)
    assert np.isnan(part.benchmark_closes(table, slice(0, table.steps))).all()


def test_a_quote_is_what_is_known_at_that_moment() -> None:
    quotes = Quotes()
    (table,) = tables(market(), 0, 5)
    quotes.move_to(table, 2, closed=False)
    assert (quotes.price("A"), quotes.price("B"), quotes.ts) == (101.5, 201.5, 2)
    quotes.move_to(table, 2, closed=True)
    assert (quotes.price("A"), quotes.price("B")) == (102, 202)
    quotes.move_to(table, 3, closed=False)
    assert (quotes.price("A"), quotes.price("B")) == (102.5, 202)
    (later,) = tables(market(), 0, 3, 4)[1:]
    quotes.move_to(later, 0, closed=False)
    assert (quotes.price("A"), quotes.price("B")) == (102.5, 202)


def test_there_is_no_quote_before_the_first_bar() -> None:
    with pytest.raises(LookupError, match="no bar has arrived yet"):
        Quotes().price("A")


def test_a_window_knows_the_closes_before_it() -> None:
    assert [market(start).close_before("A") for start in range(5)] == [None, 100, 100, 102, 103]
    assert [market(start).close_before("B") for start in (1, 2, 4)] == [None, 201, 202]
    (table,) = tables(market(2), 2, 5)
    assert market(1).begins_with("B")
    assert not market(1).begins_with("A")
    assert (table.last_close("A", 0), table.last_close("B", 0)) == (102, 202)


def test_a_symbol_without_a_bar_at_first_has_its_last_close_from_before() -> None:
    (table,) = tables(market(1), 1, 5)
    assert table.closes("A").tolist() == [100, 102, 103, 103]


def test_closes_before_a_time_reach_back_as_far_as_indicators_do() -> None:
    part = FeatureStore(DATA.part(1, 4))
    window = Market(DATA, part, start_step=2, stop_step=4)
    assert window.closes_before("A", 4, 9).tolist() == [102, 103]
    assert market(2, 4).closes_before("A", 4, 9).tolist() == [100, 102, 103]

from __future__ import annotations

import gzip
import hashlib
from importlib import resources

import numpy as np
import pytest

from admf.containers.config import DataConfig
from admf.containers.market_data import Bars, MarketData
from admf.containers.readers import load_market_data
from admf.containers.sources import SAMPLE_FILE
from admf.containers.times import iso_utc
from admf.engine.errors import DataError

FOLDER = resources.files("admf.containers") / "sample"
SPLITS = [("AAPL", "2000-06-21"), ("AAPL", "2005-02-28"), ("MSFT", "2003-02-18")]


@pytest.fixture(scope="module")
def sample() -> MarketData:
    return load_market_data(DataConfig(source="sample", symbols=("AAPL", "GOOG", "IBM", "MSFT")))


def row_of(bars: Bars, day: str) -> int:
    return int(np.searchsorted(bars.ts, np.datetime64(day, "ns").astype(np.int64)))


@pytest.mark.parametrize(
    ("symbol", "count", "first"),
    [
        ("AAPL", 3270, "2000-03-01"),
        ("GOOG", 2148, "2004-08-19"),
        ("IBM", 3270, "2000-03-01"),
        ("MSFT", 3270, "2000-03-01"),
    ],
)
def test_each_symbol_has_all_its_days(
    sample: MarketData, symbol: str, count: int, first: str
) -> None:
    bars = sample.bars(symbol)
    assert len(bars) == count
    assert iso_utc(int(bars.ts[0])) == f"{first}T00:00:00Z"
    assert iso_utc(int(bars.ts[-1])) == "2013-03-01T00:00:00Z"


def test_it_is_daily_and_rests_on_weekends(sample: MarketData) -> None:
    assert sample.timeframe == "1d"
    assert not sample.trades_on_weekends
    assert set(((sample.ts // 86_400_000_000_000 + 3) % 7).tolist()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2004-08-19", [100.01, 104.06, 95.96, 100.335, 44_659_000]),
        ("2008-11-24", [269.26, 269.95, 249.01, 257.44, 20_089_200]),
        ("2013-03-01", [797.8, 807.14, 796.15, 806.19, 4_346_400]),
    ],
)
def test_goog_is_the_sources_to_the_last_digit(
    sample: MarketData, day: str, expected: list[float]
) -> None:
    bars = sample.bars("GOOG")
    row = row_of(bars, day)
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    assert [float(column[row]) for column in columns] == expected


@pytest.mark.parametrize(
    ("symbol", "day", "expected"),
    [
        ("AAPL", "2000-03-01", [118.56 / 4, 132.06 / 4, 118.5 / 4, 130.31 / 4, 9_616_100 * 4]),
        ("AAPL", "2000-06-21", [50.5 / 2, 56.94 / 2, 50.31 / 2, 55.63 / 2, 4_375_000 * 2]),
        ("AAPL", "2005-02-28", [44.68, 45.14, 43.96, 44.86, 11_635_900]),
        ("MSFT", "2000-03-01", [89.62 / 2, 94.09 / 2, 88.94 / 2, 90.81 / 2, 53_444_900 * 2]),
        ("MSFT", "2003-02-18", [24.62, 24.99, 24.4, 24.96, 28_707_750]),
        ("IBM", "2000-03-01", [102.0, 105.5, 100.06, 100.25, 10_807_800]),
    ],
)
def test_what_lies_before_a_split_is_adjusted_for_it(
    sample: MarketData, symbol: str, day: str, expected: list[float]
) -> None:
    bars = sample.bars(symbol)
    row = row_of(bars, day)
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    assert [float(column[row]) for column in columns] == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(("symbol", "day"), SPLITS)
def test_prices_go_on_across_a_split(sample: MarketData, symbol: str, day: str) -> None:
    close = sample.bars(symbol).close
    row = row_of(sample.bars(symbol), day)
    assert 0.9 < close[row] / close[row - 1] < 1.1


def test_the_one_halving_that_is_left_was_news(sample: MarketData) -> None:
    halved = [
        (symbol, iso_utc(int(bars.ts[row + 1]))[:10])
        for symbol in sample.symbols
        for bars in [sample.bars(symbol)]
        for row in np.flatnonzero(bars.close[1:] / bars.close[:-1] < 0.65)
    ]
    assert halved == [("AAPL", "2000-09-29")]


def test_an_unknown_symbol_names_those_that_are_there() -> None:
    with pytest.raises(DataError, match=r"no symbol 'TSLA'; there are AAPL, GOOG, IBM, MSFT"):
        load_market_data(DataConfig(source="sample", symbols=("TSLA",)))


def test_the_readme_states_the_hash_of_the_content() -> None:
    content = gzip.decompress((FOLDER / SAMPLE_FILE).read_bytes())
    assert hashlib.sha256(content).hexdigest() in (FOLDER / "README.md").read_text()


def test_the_file_is_small() -> None:
    assert len((FOLDER / SAMPLE_FILE).read_bytes()) < 200_000

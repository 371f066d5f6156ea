"""Bars that are read from long files piece by piece are those that are read at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from admf.containers import long_tables, market_data
from admf.containers.config import DataConfig
from admf.containers.market_data import Bars, MarketData
from admf.containers.readers import load_market_data
from admf.engine.errors import DataError

ROWS = 500
MINUTE = 60_000_000_000
START = 1_577_836_800
COLUMNS = ("ts", "open", "high", "low", "close", "volume")


def frame(seed: int = 1, every: int = 1) -> pl.DataFrame:
    close = 100 + np.random.default_rng(seed).normal(0, 1, ROWS).cumsum()
    return pl.DataFrame(
        {
            "timestamp": START + 60 * every * np.arange(ROWS),
            "open": close - 0.3,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": np.arange(ROWS) % 7,
        }
    )


def timed(times: Any) -> pl.DataFrame:
    return frame().with_columns(timestamp=times)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_tables, "LONG_ROWS", ROWS)
    monkeypatch.setattr(long_tables, "PIECE_ROWS", 64)
    monkeypatch.setattr(market_data, "_AT_ONCE", 50)


def load(path: Path, *symbols: str, **settings: Any) -> MarketData:
    return load_market_data(DataConfig(path=str(path), symbols=symbols, **settings))


def both_ways(path: Path, *symbols: str, **settings: Any) -> Iterator[MarketData]:
    """Yield the data that are read at once, and those that are read piece by piece."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_tables, "LONG_ROWS", 10**9)
        yield load(path, *symbols, **settings)
    yield load(path, *symbols, **settings)


def assert_same(whole: MarketData, long: MarketData) -> None:
    assert whole.scratch is None
    assert (whole.symbols, whole.timeframe) == (long.symbols, long.timeframe)
    assert whole.fingerprint == long.fingerprint
    assert whole.days.tolist() == long.days.tolist()
    np.testing.assert_array_equal(whole.ts, long.ts)
    for symbol in whole.symbols:
        for name in COLUMNS:
            expected, found = (getattr(it.bars(symbol), name) for it in (whole, long))
            assert expected.tobytes() == found.tobytes()
            assert not found.flags.writeable


SECONDS = START + 60 * pl.int_range(ROWS)
TIMES = {
    "seconds": SECONDS,
    "milliseconds that begin as small as seconds": 60_000 * pl.int_range(ROWS) + 99_990_000_000,
    "fractions of seconds": SECONDS + 0.25,
    "days as numbers": pl.date_range(
        pl.date(2020, 1, 1), pl.date(2021, 5, 14), eager=False
    ).dt.to_string("%Y%m%d").cast(pl.Int64),
    "dates": pl.date_range(pl.date(2020, 1, 1), pl.date(2021, 5, 14), eager=False),
    "datetimes": pl.from_epoch(SECONDS),
    "datetimes of a zone": pl.from_epoch(SECONDS).dt.replace_time_zone("Asia/Tokyo"),
}  # fmt: skip


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", TIMES)
def test_bars_are_the_same_whatever_the_times_are(name: str, tmp_path: Path) -> None:
    timed(TIMES[name]).write_parquet(tmp_path / "A.parquet")
    whole, long = both_ways(tmp_path, "A")
    assert long.scratch is not None
    assert_same(whole, long)


@pytest.mark.usefixtures("small_pieces")
def test_numbers_that_are_days_follow_the_calendar_of_the_zone(tmp_path: Path) -> None:
    timed(TIMES["days as numbers"]).write_parquet(tmp_path / "A.parquet")
    whole, long = both_ways(tmp_path, "A", timezone="America/New_York")
    assert long.scratch is not None
    assert_same(whole, long)


@pytest.mark.usefixtures("small_pieces")
def test_several_symbols_share_a_time_line(tmp_path: Path) -> None:
    for symbol, every in (("A", 1), ("B", 3), ("C", 2)):
        frame(every, every).write_parquet(tmp_path / f"{symbol}.parquet")
    whole, long = both_ways(tmp_path, "A", "B", "C")
    assert_same(whole, long)
    assert_same(whole.part(100, 700), long.part(100, 700))
    assert whole.fingerprint_of(3, 90) == long.fingerprint_of(3, 90)
    events = (data.block(0, data.steps).events() for data in (whole, long))
    assert next(events) == next(events)


@pytest.mark.usefixtures("small_pieces")
def test_one_file_may_hold_several_symbols_and_other_columns(tmp_path: Path) -> None:
    parts = [
        frame(seed).with_columns(Symbol=pl.lit(f" {name}"), other=1)
        for seed, name in enumerate("AB")
    ]
    pl.concat(parts).sort("timestamp").write_parquet(tmp_path / "all.parquet")
    whole, long = both_ways(tmp_path / "all.parquet", "B", "A")
    assert long.scratch is not None
    assert_same(whole, long)


@pytest.mark.usefixtures("small_pieces")
def test_blank_rows_and_volumes_may_be_missing(tmp_path: Path) -> None:
    bars = frame().drop("volume")
    blank = pl.DataFrame({name: [None] * 70 for name in bars.columns}, schema=bars.schema)
    pl.concat([blank, bars, blank]).write_parquet(tmp_path / "A.parquet")
    whole, long = both_ways(tmp_path, "A")
    assert long.scratch is not None
    assert_same(whole, long)
    assert not long.bars("A").volume.any()


@pytest.mark.usefixtures("small_pieces")
def test_a_range_of_the_bars_can_be_used(tmp_path: Path) -> None:
    frame().write_parquet(tmp_path / "A.parquet")
    cut = {"start": "2020-01-01T01:00:00Z", "end": "2020-01-01T05:00:00Z"}
    whole, long = both_ways(tmp_path, "A", **cut)
    assert len(long.ts) == 241
    assert_same(whole, long)


@pytest.mark.usefixtures("small_pieces")
def test_an_irregular_file_has_the_timeframe_of_its_median_distance(tmp_path: Path) -> None:
    gaps = np.random.default_rng(3).integers(1, 5, ROWS)
    timed(pl.Series(START + 60 * gaps.cumsum())).write_parquet(tmp_path / "A.parquet")
    whole, long = both_ways(tmp_path, "A")
    assert long.timeframe is not None
    assert_same(whole, long)


UNSUITED: dict[str, tuple[pl.DataFrame, dict[str, Any]]] = {
    "text": (timed(pl.from_epoch(SECONDS).dt.to_string("iso")), {}),
    "hours that come twice": (timed(pl.from_epoch(SECONDS)), {"timezone": "Europe/Berlin"}),
    "another bar size": (frame(), {"timeframe": "1h"}),
}


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", UNSUITED)
def test_what_cannot_be_told_from_a_piece_is_read_at_once(name: str, tmp_path: Path) -> None:
    bars, settings = UNSUITED[name]
    bars.write_parquet(tmp_path / "A.parquet")
    whole, long = both_ways(tmp_path, "A", **settings)
    assert long.scratch is None
    assert_same(whole, long)


def changed(row: int, **values: Any) -> pl.DataFrame:
    rows = frame().to_dicts()
    rows[row] |= values
    return pl.DataFrame(rows, schema=frame().schema)


BROKEN = {
    "prices": changed(400, close=-1.0),
    "order within a piece": changed(100, timestamp=START),
    "order across pieces": changed(128, timestamp=START + 60 * 127),
    "times": changed(70, timestamp=None),
    "all times": timed(pl.lit(None, dtype=pl.Int64)),
    "columns": frame().drop("close"),
    "no bars": pl.DataFrame(
        {it: [None] * ROWS for it in frame().columns}, schema=frame().schema
    ),
}  # fmt: skip


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", BROKEN)
def test_mistakes_are_told_as_if_the_file_was_short(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    BROKEN[name].write_parquet(tmp_path / "A.parquet")
    told: list[str] = []
    for rows in (10**9, ROWS):
        monkeypatch.setattr(long_tables, "LONG_ROWS", rows)
        with pytest.raises(DataError) as caught:
            load(tmp_path, "A")
        told.append(str(caught.value))
    assert told[0] == told[1]


@pytest.mark.usefixtures("small_pieces")
def test_a_symbol_that_a_long_file_lacks_is_told_with_those_it_has(tmp_path: Path) -> None:
    file = tmp_path / "all.parquet"
    frame().with_columns(symbol=pl.lit("GOOG")).write_parquet(file)
    with pytest.raises(DataError, match=r"has no symbol 'GOOGL' .* there are GOOG"):
        load(file, "GOOGL")
    frame().write_parquet(file)
    with pytest.raises(DataError, match="has no column 'symbol'"):
        load(file, "A", "B")


@pytest.mark.usefixtures("small_pieces")
def test_files_that_are_no_parquet_are_read_at_once(tmp_path: Path) -> None:
    frame().write_csv(tmp_path / "A.csv")
    assert load(tmp_path, "A").scratch is None
    (tmp_path / "B.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path, "B")


def test_times_must_increase_across_pieces_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_data, "_AT_ONCE", 4)
    price = np.ones(9)
    for wrong in range(1, 9):
        ts = np.arange(9)
        ts[wrong] = ts[wrong - 1]
        with pytest.raises(ValueError, match="times of A do not increase"):
            MarketData([Bars("A", ts, price, price, price, price, price)])


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_few_bars_may_not_tell_their_size(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_tables, "LONG_ROWS", 1)
    frame().head(rows).write_parquet(tmp_path / "A.parquet")
    whole, long = both_ways(tmp_path, "A")
    assert (long.scratch is None, long.timeframe) == (False, "1m" if rows == 4 else None)
    assert_same(whole, long)

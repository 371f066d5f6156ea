from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from admf.containers.config import DataConfig
from admf.containers.readers import load_market_data
from admf.engine.errors import ConfigError, DataError

DAYS = pd.bdate_range("2021-01-01", periods=60, name="timestamp")


def prices(symbol: str) -> pd.DataFrame:
    close = 100 + np.random.default_rng(len(symbol)).normal(0, 1, len(DAYS)).cumsum()
    return pd.DataFrame(
        {"open": close - 0.3, "high": close + 1, "low": close - 1, "close": close,
         "volume": np.arange(len(DAYS))},
        index=DAYS,
    )  # fmt: skip


FRAMES = {"AA": prices("AA"), "B": prices("B")}


def csv_of_dates(folder: Path) -> dict[str, Any]:
    for symbol, frame in FRAMES.items():
        frame.to_csv(folder / f"{symbol}.csv", date_format="%Y-%m-%d")
    return {"path": str(folder)}


def csv_of_epochs(folder: Path) -> dict[str, Any]:
    for symbol, frame in FRAMES.items():
        seconds = frame.index.as_unit("s").astype("int64")
        frame.set_axis(seconds).to_csv(folder / f"{symbol}.csv.gz", index_label="Time")
    return {"path": str(folder)}


def csv_of_offsets(folder: Path) -> dict[str, Any]:
    for symbol, frame in FRAMES.items():
        local = pd.DatetimeIndex(frame.index).tz_localize("UTC").tz_convert("America/New_York")
        frame.set_axis(local).to_csv(folder / f"{symbol}.csv", index_label="DateTime")
    return {"path": str(folder)}


def csv_of_the_zone(folder: Path) -> dict[str, Any]:
    for symbol, frame in FRAMES.items():
        local = pd.DatetimeIndex(frame.index).tz_localize("UTC").tz_convert("Asia/Tokyo")
        naive = frame.set_axis(local.tz_localize(None))
        naive.to_csv(folder / f"{symbol}.csv", index_label="date")
    return {"path": str(folder), "timezone": "Asia/Tokyo"}


def one_csv(folder: Path) -> dict[str, Any]:
    joined = pd.concat(FRAMES, names=["Symbol"]).reset_index().sort_values("timestamp")
    joined.to_csv(folder / "all.csv", index=False)
    return {"path": str(folder / "all.csv")}


def parquet(folder: Path) -> dict[str, Any]:
    for symbol, frame in FRAMES.items():
        frame.reset_index().to_parquet(folder / f"{symbol}.parquet")
    return {"path": str(folder)}


def one_parquet(folder: Path) -> dict[str, Any]:
    joined = pd.concat(FRAMES, names=["symbol"]).reset_index()
    joined["timestamp"] = joined["timestamp"].dt.date
    joined.to_parquet(folder / "all.parquet")
    return {"path": str(folder / "all.parquet")}


def pandas_frames(_: Path) -> dict[str, Any]:
    return {"frames": FRAMES}


def polars_frames(_: Path) -> dict[str, Any]:
    return {"frames": {name: pl.from_pandas(f.reset_index()) for name, f in FRAMES.items()}}


def pyarrow_frames(_: Path) -> dict[str, Any]:
    return {"frames": {n: pa.Table.from_pandas(f.reset_index()) for n, f in FRAMES.items()}}


@pytest.mark.parametrize(
    "make",
    [
        csv_of_dates, csv_of_epochs, csv_of_offsets, csv_of_the_zone, one_csv, parquet,
        one_parquet, pandas_frames, polars_frames, pyarrow_frames,
    ],
)  # fmt: skip
def test_every_form_of_the_same_bars_gives_the_same_data(
    tmp_path: Path, make: Callable[[Path], dict[str, Any]]
) -> None:
    options = make(tmp_path)
    frames = options.pop("frames", None)
    config = DataConfig(source="frames" if frames else "file", symbols=("B", "AA"), **options)
    data = load_market_data(config, frames=frames)
    assert data.symbols == ("B", "AA")
    assert data.timeframe == "1d"
    for symbol, frame in FRAMES.items():
        bars = data.bars(symbol)
        np.testing.assert_array_equal(bars.ts, DAYS.as_unit("ns").asi8)
        for name in ("open", "high", "low", "close", "volume"):
            np.testing.assert_array_equal(getattr(bars, name), frame[name].to_numpy())
    reference = DataConfig(source="frames", symbols=("B", "AA"))
    assert data.fingerprint == load_market_data(reference, frames=FRAMES).fingerprint


def load(**options: Any) -> list[str]:
    config = DataConfig(source="frames", symbols=("B",), **options)
    data = load_market_data(config, frames=FRAMES)
    return [str(day) for day in data.ts.astype("datetime64[ns]").astype("datetime64[m]")]


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        (None, None, "2021-01-01T00:00", "2021-03-25T00:00"),
        ("2021-01-05", "2021-01-07", "2021-01-05T00:00", "2021-01-07T00:00"),
        ("2021-01-02", "2021-01-10", "2021-01-04T00:00", "2021-01-08T00:00"),
        ("2021-01-05T00:00:01", "2021-01-07T00:00", "2021-01-06T00:00", "2021-01-07T00:00"),
        ("20210105", "2021-01-07T01:00+02:00", "2021-01-05T00:00", "2021-01-06T00:00"),
    ],
)
def test_the_range_begins_at_start_and_takes_the_whole_last_day_in(
    start: str | None, end: str | None, first: str, last: str
) -> None:
    days = load(start=start, end=end)
    assert (days[0], days[-1]) == (first, last)


def test_the_last_day_is_that_of_the_zone() -> None:
    index = pd.date_range("2021-01-04", periods=72, freq="1h", tz="America/New_York")
    frame = pd.DataFrame(1.0, index=index, columns=["open", "high", "low", "close"])
    config = DataConfig(
        source="frames", symbols=("A",), start="2021-01-05", end="2021-01-05",
        timezone="America/New_York",
    )  # fmt: skip
    data = load_market_data(config, frames={"A": frame})
    np.testing.assert_array_equal(data.ts, index[24:48].tz_convert("UTC").as_unit("ns").asi8)


@pytest.mark.parametrize(
    ("start", "end", "asked"),
    [
        ("2021-04-01", None, "from 2021-04-01T00:00:00Z to its end"),
        (None, "2020-12-31", "from its beginning to before 2021-01-01T00:00:00Z"),
        ("2021-02-06", "2021-02-07", "from 2021-02-06T00:00:00Z to before 2021-02-08T00:00:00Z"),
        ("2021-03-01", "2021-01-31", "from 2021-03-01T00:00:00Z to before 2021-02-01T00:00:00Z"),
    ],
)
def test_an_empty_range_says_what_there_is(start: str | None, end: str | None, asked: str) -> None:
    with pytest.raises(DataError) as caught:
        load(start=start, end=end)
    assert str(caught.value) == (
        f"frame of B: has no bars of B {asked}; "
        "its bars reach from 2021-01-01T00:00:00Z to 2021-03-25T00:00:00Z"
    )


def test_bars_are_cut_before_they_are_resampled() -> None:
    config = DataConfig(
        source="frames", symbols=("B",), timeframe="1w", start="2021-01-06", end="2021-01-12"
    )
    data = load_market_data(config, frames=FRAMES)
    assert data.timeframe == "1w"
    week = [str(day) for day in data.ts.astype("datetime64[ns]").astype("datetime64[D]")]
    assert week == ["2021-01-04", "2021-01-11"]
    assert data.bars("B").open[0] == FRAMES["B"].loc["2021-01-06", "open"]
    assert data.bars("B").close[1] == FRAMES["B"].loc["2021-01-12", "close"]


def test_bars_of_the_wanted_size_keep_their_times() -> None:
    at_the_close = FRAMES["B"].set_axis(DAYS + pd.Timedelta(hours=21))
    config = DataConfig(source="frames", symbols=("B",), timeframe="1d")
    data = load_market_data(config, frames={"B": at_the_close})
    assert set(data.ts // 3_600_000_000_000 % 24) == {21}


def test_bars_are_joined_if_some_days_have_two() -> None:
    twice = pd.concat([FRAMES["B"], FRAMES["B"].set_axis(DAYS + pd.Timedelta(hours=1))[:3]])
    config = DataConfig(source="frames", symbols=("B",), timeframe="1d")
    data = load_market_data(config, frames={"B": twice.sort_index()})
    np.testing.assert_array_equal(data.ts, DAYS.as_unit("ns").asi8)
    assert data.bars("B").volume[:4].tolist() == [0, 2, 4, 3]


@pytest.mark.parametrize("timeframe", ["1h", "5m", "23h"])
def test_a_timeframe_finer_than_the_source_is_refused(timeframe: str) -> None:
    with pytest.raises(DataError) as caught:
        load(timeframe=timeframe)
    assert str(caught.value) == (
        f"frame of B: holds bars of 1d, which cannot be made into bars of {timeframe}; "
        "ask for a timeframe of 1d or more"
    )


def test_too_few_bars_to_tell_their_size_are_resampled_all_the_same() -> None:
    config = DataConfig(source="frames", symbols=("B",), timeframe="1d")
    data = load_market_data(config, frames={"B": FRAMES["B"][:3]})
    assert data.steps == 3


def test_a_benchmark_is_loaded_beside_the_traded_symbols() -> None:
    config = DataConfig(source="frames", symbols=("B",))
    data = load_market_data(config, frames=FRAMES, extra_symbols=["AA", "B", "AA"])
    assert data.symbols == ("B",)
    assert data.extra_symbols == ("AA",)


def test_without_volume_it_is_zero() -> None:
    config = DataConfig(source="frames", symbols=("B",))
    data = load_market_data(config, frames={"B": FRAMES["B"].drop(columns="volume")})
    assert not data.bars("B").volume.any()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"symbols": ("B", "B")}, "data.symbols"),
        ({"timeframe": "1 day"}, "data.timeframe"),
        ({"timezone": "Mars/Olympus"}, "data.timezone"),
        ({"start": "soon"}, "data.start"),
        ({"end": "2021-02-30"}, "data.end"),
    ],
)
def test_settings_that_make_no_sense_are_config_errors(options: dict[str, Any], field: str) -> None:
    config = DataConfig(**{"source": "frames", "symbols": ("B",), **options})
    with pytest.raises(ConfigError) as caught:
        load_market_data(config, frames=FRAMES)
    assert caught.value.problems[0].field == field
    assert caught.value.exit_code == 3


def test_polars_is_not_imported_before_something_is_read() -> None:
    program = "import sys, admf.containers.readers; sys.exit('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0  # noqa: S603

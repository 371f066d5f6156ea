from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from admf.containers.market_data import Bars
from admf.containers.resampling import Timeframe, infer_timeframe, resample
from admf.engine.errors import ConfigError

RULES = {"first": "open", "max": "high", "min": "low", "last": "close", "sum": "volume"}


def walk(index: pd.DatetimeIndex, seed: int = 3) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    close = 100 + random.normal(0, 0.5, len(index)).cumsum()
    open_ = close + random.normal(0, 0.2, len(index))
    return pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close) + random.random(len(index)),
            "low": np.minimum(open_, close) - random.random(len(index)),
            "close": close,
            "volume": random.integers(0, 1000, len(index)).astype(float),
        },
        index=index,
    )


def as_bars(frame: pd.DataFrame) -> Bars:
    ts = pd.DatetimeIndex(frame.index).tz_convert("UTC").as_unit("ns").asi8
    return Bars("A", ts, *(frame[name].to_numpy() for name in RULES.values()))


def oracle(frame: pd.DataFrame, rule: str) -> pd.DataFrame:
    joined = frame.resample(rule, label="left", closed="left").agg(
        {column: how for how, column in RULES.items()}
    )
    return joined.dropna()


def assert_equal(bars: Bars, expected: pd.DataFrame) -> None:
    index = pd.DatetimeIndex(expected.index).tz_convert("UTC").as_unit("ns")
    np.testing.assert_array_equal(bars.ts, index.asi8)
    for name in RULES.values():
        np.testing.assert_array_equal(getattr(bars, name), expected[name].to_numpy())


@pytest.mark.parametrize(
    ("timeframe", "rule"),
    [
        ("30s", "30s"), ("5m", "5min"), ("15m", "15min"), ("1h", "1h"), ("4h", "4h"),
        ("1d", "1D"), ("1w", "W-MON"), ("1mo", "MS"), ("1M", "MS"), ("3mo", "QS"), ("12mo", "YS"),
    ],
)  # fmt: skip
def test_bins_of_utc_are_those_of_pandas(timeframe: str, rule: str) -> None:
    spacing = {"30s": "10s", "5m": "1min", "15m": "1min"}.get(timeframe, "37min")
    index = pd.date_range("2020-01-01 00:03", periods=5_000, freq=spacing, tz="UTC")
    random = np.random.default_rng(1)
    frame = walk(index[random.random(len(index)) < 0.6])
    assert_equal(resample(as_bars(frame), Timeframe.parse(timeframe), "UTC"), oracle(frame, rule))


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo", "Australia/Sydney"])
@pytest.mark.parametrize(("timeframe", "rule"), [("1d", "1D"), ("1w", "W-MON"), ("1mo", "MS")])
def test_calendar_bins_follow_the_zone_through_clock_changes(
    zone: str, timeframe: str, rule: str
) -> None:
    index = pd.date_range("2021-01-01", "2021-12-31", freq="1h", tz="UTC").tz_convert(zone)
    frame = walk(index[8:])
    assert_equal(resample(as_bars(frame), Timeframe.parse(timeframe), zone), oracle(frame, rule))


def test_small_bins_are_counted_from_midnight_even_where_the_clocks_change() -> None:
    index = pd.date_range("2021-11-06", "2021-11-08", freq="1h", tz="America/New_York")
    bars = resample(as_bars(walk(index)), Timeframe.parse("4h"), "America/New_York")
    local = pd.to_datetime(bars.ts, utc=True).tz_convert("America/New_York")
    assert local.strftime("%dT%H").tolist() == [
        "06T00", "06T04", "06T08", "06T12", "06T16", "06T20",
        "07T00", "07T03", "07T07", "07T11", "07T15", "07T19", "07T23",
        "08T00",
    ]  # fmt: skip


def test_the_last_bin_of_a_day_is_short_where_the_size_does_not_divide_it() -> None:
    index = pd.date_range("2021-01-01", periods=48, freq="1h", tz="UTC")
    bars = resample(as_bars(walk(index)), Timeframe.parse("7h"), "UTC")
    assert pd.to_datetime(bars.ts).strftime("%dT%H").tolist() == [
        "01T00", "01T07", "01T14", "01T21", "02T00", "02T07", "02T14", "02T21",
    ]  # fmt: skip


@pytest.mark.parametrize("timeframe", ["3d", "2w", "2mo", "45m"])
def test_bins_do_not_depend_on_where_the_data_begins(timeframe: str) -> None:
    index = pd.date_range("2020-01-01", periods=1_500, freq="13h", tz="UTC")
    whole = as_bars(walk(index))
    late = resample(whole[700:], Timeframe.parse(timeframe), "UTC")
    assert set(late.ts.tolist()) <= set(
        resample(whole, Timeframe.parse(timeframe), "UTC").ts.tolist()
    )


def test_weeks_begin_on_monday() -> None:
    index = pd.date_range("1969-12-20", periods=60, freq="1D", tz="UTC")
    bars = resample(as_bars(walk(index)), Timeframe.parse("1w"), "UTC")
    assert set(pd.to_datetime(bars.ts).day_name()) == {"Monday"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5m", (5, "m")), ("1h", (1, "h")), ("1d", (1, "d")), ("2w", (2, "w")), ("1mo", (1, "mo")),
     ("1M", (1, "mo")), ("90s", (90, "s"))],
)  # fmt: skip
def test_timeframes_are_a_number_and_a_unit(text: str, expected: tuple[int, str]) -> None:
    timeframe = Timeframe.parse(text)
    assert (timeframe.count, timeframe.unit) == expected
    assert str(timeframe) == text.replace("M", "mo")


@pytest.mark.parametrize("text", ["", "d", "0d", "-1d", "1.5h", "5min", "1 d", "1y", "daily", "٣d"])
def test_other_timeframes_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a timeframe.*5m, 1h, 1d") as caught:
        Timeframe.parse(text)
    assert caught.value.problems[0].field == "data.timeframe"


@pytest.mark.parametrize("text", ["24h", "48h", "1440m", "9999m"])
def test_days_are_not_written_in_smaller_units(text: str) -> None:
    with pytest.raises(ConfigError, match="write it in days"):
        Timeframe.parse(text)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("1min", "1m"), ("90s", "90s"), ("5min", "5m"), ("4h", "4h"), ("1D", "1d"), ("B", "1d"),
     ("W-FRI", "1w"), ("MS", "1mo"), ("ME", "1mo"), ("2W", "2w"), ("500ms", None)],
)  # fmt: skip
def test_the_timeframe_is_inferred_from_the_median_distance(rule: str, expected: str) -> None:
    index = pd.date_range("2020-01-01", periods=50, freq=rule).as_unit("ns")
    found = infer_timeframe(np.asarray(index.asi8, dtype=np.int64))
    assert (str(found) if found else None) == expected


def test_nothing_is_inferred_from_three_bars() -> None:
    assert infer_timeframe(np.array([1, 2, 3], dtype=np.int64) * 86_400 * 10**9) is None

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from admf.containers.zones import check_timezone, day_starts, local_days, to_utc
from admf.engine.errors import ConfigError

ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Tokyo",
    "Asia/Kolkata",
    "Australia/Lord_Howe",  # its clocks move by half an hour
    "America/Sao_Paulo",  # its clocks moved at midnight
]


def wall(*texts: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([np.datetime64(text, "ns") for text in texts]).astype(np.int64)


def wall_clock(instants: pd.DatetimeIndex, zone: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    naive = instants.tz_convert(zone).tz_localize(None).as_unit("ns")
    return np.asarray(naive.asi8, dtype=np.int64)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("spacing", ["15min", "30min"])
def test_an_evenly_spaced_wall_clock_is_placed_exactly_through_two_years(
    zone: str, spacing: str
) -> None:
    instants = pd.date_range("2017-01-01", "2018-12-31", freq=spacing, tz="UTC").as_unit("ns")
    ts, exists = to_utc(wall_clock(instants, zone), zone)
    np.testing.assert_array_equal(ts, instants.asi8)
    assert exists.all()


@pytest.mark.parametrize("zone", ZONES)
def test_skipped_times_are_those_that_pandas_calls_nonexistent(zone: str) -> None:
    naive = pd.date_range("2018-01-01 00:07", "2018-12-31", freq="30min").as_unit("ns")
    _, exists = to_utc(np.asarray(naive.asi8, dtype=np.int64), zone)
    oracle = naive.tz_localize(zone, ambiguous=np.ones(len(naive), bool), nonexistent="NaT")
    np.testing.assert_array_equal(exists, ~oracle.isna())


def test_a_repeated_time_is_the_first_occurrence_until_times_step_back() -> None:
    times = wall(
        "2021-11-07T00:30", "2021-11-07T01:00", "2021-11-07T01:30",
        "2021-11-07T01:00", "2021-11-07T01:30", "2021-11-07T02:00",
    )  # fmt: skip
    ts, _ = to_utc(times, "America/New_York")
    assert np.diff(ts).tolist() == [30 * 60 * 10**9] * 5


def test_a_lone_repeated_time_is_the_first_occurrence() -> None:
    ts, _ = to_utc(wall("2021-11-07T01:30"), "America/New_York")
    assert ts[0] == wall("2021-11-07T05:30")[0]


def test_each_repeated_hour_is_judged_on_its_own() -> None:
    times = wall("2021-11-07T01:00", "2021-11-07T01:00", "2022-11-06T01:00")
    ts, _ = to_utc(times, "America/New_York")
    expected = wall("2021-11-07T05:00", "2021-11-07T06:00", "2022-11-06T05:00")
    np.testing.assert_array_equal(ts, expected)


def test_a_day_whose_midnight_was_skipped_begins_at_its_first_instant() -> None:
    ts, exists = to_utc(wall("2018-11-04T00:00", "2018-11-04T00:30"), "America/Sao_Paulo")
    assert exists.tolist() == [True, False]
    assert ts[0] == wall("2018-11-04T03:00")[0]


@pytest.mark.parametrize("zone", ZONES)
def test_days_and_their_starts_are_those_of_the_zones_calendar(zone: str) -> None:
    instants = pd.date_range("2018-02-01", "2018-12-01", freq="7h", tz="UTC").as_unit("ns")
    ts = np.asarray(instants.asi8, dtype=np.int64)
    days = local_days(ts, zone)
    local = instants.tz_convert(zone)
    np.testing.assert_array_equal(days.astype("M8[D]"), local.date.astype("M8[D]"))
    starts = day_starts(days, zone)
    midnights = local.tz_localize(None).normalize()
    oracle = midnights.tz_localize(
        zone, ambiguous=np.ones(len(ts), bool), nonexistent="shift_forward"
    )
    np.testing.assert_array_equal(starts, oracle.tz_convert("UTC").as_unit("ns").asi8)


def test_an_unknown_zone_is_refused_with_a_near_name() -> None:
    with pytest.raises(ConfigError, match="unknown time zone 'America/NewYork'") as caught:
        check_timezone("America/NewYork")
    assert "America/New_York" in str(caught.value)
    assert caught.value.problems[0].field == "data.timezone"


@pytest.mark.parametrize("zone", ZONES)
def test_known_zones_pass(zone: str) -> None:
    check_timezone(zone)

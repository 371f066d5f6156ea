from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.containers.timestamps import parse_bound, parse_times
from admf.engine.errors import ConfigError

INSTANT = int(pd.Timestamp("2021-03-04T05:06:07.891234567Z").value)
SECOND = 10**9


def read(values: list[Any], timezone: str = "UTC", **options: Any) -> list[int]:
    ts, faults = parse_times(pl.Series("timestamp", values, **options), timezone)
    assert not faults, faults[0].describe(int(faults[0].rows[0]))
    return [int(each) for each in ts]


def fault(values: list[Any], timezone: str = "UTC", **options: Any) -> tuple[list[int], str]:
    _, faults = parse_times(pl.Series("when", values, **options), timezone)
    assert len(faults) == 1
    assert faults[0].column == "when"
    rows = [int(row) for row in faults[0].rows]
    return rows, faults[0].describe(rows[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2021-03-04", "2021-03-04T00:00:00"),
        ("20210304", "2021-03-04T00:00:00"),
        ("2021-03-04T05:06", "2021-03-04T05:06:00"),
        ("2021-03-04 05:06:07", "2021-03-04T05:06:07"),
        (" 2021-03-04 05:06:07 ", "2021-03-04T05:06:07"),
        ("20210304T050607", "2021-03-04T05:06:07"),
        ("20210304  05:06:07", "2021-03-04T05:06:07"),
        ("2021-03-04T05:06:07.5", "2021-03-04T05:06:07.5"),
        ("2021-03-04T05:06:07,123456789", "2021-03-04T05:06:07.123456789"),
        ("2021-03-04T05:06:07Z", "2021-03-04T05:06:07"),
        ("2021-03-04t05:06:07z", "2021-03-04T05:06:07"),
        ("2021-03-04T05:06:07+00:00", "2021-03-04T05:06:07"),
        ("2021-03-04 05:06:07 -0530", "2021-03-04T10:36:07"),
        ("2021-03-04T00:30:00+05", "2021-03-03T19:30:00"),
        ("1969-12-31T23:59:59.999999999", "1969-12-31T23:59:59.999999999"),
    ],
)
def test_iso_8601_is_read_as_pandas_reads_its_plain_form(text: str, expected: str) -> None:
    assert read([text]) == [pd.Timestamp(expected).value]


@given(
    st.datetimes(datetime.fromisoformat("1700-01-01"), datetime.fromisoformat("2250-01-01")),
    st.integers(0, 999),
    st.integers(-14 * 60, 14 * 60),
)
def test_any_instant_with_an_offset_is_read_exactly(
    moment: datetime, nanoseconds: int, offset: int
) -> None:
    sign = "-" if offset < 0 else "+"
    zone = f"{sign}{abs(offset) // 60:02}:{abs(offset) % 60:02}"
    text = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06}{nanoseconds:03}{zone}"
    since = moment - datetime.fromisoformat("1970-01-01")
    microseconds = (since.days * 86_400 + since.seconds) * 10**6 + since.microseconds
    expected = microseconds * 1_000 + nanoseconds - offset * 60 * SECOND
    assert read([text]) == [expected]


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("unit_ns", [SECOND, 10**6, 10**3, 1])
def test_epoch_numbers_are_read_in_their_unit(unit_ns: int, as_text: bool) -> None:
    numbers = [INSTANT // unit_ns, INSTANT // unit_ns + 1]
    expected = [number * unit_ns for number in numbers]
    assert read([str(each) for each in numbers] if as_text else numbers) == expected


def test_the_largest_epoch_number_settles_the_unit_of_all() -> None:
    assert read([0, 86_400_000, 1_600_000_000_000]) == [0, 86_400 * SECOND, 16 * 10**11 * 10**6]


def test_epochs_before_1970_are_read() -> None:
    assert read(["-86400", "0"]) == [-86_400 * SECOND, 0]


@pytest.mark.parametrize("values", [[1614834367.25, 1614834368.0], ["1614834367.25", "1614834368"]])
def test_epochs_with_decimals_are_read_to_the_microsecond(values: list[Any]) -> None:
    assert read(values) == [1_614_834_367_250_000_000, 1_614_834_368_000_000_000]


@pytest.mark.parametrize("values", [[20_200_131, 20_200_203], ["20200131", "20200203"]])
def test_eight_digits_are_dates(values: list[Any]) -> None:
    assert read(values) == [pd.Timestamp(day).value for day in ("2020-01-31", "2020-02-03")]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_native_datetimes_are_read_in_any_unit_and_zone(unit: str, zone: str | None) -> None:
    moments = pd.date_range("2021-03-01", periods=3, freq="1D", tz=zone)
    column = pl.Series(moments.tz_localize(None).to_pydatetime().tolist()).cast(pl.Datetime(unit))  # type: ignore[arg-type]
    column = column.dt.replace_time_zone(zone)
    ts, faults = parse_times(column, "Asia/Tokyo")
    expected = moments if zone else moments.tz_localize("Asia/Tokyo")
    assert not faults
    np.testing.assert_array_equal(ts, expected.tz_convert("UTC").as_unit("ns").asi8)


def test_dates_begin_at_midnight_of_the_zone() -> None:
    assert read([date(2021, 7, 1)], "America/New_York") == [pd.Timestamp("2021-07-01T04:00Z").value]


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        (["2021-01-01", "yesterday", "2021-01-03"], [1]),
        (["2021-01-01", "2021-02-30", "2021-13-01"], [1, 2]),
        (["01/02/2021", "2021-01-03"], [0]),
        (["2021-01-01T24:00"], [0]),
        (["2021-01-01T10:00+25:00"], [0]),
        (["1677-01-01", "2262-12-31", "0001-01-01", "9999-12-31"], [0, 1, 2, 3]),
        (["1614834367", "abc", "1614834368"], [1]),
        (["99999999999999999999"], [0]),
        (["20200230"], [0]),
        ([float("nan"), 1e300, float("inf"), 1.6e9], [0, 1, 2, 3]),
    ],
)
def test_what_is_no_time_is_a_fault(values: list[Any], rows: list[int]) -> None:
    found, message = fault(values)
    assert found[:1] == rows[:1]
    assert set(found) <= set(rows)
    assert message.startswith(repr(values[rows[0]]))
    assert "is not a time between 1678 and 2261; write ISO 8601" in message


@pytest.mark.parametrize("values", [["2021-01-01", None], ["2021-01-01", ""], ["2021-01-01", " "]])
def test_a_missing_time_is_a_fault(values: list[Any]) -> None:
    assert fault(values) == ([1], "is empty; every row needs its time")


def test_columns_of_other_types_are_a_fault() -> None:
    rows, message = fault([True, False])
    assert rows == [0, 1]
    assert "True is not a time" in message


@pytest.mark.parametrize(
    ("values", "lacks"),
    [
        (["2021-01-01T00:00Z", "2021-01-02T00:00"], "2021-01-02T00:00"),
        (["2021-01-01", "2021-01-02T00:00+01:00"], "2021-01-01"),
    ],
)
def test_times_with_and_without_offset_do_not_mix(values: list[str], lacks: str) -> None:
    rows, message = fault(values)
    assert rows == [1]
    assert message.startswith(f"{lacks!r} has no UTC offset, yet")


def test_different_offsets_are_fine() -> None:
    assert (
        read(["2021-01-01T01:00+01:00", "2021-01-01T00:00Z", "2020-12-31T19:00-05:00"])
        == [pd.Timestamp("2021-01-01").value] * 3
    )


def test_a_time_that_the_clocks_skipped_is_a_fault() -> None:
    rows, message = fault(["2021-03-14T01:30", "2021-03-14T02:30"], "America/New_York")
    assert rows == [1]
    assert message.startswith("'2021-03-14T02:30' does not exist in America/New_York")


@pytest.mark.parametrize(
    ("text", "timezone", "expected", "is_day"),
    [
        ("2021-07-01", "UTC", "2021-07-01T00:00Z", True),
        ("2021-07-01", "America/New_York", "2021-07-01T04:00Z", True),
        ("2021-07-01T00:00", "America/New_York", "2021-07-01T04:00Z", False),
        ("2021-07-01T00:00Z", "America/New_York", "2021-07-01T00:00Z", False),
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00Z", True),
    ],
)
def test_bounds_are_days_or_instants(text: str, timezone: str, expected: str, is_day: bool) -> None:
    assert parse_bound(text, timezone, "data.end") == (pd.Timestamp(expected).value, is_day)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("last week", "data.end: 'last week' is not a time"),
        ("1614834367", "data.end: '1614834367' is not a time"),
        ("2021-03-14T02:30", "data.end: '2021-03-14T02:30' does not exist in America/New_York"),
    ],
)
def test_bounds_that_make_no_sense_name_their_setting(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_bound(text, "America/New_York", "data.end")

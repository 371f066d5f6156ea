from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.times import DAY_NS, SECOND_NS, iso_utc
from admf.engine.errors import ConfigError
from admf.sequences.spans import Length, Unit, coarsest, instants, parse_span, wall_clock

ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Tokyo",
    "Asia/Kolkata",
    "Australia/Lord_Howe",  # its clocks move by half an hour
    "America/Sao_Paulo",  # its clocks moved at midnight
    "Pacific/Apia",  # it left out 2011-12-30
]
NEW_YORK = "America/New_York"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(text: str, zone: str = "UTC") -> int:
    moment = pd.Timestamp(text)
    return (moment if moment.tzinfo else moment.tz_localize(zone)).as_unit("ns").value


def as_datetime(ts: int, zone: str = "UTC") -> datetime:
    moment = EPOCH + timedelta(seconds=ts // SECOND_NS)
    return moment.astimezone(ZoneInfo(zone))


def as_ns(moment: datetime) -> int:
    since = moment.astimezone(UTC) - EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND_NS


def on_the_wall(ts: int, step: relativedelta, zone: str) -> int:
    """Move by the standard library, whose ``fold=0`` has the conventions of `instants`."""
    naive = as_datetime(ts, zone).replace(tzinfo=None) + step
    return as_ns(naive.replace(tzinfo=ZoneInfo(zone), fold=0))


@pytest.mark.parametrize(
    ("span", "length", "text"),
    [
        (0, Length(0, "bars"), "0 bars"),
        (1, Length(1, "bars"), "1 bar"),
        (500, Length(500, "bars"), "500 bars"),
        ("2Y", Length(2, "Y"), "2Y"),
        ("6M", Length(6, "M"), "6M"),
        ("2w", Length(2, "w"), "2w"),
        ("2W", Length(2, "w"), "2w"),
        ("30d", Length(30, "d"), "30d"),
        ("30D", Length(30, "d"), "30d"),
        ("12h", Length(12, "h"), "12h"),
        ("12H", Length(12, "h"), "12h"),
        ("90min", Length(90, "min"), "90min"),
        ("15s", Length(15, "s"), "15s"),
        ("0d", Length(0, "d"), "0d"),
        ("007d", Length(7, "d"), "7d"),
    ],
)
def test_a_span_is_read_and_shown(span: int | str, length: Length, text: str) -> None:
    parsed = parse_span(span, "walk_forward.train")
    assert parsed == length
    assert str(parsed) == text
    assert parsed.in_bars == isinstance(span, int)
    assert parsed.is_zero == (length.count == 0)


@pytest.mark.parametrize(
    ("span", "hint"),
    [
        ("6m", "did you mean 6M for months or 6min for minutes?"),
        (" 6M", "did you mean 6M?"),
        ("6 W", "did you mean 6w?"),
        ("6mo", "did you mean 6M?"),
        ("6 months", "did you mean 6M?"),
        ("1y", "did you mean 1Y?"),
        ("2 Years", "did you mean 2Y?"),
        ("3weeks", "did you mean 3w?"),
        ("3 w", "did you mean 3w?"),
        ("10days", "did you mean 10d?"),
        ("2hr", "did you mean 2h?"),
        ("5MIN", "did you mean 5min?"),
        ("5mins.", "did you mean 5min?"),
        ("30sec", "did you mean 30s?"),
        ("30S", "did you mean 30s?"),
        ("500", "bars are written 500, without unit and quotes"),
        ("500 bars", "bars are written 500, without unit and quotes"),
    ],
)
def test_what_is_nearly_a_span_is_refused_with_the_right_one(span: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_span(span, "walk_forward.train")
    (problem,) = caught.value.problems
    assert problem.field == "walk_forward.train"
    assert f"{span!r} is not a length of time ({hint}); write" in problem.message


@pytest.mark.parametrize(
    "span",
    [
        "",
        "d",
        "M6",
        "1.5d",
        "-5d",
        "+5d",
        "5T",
        "6M1d",
        "6 lightyears",
        "٦M",
        "1e3d",
        "9" * 10 + "d",
    ],
)
def test_what_is_no_span_is_refused(span: str) -> None:
    with pytest.raises(ConfigError, match="is not a length of time; write a number of bars, or"):
        parse_span(span, "k")


def test_a_negative_number_of_bars_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^gap: -3 is negative; write a number of bars of 0"):
        parse_span(-3, "gap")


@pytest.mark.parametrize(
    ("ts", "span", "zone", "expected"),
    [
        ("2021-01-01", "6M", "UTC", "2021-07-01"),
        ("2021-01-31", "1M", "UTC", "2021-02-28"),
        ("2020-01-31", "1M", "UTC", "2020-02-29"),
        ("2020-02-29", "1Y", "UTC", "2021-02-28"),
        ("2021-10-31", "4M", "UTC", "2022-02-28"),
        ("2021-03-13", "1d", NEW_YORK, "2021-03-14"),
        ("2021-03-14", "1d", NEW_YORK, "2021-03-15"),  # a day of 23 hours
        ("2021-03-14", "24h", NEW_YORK, "2021-03-15T01:00"),
        ("2021-11-01", "1w", NEW_YORK, "2021-11-08"),  # a week of 169 hours
        ("2021-11-07", "24h", NEW_YORK, "2021-11-07T23:00"),
        ("2021-03-13T02:30", "1d", NEW_YORK, "2021-03-14T03:30"),  # 02:30 was skipped
        ("2021-11-06T01:30", "1d", NEW_YORK, "2021-11-07T01:30-04:00"),  # the first of two
        ("2018-11-03", "1d", "America/Sao_Paulo", "2018-11-04T01:00"),  # no midnight
        ("2018-11-04T01:00", "1d", "America/Sao_Paulo", "2018-11-05T00:00"),
        ("2018-11-04T01:00", "1M", "America/Sao_Paulo", "2018-12-04T00:00"),
        ("2018-11-04T02:00", "1d", "America/Sao_Paulo", "2018-11-05T02:00"),
        ("2011-12-29", "1d", "Pacific/Apia", "2011-12-31"),  # there was no 30th
        ("2011-12-29T10:00", "1d", "Pacific/Apia", "2011-12-31T10:00"),
        ("2021-01-01", "0d", NEW_YORK, "2021-01-01"),
        ("2021-01-01", "90min", "UTC", "2021-01-01T01:30"),
        ("2021-01-01", "90s", "UTC", "2021-01-01T00:01:30"),
    ],
)
def test_a_time_after(ts: str, span: str, zone: str, expected: str) -> None:
    found = parse_span(span, "").after(at(ts, zone), zone)
    assert iso_utc(found) == iso_utc(at(expected, zone))


@pytest.mark.parametrize(
    ("ts", "span", "zone", "expected"),
    [
        ("2021-03-31", "1M", "UTC", "2021-02-28"),
        ("2024-02-29", "1Y", "UTC", "2023-02-28"),
        ("2021-01-15", "1M", "UTC", "2020-12-15"),
        ("2021-03-15", "1d", NEW_YORK, "2021-03-14"),
        ("2021-03-15", "24h", NEW_YORK, "2021-03-13T23:00"),
        ("2021-11-08", "1w", NEW_YORK, "2021-11-01"),
        ("2021-11-08", "0M", NEW_YORK, "2021-11-08"),
    ],
)
def test_a_time_before(ts: str, span: str, zone: str, expected: str) -> None:
    found = parse_span(span, "").before(at(ts, zone), zone)
    assert iso_utc(found) == iso_utc(at(expected, zone))


def test_a_time_keeps_its_nanoseconds() -> None:
    ts = at("2021-01-31") + 123_456_789
    assert Length(1, "M").after(ts, NEW_YORK) % SECOND_NS == 123_456_789
    assert Length(1, "min").before(ts, NEW_YORK) == ts - 60 * SECOND_NS


seconds = st.integers(at("1972-01-01") // SECOND_NS, at("2035-12-31") // SECOND_NS)


@settings(deadline=None)
@given(
    seconds,
    st.integers(1, 40),
    st.sampled_from([("Y", "years"), ("M", "months"), ("w", "weeks"), ("d", "days")]),
    st.sampled_from(ZONES),
    st.booleans(),
)
def test_calendar_lengths_move_the_wall_clock_as_the_standard_library_does(
    second: int, count: int, unit: tuple[Unit, str], zone: str, back: bool
) -> None:
    ts = second * SECOND_NS
    length = Length(count, unit[0])
    moved = length.before(ts, zone) if back else length.after(ts, zone)
    step = relativedelta(**{unit[1]: -count if back else count})  # type: ignore[arg-type]
    assert iso_utc(moved) == iso_utc(on_the_wall(ts, step, zone))


@pytest.mark.parametrize("unit", ["Y", "M", "w", "d", "h", "min", "s"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", NEW_YORK])
def test_lengths_beyond_what_nanoseconds_hold_end_there(unit: Unit, zone: str) -> None:
    length = Length(10**9 - 1, unit)
    far = 10**9 if unit == "s" else 10**18
    ts = at("2021-01-01") if unit != "s" else at("2261-01-01")
    later, earlier = length.after(ts, zone), length.before(-ts, zone)
    assert ts + far < later < 2**63
    assert -(2**63) < earlier < -ts - far


@settings(deadline=None)
@given(
    st.lists(seconds, min_size=1, max_size=6),
    st.data(),
    st.sampled_from(["Y", "M", "w", "d", "h", "min", "s"]),
    st.integers(0, 30),
    st.sampled_from(ZONES),
)
def test_many_times_at_once_are_each_what_it_is_alone(
    found: list[int], data: st.DataObject, unit: Unit, count: int, zone: str
) -> None:
    ts = np.array(found) * SECOND_NS
    often = [data.draw(st.integers(0, 9)) for _ in found]
    expected = [
        Length(count * n, unit).after(int(it), zone) for it, n in zip(ts, often, strict=True)
    ]
    moved = Length(count, unit).after_each(ts, zone, np.array(often))
    assert moved.tolist() == expected


def test_bars_are_no_time_unless_there_are_none() -> None:
    assert Length(0, "bars").after(5, NEW_YORK) == 5
    assert Length(0, "bars").before(5, NEW_YORK) == 5
    with pytest.raises(ValueError, match="3 bars are no time"):
        Length(3, "bars").after(5, NEW_YORK)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("unit", "frequency"), [("Y", "Y"), ("M", "M"), ("w", "W-SUN"), ("d", "D"), ("h", "D")]
)
def test_a_unit_starts_where_the_period_of_pandas_does(
    zone: str, unit: Unit, frequency: str
) -> None:
    for ts in range(at("1969-01-01"), at("2025-01-01"), 2171 * DAY_NS + 5 * 3600 * SECOND_NS):
        naive = pd.Timestamp(ts, tz=zone).tz_localize(None)
        begin = naive.to_period(frequency).start_time
        expected = begin.tz_localize(zone, nonexistent="shift_forward", ambiguous=True)
        assert Length(1, unit).unit_start(ts, zone) == expected.as_unit("ns").value


def test_the_coarsest_of_lengths_has_the_largest_unit() -> None:
    lengths = [Length(90, "d"), Length(1, "M"), Length(999, "s"), Length(5, "w")]
    assert coarsest(lengths) == Length(1, "M")
    assert coarsest([*lengths, Length(1, "Y")]) == Length(1, "Y")
    assert coarsest([Length(5, "s"), Length(1, "min"), Length(1, "h")]) == Length(1, "h")


@pytest.mark.parametrize("zone", ZONES)
def test_the_wall_clock_is_that_of_pandas_and_leads_back(zone: str) -> None:
    moments = pd.date_range("2009-01-01", "2013-01-01", freq="217h", tz="UTC").as_unit("ns")
    wall = wall_clock(np.asarray(moments.asi8), zone)
    naive = moments.tz_convert(zone).tz_localize(None)
    np.testing.assert_array_equal(wall, naive.asi8)
    np.testing.assert_array_equal(instants(wall, zone), moments.asi8)

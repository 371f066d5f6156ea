from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.events import SourceConnected, SourceHeld, SourceLost
from admf.engine.roll_rules import DailyAt, EveryDuration, EveryEvents, Roll, Rolls
from tests.engine.sessions import Note

SECOND = 10**9


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


def text(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // SECOND, UTC).isoformat()


@pytest.mark.parametrize(
    ("after", "border"),
    [
        ("2024-01-02T12:00-05:00", "2024-01-02T22:00:00+00:00"),
        ("2024-01-02T17:00-05:00", "2024-01-03T22:00:00+00:00"),
        ("2024-01-02T21:59:59+00:00", "2024-01-02T22:00:00+00:00"),
        ("2024-03-09T17:00-05:00", "2024-03-10T21:00:00+00:00"),
        ("2024-11-02T17:00-04:00", "2024-11-03T22:00:00+00:00"),
    ],
)
def test_a_daily_rule_goes_by_the_clocks_of_its_zone(after: str, border: str):
    rule = DailyAt("17:00", "America/New_York")
    assert text(rule.border_after(ns(after))) == border


def test_a_time_that_is_skipped_or_shown_twice_ends_one_window_a_day():
    skipped = DailyAt("02:30", "America/New_York")
    assert text(skipped.border_after(ns("2024-03-10T05:30+00:00"))) == "2024-03-10T07:30:00+00:00"
    twice = DailyAt("01:30", "America/New_York")
    first = twice.border_after(ns("2024-11-03T00:00-04:00"))
    assert text(first) == "2024-11-03T05:30:00+00:00"
    assert text(twice.border_after(first)) == "2024-11-04T06:30:00+00:00"


@given(st.integers(-(10**9) * SECOND, 4 * 10**9 * SECOND))
def test_daily_borders_lie_a_day_apart_but_for_changes_of_the_clocks(ts: int):
    rule = DailyAt("02:30:15", "Europe/Berlin")
    first = rule.border_after(ts)
    second = rule.border_after(first)
    assert ts < first < second
    assert abs(second - first - 86_400 * SECOND) <= 7_200 * SECOND
    assert first - ts <= timedelta(hours=26).total_seconds() * SECOND


@given(st.integers(-(2**62), 2**62), st.floats(0.001, 1e6))
def test_durations_end_at_whole_multiples(ts: int, seconds: float):
    border = EveryDuration(seconds).border_after(ts)
    assert border % round(seconds * SECOND) == 0
    assert 0 < border - ts <= round(seconds * SECOND)


@pytest.mark.parametrize("time", ["25:00", "noon", "17:00+01:00", "17:00:00.5"])
def test_what_is_no_time_of_day_is_refused(time: str):
    with pytest.raises(ValueError, match="no time of day"):
        DailyAt(time)


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "../etc/passwd"])
def test_an_unknown_zone_is_refused(zone: str):
    with pytest.raises(ValueError, match="no time zone"):
        DailyAt("17:00", zone)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_window_lasts_some_time_and_takes_some_events(seconds: float):
    with pytest.raises(ValueError, match="at least"):
        EveryDuration(seconds)
    with pytest.raises(ValueError, match="at least"):
        EveryEvents(0)


def test_rules_are_read_from_data():
    rules = b'[{"type": "events", "count": 5}, {"type": "daily", "time": "17:00"}]'
    found = msgspec.json.decode(rules, type=list[Roll])
    assert found == [EveryEvents(5), DailyAt("17:00")]
    with pytest.raises(msgspec.ValidationError, match="no time of day"):
        msgspec.json.decode(b'{"type": "daily", "time": "x"}', type=Roll)


def test_the_first_rule_that_is_due_ends_a_window():
    rolls = Rolls([EveryEvents(3), EveryEvents(2), EveryDuration(10), EveryDuration(4)])
    rolls.begin()
    assert not rolls.is_due(Note(100 * SECOND, 1))
    rolls.take(Note(1 * SECOND, 1))
    assert not rolls.is_due(Note(4 * SECOND - 1, 2))
    assert rolls.is_due(Note(4 * SECOND, 2))
    rolls.take(Note(0, 2))
    assert rolls.is_due(Note(0, 3))
    rolls.begin()
    assert not rolls.is_due(Note(4 * SECOND, 2))


def test_only_rules_of_the_host_look_at_its_clock():
    assert not Rolls([EveryDuration(1), EveryEvents(1)]).uses_host_clock
    host = Rolls([EveryDuration(1), EveryDuration(5, clock="host"), DailyAt("00:00", clock="host")])
    assert host.uses_host_clock
    assert host.host_border_after(0) == 5 * SECOND
    host.begin()
    host.take(Note(0, 1))
    assert host.is_due(Note(SECOND, 2))
    assert Rolls([]).host_border_after(0) is None


def test_the_clock_of_a_source_is_not_the_time_of_its_events():
    rolls = Rolls([EveryDuration(10)])
    rolls.begin()
    rolls.take(SourceConnected(10**18, "feed", 1))
    rolls.take(Note(1 * SECOND, 1))
    assert not rolls.is_due(SourceLost(10**18, "feed", "cut"))
    assert not rolls.is_due(Note(10 * SECOND - 1, 2))
    assert rolls.is_due(Note(10 * SECOND, 2))


def test_a_source_that_waits_to_be_acknowledged_ends_a_window_that_has_taken_events():
    rolls = Rolls([])
    rolls.begin()
    held = SourceHeld(0, "feed", 10)
    assert not rolls.is_due(held)
    rolls.take(Note(0, 1))
    assert rolls.is_due(held)

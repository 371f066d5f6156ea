from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.model_selection import TimeSeriesSplit

from admf.containers.times import DAY_NS
from admf.engine.errors import ConfigError, DataError
from admf.sequences.config import TrainTestConfig, WalkForwardConfig
from admf.sequences.spans import parse_span
from admf.sequences.splits import (
    Split,
    StepRange,
    train_test_split,
    walk_forward_splits,
)

NEW_YORK = "America/New_York"


def times(index: pd.DatetimeIndex) -> NDArray[np.int64]:
    return np.asarray(index.tz_convert("UTC").as_unit("ns").asi8)


def days(n: int) -> NDArray[np.int64]:
    return np.arange(n, dtype=np.int64) * DAY_NS


def business_days(start: str, end: str, zone: str = "UTC") -> NDArray[np.int64]:
    return times(pd.bdate_range(start, end).tz_localize(zone))


def steps(ranges: tuple[StepRange, ...]) -> list[int]:
    return [step for it in ranges for step in range(it.start, it.stop)]


def bounds(split: Split) -> tuple[int, int, int, int]:
    (train,), (test,) = split.train, split.test
    return train.start, train.stop, test.start, test.stop


def dates(
    ts: NDArray[np.int64], split: Split, zone: str = "UTC", spec: str = "%Y-%m-%d"
) -> tuple[str, ...]:
    a, b, c, d = bounds(split)
    return tuple(pd.Timestamp(ts[i], tz=zone).strftime(spec) for i in (a, b - 1, c, d - 1))


def walk(**options: Any) -> WalkForwardConfig:
    return WalkForwardConfig(**options)


# train_test


@pytest.mark.parametrize("n", [2, 3, 7, 10, 99, 100, 101, 250])
@pytest.mark.parametrize("percent", [1, 29, 50, 57, 58, 70, 80, 99])
def test_a_share_of_the_bars_is_rounded_down_as_it_is_written(n: int, percent: int) -> None:
    config = TrainTestConfig(data_split=percent / 100)
    border = n * percent // 100
    if border == 0:
        with pytest.raises(DataError, match=f"the train part is empty.*{n} bars from 1970-01-01"):
            train_test_split(days(n), config)
    else:
        assert bounds(train_test_split(days(n), config)) == (0, border, border, n)


@pytest.mark.parametrize(
    ("data_split", "zone", "first"),
    [
        ("2021-03-01", "UTC", "2021-03-01"),
        ("2021-02-28", "UTC", "2021-03-01"),  # a Sunday
        ("20210305", "UTC", "2021-03-05"),
        ("2021-03-05T00:00:00Z", "UTC", "2021-03-05"),
        ("2021-03-05T00:00:01Z", "UTC", "2021-03-08"),
        ("2021-03-05", NEW_YORK, "2021-03-05"),
        ("2021-03-05T05:00Z", NEW_YORK, "2021-03-05"),
        ("2021-03-05T00:00", NEW_YORK, "2021-03-05"),
    ],
)
def test_a_day_or_instant_is_where_the_test_begins(data_split: str, zone: str, first: str) -> None:
    ts = business_days("2021-01-01", "2021-06-30", zone)
    split = train_test_split(ts, TrainTestConfig(data_split=data_split), zone)
    begin, train_last, test_first, end = dates(ts, split, zone)
    assert (begin, test_first, end) == ("2021-01-01", first, "2021-06-30")
    assert bounds(split)[1] == bounds(split)[2]
    assert train_last < first


@pytest.mark.parametrize(
    ("gap", "train_last"),
    [
        (0, "2021-02-26"),
        (1, "2021-02-25"),
        (5, "2021-02-19"),
        ("0d", "2021-02-26"),
        ("1d", "2021-02-26"),  # the test begins on a Monday, and Sunday has no bar
        ("3d", "2021-02-25"),
        ("1w", "2021-02-19"),
        ("1M", "2021-01-29"),
        ("72h", "2021-02-25"),
        ("71h", "2021-02-26"),
    ],
)
def test_the_gap_shortens_the_training_part(gap: int | str, train_last: str) -> None:
    ts = business_days("2021-01-01", "2021-06-30")
    split = train_test_split(ts, TrainTestConfig(data_split="2021-03-01", gap=gap))
    assert dates(ts, split) == ("2021-01-01", train_last, "2021-03-01", "2021-06-30")


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, 1.5, 80.0, math.nan, math.inf])
def test_a_share_outside_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="is not a share of the data; write a number") as caught:
        train_test_split(days(10), TrainTestConfig(data_split=share))
    assert caught.value.problems[0].field == "train_test.data_split"


def test_a_split_that_is_no_time_is_refused_by_name() -> None:
    with pytest.raises(ConfigError) as caught:
        train_test_split(days(10), TrainTestConfig(data_split="soon"))
    assert caught.value.problems[0].field == "train_test.data_split"


@pytest.mark.parametrize("gap", [-1, "5 bars"])
def test_a_wrong_gap_is_refused_by_name(gap: int | str) -> None:
    with pytest.raises(ConfigError) as caught:
        train_test_split(days(10), TrainTestConfig(gap=gap))
    assert caught.value.problems[0].field == "train_test.gap"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_split": "1969-01-01"}, "the train part is empty, since data_split 1969-01-01"),
        ({"data_split": "1970-01-01"}, "the train part is empty"),
        ({"data_split": "1970-01-11"}, "the test part is empty.* none of the 10 bars from 1970"),
        ({"gap": 8}, "the train part is empty, since a gap of 8 bars takes up all of its 8 bars"),
        ({"gap": 9}, "the train part is empty, since a gap of 9 bars"),
        ({"gap": "2w"}, "the train part is empty, since a gap of 2w takes up all of its 8 bars"),
    ],
)
def test_an_empty_part_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        train_test_split(days(10), TrainTestConfig(**options))


def test_no_bars_at_all_cannot_be_split() -> None:
    with pytest.raises(DataError, match="none of the 0 bars"):
        train_test_split(days(10), TrainTestConfig(), within=StepRange(4, 4))


@settings(deadline=None)
@given(
    st.integers(2, 60),
    st.integers(0, 20),
    st.integers(0, 20),
    st.floats(0.01, 0.99),
    st.integers(0, 30),
    st.booleans(),
)
def test_parts_keep_their_distance_and_stay_within(
    n: int, before: int, after: int, share: float, gap: int, in_time: bool
) -> None:
    within = StepRange(before, before + n)
    config = TrainTestConfig(data_split=share, gap=f"{gap}d" if in_time else gap)
    try:
        split = train_test_split(days(before + n + after), config, within=within)
    except DataError:
        assert math.floor(n * Fraction(str(share))) <= gap
        return
    a, b, c, d = bounds(split)
    assert (a, d) == (within.start, within.stop)
    assert a < b < c + 1 <= d
    assert c - b == gap


# walk_forward in bars


@pytest.mark.parametrize("n_splits", [2, 3, 5])
@pytest.mark.parametrize("test", [1, 2, 7])
@pytest.mark.parametrize("gap", [0, 1, 4])
def test_an_anchored_walk_is_the_time_series_split_of_scikit_learn(
    n_splits: int, test: int, gap: int
) -> None:
    for n in range(n_splits * test + gap + 1, 80):
        train = n - n_splits * test - gap
        splits = walk_forward_splits(
            days(n), walk(mode="anchored", train=train, test=test, gap=gap)
        )
        oracle = TimeSeriesSplit(n_splits, test_size=test, gap=gap).split(np.zeros(n))
        assert [(steps(it.train), steps(it.test)) for it in splits] == [
            (a.tolist(), b.tolist()) for a, b in oracle
        ]


@pytest.mark.parametrize(("train", "test"), [(1, 1), (2, 3), (5, 1)])
@pytest.mark.parametrize("gap", [0, 2])
def test_a_rolling_walk_is_that_of_scikit_learn_with_a_longest_training_part(
    train: int, test: int, gap: int
) -> None:
    for n in range(train + gap + 2 * test, 60):
        n_splits = (n - train - gap) // test
        start = n - train - gap - n_splits * test  # scikit-learn aligns with the end of the data
        cv = TimeSeriesSplit(n_splits, test_size=test, gap=gap, max_train_size=train)
        splits = walk_forward_splits(
            days(n), walk(train=train, test=test, gap=gap), within=StepRange(start, n)
        )
        assert [(steps(it.train), steps(it.test)) for it in splits] == [
            (a.tolist(), b.tolist()) for a, b in cv.split(np.zeros(n))
        ]


def test_rolling_windows_by_hand() -> None:
    found = walk_forward_splits(days(20), walk(train=8, test=3, step=2, gap=1))
    assert [bounds(it) for it in found] == [
        (0, 8, 9, 12), (2, 10, 11, 14), (4, 12, 13, 16), (6, 14, 15, 18), (8, 16, 17, 20),
    ]  # fmt: skip


def test_anchored_windows_by_hand_leave_an_incomplete_test_out() -> None:
    found = walk_forward_splits(days(15), walk(mode="anchored", train=6, test=3))
    assert [bounds(it) for it in found] == [(0, 6, 6, 9), (0, 9, 9, 12), (0, 12, 12, 15)]
    shorter = walk_forward_splits(days(14), walk(mode="anchored", train=6, test=3))
    assert [bounds(it) for it in shorter] == [(0, 6, 6, 9), (0, 9, 9, 12)]


@pytest.mark.parametrize(
    ("n", "train", "test", "windows"),
    [(100, 50, 10, 5), (109, 54, 10, 5), (19, 9, 1, 10), (5, 2, 1, 3), (2, 1, 1, 1)],
)
def test_without_lengths_half_is_trained_on_and_tenths_are_tested_on(
    n: int, train: int, test: int, windows: int
) -> None:
    found = [bounds(it) for it in walk_forward_splits(days(n), walk())]
    assert found == [
        (i * test, i * test + train, i * test + train, (i + 1) * test + train)
        for i in range(windows)
    ]


@settings(deadline=None)
@given(
    st.integers(1, 80),
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(1, 40),
    st.integers(1, 15),
    st.integers(1, 20),
    st.integers(0, 10),
    st.booleans(),
)
def test_windows_keep_their_lengths_and_stay_within(
    n: int, before: int, after: int, train: int, test: int, step: int, gap: int, anchored: bool
) -> None:
    within = StepRange(before, before + n)
    mode = "anchored" if anchored else "rolling"
    config = walk(mode=mode, train=train, test=test, step=step, gap=gap)
    ts = days(before + n + after)
    if train + gap + test > n:
        with pytest.raises(DataError, match=f"{train} bars? to train.* there are {n} bars from"):
            walk_forward_splits(ts, config, within=within)
        return
    found = [bounds(it) for it in walk_forward_splits(ts, config, within=within)]
    for i, (a, b, c, d) in enumerate(found):
        assert a == before + (0 if anchored else i * step)
        assert b == before + i * step + train
        assert (c - b, d - c) == (gap, test)
        assert d <= within.stop
    assert found[-1][3] + step > within.stop


def test_windows_are_made_one_by_one() -> None:
    windows = walk_forward_splits(days(10**6), walk(train=1, test=1))
    assert bounds(next(windows)) == (0, 1, 1, 2)
    assert bounds(next(windows)) == (1, 2, 2, 3)


# walk_forward in time


def test_months_by_hand() -> None:
    ts = business_days("2021-01-04", "2021-10-20")
    found = walk_forward_splits(ts, walk(train="6M", test="1M", step="1M"))
    assert [dates(ts, it) for it in found] == [
        ("2021-01-04", "2021-06-30", "2021-07-01", "2021-07-30"),
        ("2021-02-01", "2021-07-30", "2021-08-02", "2021-08-31"),
        ("2021-03-01", "2021-08-31", "2021-09-01", "2021-09-30"),
    ]


def test_anchored_months_by_hand_with_a_gap() -> None:
    ts = business_days("2021-01-13", "2021-12-31")
    config = walk(mode="anchored", train="6M", test="2M", step="2M", gap="1w")
    assert [dates(ts, it) for it in walk_forward_splits(ts, config)] == [
        ("2021-01-13", "2021-06-30", "2021-07-08", "2021-09-07"),
        ("2021-01-13", "2021-08-31", "2021-09-08", "2021-11-05"),
    ]


def test_the_coarsest_unit_says_where_windows_begin() -> None:
    ts = days(1200)[100:]
    by_year = walk_forward_splits(ts, walk(train="1Y", test="6M"))
    assert dates(ts, next(by_year)) == ("1970-04-11", "1970-12-31", "1971-01-01", "1971-06-30")
    by_month = walk_forward_splits(ts, walk(train="12w", test="1M", gap="1Y"))
    assert dates(ts, next(by_month)) == ("1970-04-11", "1970-06-23", "1971-06-24", "1971-07-23")
    by_week = walk_forward_splits(ts, walk(train="2w", test="3d"))
    assert dates(ts, next(by_week)) == ("1970-04-11", "1970-04-19", "1970-04-20", "1970-04-22")
    by_day = walk_forward_splits(ts, walk(train="2d", test="24h"))
    assert dates(ts, next(by_day)) == ("1970-04-11", "1970-04-12", "1970-04-13", "1970-04-13")


def test_hours_are_counted_from_the_midnight_of_the_zone() -> None:
    ts = times(pd.date_range("2021-03-01 09:30", periods=60, freq="30min", tz=NEW_YORK))
    found = walk_forward_splits(ts, walk(train="12h", test="3h", step="6h"), NEW_YORK)
    assert [dates(ts, it, NEW_YORK, "%dT%H:%M") for it in found] == [
        ("01T09:30", "01T11:30", "01T12:00", "01T14:30"),
        ("01T09:30", "01T17:30", "01T18:00", "01T20:30"),
        ("01T12:00", "01T23:30", "02T00:00", "02T02:30"),
        ("01T18:00", "02T05:30", "02T06:00", "02T08:30"),
        ("02T00:00", "02T11:30", "02T12:00", "02T14:30"),
    ]


def period_numbers(ts: NDArray[np.int64], zone: str, frequency: str) -> NDArray[np.int64]:
    naive = pd.DatetimeIndex(ts, tz="UTC").tz_convert(zone).tz_localize(None)
    numbers = naive.to_period(frequency).asi8
    return np.asarray(numbers - numbers[0])


@pytest.mark.parametrize("zone", ["UTC", NEW_YORK, "Asia/Tokyo", "Australia/Lord_Howe"])
@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize(
    ("unit", "frequency", "hours"),
    [("Y", "Y", 500), ("M", "M", 61), ("w", "W-SUN", 7), ("d", "D", 11)],
)  # fmt: skip
@pytest.mark.parametrize(
    ("train", "test", "step", "gap"), [(6, 1, 1, 0), (3, 2, 1, 1), (2, 1, 4, 2)]
)
def test_calendar_windows_hold_the_bars_of_their_periods(
    zone: str, anchored: bool, unit: str, frequency: str, hours: int,
    train: int, test: int, step: int, gap: int,
) -> None:  # fmt: skip
    ts = times(pd.date_range("2019-10-29T13:00", periods=220, freq=f"{hours}h", tz="UTC"))
    number = period_numbers(ts, zone, frequency)
    config = walk(
        mode="anchored" if anchored else "rolling",
        train=f"{train}{unit}", test=f"{test}{unit}", step=f"{step}{unit}", gap=f"{gap}{unit}",
    )  # fmt: skip
    found = list(walk_forward_splits(ts, config, zone))
    for i, split in enumerate(found):
        begin, end = i * step, i * step + train
        in_train = (number >= (0 if anchored else begin)) & (number < end)
        in_test = (number >= end + gap) & (number < end + gap + test)
        assert steps(split.train) == np.flatnonzero(in_train).tolist()
        assert steps(split.test) == np.flatnonzero(in_test).tolist()
    next_end = len(found) * step + train + gap + test
    assert next_end - step <= number[-1] + 1 <= next_end


@pytest.mark.parametrize(
    ("last", "complete"),
    [
        ("2021-06-30", False),
        ("2021-07-01", False),
        ("2021-07-20", False),
        ("2021-07-28", False),
        ("2021-07-29", True),  # a Thursday; no bar could come before Sunday, if Friday is a holiday
        ("2021-07-30", True),
        ("2021-08-02", True),
        ("2021-08-27", True),
    ],
)
def test_a_test_is_complete_when_no_bar_is_expected_before_its_end(
    last: str, complete: bool
) -> None:
    ts = business_days("2021-01-01", last)
    config = walk(train="6M", test="1M")
    if complete:
        (window,) = walk_forward_splits(ts, config)
        assert dates(ts, window)[:3] == ("2021-01-01", "2021-06-30", "2021-07-01")
    else:
        with pytest.raises(DataError, match="6M to train, 1M to test and a gap of 0 bars"):
            walk_forward_splits(ts, config)


def test_bars_all_around_the_clock_complete_a_test_with_its_last_hour() -> None:
    ts = times(pd.date_range("2021-03-01", "2021-03-04T23:00", freq="1h", tz="UTC"))
    config = walk(train="2d", test="1d")
    assert len(list(walk_forward_splits(ts, config))) == 2
    assert len(list(walk_forward_splits(ts[:-1], config))) == 1


def test_a_pause_is_no_longer_because_the_clocks_are_put_back() -> None:
    ts = business_days("2021-09-01", "2021-10-29", "Europe/Berlin")  # a Friday; Sunday has 25 hours
    (window,) = walk_forward_splits(ts, walk(train="1M", test="1M"), "Europe/Berlin")
    assert dates(ts, window, "Europe/Berlin")[3] == "2021-10-29"


def test_where_the_line_goes_on_the_next_bar_is_known() -> None:
    ts = business_days("2021-01-01", "2021-12-31")
    config = walk(train="2M", test="1M")
    until_thursday = StepRange(0, int(np.searchsorted(ts, pd.Timestamp("2021-04-30").value)))
    until_friday = StepRange(0, until_thursday.stop + 1)
    assert len(list(walk_forward_splits(ts, config, within=until_thursday))) == 1
    assert len(list(walk_forward_splits(ts, config, within=until_friday))) == 2


def test_windows_of_a_part_begin_with_the_part() -> None:
    ts = business_days("2020-01-01", "2021-12-31")
    start = int(np.searchsorted(ts, pd.Timestamp("2020-09-15").value))
    windows = walk_forward_splits(ts, walk(train="2M", test="1M"), within=StepRange(start, len(ts)))
    assert dates(ts, next(windows)) == ("2020-09-15", "2020-10-30", "2020-11-02", "2020-11-30")


def test_windows_without_bars_are_passed_over() -> None:
    ts = business_days("2021-01-01", "2021-12-31")
    month = pd.DatetimeIndex(ts).month
    ts = ts[(month != 4) & (month != 8) & (month != 9)]
    found = walk_forward_splits(ts, walk(train="1M", test="1M"))
    assert [(a[5:7], c[5:7]) for a, _, c, _ in (dates(ts, it) for it in found)] == [
        ("01", "02"), ("02", "03"), ("05", "06"), ("06", "07"), ("10", "11"), ("11", "12"),
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=80),
    st.tuples(*[st.integers(1, 5)] * 3, st.integers(0, 3)),
    st.tuples(*[st.sampled_from(["M", "w", "d", "h"])] * 4),
    st.booleans(),
    st.sampled_from(["UTC", NEW_YORK]),
    st.data(),
)
def test_calendar_windows_are_in_order_and_keep_the_gap(
    hours: list[int], counts: tuple[int, ...], units: tuple[str, ...], anchored: bool, zone: str,
    data: st.DataObject,
) -> None:  # fmt: skip
    ts = (450_000 + np.cumsum(hours)) * 3_600 * 10**9
    start = data.draw(st.integers(0, len(ts) - 1))
    within = StepRange(start, data.draw(st.integers(start, len(ts))))
    train, test, step, gap = (f"{n}{unit}" for n, unit in zip(counts, units, strict=True))
    mode = "anchored" if anchored else "rolling"
    config = walk(mode=mode, train=train, test=test, step=step, gap=gap)
    try:
        splits = [bounds(it) for it in walk_forward_splits(ts, config, zone, within)]
    except DataError:
        splits = []
    for a, b, c, d in splits:
        assert within.start <= a < b <= c < d <= within.stop
        # the last training step lies before the gap begins, however long the gap is
        assert ts[c] >= parse_span(gap, "").after(int(ts[b - 1]), zone)
        assert not anchored or a == within.start
    for earlier, later in pairwise(splits):
        assert all(x <= y for x, y in zip(earlier, later, strict=True))


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        ({"train": 0}, {"train": "longer than 0"}),
        ({"test": 0}, {"test": "longer than 0"}),
        ({"step": 0}, {"step": "longer than 0"}),
        ({"train": "6M", "test": "1M", "step": "0M"}, {"step": "longer than 0"}),
        ({"train": -1}, {"train": "-1 is negative"}),
        ({"step": -5, "gap": -1}, {"step": "-5 is negative", "gap": "-1 is negative"}),
        ({"train": "6m", "test": 0}, {"train": "did you mean 6M", "test": "longer than 0"}),
        ({"train": "6M", "test": 20}, {"test": "20 is a number of bars, but train .* \\(6M\\)"}),
        ({"train": 100, "test": "1M"}, {"train": "100 is a number of bars, but test"}),
        ({"train": "6M", "test": "1M", "step": 5}, {"step": "5 is a number of bars"}),
        ({"train": "6M", "test": "1M", "gap": 5}, {"gap": "5 is a number of bars"}),
        ({"train": 100, "test": 10, "gap": "5d"}, {"train": "but gap", "test": "but gap"}),
        ({"train": "6M"}, {"test": "would be a share of the bars, but train"}),
        ({"test": "1M"}, {"train": "would be a share of the bars, but test"}),
        ({"step": "1M"}, {"train": "would be", "test": "would be"}),
    ],
)
def test_all_wrong_lengths_are_refused_by_name(
    options: dict[str, Any], problems: dict[str, str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        walk_forward_splits(days(100), walk(**options))
    found = {it.field.removeprefix("walk_forward."): it.message for it in caught.value.problems}
    assert list(found) == list(problems)
    for name, message in problems.items():
        assert pd.Series([found[name]]).str.contains(message).all()


def test_a_gap_of_no_time_goes_with_bars() -> None:
    config = walk(train=5, test=2, gap="0d")
    assert bounds(next(walk_forward_splits(days(10), config))) == (0, 5, 5, 7)


@pytest.mark.parametrize("config", [walk(), walk(train="1M", test="1d")])
@pytest.mark.parametrize("n", [0, 1])
def test_too_few_bars_for_a_window_are_counted(config: WalkForwardConfig, n: int) -> None:
    with pytest.raises(DataError, match=f"no window fits; it takes .*, and there are {n} bars"):
        walk_forward_splits(days(10), config, within=StepRange(3, 3 + n))


def test_a_window_longer_than_nanoseconds_last_does_not_fit() -> None:
    with pytest.raises(DataError, match="no window fits"):
        walk_forward_splits(days(10), walk(train="999999999Y", test="1d"))


# k_fold

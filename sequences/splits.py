"""How a time line is cut into parts that are trained on and parts that are tested on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.containers.times import iso_utc
from admf.containers.timestamps import parse_bound
from admf.engine.errors import ConfigError, DataError, Problem
from admf.sequences.config import TrainTestConfig, WalkForwardConfig
from admf.sequences.spans import Length, coarsest, instants, parse_span, wall_clock

__all__ = [
    "Split",
    "StepRange",
    "train_test_split",
    "walk_forward_splits",
]

IntArray: TypeAlias = NDArray[np.int64]

_AT_ONCE: Final = 64
"""Windows whose calendar boundaries are found together, which costs little more than one."""


class StepRange(msgspec.Struct, frozen=True):
    """Time steps ``[start, stop)`` of the data's time line."""

    start: int
    stop: int

    def __len__(self) -> int:
        return max(self.stop - self.start, 0)


class Split(msgspec.Struct, frozen=True):
    """What is trained on, and what is tested on; the ranges are in order and do not overlap."""

    train: tuple[StepRange, ...]
    test: tuple[StepRange, ...]


class _Walk(msgspec.Struct, frozen=True):
    train: Length
    test: Length
    step: Length
    gap: Length
    anchored: bool


def train_test_split(
    ts: IntArray,
    config: TrainTestConfig,
    timezone: str = "UTC",
    within: StepRange | None = None,
) -> Split:
    """Cut a time line in two; the gap is taken from the end of the training part.

    Args:
        ts: int64 (n,), the whole time line, ns UTC, strictly increasing.
        config: Where the test begins: after the first ``floor(steps * share)`` steps, or at a day
            or instant; and the gap: the last training steps that are left out, or the time before
            the first step of the test in which none lies.
        timezone: Zone of days, and of instants without an offset.
        within: The steps that are cut; all by default.

    Returns:
        One range of steps of the whole line to train on, and one to test on.

    Raises:
        ConfigError: A setting is wrong.
        DataError: A part has no steps.
    """
    within = StepRange(0, len(ts)) if within is None else within
    gap = parse_span(config.gap, "train_test.gap")
    border = _border(ts, config.data_split, timezone, within)
    if border in {within.start, within.stop}:
        part = "train" if border == within.start else "test"
        raise DataError(
            f"train_test: the {part} part is empty, since data_split {config.data_split} leaves "
            f"none of the {_extent(ts, within)} to it; move data_split, or use more data"
        )
    if gap.in_bars:
        stop = border - gap.count
    else:
        stop = _position(ts, within, gap.before(int(ts[border]), timezone))
    train = StepRange(within.start, stop)
    if not train:
        raise DataError(
            f"train_test: the train part is empty, since a gap of {gap} takes up all of its "
            f"{border - within.start} bars; shorten gap, move data_split, or use more data"
        )
    return Split((train,), (StepRange(border, within.stop),))


def walk_forward_splits(
    ts: IntArray,
    config: WalkForwardConfig,
    timezone: str = "UTC",
    within: StepRange | None = None,
) -> Iterator[Split]:
    """Cut a time line into windows that follow each other, each with its training and its test.

    In bars, window i trains on ``[i * step, i * step + train)`` and tests on the ``test`` bars
    after the gap. In time, its boundaries are instants of the zone's calendar: the first training
    part begins with the year, month, week (from Monday) or day that has the first step, whichever
    is the coarsest unit of ``train``, ``test`` and ``step``; windows without bars to train on or
    to test on are passed over. Anchored training parts begin with the first one.

    The last window is the last one whose test is complete. In time, it is if no further bar would
    belong to it: it ends at the latest when the next bar is to be expected, which is as long after
    the last one as the longest pause between two bars; or when the next bar comes, if the line goes
    on after ``within``. So weekends and holidays at the end of a month do not matter.

    Args:
        ts: int64 (n,), the whole time line, ns UTC, strictly increasing.
        config: Lengths, all in bars or all in time; a gap of 0 is both.
        timezone: Zone of the calendar.
        within: The steps that are cut; all by default.

    Returns:
        The windows, made one by one; each has one range to train on and one to test on.

    Raises:
        ConfigError: A length is wrong, or some are in bars and some in time.
        DataError: There are too few steps for a single window.

    Source:
        scikit-learn's TimeSeriesSplit, which an anchored walk with ``step`` = ``test`` equals.
    """
    within = StepRange(0, len(ts)) if within is None else within
    walk = _walk(config, len(within))
    if walk.train.in_bars:
        windows = _bar_walk(walk, within)
    else:
        windows = _calendar_walk(walk, ts, within, timezone)
    first = next(windows, None)
    if first is None:
        raise DataError(
            f"walk_forward: no window fits; it takes {walk.train} to train, {walk.test} to test "
            f"and a gap of {walk.gap}, and there are {_extent(ts, within)}; shorten train or "
            "test, or use more data"
        )
    return chain((first,), windows)


def _position(ts: IntArray, within: StepRange, time: int) -> int:
    """Return the first step, of those within, that is not before a time; their stop if none is."""
    return within.start + int(np.searchsorted(ts[within.start : within.stop], time))


def _extent(ts: IntArray, within: StepRange) -> str:
    if not within:
        return "0 bars"
    begin, end = iso_utc(int(ts[within.start])), iso_utc(int(ts[within.stop - 1]))
    return f"{len(within)} bars from {begin} to {end}"


def _border(ts: IntArray, data_split: float | str, timezone: str, within: StepRange) -> int:
    field = "train_test.data_split"
    if isinstance(data_split, str):
        return _position(ts, within, parse_bound(data_split, timezone, field)[0])
    if not 0 < data_split < 1:
        message = (
            f"{data_split} is not a share of the data; write a number between 0 and 1, such as "
            "0.8, or the first day of the test"
        )
        raise ConfigError([Problem(message, field)])
    # as it is written: 0.29 of 100 steps are 29, though 0.29 * 100 is less
    return within.start + math.floor(len(within) * Fraction(str(data_split)))


def _walk(config: WalkForwardConfig, n_bars: int) -> _Walk:
    given = {"train": config.train, "test": config.test, "step": config.step, "gap": config.gap}
    lengths: dict[str, Length] = {}
    problems: list[Problem] = []
    for name, span in given.items():
        if span is None:
            continue
        try:
            lengths[name] = parse_span(span, f"walk_forward.{name}")
        except ConfigError as error:
            problems.extend(error.problems)
    problems.extend(_problems(lengths))
    if problems:
        raise ConfigError(problems)
    test = lengths.get("test", Length(max(n_bars // 10, 1), "bars"))
    return _Walk(
        train=lengths.get("train", Length(max(n_bars // 2, 1), "bars")),
        test=test,
        step=lengths.get("step", test),
        gap=lengths["gap"],
        anchored=config.mode == "anchored",
    )


def _problems(lengths: dict[str, Length]) -> Iterator[Problem]:
    """Find lengths that must not be zero, and lengths in bars beside others in time."""
    for name, length in lengths.items():
        if length.is_zero and name != "gap":
            yield Problem("must be longer than 0, for example 250 or 6M", f"walk_forward.{name}")
    timed = next((it for it in lengths if not lengths[it].in_bars and not lengths[it].is_zero), "")
    if not timed:
        return
    reason = f"{timed} is a length of time ({lengths[timed]}); write both in bars or both as time"
    for name in ("train", "test"):
        if name not in lengths:
            message = f"would be a share of the bars, but {reason}"
            yield Problem(message, f"walk_forward.{name}")
    for name, length in lengths.items():
        if length.in_bars and not length.is_zero:
            yield Problem(
                f"{length.count} is a number of bars, but {reason}", f"walk_forward.{name}"
            )


def _bar_walk(walk: _Walk, within: StepRange) -> Iterator[Split]:
    whole = walk.train.count + walk.gap.count + walk.test.count
    for begin in range(within.start, within.stop - whole + 1, walk.step.count):
        train = StepRange(within.start if walk.anchored else begin, begin + walk.train.count)
        test = StepRange(begin + whole - walk.test.count, begin + whole)
        yield Split((train,), (test,))


def _calendar_walk(walk: _Walk, ts: IntArray, within: StepRange, timezone: str) -> Iterator[Split]:
    if not within:
        return
    unit = coarsest((walk.train, walk.test, walk.step))
    origin = unit.unit_start(int(ts[within.start]), timezone)
    last, next_bar = int(ts[within.stop - 1]), _next_bar(ts, within, timezone)
    first = 0
    while True:
        for times in _boundaries(walk, origin, first, timezone).tolist():
            if times[2] > last or times[3] > next_bar:
                return
            steps = [_position(ts, within, time) for time in times]
            train, test = StepRange(steps[0], steps[1]), StepRange(steps[2], steps[3])
            if train and test:
                yield Split((train,), (test,))
        first += _AT_ONCE


def _boundaries(walk: _Walk, origin: int, first: int, timezone: str) -> IntArray:
    """Return begin and end of training and of test, ns UTC, of some windows: int64 (windows, 4)."""
    origins = np.full(_AT_ONCE, origin)
    numbers = np.arange(first, first + _AT_ONCE)
    begin = walk.step.after_each(origins, timezone, numbers)
    train_end = walk.train.after_each(begin, timezone)
    test_begin = walk.gap.after_each(train_end, timezone)
    test_end = walk.test.after_each(test_begin, timezone)
    return np.column_stack((origins if walk.anchored else begin, train_end, test_begin, test_end))


def _next_bar(ts: IntArray, within: StepRange, timezone: str) -> int:
    """Return when the bar after those within comes, or is to be expected."""
    if within.stop < len(ts):
        return int(ts[within.stop])
    pauses = np.diff(ts[within.start :], prepend=ts[within.start])
    longest = within.start + int(pauses.argmax())
    # on the wall, a pause does not grow when the clocks are put back
    wall = wall_clock(ts[[longest - 1, longest, -1]], timezone)
    pause = wall[1] - wall[0] if pauses.any() else 0
    return int(instants(wall[2:] + pause, timezone)[0])

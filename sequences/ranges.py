"""The part of the data that a phase uses, as time steps."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from admf.containers.times import DAY_NS, iso_utc
from admf.containers.timestamps import parse_bound
from admf.engine.errors import ConfigError, Problem
from admf.sequences.settings import PhaseSettings
from admf.sequences.splits import StepRange

__all__ = ["steps_of"]


def steps_of(settings: PhaseSettings, ts: NDArray[np.int64]) -> StepRange:
    """Return the time steps of a phase's ``data_range``.

    Args:
        settings: The phase's settings.
        ts: int64 (steps,), the time line of the data, ns UTC.

    Raises:
        ConfigError: A bound cannot be read, or no step lies between them.
    """
    part, zone = settings.data_range, settings.timezone
    start = 0 if part.start is None else _step(part.start, ts, zone, "start")
    stop = len(ts) if part.end is None else _step(part.end, ts, zone, "end")
    if start >= stop:
        begin = "their beginning" if part.start is None else part.start
        end = "their end" if part.end is None else part.end
        message = (
            f"there are no bars from {begin} to {end}; "
            f"they reach from {iso_utc(int(ts[0]))} to {iso_utc(int(ts[-1]))}"
        )
        raise ConfigError([Problem(message, "data_range")])
    return StepRange(start, stop)


def _step(bound: float | str, ts: NDArray[np.int64], timezone: str, name: str) -> int:
    """Return the step at a bound: the first that belongs, or the one after the last that does."""
    field = f"data_range.{name}"
    if not isinstance(bound, str):
        if not 0 <= bound <= 1:
            raise ConfigError([Problem(f"a share lies between 0 and 1, got {bound}", field)])
        return math.floor(len(ts) * bound)
    instant, is_day = parse_bound(bound, timezone, field)
    if name == "start":
        return int(np.searchsorted(ts, instant))
    return int(np.searchsorted(ts, instant + DAY_NS - 1 if is_day else instant, side="right"))

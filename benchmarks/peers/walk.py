"""The data and the work that all peers of the speed benchmark have in common.

1-minute bars of a geometric random walk; a moving-average cross whose state is traded: 100 units
while the fast average is above the slow one, nothing otherwise; each order fills at the next open.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

CAPITAL = 1_000_000.0
UNITS = 100.0
START_S = 1_577_836_800
SINGLE = ((10, 50),)


def closes(count: int) -> np.ndarray:
    """Return float64 (count,) closes; the opens are the closes before them, the first is 100."""
    rng = np.random.default_rng(7)
    return 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.0005, count)))


def opens(close: np.ndarray) -> np.ndarray:
    return np.concatenate(([100.0], close[:-1]))


def lanes(count: int) -> list[tuple[int, int]]:
    """Return fast and slow periods of the lanes: 1, 100, or ten for each slow period from 20 on."""
    if count == 1:
        return list(SINGLE)
    slows = [20, *range(30, 111, 10)] if count == 100 else list(range(20, 20 + count // 10))
    return [(fast, slow) for fast in range(5, 15) for slow in slows]


def sma(values: np.ndarray, period: int) -> np.ndarray:
    """Return the simple moving average, NaN where it is not known yet."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    found = np.full(len(values), np.nan)
    found[period - 1 :] = (sums[period:] - sums[:-period]) / period
    return found


Work = Callable[[], dict[str, Any]]


def measure(prepare: Callable[[int], Work], bars: int, warm_up: int = 0) -> None:
    """Do the work once, and print what it gave, how long it took and the peak memory.

    Args:
        prepare: Makes data of so many bars, and returns the work on them.
        bars: How many.
        warm_up: Bars of the same work that is done before; none if 0.
    """
    if warm_up:
        prepare(warm_up)()
    work = prepare(bars)
    start = time.perf_counter()
    found = work()
    found = {"seconds": time.perf_counter() - start, **found}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({**found, "peak_bytes": peak}))


def arguments() -> list[int]:
    """Return bars, lanes and whatever else is given on the command line."""
    return [int(word) for word in sys.argv[1:] if word.isdigit()]

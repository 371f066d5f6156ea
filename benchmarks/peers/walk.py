"""The data and the work that all peers of the speed benchmark have in common.

1-minute bars of a geometric random walk; a moving-average cross whose state is traded: 100 units
while the fast average is above the slow one, nothing otherwise; each order fills at the next open.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CAPITAL = 1_000_000.0
UNITS = 100.0
START_S = 1_577_836_800
BARS_A_DAY = 1_440
FEW_SLOWS = (20, *range(30, 111, 10))


def closes(count: int) -> np.ndarray:
    """Return float64 (count,) closes; the opens are the closes before them, the first is 100."""
    rng = np.random.default_rng(7)
    return 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.0005, count)))


def opens(close: np.ndarray) -> np.ndarray:
    return np.concatenate(([100.0], close[:-1]))


def ohlc(close: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return open, high, low and close, float64 (bars,) each, of bars that reach no further."""
    first = opens(close)
    return first, np.maximum(first, close), np.minimum(first, close), close


def lanes(count: int) -> list[tuple[int, int]]:
    """Return fast and slow periods: of one lane, of up to 100, or ten for each slow from 20 on."""
    if count == 1:
        return [(10, 50)]
    slows = FEW_SLOWS if count <= 100 else range(20, 20 + count // 10)
    return [(fast, slow) for fast in range(5, 15) for slow in slows][:count]


def sharpe_ratio(equity: np.ndarray) -> float:
    """Return the Sharpe ratio of daily returns, float64 (bars,) equity, on 365 days a year."""
    days = equity[BARS_A_DAY - 1 :: BARS_A_DAY]
    returns = np.diff(days) / days[:-1]
    spread = float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0
    return float(np.mean(returns)) / spread * 365**0.5 if spread else float("nan")


def max_drawdown(equity: np.ndarray) -> float:
    """Return the greatest drawdown of float64 (bars,) equity, a fraction that is not above 0."""
    return float(np.min(equity / np.maximum.accumulate(equity) - 1.0))


def one_lane(final_equity: float, trades: int, equity: np.ndarray) -> dict[str, Any]:
    """Return the outcome of one lane, with float64 (bars,) equity, of a peer that tells no more."""
    return {
        "equity": final_equity,
        "trades": trades,
        "sharpe": sharpe_ratio(equity),
        "max_drawdown": max_drawdown(equity),
    }


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
    found = timed(work)
    print(json.dumps(found | {"peak_bytes": peak_bytes()}))


def timed(work: Work) -> dict[str, Any]:
    """Do the work, and return what it gave with the seconds that passed and those of computing."""
    start, computing = time.perf_counter(), time.process_time()
    found = work()
    passed = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - computing,
    }
    return passed | found


def peak_bytes() -> int:
    """Return the greatest resident set of this program so far.

    ``ru_maxrss`` is not asked: it counts in what the process held before it became this program,
    which is as much as the one that started it.
    """
    status = Path("/proc/self/status").read_text("ascii")
    (line,) = (it for it in status.splitlines() if it.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def arguments() -> list[int]:
    """Return bars, lanes and whatever else is given on the command line as a number."""
    return [int(word) for word in sys.argv[1:] if word.isdigit()]

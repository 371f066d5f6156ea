"""admf: one study of the kind that is named on the command line."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from functools import partial
from typing import Any

import anyio
import numpy as np
import polars as pl
from walk import CAPITAL, START_S, UNITS, arguments, closes, lanes, measure, opens

from admf.workflows.outcome import RunResult
from admf.workflows.runner import Runner

kind = sys.argv[-1]
bars, count, workers = arguments()
TRACED = ["POSITION_OPEN", "POSITION_CLOSE", "FILL"]


def frame(size: int) -> pl.DataFrame:
    close = closes(size)
    first = opens(close)
    return pl.DataFrame(
        {
            "timestamp": START_S + 60 * np.arange(size),
            "open": first,
            "high": np.maximum(first, close),
            "low": np.minimum(first, close),
            "close": close,
            "volume": np.ones(size),
        }
    )


def experiment() -> dict[str, Any]:
    updates = ["PORTFOLIO_UPDATE"] if kind == "marks" else []
    base = {
        "workflow": "simple_backtest",
        "data": {"source": "frames", "symbols": ["X"]},
        "strategy": {"type": "sma_cross", "params": {"fast": 10, "slow": 50, "signal": "state"}},
        "portfolio": {
            "initial_capital": CAPITAL,
            "sizing": {"type": "fixed_units", "value": UNITS},
        },
        "event_tracing": TRACED + updates,
        "results_storage": "memory",
    }
    if kind == "bars":
        return {**base, "strategy": {"type": "bar_by_bar:BarByBar"}}
    if kind == "forward":
        return {**base, **_forward()}
    if count > 1:
        fast, slow = (sorted(set(values)) for values in zip(*lanes(count), strict=True))
        return {
            **base,
            "workflow": "sweep",
            "strategy": {"type": "sma_cross", "params": {"signal": "state"}},
            "parameter_space": {"fast": fast, "slow": slow},
            "search": {"batch_size": count},
            "results_storage": "disk" if kind == "disk" else "memory",
            "phases": {"sweep": {"sequence": "parameter_sweep"}},
        }
    if kind == "parquet":
        data = {"path": sys.argv[-2], "symbols": ["X"]}
        return {**base, "data": data}
    return base


def _forward() -> dict[str, Any]:
    """40 windows of 25 lanes."""
    test = bars // 45
    return {
        "workflow": "forward",
        "strategy": {"type": "sma_cross", "params": {"signal": "state"}},
        "parameter_space": {"fast": [5, 6, 7, 8, 9], "slow": [20, 30, 40, 50, 60]},
        "walk_forward": {"train": 5 * test, "test": test},
        "results_storage": "disk",
        "phases": {"forward": {"sequence": "walk_forward"}},
    }


async def study(size: int, folder: str) -> tuple[RunResult, float]:
    frames = None if kind == "parquet" else {"X": frame(size)}
    runner = Runner(results_root=folder, frames=frames, overwrite=True, workers=workers)
    run = await runner.prepare(experiment())
    start = time.perf_counter()
    result = await run.execute()
    return result, time.perf_counter() - start


def work(size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        result, seconds = anyio.run(study, size, folder)
    if result.some_failed:
        raise SystemExit(f"the study failed: {result}")
    (phase,) = result.phases.values()
    summary = phase.summary
    assert summary is not None
    metrics = summary.metrics or {}
    return {
        "equity": metrics.get("final_equity"),
        "trades": summary.total_trades,
        "seconds": seconds,
        "before_bytes": BEFORE,
    }


BEFORE = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
measure(lambda size: partial(work, size), bars, 0 if kind in ("parquet", "forward") else 2_000)

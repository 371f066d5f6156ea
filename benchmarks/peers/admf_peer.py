"""admf: one study of the kind that is named last on the command line.

``plain`` traces positions and fills, ``marks`` portfolio updates too, and ``quiet`` is ``plain`` on
prices that only rise, so that no trade ever ends; they are sweeps if there is more than one lane.
``bars`` has a strategy that sees bar after bar, ``parquet`` reads the file that is named before,
and ``forward`` is a walk-forward of 40 windows.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio
import numpy as np
from frames import frame
from walk import CAPITAL, UNITS, arguments, closes, lanes, measure

from admf.workflows.outcome import PhaseResult, RunResult
from admf.workflows.runner import Runner

kind = sys.argv[-1]
bars, count, workers = arguments()
TRACED = ("POSITION_OPEN", "POSITION_CLOSE", "FILL")
WINDOWS, TESTS_TO_TRAIN_ON = 40, 5


def experiment() -> dict[str, Any]:
    base = {
        "data": {"source": "frames", "symbols": ["X"]},
        "portfolio": {
            "initial_capital": CAPITAL,
            "sizing": {"type": "fixed_units", "value": UNITS},
        },
        "event_tracing": [*TRACED, "PORTFOLIO_UPDATE"] if kind == "marks" else [*TRACED],
        "results_storage": "disk" if kind == "forward" else "memory",
    }
    if kind == "forward":
        return base | forward()
    if count > 1:
        return base | sweep()
    params = {"fast": 10, "slow": 50, "signal": "state"}
    one = {"workflow": "simple_backtest", "strategy": {"type": "sma_cross", "params": params}}
    if kind == "bars":
        one["strategy"] = {"type": "bar_by_bar:BarByBar"}
    if kind == "parquet":
        one["data"] = {"path": sys.argv[-2], "symbols": ["X"]}
    return base | one


def sweep() -> dict[str, Any]:
    fast, slow = (sorted(set(values)) for values in zip(*lanes(count), strict=True))
    return {
        "workflow": "sweep",
        "strategy": {"type": "sma_cross", "params": {"signal": "state"}},
        "parameter_space": {"fast": fast, "slow": slow},
        "search": {"batch_size": count},
        "phases": {"sweep": {"sequence": "parameter_sweep"}},
    }


def forward() -> dict[str, Any]:
    test = bars // (WINDOWS + TESTS_TO_TRAIN_ON)
    return {
        "workflow": "forward",
        "strategy": {"type": "sma_cross", "params": {"signal": "state"}},
        "parameter_space": {"fast": [5, 6, 7, 8, 9], "slow": [20, 30, 40, 50, 60]},
        "walk_forward": {"train": TESTS_TO_TRAIN_ON * test, "test": test},
        "phases": {"forward": {"sequence": "walk_forward"}},
    }


def prices(size: int) -> np.ndarray:
    """Return float64 (size,) closes."""
    return np.linspace(100.0, 110.0, size) if kind == "quiet" else closes(size)


async def study(size: int, folder: str) -> tuple[RunResult, dict[str, float]]:
    frames = None if kind == "parquet" else {"X": frame(prices(size))}
    runner = Runner(results_root=folder, frames=frames, overwrite=True, workers=workers)
    run = await runner.prepare(experiment())
    start, computing = time.perf_counter(), time.process_time()
    result = await run.execute()
    return result, {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - computing,
    }


def work(size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        result, passed = anyio.run(study, size, folder)
    if result.some_failed:
        raise SystemExit(f"the study failed: {result}")
    (phase,) = result.phases.values()
    return passed | outcome(phase)


def outcome(phase: PhaseResult) -> dict[str, Any]:
    """Return what the portfolios came to: sum of equity, and means of the ratios."""
    summary = phase.summary
    assert summary is not None
    found: dict[str, Any] = {"windows": summary.windows, "trades": summary.total_trades}
    if summary.metrics is not None:
        metrics = summary.metrics
        found["equity"] = metrics["final_equity"]
        found["sharpe"] = metrics["sharpe_ratio"]
        found["max_drawdown"] = metrics["max_drawdown"]
    elif phase.phase_results is not None:
        means: Mapping[str, Any] = phase.phase_results.aggregate_metrics["metrics"]
        found["equity"] = CAPITAL * count * (1.0 + means["total_return"]["avg"])
        found["sharpe"] = means["sharpe_ratio"]["avg"]
        found["max_drawdown"] = means["max_drawdown"]["avg"]
    return found


measure(lambda size: partial(work, size), bars, 0 if kind in ("parquet", "forward") else 2_000)

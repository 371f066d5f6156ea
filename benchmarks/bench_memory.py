"""How much memory studies take, and whether it grows with their length.

Walk-forward: 25 parameter sets on training windows of 200 daily bars, the best of each on the 20
bars that follow, results on disk. It runs with few and with many windows over the same data, each
in a process of its own, whose peak resident set is what is printed.

Retention: one execution window of 100 portfolios, whose traced events are held by their policies.
What they hold is measured by tracemalloc: the memory that is free once the policies are dropped.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from functools import partial
from typing import Any

import anyio
import msgspec
import numpy as np
import polars as pl

from admf.containers.catalog import DataCatalog
from admf.containers.config import BacktestConfig, DataConfig, LaneConfig, StrategyConfig
from admf.engine.lifecycle import LifecycleManager
from admf.engine.results import ResultStore
from admf.engine.retention import TracingConfig
from admf.engine.storage import MemoryStorage
from admf.engine.topology import Resources
from admf.engine.window_spec import WindowSpec
from admf.workflows.outcome import RunResult
from admf.workflows.plugins import installed_plugins
from admf.workflows.runner import Runner

TRAIN, TEST = 200, 20
MEGABYTE = 1_000_000
POLICIES = {
    "trade_complete": (("POSITION_OPEN", "POSITION_CLOSE", "FILL"), 1 * MEGABYTE),
    "sliding_window": (("PORTFOLIO_UPDATE",), 5 * MEGABYTE),
}
ALLOWED_GROWTH = 5 * MEGABYTE


def bars(count: int) -> pl.DataFrame:
    """Return daily bars of a random walk."""
    rng = np.random.default_rng(7)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, count)))
    open_ = np.concatenate(([100.0], close[:-1]))
    return pl.DataFrame(
        {
            "timestamp": 86_400 * np.arange(1, count + 1),
            "open": open_,
            "high": np.maximum(open_, close),
            "low": np.minimum(open_, close),
            "close": close,
            "volume": np.full(count, 1000.0),
        }
    )


async def walk_forward(windows: int, most_windows: int, folder: str) -> RunResult:
    """Run a walk-forward over the first part of data that is long enough for the most windows."""
    total = TRAIN + TEST * most_windows
    experiment = {
        "workflow": "walk_forward_optimization",
        "data": {"source": "frames", "symbols": ["X"]},
        "data_range": {"end": min(1.0, (TRAIN + TEST * windows + 0.5) / total)},
        "strategy": {"type": "sma_cross"},
        "parameter_space": {"fast": [2, 3, 4, 5, 6], "slow": [10, 15, 20, 25, 30]},
        "walk_forward": {"train": TRAIN, "test": TEST},
        "results_storage": "disk",
    }
    runner = Runner(results_root=folder, frames={"X": bars(total)})
    return await runner.run(experiment)


def run_child(windows: int, most_windows: int) -> None:
    """Run a walk-forward, and print how many windows there were and the peak memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        result = anyio.run(walk_forward, windows, most_windows, folder)
    (phase,) = result.phases.values()
    if not phase.success or phase.summary is None:
        raise SystemExit(f"the walk-forward failed: {phase.errors}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"windows": phase.summary.windows // 2, "peak_bytes": peak}))


def peak_of(windows: int, most_windows: int) -> dict[str, int]:
    """Return what a walk-forward in a fresh process took."""
    command = [sys.executable, __file__, "--child", str(windows), str(most_windows)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(result.stderr)
    found: dict[str, int] = json.loads(result.stdout)
    if found["windows"] != windows:
        raise SystemExit(f"{windows} windows were asked for, {found['windows']} ran")
    return found


async def retained_bytes(policy: str, portfolios: int, bar_count: int) -> int:
    """Return the memory that the traced events of a window hold when it has run."""
    catalog = DataCatalog({"X": bars(bar_count)})
    lifecycle = LifecycleManager(registry=installed_plugins(), resources=Resources(catalog))
    lanes = tuple(
        LaneConfig(
            lane_id=f"{number:03}",
            strategy=StrategyConfig(type="sma_cross", params={"fast": 2 + number % 5, "slow": 10}),
        )
        for number in range(portfolios)
    )
    config = BacktestConfig(data=DataConfig(source="frames", symbols=("X",)), lanes=lanes)
    spec = WindowSpec(
        workflow_id="memory",
        phase_name="phase",
        topology="backtest",
        config=msgspec.Raw(msgspec.json.encode(config)),
        tracing=TracingConfig(event_tracing=POLICIES[policy][0], retention_policy=policy),
    )
    results = ResultStore(MemoryStorage(), "run").window("phase")
    tracemalloc.start()
    async with lifecycle.window(spec, results) as window:
        await window.run()
        tracers: list[Any] = [it.tracer for it in window.containers if it.tracer is not None]
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        kept = [tracer.policy for tracer in tracers]
        for tracer in tracers:
            tracer.policy = None
        kept.clear()
        gc.collect()
        freed = before - tracemalloc.get_traced_memory()[0]
        policies = installed_policies(policy)
        for tracer in tracers:  # so that the window can still write what it has to say
            tracer.policy = next(policies)
    tracemalloc.stop()
    return freed


def installed_policies(name: str) -> Iterator[Any]:
    """Yield new, empty policies of a name."""
    from admf.engine.retention import make_policy

    while True:
        yield make_policy(TracingConfig(retention_policy=name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--few", type=int, default=50, help="windows of the short walk-forward")
    parser.add_argument("--many", type=int, default=1000, help="windows of the long one")
    parser.add_argument("--portfolios", type=int, default=100)
    parser.add_argument("--bars", type=int, default=5000, help="of the window with the portfolios")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(*options.child)
        return 0
    peaks = [peak_of(count, options.many) for count in (options.few, options.many)]
    held = {
        policy: anyio.run(partial(retained_bytes, policy, options.portfolios, options.bars))
        for policy in POLICIES
    }
    growth = peaks[1]["peak_bytes"] - peaks[0]["peak_bytes"]
    if options.json:
        print(json.dumps({"walk_forward": peaks, "growth_bytes": growth, "retained_bytes": held}))
    else:
        print_figures(peaks, growth, held, options.portfolios)
    fits = all(held[policy] <= limit for policy, (_, limit) in POLICIES.items())
    return 0 if growth <= ALLOWED_GROWTH and fits else 1


def print_figures(
    peaks: list[dict[str, int]], growth: int, held: dict[str, int], portfolios: int
) -> None:
    for it in peaks:
        print(f"walk-forward of {it['windows']:5} windows: peak RSS {_megabytes(it['peak_bytes'])}")
    print(f"{_verdict(growth, ALLOWED_GROWTH)} growth {_megabytes(growth)}")
    for policy, (_, limit) in POLICIES.items():
        text = f"{policy} of {portfolios} portfolios holds {_megabytes(held[policy])}"
        print(f"{_verdict(held[policy], limit)} {text} (tracemalloc)")


def _megabytes(count: int) -> str:
    return f"{count / MEGABYTE:.2f} MB"


def _verdict(value: int, limit: int) -> str:
    return f"{'PASS' if value <= limit else 'FAIL'} (<= {limit / MEGABYTE:.0f} MB)"


if __name__ == "__main__":
    sys.exit(main())

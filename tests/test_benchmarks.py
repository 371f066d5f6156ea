"""The benchmarks run; their figures are for people to read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_the_bus_benchmark_runs_with_whatever_peers_are_installed() -> None:
    command = [str(BENCHMARKS / "bench_bus.py"), "--events", "100", "--rounds", "1", "--json"]
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *command], capture_output=True, text=True, check=False
    )
    figures = json.loads(result.stdout)
    measured = {(it["mode"], it["handlers"]) for it in figures if it["candidate"] == "admf"}
    modes = ("sync inline", "async inline", "sync mailbox", "async mailbox")
    assert measured == {(mode, handlers) for mode in modes for handlers in (1, 10, 100)}
    assert all(it["ratio"] == 1 for it in figures if it["candidate"] == "bare loop")


def test_the_memory_benchmark_measures_walk_forwards_and_policies() -> None:
    sizes = ["--few", "2", "--many", "4", "--portfolios", "3", "--bars", "300"]
    command = [str(BENCHMARKS / "bench_memory.py"), *sizes, "--json"]
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *command], capture_output=True, text=True, check=False
    )
    assert not result.stderr
    figures = json.loads(result.stdout)
    assert [it["windows"] for it in figures["walk_forward"]] == [2, 4]
    assert all(it["peak_bytes"] > 10_000_000 for it in figures["walk_forward"])
    held = figures["retained_bytes"]
    assert 0 < held["trade_complete"] < held["sliding_window"]

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


def test_the_storage_benchmark_writes_and_finds_results_beside_the_plain_disk(
    tmp_path: Path,
) -> None:
    sizes = ["--portfolios", "4", "--windows", "2", "--parameter-sets", "10", "--rounds", "1"]
    sizes += ["--points", "3000"]
    command = [str(BENCHMARKS / "bench_storage.py"), "--folder", str(tmp_path), *sizes, "--json"]
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *command], capture_output=True, text=True, check=False
    )
    assert not result.stderr
    figures = json.loads(result.stdout)
    assert all(it["value"] > 0.0 for it in figures)
    required = {it["name"]: it["required"] for it in figures if it["required"] is not None}
    assert sorted(required.values()) == [2.0, 10.0, 10.0, 100.0]
    assert any("top 20 of 22 " in name for name in required)
    assert list(tmp_path.iterdir()) == []


def test_a_study_with_automatic_storage_stays_within_its_memory(tmp_path: Path) -> None:
    command = [str(BENCHMARKS / "bench_auto.py"), "--megabytes", "60"]
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "MB, on disk" in result.stdout
    assert list(tmp_path.iterdir()) == []

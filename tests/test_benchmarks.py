"""The benchmarks run; their figures are for people to read."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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


def test_the_latency_benchmark_delivers_everything_that_was_due() -> None:
    options = ["--rates", "1000", "2000", "--seconds", "0.02", "--repeats", "1", "--json"]
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, str(BENCHMARKS / "bench_latency.py"), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    figures = json.loads(result.stdout)
    of_admf = {(it["path"], it["candidate"]) for it in figures if "admf" in it["candidate"]}
    assert of_admf == {
        ("publish -> handler", "admf, plain"),
        ("publish -> handler", "admf, async"),
        ("publish -> other task", "admf, mailbox"),
        ("publish -> other task", "admf, stream"),
    }
    assert {it["rate"] for it in figures} == {1_000, 2_000}
    assert all(0.0 < it["p50_us"] <= it["p99_us"] <= it["p999_us"] for it in figures)


@pytest.mark.anyio
async def test_a_latency_counts_from_when_an_event_was_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    bench = importlib.import_module("bench_latency")
    now = 0

    def clock() -> int:
        nonlocal now
        now += 1_000
        return now

    @asynccontextmanager
    async def stalls_once(arrivals: Any) -> AsyncGenerator[tuple[Any, Any]]:
        def publish(due: int) -> None:
            nonlocal now
            arrivals.take(bench.Tick(due, 1.0))
            if len(arrivals.ns) == 3:  # holds up the publisher for the time of five events
                now += 5_000_000

        yield publish, bench.nothing

    found = await bench.Load(1_000, 0.01, clock).put_on(stalls_once)
    late_ms = [round(ns / 1_000_000) for ns in found.latencies_ns]
    assert late_ms == [0, 0, 0, 4, 3, 2, 1, 0, 0, 0]


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
    assert held["trade_complete"] < held["sliding_window"] > 0


def test_the_host_benchmark_measures_requests_beside_runs() -> None:
    command = [str(BENCHMARKS / "bench_host.py"), "--runs", "4", "--bars", "2000", "--json"]
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *command], capture_output=True, text=True, check=False
    )
    assert not result.stderr
    figures = json.loads(result.stdout)
    assert figures["same_bytes"]
    assert all(figures[name]["p99"] > 0.0 for name in ("idle", "busy", "turn"))


def test_the_soak_accounts_for_every_event_and_every_file() -> None:
    command = [str(BENCHMARKS / "soak.py"), "--seconds", "3", "--rate", "1500", "--virtual"]
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *command, "--json"], capture_output=True, text=True, check=False
    )
    assert not result.stderr
    figures = json.loads(result.stdout)
    assert (result.returncode, figures["missed"]) == (0, [])
    assert (figures["events"], figures["windows"]) == (4_500, 4)
    assert figures["gaps"] == figures["unbalanced"] == figures["torn"] == 0
    assert figures["dead_lettered"] == 4
    assert figures["dropped"] > 0


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


def test_the_speed_benchmark_measures_what_needs_no_peers(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    options = ["--quick", "--only", "streamed", "--json", str(table)]
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, str(BENCHMARKS / "bench_speed.py"), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    (row,) = json.loads(table.read_text())
    assert row["row"] == "20,000 bars from Parquet, one lane: peak memory, MB"
    assert row["value"] > 10.0
    assert (row["required"], row["met"]) == ("<= 400", row["value"] <= 400)


@pytest.mark.parametrize("kind", ["plain", "marks", "bars"])
def test_the_speed_benchmark_measures_the_cross_that_it_speaks_of(kind: str) -> None:
    bars = 900
    command = [str(BENCHMARKS / "peers" / "admf_peer.py"), str(bars), "1", "1", kind]
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *command], capture_output=True, text=True, check=False
    )
    assert not result.stderr
    found = json.loads(result.stdout)
    equity, trades = cross_of_a_random_walk(bars, 10, 50)
    assert (found["equity"], found["trades"]) == (pytest.approx(equity, rel=1e-12), trades)
    assert -0.01 < found["max_drawdown"] < 0.0
    assert found["seconds"] > 0.0
    assert found["peak_bytes"] > 10_000_000


def cross_of_a_random_walk(bars: int, fast: int, slow: int) -> tuple[float, int]:
    """Return the final equity and the closed trades of the benchmark's cross, bar by bar."""
    close = 100 * np.exp(np.cumsum(np.random.default_rng(7).normal(0, 0.0005, bars)))
    cash, units, closed = 1_000_000.0, 0.0, 0
    for at in range(slow, bars):
        known = close[:at]
        wanted = 100.0 if known[-fast:].mean() > known[-slow:].mean() else 0.0
        cash -= (wanted - units) * close[at - 1]  # which is the open of this bar
        closed += units > wanted
        units = wanted
    return cash + units * close[-1], closed


@pytest.mark.parametrize(
    "other",
    [{"trades": 8}, {"equity": 100_001.0}, {"equity": float("nan")}, {"max_drawdown": -0.2}],
)
def test_the_speed_benchmark_does_not_compare_what_came_to_something_else(
    other: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    speed = importlib.import_module("bench_speed")
    ours = speed.Found(1.0, 1, 7, disturbed=False, equity=100_000.0, max_drawdown=-0.1)
    speed.check_agreement(ours, dataclasses.replace(ours, equity=100_000.01), "a peer")
    with pytest.raises(SystemExit, match="admf and a peer do not agree"):
        speed.check_agreement(ours, dataclasses.replace(ours, **other), "a peer")

"""How fast results reach the disk, and how fast they are found again.

Flush. Unit of work: an execution window of 1,000 portfolios, each with 100 trades and 1,000 points
of equity, makes their documents and writes each to a file of its own; the metrics are known before
the clock starts. The plain disk writes the bytes of those files, kept from a first run, as any safe
writer must: open a temporary file, write, fsync, rename, fsync the folder. One file after the other
is the limit; beside it, with the number of threads that is fastest, waiting overlaps. They take
turns, and medians are compared.

Stall. A task sleeps for a millisecond over and over while a window is closed; a stall is how much
longer than that it slept. What counts are those before the last file is written. Beside it: the
same while an idle loop has threads write the plain disk.

Find. Unit of work: open the tree of a walk-forward with 100 windows, each with 100 parameter sets
to train on, read its index and return the 20 best portfolios by Sharpe ratio; nothing of the tree
is in memory before. Beside it: read the file of every portfolio with polars, and sort.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

import anyio
import anyio.to_thread
import msgspec
import numpy as np
import polars as pl

from admf import results
from admf.containers.account import Account
from admf.containers.catalog import DataCatalog
from admf.containers.config import DataConfig, LaneConfig, PortfolioConfig, StrategyConfig
from admf.containers.events import PortfolioUpdate, PositionClose
from admf.containers.lane_events import LaneEvents
from admf.containers.market import Market, Quotes
from admf.containers.metrics.tracer import MetricsEventTracer
from admf.containers.portfolio import PortfolioContainer
from admf.containers.times import SECOND_NS
from admf.engine.block import Block
from admf.engine.lifecycle import LifecycleManager
from admf.engine.packing import Compression
from admf.engine.registry import Registry
from admf.engine.results import Document, WindowResults
from admf.engine.retention import TracingConfig, make_policy
from admf.engine.storage import LocalStorage, MemoryStorage
from admf.engine.teardown import Deadlines
from admf.engine.topology import TopologyBuilder
from admf.engine.window import ExecutionWindow
from admf.engine.window_spec import WindowSpec
from admf.workflows.runner import Runner

POINTS, LONG_POINTS = 1_000, 1_000_000
POINTS_PER_TRADE = 10
BLOCK = 4_096
HOUR_NS = 3_600 * SECOND_NS
MEGABYTE = 1_000_000
TRAIN, TEST, TOP = 60, 20, 20
THREADS = (1, 2, 4, 8)
ALLOWED_RATIO = 2.0
ALLOWED_STALL_MS = 10.0
ALLOWED_FIND_MS = 100.0
COMPRESSIONS: tuple[Compression, ...] = ("none", "zstd", "gzip")
TRACING = TracingConfig(event_tracing=("PORTFOLIO_UPDATE", "POSITION_CLOSE"))


class Figure(msgspec.Struct, frozen=True):
    """One measurement: what was done, in what unit, and what is required at most, if anything."""

    name: str
    value: float
    unit: str
    required: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the requirement is met."""
        return self.required is None or self.value <= self.required


# -- windows to flush -----------------------------------------------------------------------------


class TimedResults(WindowResults):
    """The files of a window, and when the first container came with its results and the last left.

    Attributes:
        begun: Seconds on the clock of `time.perf_counter`; 0 before.
        ended: Likewise.
    """

    begun = ended = 0.0

    async def write_container(self, document: Document) -> None:
        """Write a container's file."""
        self.begun = self.begun or time.perf_counter()
        await super().write_container(document)
        self.ended = time.perf_counter()


class Portfolios:
    """A topology of portfolios that nobody trades: what they book is published by the benchmark."""

    def __init__(self, portfolios: int) -> None:
        self._portfolios = portfolios
        store = DataCatalog({"X": _bars(POINTS)}).load(DataConfig(source="frames", symbols=("X",)))
        data = store.market_data
        self._market = Market(data, store, start_step=0, stop_step=data.steps)

    def build(self, builder: TopologyBuilder) -> None:
        """Add the portfolios, each in a scope of its own."""
        for number in range(self._portfolios):
            builder.add(self._portfolio(builder, f"{number:04}"))

    def _portfolio(self, builder: TopologyBuilder, lane_id: str) -> PortfolioContainer:
        spec = builder.spec
        strategy = StrategyConfig(type="sma_cross", params={"fast": 5, "slow": 20})
        lane = LaneConfig(lane_id=lane_id, strategy=strategy)
        tracer = MetricsEventTracer(
            (PortfolioUpdate, PositionClose),
            make_policy(spec.tracing),
            initial_capital=100_000.0,
            annualisation=self._market.data.annualisation_for(None),
            policy_name=spec.tracing.retention_policy,
            overflow=builder.overflow(f"portfolio_{lane_id}"),
        )
        return PortfolioContainer(
            f"portfolio_{lane_id}",
            PortfolioConfig(),
            events=LaneEvents(builder.bus.scope(f"lane_{lane_id}")),
            tracer=tracer,
            account=Account(100_000.0),
            market=self._market,
            quotes=Quotes(),
            lane=lane,
            strategy=strategy,
            head={"phase_name": spec.phase_name, "lane": lane, "data": self._market.description},
        )


def _bars(number: int) -> pl.DataFrame:
    close = 100.0 + np.arange(number) % 7
    times = np.arange(1, number + 1) * 86_400
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    return pl.DataFrame({"timestamp": times, **prices, "volume": np.full(number, 1_000.0)})


def _marks(points: int, seed: int) -> Iterator[Block[PortfolioUpdate]]:
    rng = np.random.default_rng(seed)
    ts = np.arange(1, points + 1) * HOUR_NS
    equity = 100_000.0 * np.exp(np.cumsum(rng.normal(0.0, 0.001, points)))
    for start in range(0, points, BLOCK):
        rows = slice(start, start + BLOCK)
        columns = {"ts": ts[rows], "equity": equity[rows], "cash": equity[rows]}
        yield Block(PortfolioUpdate, {**columns, "exposure": 0.0, "benchmark": 0.0})


def _closes(trades: int, seed: int) -> Iterator[PositionClose]:
    rng = np.random.default_rng(seed)
    for number, (price, change) in enumerate(rng.uniform(size=(trades, 2)).tolist(), 1):
        entry_price = 100.0 + price
        exit_price = entry_price + change - 0.5
        yield PositionClose(
            ts=(number * POINTS_PER_TRADE + 5) * HOUR_NS,
            symbol="X",
            position_id=f"pos_{number:06}",
            side="long",
            quantity=100.0,
            entry_ts=number * POINTS_PER_TRADE * HOUR_NS,
            entry_price=entry_price,
            exit_price=exit_price,
            pnl=100.0 * (exit_price - entry_price),
            return_fraction=exit_price / entry_price - 1.0,
            commission=0.0,
            bars_held=5,
            mae=-price / 100.0,
            mfe=change / 100.0,
            exit_reason="signal",
        )


@asynccontextmanager
async def full_window(
    folder: str, portfolios: int, *, compression: Compression = "none", points: int = POINTS
) -> AsyncIterator[tuple[ExecutionWindow, TimedResults]]:
    """Hand over a window whose portfolios have seen all their events, and that is yet to close."""
    registry = Registry()
    registry.register("topologies", "portfolios", Portfolios(portfolios))
    lifecycle = LifecycleManager(registry=registry, deadlines=Deadlines(flush=600.0, commit=600.0))
    spec = WindowSpec(
        workflow_id="bench", phase_name="phase", topology="portfolios", tracing=TRACING
    )
    files = TimedResults(LocalStorage(folder), "run/phase", compression)
    window = lifecycle.window(spec, files)
    await window.start()
    for number, container in enumerate(window.containers):
        for mark in _marks(points, number):
            container.scope.publish(mark)
        for close in _closes(points // POINTS_PER_TRADE, number):
            container.scope.publish(close)
    await window.run()
    for container in window.containers:
        cast("PortfolioContainer", container).metrics()
    yield window, files
    if window.status != "completed":
        raise SystemExit(f"the window did not complete: {window.summary}")


# -- flush ----------------------------------------------------------------------------------------


async def admf_flush(root: Path, portfolios: int, compression: Compression) -> float:
    """Return the seconds that the containers of a window take to write their results."""
    with tempfile.TemporaryDirectory(dir=root) as folder:
        async with full_window(folder, portfolios, compression=compression) as (window, files):
            await window.aclose()
        return files.ended - files.begun


async def written(root: Path, portfolios: int, compression: Compression) -> dict[str, bytes]:
    """Return the files of the containers of a window, by name."""
    with tempfile.TemporaryDirectory(dir=root) as folder:
        async with full_window(folder, portfolios, compression=compression) as (window, files):
            await window.aclose()
        return _contents(Path(files.location, "containers"))


def _contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def plain_flush(root: Path, files: Mapping[str, bytes], threads: int) -> float:
    """Return the seconds that writing the same bytes takes, with the same fsyncs."""
    with tempfile.TemporaryDirectory(dir=root) as folder, ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        list(pool.map(partial(_write_plainly, folder), files.items()))
        return time.perf_counter() - start


def _write_plainly(folder: str, file: tuple[str, bytes]) -> None:
    name, content = file
    temporary = f"{folder}/.{name}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    os.write(descriptor, content)
    os.fsync(descriptor)
    os.close(descriptor)
    os.rename(temporary, f"{folder}/{name}")  # noqa: PTH104 - nothing but system calls
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


async def measure_flush(root: Path, portfolios: int, rounds: int) -> list[Figure]:
    """Let admf and the plain disk take turns, for each compression."""
    found: list[Figure] = []
    for compression in COMPRESSIONS:
        files = await written(root, portfolios, compression)
        size = sum(map(len, files.values()))
        trials = {threads: plain_flush(root, files, threads) for threads in THREADS}
        threads = min(trials, key=trials.__getitem__)
        sides: dict[str, list[float]] = {"admf": [], "plain disk": [], "plain disk, threads": []}
        for _ in range(rounds):
            sides["admf"].append(await admf_flush(root, portfolios, compression))
            sides["plain disk"].append(plain_flush(root, files, 1))
            sides["plain disk, threads"].append(plain_flush(root, files, threads))
        middle = {side: statistics.median(seconds) for side, seconds in sides.items()}
        for side, seconds in middle.items():
            name = f"flush, {compression}: {side}"
            found.append(Figure(name, portfolios / seconds, "containers/s"))
            found.append(Figure(name, size / MEGABYTE / seconds, "MB/s"))
        own, plain, overlapped = middle.values()
        required = ALLOWED_RATIO if compression == "none" else None
        name = f"flush, {compression}: admf / plain disk"
        found.append(Figure(name, own / plain, "x", required))
        found.append(Figure(f"{name}, {threads} threads", own / overlapped, "x"))
    return found


# -- stall ----------------------------------------------------------------------------------------


class Ticker:
    """Sleeps over and over beside other tasks, and notes how much longer than that it took."""

    def __init__(self) -> None:
        self._stalls: list[tuple[float, float]] = []

    async def run(self) -> None:
        """Go on until it is cancelled."""
        while True:
            start = time.perf_counter()
            await anyio.sleep(0.001)
            self._stalls.append((start, time.perf_counter() - start - 0.001))

    def longest_ms(self, until: float = math.inf) -> float:
        """Return the longest stall that began before a moment of `time.perf_counter`."""
        return 1_000.0 * max(seconds for start, seconds in self._stalls if start < until)


async def beside_a_ticker(work: Callable[[], Awaitable[object]]) -> Ticker:
    """Do some work, and return a ticker that ran beside it."""
    ticker = Ticker()
    async with anyio.create_task_group() as group:
        group.start_soon(ticker.run)
        await anyio.sleep(0.01)
        await work()
        group.cancel_scope.cancel()
    return ticker


async def flush_stalls(root: Path, portfolios: int, points: int) -> tuple[float, float]:
    """Return the longest stall until all is written, and until the window is closed, in ms."""
    with tempfile.TemporaryDirectory(dir=root) as folder:
        async with full_window(folder, portfolios, points=points) as (window, files):
            ticker = await beside_a_ticker(window.aclose)
            return ticker.longest_ms(files.ended), ticker.longest_ms()


async def plain_stall(root: Path, files: Mapping[str, bytes]) -> float:
    """Return the longest stall of a loop that has nothing to do but to wait for the plain disk."""
    work = partial(anyio.to_thread.run_sync, plain_flush, root, files, THREADS[-1])
    return (await beside_a_ticker(work)).longest_ms()


async def measure_stalls(root: Path, portfolios: int, points: int, rounds: int) -> list[Figure]:
    """Take the median of the longest stalls of several rounds; noise makes them longer only."""
    files = await written(root, portfolios, "none")
    many, one, none = [], [], []
    for _ in range(rounds):
        many.append(await flush_stalls(root, portfolios, POINTS))
        one.append(await flush_stalls(root, 1, points))
        none.append(await plain_stall(root, files))
    long = f"one of {points:,} points, {points // POINTS_PER_TRADE:,} trades"
    found: list[Figure] = []
    for name, stalls in {f"{portfolios:,} portfolios": many, long: one}.items():
        flush, close = map(statistics.median, zip(*stalls, strict=True))
        found.append(Figure(f"stall, flush: {name}", flush, "ms", ALLOWED_STALL_MS))
        found.append(Figure(f"stall, until closed: {name}", close, "ms"))
    found.append(Figure("stall, idle loop: plain disk", statistics.median(none), "ms"))
    return found


# -- find -----------------------------------------------------------------------------------------


async def build_tree(folder: str, windows: int, parameter_sets: int) -> None:
    """Run a walk-forward in memory, and copy its files to a folder."""
    storage = MemoryStorage()
    fast = list(range(2, 2 + max(1, parameter_sets // 10)))
    experiment = {
        "workflow": "walk_forward_optimization",
        "data": {"source": "frames", "symbols": ["X"]},
        "strategy": {"type": "sma_cross"},
        "parameter_space": {"fast": fast, "slow": list(range(20, 30))},
        "walk_forward": {"train": TRAIN, "test": TEST},
        "results_dir": "run",
    }
    frames = {"X": _bars(TRAIN + TEST * windows)}
    result = await Runner(storage=storage, frames=frames).run(experiment)
    if not all(phase.success for phase in result.phases.values()):
        raise SystemExit(f"the walk-forward failed: {result}")
    for path in storage.peek_files():
        _copy(storage.peek(path) or b"", Path(folder, path))


def _copy(content: bytes, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def find_with_admf(run: Path) -> pl.DataFrame:
    """Open a tree and return its best portfolios."""
    return results.open(run).metrics(top=TOP, by="sharpe_ratio")


def find_with_polars(run: Path) -> pl.DataFrame:
    """Read the file of every portfolio and return the best."""
    schema = {"metrics": pl.Struct({"sharpe_ratio": pl.Float64})}
    frames = [pl.read_ndjson(file, schema=schema) for file in _portfolio_files(run)]
    return pl.concat(frames).unnest("metrics").sort("sharpe_ratio", nulls_last=True)[-TOP:]


def _portfolio_files(run: Path) -> list[Path]:
    return sorted(run.glob("*/**/containers/*_results.json"))


def measure_find(root: Path, windows: int, parameter_sets: int, rounds: int) -> list[Figure]:
    """Let admf and polars take turns on one tree."""
    with tempfile.TemporaryDirectory(dir=root) as folder:
        anyio.run(build_tree, folder, windows, parameter_sets)
        run = Path(folder, "run")
        built = _seconds(find_with_admf, run)
        own, plain = [], []
        for _ in range(rounds):
            own.append(_seconds(find_with_admf, run))
            plain.append(_seconds(find_with_polars, run))
        name = f"top {TOP} of {len(_portfolio_files(run)):,} portfolios"
    return [
        Figure(f"{name}: admf", 1e3 * statistics.median(own), "ms", ALLOWED_FIND_MS),
        Figure(f"{name}: admf, index made first", 1e3 * built, "ms"),
        Figure(f"{name}: polars", 1e3 * statistics.median(plain), "ms"),
    ]


def _seconds(work: Callable[[Path], object], run: Path) -> float:
    start = time.perf_counter()
    work(run)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", default=".", help="where to write: on the disk to measure")
    parser.add_argument("--portfolios", type=int, default=1_000, help="of a window that is flushed")
    parser.add_argument(
        "--points", type=int, default=LONG_POINTS, help="of equity, of the long one"
    )
    parser.add_argument("--windows", type=int, default=100, help="of the tree that is searched")
    parser.add_argument("--parameter-sets", type=int, default=100, help="in each of its windows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix=".bench_") as folder:
        root, rounds = Path(folder), options.rounds
        figures = anyio.run(measure_flush, root, options.portfolios, rounds)
        figures += anyio.run(measure_stalls, root, options.portfolios, options.points, rounds)
        figures += measure_find(root, options.windows, options.parameter_sets, rounds)
    if options.json:
        print(json.dumps([msgspec.structs.asdict(figure) for figure in figures], indent=1))
    else:
        print_figures(figures)
    return 0 if all(figure.passed for figure in figures) else 1


def print_figures(figures: list[Figure]) -> None:
    for it in figures:
        limit = "" if it.required is None else f"(<= {it.required:g})"
        verdict = "" if it.required is None else "PASS" if it.passed else "FAIL"
        print(f"{verdict:4} {it.name:60} {it.value:10,.2f} {it.unit:12} {limit}")


if __name__ == "__main__":
    sys.exit(main())

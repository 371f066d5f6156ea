"""What a host's clients notice of the studies that run in its event loop.

The host is an asyncio server that answers HTTP requests on loopback. Its client is a process of its
own with several connections, each of which sends a request when it is due, whether or not the one
before was answered in time, so that a stall counts for every request that falls into it. Unit of
work: one request, from the moment at which it was due to its answer. Measured first with an idle
loop, then while it runs studies: back-tests, searches and walk-forwards. Each study's files are
compared with those of the same study alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import numpy as np
import polars as pl

from admf import Runner

REQUIRED_P99_MS = 20.0
CONNECTIONS = 10
EVERY_S = 0.1
"""Between two requests of a connection."""

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def bars(count: int) -> pl.DataFrame:
    """Return minute bars of a random walk."""
    rng = np.random.default_rng(7)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.001, count)))
    open_ = np.concatenate(([100.0], close[:-1]))
    return pl.DataFrame(
        {
            "timestamp": 60 * np.arange(1, count + 1),
            "open": open_,
            "high": np.maximum(open_, close),
            "low": np.minimum(open_, close),
            "close": close,
            "volume": np.full(count, 1000.0),
        }
    )


def experiment(number: int, count: int) -> dict[str, Any]:
    """Return one of the studies, which differ in kind and parameters."""
    base = {
        "workflow": f"study_{number:03}",
        "data": {"source": "frames", "symbols": ["X"]},
        "seed": number,
    }
    fixed = {"strategy": {"type": "sma_cross", "params": {"fast": 10 + number, "slow": 100}}}
    searched = {
        "strategy": {"type": "sma_cross"},
        "parameter_space": {"fast": [5, 10 + number], "slow": [80, 100, 120]},
    }
    stops = {"risk": {"stop_loss_pct": 1.0, "take_profit_pct": 2.0}}
    parts = {"train": count // 5, "test": count // 10}
    kinds: list[dict[str, Any]] = [
        fixed | {"phases": {"test": {"sequence": "single_pass"}}},
        fixed | stops | {"phases": {"test": {"sequence": "single_pass"}}},
        searched | {"phases": {"search": {"sequence": "parameter_sweep"}}},
        searched | {"phases": {"forward": {"sequence": "walk_forward", "walk_forward": parts}}},
    ]
    return base | kinds[number % len(kinds)]


# -- the host, and its client ----------------------------------------------------------------------


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests as long as the client sends any."""
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ANSWER)
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()


def send_requests(port: int) -> None:
    """Send requests until standard input ends, then print how long each took, in milliseconds."""
    took: list[float] = []
    over = threading.Event()

    def send(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as host:
            due = time.perf_counter() + EVERY_S * number / CONNECTIONS
            while not over.wait(max(due - time.perf_counter(), 0.0)):
                host.sendall(REQUEST)
                host.recv(4096)
                took.append((time.perf_counter() - due) * 1000)
                due += EVERY_S

    threads = [threading.Thread(target=send, args=[number]) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    print(end=" ", flush=True)
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    print(json.dumps(took))


@asynccontextmanager
async def client(port: int) -> AsyncGenerator[list[float]]:
    """Have a client send requests meanwhile; the list has afterwards what each took."""
    command = [sys.executable, __file__, "--client", str(port)]
    took: list[float] = []
    async with await anyio.open_process(command, stderr=None) as process:
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise SystemExit("the client has no pipes")
        await stdout.receive(1)  # it is at work
        yield took
        await stdin.aclose()
        took += json.loads(b"".join([part async for part in stdout]))


def waited_s() -> float:
    """Return how long this thread has waited for a processor, as far as the system tells."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


@asynccontextmanager
async def watched_turns() -> AsyncGenerator[list[float]]:
    """Measure meanwhile what passes between turns of a task, in milliseconds.

    What the thread waits for a processor is left out, where the system tells it. So other than the
    time of requests, this does not depend on what else the machine does.
    """
    took: list[float] = []

    async def watch() -> None:
        while True:
            start = time.perf_counter() - waited_s()
            await anyio.lowlevel.checkpoint()
            took.append((time.perf_counter() - waited_s() - start) * 1000)
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        yield took
        group.cancel_scope.cancel()


# -- the studies -----------------------------------------------------------------------------------


async def together(studies: list[dict[str, Any]], frames: dict[str, Any], root: Path) -> None:
    """Run the studies side by side."""
    async with Runner(results_root=root, frames=frames, max_runs=len(studies)) as runner:
        runs = [await runner.submit(it) for it in studies]
        for run in runs:
            result = await run.result()
            if result.status != "completed":
                raise SystemExit(f"{run} did not come to its end: {result}")


def digests(root: Path) -> dict[str, bytes]:
    """Return the files of all runs but for the records of when and where they ran."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(it.relative_to(root)): it.read_bytes() for it in files if it.name != "run.json"}


async def measure(runs: int, count: int, root: Path) -> dict[str, Any]:
    """Return the latencies of an idle and a busy host, and whether all results are right."""
    frames = {"X": bars(count)}
    studies = [experiment(number, count) for number in range(runs)]
    await together(
        [experiment(number, count) | {"results_dir": f"warm_{number}"} for number in range(4)],
        frames,
        root / "warm",
    )
    gc.collect()
    gc.freeze()  # as a host does that minds pauses: what is there now will stay
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with client(port) as idle:
        await anyio.sleep(1.0)
    start = time.perf_counter()
    async with client(port) as busy, watched_turns() as turns:
        await together(studies, frames, root / "together")
    seconds = time.perf_counter() - start
    server.close()
    for study in studies:
        await Runner(results_root=root / "alone", frames=frames).run(study)
    return {
        "runs": runs,
        "seconds": seconds,
        "idle": summary(idle),
        "busy": summary(busy),
        "turn": summary(turns),
        "same_bytes": digests(root / "together") == digests(root / "alone"),
    }


def summary(took: list[float]) -> dict[str, float]:
    """Return the quantiles of latencies, in milliseconds."""
    cuts = statistics.quantiles(took, n=1000)
    return {"count": len(took), "p50": cuts[499], "p99": cuts[989], "max": max(took)}


def main() -> None:
    """Measure, print, and fail if a requirement is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--bars", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--client", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        send_requests(options.client)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(options.runs, options.bars, Path(folder)))
    if options.json:
        print(json.dumps(found))
    else:
        report(found)
    if not found["same_bytes"]:
        raise SystemExit("a study's files differ from those of the same study alone")


def report(found: dict[str, Any]) -> None:
    """Print the figures for people."""
    names = {
        "idle": "requests to the idle host",
        "busy": "requests to the busy host",
        "turn": "turns of the busy loop, without waiting for a processor",
    }
    for name, text in names.items():
        it = found[name]
        print(
            f"{text}: {it['count']:,}, p50 {it['p50']:.2f} ms, p99 {it['p99']:.2f} ms, "
            f"max {it['max']:.2f} ms"
        )
    print(f"{found['runs']} runs in {found['seconds']:.1f} s; p99 is to be < {REQUIRED_P99_MS} ms")
    print(f"all files as in runs of their own: {'yes' if found['same_bytes'] else 'NO'}")


if __name__ == "__main__":
    main()

"""Whether ``results_storage: auto`` keeps a study within its memory.

A parameter sweep whose results take 2 GB, with every mark of every portfolio, runs in a process
that may use 512 MB: in a cgroup of that size where one can be made, which the kernel enforces,
otherwise under a limit that is handed in. Printed are the size of the results and the peak resident
set.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import msgspec
import numpy as np
import polars as pl
import psutil

from admf.workflows.runner import Runner

MEGABYTE = 1_000_000
LIMIT_BYTES = 512 * 1024 * 1024
BARS = 10_000
BYTES_PER_LANE = 460_000
CGROUPS = Path("/sys/fs/cgroup")


class Measured(msgspec.Struct):
    """What a study took, and where its results are."""

    where: str
    results_bytes: int
    peak_bytes: int
    seconds: float


class FixedLimit:
    """A limit that nobody enforces."""

    def limit_bytes(self) -> int:
        """Return the limit."""
        return LIMIT_BYTES

    def used_bytes(self) -> int:
        """Return the resident set of the process."""
        return int(psutil.Process().memory_info().rss)

    def pressure_pct(self) -> float:
        """Return none: other processes are not to be measured."""
        return 0.0


def bars() -> pl.DataFrame:
    """Return hourly bars of a random walk."""
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(7).normal(0.0, 0.01, BARS)))
    ts = 3_600 * np.arange(1, BARS + 1)
    return pl.DataFrame(
        {"timestamp": ts, "open": close, "high": close, "low": close, "close": close, "volume": 1.0}
    )


def sweep(megabytes: int) -> dict[str, object]:
    """Return an experiment whose results are about as large as asked for."""
    lanes = max(2, round(megabytes * MEGABYTE / BYTES_PER_LANE))
    return {
        "workflow": "sweep",
        "data": {"source": "frames", "symbols": ["X"]},
        "strategy": {"type": "sma_cross", "params": {"slow": 200}},
        "phases": {
            "search": {
                "sequence": "parameter_sweep",
                "parameter_space": {"fast": [20], "seed": list(range(lanes))},
            }
        },
        "event_tracing": ["POSITION_CLOSE", "PORTFOLIO_UPDATE"],
        "retention_policy": "trade_complete",
        "results_storage": "auto",
    }


def measure(megabytes: int, folder: str, *, enforced: bool) -> Measured:
    """Run the study in this process and tell what it took."""
    memory = None if enforced else FixedLimit()
    began = time.perf_counter()

    async def run() -> str:
        runner = Runner(results_root=folder, frames={"X": bars()}, memory=memory)
        result = await runner.run(sweep(megabytes))
        phase = result.phases["search"]
        return "disk" if phase.results_saved else "memory"

    where = anyio.run(run)
    size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return Measured(
        where=where,
        results_bytes=size,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        seconds=time.perf_counter() - began,
    )


@contextmanager
def limited_group() -> Iterator[Path | None]:
    """Make a cgroup of 512 MB, version 1 or 2; None where that is not allowed."""
    group = None
    for parent, name in _candidates():
        made = parent / f"admf_bench_{os.getpid()}"
        try:
            made.mkdir()
            (made / name).write_text(str(LIMIT_BYTES))
        except OSError:
            if made.is_dir():
                made.rmdir()
            continue
        group = made
        break
    try:
        yield group
    finally:
        if group is not None:
            group.rmdir()


def _candidates() -> Iterator[tuple[Path, str]]:
    """Yield folders of cgroups below which one might be made, and the file that holds the limit."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        inside = path.lstrip("/")
        if controllers == "memory":
            yield from ((CGROUPS / "memory" / it, "memory.limit_in_bytes") for it in (inside, ""))
        elif not controllers:
            yield from ((CGROUPS / it, "memory.max") for it in (inside, ""))


def in_process(megabytes: int, folder: str, group: Path | None) -> Measured:
    """Run the study in a process of its own, in a cgroup if there is one."""
    command = [sys.executable, __file__, "--folder", folder, "--megabytes", str(megabytes)]
    if group is not None:
        command = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"), *command]
        command.append("--enforced")
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return msgspec.json.decode(done.stdout, type=Measured)


def main() -> int:
    """Run the benchmark; return 1 if the study did not stay within its memory."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--megabytes", type=int, default=2_150, help="size of the results")
    options.add_argument("--folder", help=argparse.SUPPRESS)
    options.add_argument("--enforced", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.folder:
        found = measure(chosen.megabytes, chosen.folder, enforced=chosen.enforced)
        print(msgspec.json.encode(found).decode())
        return 0
    with tempfile.TemporaryDirectory(dir=".") as folder, limited_group() as group:
        found = in_process(chosen.megabytes, folder, group)
    enforced = "enforced by a cgroup" if group is not None else "handed in"
    print(f"limit     {LIMIT_BYTES / MEGABYTE:8.1f} MB, {enforced}")
    print(f"results   {found.results_bytes / MEGABYTE:8.1f} MB, on {found.where}")
    print(f"peak RSS  {found.peak_bytes / MEGABYTE:8.1f} MB")
    print(f"time      {found.seconds:8.1f} s")
    return 0 if found.peak_bytes < LIMIT_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())

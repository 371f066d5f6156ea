"""How fast admf is beside its peers, on the same data with the same outcome.

Every measurement runs in a process of its own, three times; medians are compared. The peers live in
environments of their own (``.venv-bench-<peer>``, made by ``make bench``); each is asked for the
final equity, the trades, the Sharpe ratio and the greatest drawdown, in its fastest set-up.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "peers"
MEGABYTE = 1_000_000
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "NUMEXPR", "POLARS_MAX", "RAYON")


@dataclass(frozen=True)
class Found:
    """What a measurement gave."""

    seconds: float
    peak_bytes: int
    equity: float | None
    trades: int


@dataclass(frozen=True)
class Sizes:
    """How much is done; ``--quick`` does less of it."""

    short: int = 100_000
    long: int = 1_000_000
    slow: int = 20_000
    lanes: int = 100
    many: int = 1_600
    forward: int = 450_000
    streamed: int = 10_000_000
    repeats: int = 3


QUICK = Sizes(2_000, 5_000, 1_000, 100, 200, 4_500, 20_000, 1)


def python_of(peer: str) -> str:
    """Return the interpreter of a peer; that of admf is this one."""
    if peer == "admf":
        return sys.executable
    place = ROOT / f".venv-bench-{peer}" / "bin" / "python"
    if not place.exists():
        raise SystemExit(f"there is no environment of {peer}: `make bench` makes it")
    return str(place)


def measured(peer: str, *words: object, one_core: bool, repeats: int) -> Found:
    """Run a peer's script some times, and return the medians."""
    found = [_once(peer, words, one_core=one_core) for _ in range(repeats)]
    return Found(
        statistics.median(it["seconds"] for it in found),
        int(statistics.median(it["peak_bytes"] for it in found)),
        found[0]["equity"],
        found[0]["trades"],
    )


def _once(peer: str, words: Sequence[object], *, one_core: bool) -> dict[str, Any]:
    command = [python_of(peer), str(PEERS / f"{peer}_peer.py"), *map(str, words)]
    pinned = partial(os.sched_setaffinity, 0, [0]) if one_core else None
    threads = {f"{name}_NUM_THREADS": "1" for name in THREADS} | {"POLARS_MAX_THREADS": "1"}
    ended = subprocess.run(
        command,
        env={**os.environ, **(threads if one_core else {})},
        preexec_fn=pinned,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ended.stderr[-2_000:]}")
    result: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return result


def check_agreement(ours: Found, theirs: Found, peer: str) -> None:
    """Raise if two do not come to the same equity, if both tell it, and number of trades."""
    same = ours.trades == theirs.trades
    if ours.equity is not None and theirs.equity is not None:
        same = same and abs(ours.equity - theirs.equity) <= 1e-6 * abs(theirs.equity)
    if not same:
        raise SystemExit(f"admf and {peer} do not agree: {ours} and {theirs}")


def row(name: str, ratio: float, required: str, detail: str) -> dict[str, Any]:
    """Print a line of the table, and return it."""
    limit = float(required.strip("<>= x"))
    met = ratio <= limit if required.startswith("<=") else ratio >= limit
    shown = f"{ratio:.3g}x" if "x" in required else f"{ratio:.4g}"
    verdict = "met" if met else "NOT MET"
    print(f"{name:58} {shown:>9}  {required:>9} {verdict:8} {detail}", flush=True)
    return {"row": name, "value": ratio, "required": required, "met": met, "detail": detail}


def rate(found: Found, bars: int, lanes: int = 1) -> str:
    """Return bars a second and peak memory for people."""
    per_second = bars * lanes / found.seconds / 1e6
    return f"{found.seconds:.4f} s, {per_second:.3g} M bars/s, {found.peak_bytes / 1e6:.0f} MB"


def best_vectorbt(bars: int, lanes: int, sizes: Sizes) -> tuple[Found, str]:
    """Return vectorbt's fastest set-up: its engines, and lanes all at once or in parts."""
    tries = [("rust", size) for size in sorted({1, min(10, lanes), lanes})]
    tries.append(("numba", min(10, lanes)))
    run = partial(measured, "vectorbt", bars, lanes, one_core=True)
    first = {it: run(it[1], it[0], repeats=1).seconds for it in tries}
    engine, at_once = min(first, key=first.__getitem__)
    return run(at_once, engine, repeats=sizes.repeats), f"{engine}, {at_once} at once"


def single(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """One lane, columnar."""
    for bars in (sizes.short, sizes.long):
        ours = measured("admf", bars, 1, 1, "plain", one_core=True, repeats=sizes.repeats)
        theirs, how = best_vectorbt(bars, 1, sizes)
        check_agreement(ours, theirs, "vectorbt")
        detail = f"admf {rate(ours, bars)}; vectorbt ({how}) {rate(theirs, bars)}"
        name = f"single run, columnar, {bars:,} bars, against vectorbt"
        yield row(name, theirs.seconds / ours.seconds, ">= 2x", detail)
        marks = measured("admf", bars, 1, 1, "marks", one_core=True, repeats=sizes.repeats)
        name = f"  with PORTFOLIO_UPDATE traced, {bars:,} bars"
        yield row(name, theirs.seconds / marks.seconds, ">= 2x", f"admf {rate(marks, bars)}")
    slow = measured("backtesting", sizes.short, 1, one_core=True, repeats=sizes.repeats)
    ours = measured("admf", sizes.short, 1, 1, "plain", one_core=True, repeats=sizes.repeats)
    check_agreement(ours, slow, "backtesting.py")
    name = f"single run, columnar, {sizes.short:,} bars, against backtesting.py"
    yield row(name, slow.seconds / ours.seconds, ">= 50x", rate(slow, sizes.short))


def per_bar(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """One lane whose strategy sees bar after bar."""
    ours = measured("admf", sizes.short, 1, 1, "bars", one_core=True, repeats=sizes.repeats)
    detail = f"admf {rate(ours, sizes.short)}"
    theirs = measured("backtesting", sizes.short, 1, one_core=True, repeats=sizes.repeats)
    check_agreement(ours, theirs, "backtesting.py")
    name = "single run, per-bar strategy, against backtesting.py"
    detail += f"; {rate(theirs, sizes.short)}"
    yield row(name, theirs.seconds / ours.seconds, ">= 3x", detail)
    for peer, note in (("backtrader", ""), ("nautilus", "; fills at the deciding bar's close")):
        theirs = measured(peer, sizes.slow, one_core=True, repeats=sizes.repeats)
        if not note:
            same = measured("admf", sizes.slow, 1, 1, "bars", one_core=True, repeats=1)
            check_agreement(same, theirs, peer)
        each = (theirs.seconds / sizes.slow) / (ours.seconds / sizes.short)
        name = f"single run, per-bar strategy, against {peer}, per bar"
        yield row(name, each, ">= 15x", rate(theirs, sizes.slow) + note)


def sweep(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Many lanes."""
    bars, lanes = sizes.short, sizes.lanes
    ours = measured("admf", bars, lanes, 1, "plain", one_core=True, repeats=sizes.repeats)
    theirs, how = best_vectorbt(bars, lanes, sizes)
    check_agreement(ours, theirs, "vectorbt")
    detail = f"admf {lanes / ours.seconds:.1f} lanes/s, {rate(ours, bars, lanes)}; "
    detail += f"vectorbt ({how}) "
    detail += f"{lanes / theirs.seconds:.1f} lanes/s, {rate(theirs, bars, lanes)}"
    yield row(f"sweep, {lanes} lanes", theirs.seconds / ours.seconds, ">= 5x", detail)
    marks = measured("admf", bars, lanes, 1, "marks", one_core=True, repeats=1)
    name = f"  with PORTFOLIO_UPDATE traced, {lanes} lanes"
    yield row(name, theirs.seconds / marks.seconds, ">= 5x", rate(marks, bars, lanes))
    yield row("sweep, peak memory", ours.peak_bytes / theirs.peak_bytes, "<= 0.2x", "")
    limit = measured("numba", bars, lanes, one_core=True, repeats=sizes.repeats)
    check_agreement(ours, limit, "the kernel")
    name = "sweep, against a kernel that keeps nothing"
    yield row(name, limit.seconds / ours.seconds, ">= 0.1x", rate(limit, bars, lanes))
    yield from many_lanes(sizes)


def many_lanes(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """A sweep of very many lanes, its results on disk so that trades are no part of the memory."""
    run = partial(measured, "admf", sizes.short, one_core=True, repeats=1)
    some, many = run(sizes.lanes, 1, "disk"), run(sizes.many, 1, "disk")
    ratio = (many.seconds / sizes.many) / (some.seconds / sizes.lanes)
    detail = f"{some.seconds / sizes.lanes * 1e3:.2f} and {many.seconds / sizes.many * 1e3:.2f} ms"
    name = f"sweep, {sizes.many} lanes: time a lane, against {sizes.lanes}"
    yield row(name, ratio, "<= 1.1x", detail)
    growth = (many.peak_bytes - some.peak_bytes) / (sizes.many - sizes.lanes) / 1_000
    name = f"sweep, {sizes.many} lanes: growth of memory, kB a lane"
    yield row(name, growth, "<= 64", f"{some.peak_bytes / 1e6:.0f}, {many.peak_bytes / 1e6:.0f} MB")


def forward(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Walk-forward of 40 windows with 25 lanes, on one and on two workers."""
    run = partial(measured, "admf", sizes.forward, 25, one_core=False, repeats=sizes.repeats)
    one, two = run(1, "forward"), run(2, "forward")
    detail = f"{one.seconds:.2f} s and {two.seconds:.2f} s"
    name = "walk-forward, two workers against one"
    yield row(name, one.seconds / two.seconds, ">= 1.8x", detail)


def streamed(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Very many bars from a Parquet file."""
    sys.path.insert(0, str(PEERS))
    from admf_peer import frame

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "X.parquet"
        part: pl.DataFrame = frame(sizes.streamed)
        part.write_parquet(file)
        del part
        words = (sizes.streamed, 1, 1, file, "parquet")
        found = measured("admf", *words, one_core=True, repeats=1)
    name = f"{sizes.streamed:,} bars from Parquet, one lane: peak MB"
    yield row(name, found.peak_bytes / MEGABYTE, "<= 400", rate(found, sizes.streamed))


PARTS: dict[str, Callable[[Sizes], Iterator[dict[str, Any]]]] = {
    "single": single,
    "per_bar": per_bar,
    "sweep": sweep,
    "forward": forward,
    "streamed": streamed,
}


def main() -> None:
    """Measure, print, and write down what was found if that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one repetition")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part")
    parser.add_argument("--json", type=Path, help="a file for the table")
    options = parser.parse_args()
    sizes = QUICK if options.quick else Sizes()
    rows = [it for name in options.only or PARTS for it in PARTS[name](sizes)]
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

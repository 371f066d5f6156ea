"""How fast admf is beside its peers, on the same data with the same outcome.

Every measurement runs in a process of its own, three times; medians are compared. The peers live in
environments of their own (``.venv-bench-<peer>``, made by ``make bench``); each is asked for the
final equity, the trades, the Sharpe ratio and the greatest drawdown, in its fastest set-up. What is
timed is what a user waits for once the data are in memory, and all is imported and compiled.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import isclose, nan
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "peers"
MEGABYTE = 1_000_000
THREADS = ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "NUMBA_NUM", "RAYON_NUM", "POLARS_MAX")
VECTORBT_AT_ONCE = (1, 5, 10, 100)
FEW_LANES = 5
FORWARD_WINDOWS = 40


@dataclass(frozen=True)
class Found:
    """What a measurement gave: medians of seconds and peak memory, and the outcome.

    It was disturbed if it had to wait for its core for a tenth of its time. Equity is that of all
    lanes together, drawdown their mean, where they are told.
    """

    seconds: float
    peak_bytes: int
    trades: int
    disturbed: bool
    equity: float = nan
    max_drawdown: float | None = None
    windows: int | None = None


@dataclass(frozen=True)
class Sizes:
    """How much is done."""

    short: int = 100_000
    long: int = 1_000_000
    slow: int = 20_000
    lanes: int = 100
    many: int = 1_600
    forward: int = 450_000
    streamed: int = 10_000_000
    repeats: int = 3


QUICK = Sizes(
    short=2_000, long=5_000, slow=1_000, many=200, forward=22_500, streamed=20_000, repeats=1
)


def python_of(peer: str) -> str:
    """Return the interpreter of a peer; that of admf is this one."""
    if peer == "admf":
        return sys.executable
    place = ROOT / f".venv-bench-{peer}" / "bin" / "python"
    if not place.exists():
        raise SystemExit(f"there is no environment of {peer}: `make bench` makes it")
    return str(place)


def measured(peer: str, *words: object, repeats: int, one_core: bool = True) -> Found:
    """Run a peer's script some times, and return the medians."""
    command = [python_of(peer), str(PEERS / f"{peer}_peer.py"), *map(str, words)]
    found = [run(command, one_core=one_core) for _ in range(repeats)]
    return Found(
        statistics.median(it["seconds"] for it in found),
        int(statistics.median(it["peak_bytes"] for it in found)),
        found[0]["trades"],
        one_core and statistics.median(it["seconds"] / it["cpu_seconds"] for it in found) > 1.1,
        found[0].get("equity", nan),
        found[0].get("max_drawdown"),
        found[0].get("windows"),
    )


def run(command: Sequence[str], *, one_core: bool) -> dict[str, Any]:
    """Run a script, and return what it printed last."""
    threads = {f"{name}_THREADS": "1" for name in THREADS}
    core = max(os.sched_getaffinity(0))
    ended = subprocess.run(
        command,
        env={**os.environ, **(threads if one_core else {})},
        preexec_fn=partial(os.sched_setaffinity, 0, [core]) if one_core else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ended.stderr[-2_000:]}")
    result: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return result


def check_agreement(ours: Found, theirs: Found, peer: str) -> None:
    """Raise if two do not come to the same: closed trades, equity, and drawdown if both tell it."""
    same = ours.trades == theirs.trades and isclose(ours.equity, theirs.equity, rel_tol=1e-6)
    if ours.max_drawdown is not None and theirs.max_drawdown is not None:
        same = same and isclose(ours.max_drawdown, theirs.max_drawdown, abs_tol=1e-6)
    if not same:
        raise SystemExit(f"admf and {peer} do not agree: {ours} and {theirs}")


def row(name: str, value: float, required: str, detail: str = "") -> dict[str, Any]:
    """Print a line of the table, and return it.

    Args:
        name: What is compared.
        value: The ratio, or whatever the name says.
        required: ``>=`` or ``<=`` and a number, with an x if the value is a ratio; empty if nothing
            is required.
        detail: What it comes from.
    """
    limit = float(required.strip("<>= x")) if required else None
    met = None if limit is None else value <= limit if required[0] == "<" else value >= limit
    shown = f"{value:.3g}x" if required.endswith("x") else f"{value:.4g}"
    verdict = {None: "", True: "met", False: "NOT MET"}[met]
    print(f"{name:62} {shown:>9}  {required:>8} {verdict:8} {detail}", flush=True)
    return {"row": name, "value": value, "required": required, "met": met, "detail": detail}


def figures(who: str, found: Found, bars: int, lanes: int = 1) -> str:
    """Return seconds, bars or lanes a second, and peak memory for people."""
    rate = f"{bars / found.seconds:,.0f} bars/s"
    if lanes > 1:
        rate = f"{lanes / found.seconds:.3g} lanes/s"
    note = " (disturbed)" if found.disturbed else ""
    return f"{who}: {found.seconds:.4f} s{note}, {rate}, {found.peak_bytes / MEGABYTE:.0f} MB"


def best_vectorbt(bars: int, lanes: int, sizes: Sizes) -> tuple[Found, str]:
    """Return vectorbt's fastest set-up: its engines, and lanes all at once or in parts."""
    tries = [(engine, n) for engine in ("rust", "numba") for n in VECTORBT_AT_ONCE if n <= lanes]
    run = partial(measured, "vectorbt", bars, lanes)
    first = {it: run(it[1], it[0], repeats=1).seconds for it in tries}
    engine, at_once = min(first, key=first.__getitem__)
    return run(at_once, engine, repeats=sizes.repeats), f"vectorbt, {engine}, {at_once} at once"


def single(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """One lane, columnar."""
    ours = partial(measured, "admf", repeats=sizes.repeats)
    for bars in (sizes.short, sizes.long):
        theirs, how = best_vectorbt(bars, 1, sizes)
        for kind, name in (("plain", "single run, columnar"), ("marks", "  with PORTFOLIO_UPDATE")):
            found = ours(bars, 1, 1, kind)
            check_agreement(found, theirs, "vectorbt")
            detail = f"{figures('admf', found, bars)}; {figures(how, theirs, bars)}"
            name = f"{name}, {bars:,} bars, against vectorbt"
            yield row(name, theirs.seconds / found.seconds, ">= 2x", detail)
    bars = sizes.short
    theirs, found = (
        measured("backtesting", bars, 1, repeats=sizes.repeats),
        ours(bars, 1, 1, "plain"),
    )
    check_agreement(found, theirs, "backtesting.py")
    name = f"single run, columnar, {bars:,} bars, against backtesting.py"
    yield row(name, theirs.seconds / found.seconds, ">= 50x", figures("it", theirs, bars))


def per_bar(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """One lane whose strategy sees bar after bar; bars a second are compared."""
    run = partial(measured, repeats=sizes.repeats)
    ours = {bars: run("admf", bars, 1, 1, "bars") for bars in (sizes.short, sizes.slow)}
    fast = sizes.short / ours[sizes.short].seconds
    peers = (
        ("backtesting", sizes.short, (1,), ">= 3x", ""),
        ("backtrader", sizes.slow, (), ">= 15x", ""),
        ("nautilus", sizes.slow, (), ">= 15x", "; fills at the deciding bar's close"),
    )
    for peer, bars, more, required, note in peers:
        theirs = run(peer, bars, *more)
        check_agreement(ours[bars], theirs, peer)
        detail = f"{figures('admf', ours[sizes.short], sizes.short)}; "
        detail += figures(peer, theirs, bars) + note
        name = f"single run, per-bar strategy, against {peer}"
        yield row(name, fast / (bars / theirs.seconds), required, detail)


def sweep(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Many lanes."""
    bars, lanes = sizes.short, sizes.lanes
    ours = measured("admf", bars, lanes, 1, "plain", repeats=sizes.repeats)
    theirs, how = best_vectorbt(bars, lanes, sizes)
    at_once = measured("vectorbt", bars, lanes, lanes, "rust", repeats=1)
    marks = measured("admf", bars, lanes, 1, "marks", repeats=sizes.repeats)
    limit = measured("numba", bars, lanes, repeats=sizes.repeats)
    peers = ((theirs, "vectorbt"), (at_once, "vectorbt, all at once"), (limit, "the kernel"))
    for found, peer in peers:
        check_agreement(ours, found, peer)
    check_agreement(marks, theirs, "vectorbt")
    shown = figures(how, theirs, bars, lanes)
    detail = f"{figures('admf', ours, bars, lanes)}; {shown}"
    yield row(
        f"sweep, {lanes} lanes, against vectorbt", theirs.seconds / ours.seconds, ">= 5x", detail
    )
    detail = f"{figures('admf', marks, bars, lanes)}; {shown}"
    yield row("  with PORTFOLIO_UPDATE", theirs.seconds / marks.seconds, ">= 5x", detail)
    ratio = ours.peak_bytes / at_once.peak_bytes
    detail = figures("vectorbt, rust, all at once", at_once, bars, lanes)
    yield row("sweep, peak memory against vectorbt, all at once", ratio, "<= 0.2x", detail)
    ratio = ours.peak_bytes / theirs.peak_bytes
    yield row("  against the fastest set-up", ratio, "", shown)
    detail = figures("it", limit, bars, lanes)
    name = "sweep, against a compiled loop for equity and trade count only"
    yield row(name, limit.seconds / ours.seconds, ">= 0.1x", detail)


def few_lanes(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Lanes a second of backtesting.py, which runs one after the other."""
    words = (sizes.short, FEW_LANES)
    theirs = measured("backtesting", *words, repeats=1)
    check_agreement(measured("admf", *words, 1, "plain", repeats=1), theirs, "backtesting.py")
    ours = measured("admf", sizes.short, sizes.lanes, 1, "plain", repeats=sizes.repeats)
    ratio = (theirs.seconds / FEW_LANES) / (ours.seconds / sizes.lanes)
    detail = figures("it", theirs, sizes.short, FEW_LANES)
    yield row("sweep, against backtesting.py", ratio, "", detail)


def many_lanes(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """A sweep of very many lanes; what a lane takes in memory is told without and with trades."""
    run = partial(measured, "admf", sizes.short, repeats=1)
    few, many = (run(lanes, 1, "plain") for lanes in (sizes.lanes, sizes.many))
    each = [few.seconds / sizes.lanes * 1e3, many.seconds / sizes.many * 1e3]
    detail = f"{each[0]:.2f} and {each[1]:.2f} ms; {figures('admf', many, 0, sizes.many)}"
    name = f"sweep, {sizes.many:,} lanes: time a lane, against {sizes.lanes}"
    yield row(name, each[1] / each[0], "<= 1.1x", detail)
    quiet = [run(lanes, 1, "quiet").peak_bytes for lanes in (sizes.lanes, sizes.many)]
    added = sizes.many - sizes.lanes
    detail = f"{quiet[0] / MEGABYTE:.0f} and {quiet[1] / MEGABYTE:.0f} MB"
    name = "  growth of memory where no trade ends, kB a lane"
    yield row(name, (quiet[1] - quiet[0]) / added / 1_000, "<= 64", detail)
    growth = many.peak_bytes - few.peak_bytes - (quiet[1] - quiet[0])
    detail = f"{many.trades / sizes.many:.0f} trades a lane; events and all"
    yield row("  what a trade adds, bytes", growth / (many.trades - few.trades), "", detail)


def forward(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Walk-forward of 40 windows with 25 lanes, on one and on two workers."""
    run = partial(measured, "admf", sizes.forward, 25, one_core=False, repeats=sizes.repeats)
    one, two = run(1, "forward"), run(2, "forward")
    if not one.windows == two.windows == 2 * FORWARD_WINDOWS or one.trades != two.trades:
        raise SystemExit(f"the walk-forwards are not the same, or not all of it: {one} and {two}")
    detail = f"{one.seconds:.2f} and {two.seconds:.2f} s"
    name = f"walk-forward, {FORWARD_WINDOWS} windows, two workers against one"
    yield row(name, one.seconds / two.seconds, ">= 1.8x", detail)


def streamed(sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Very many bars from a Parquet file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "X.parquet"
        command = [sys.executable, str(PEERS / "frames.py"), str(sizes.streamed), str(file)]
        subprocess.run(command, check=True)
        found = measured("admf", sizes.streamed, 1, 1, file, "parquet", repeats=1)
    name = f"{sizes.streamed:,} bars from Parquet, one lane: peak memory, MB"
    detail = figures("admf", found, sizes.streamed)
    yield row(name, found.peak_bytes / MEGABYTE, "<= 400", detail)


PARTS: dict[str, Callable[[Sizes], Iterable[dict[str, Any]]]] = {
    it.__name__: it for it in (single, per_bar, sweep, few_lanes, many_lanes, forward, streamed)
}


def main() -> None:
    """Measure, print, and write down what was found if that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one repetition")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part")
    parser.add_argument("--json", type=Path, help="a file for the table")
    options = parser.parse_args()
    sizes = QUICK if options.quick else Sizes()
    if options.quick:
        print("small sizes: these are not the ones that the requirements are about")
    rows = [it for name in options.only or PARTS for it in PARTS[name](sizes)]
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

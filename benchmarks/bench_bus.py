"""How fast the bus delivers, beside a bare loop and beside other libraries.

Unit of work: make one event object and deliver it to N handlers. A handler is the two statements
of a running mean, ``self.count += 1; self.total += event.value``. The bare loop does the same with
a list of callables: ``for handler in handlers: handler(event)``, ``await handler(event)`` if async.

All candidates of a row take turns in one process, round after round; a figure is the best of its
rounds, and a ratio compares the best of the same rounds.

A peer that is not in a row was not measured there: psygnal's async delivery and its thread queue
are left out, so the async and mailbox rows say nothing about psygnal. ``psygnal fast`` is its
``emit_fast``, which skips checks that ``emit`` makes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, TypeAlias

import anyio
import msgspec

from admf.engine import Bus, Event, Mailbox

Deliver: TypeAlias = Callable[[int], Awaitable[None]]
Make: TypeAlias = Callable[..., Deliver]

HANDLERS = (1, 10, 100)
REQUIRED = 0.7
BATCH = 1_000
"""Events between two turns of the candidates' own loops, where they have one."""


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    """A number."""

    value: float


class Mean:
    """The smallest useful handler."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0

    def add(self, event: Any) -> None:
        """Take in one value."""
        self.count += 1
        self.total += event.value

    async def add_later(self, event: Any) -> None:
        """Take in one value, as a coroutine."""
        self.count += 1
        self.total += event.value


class Figure(msgspec.Struct, frozen=True):
    """One cell of the table: deliveries per second, and the ratio to the bare loop."""

    mode: str
    handlers: int
    candidate: str
    deliveries_per_s: float
    ratio: float


def bare_sync(means: list[Mean]) -> Deliver:
    handlers = [mean.add for mean in means]

    async def deliver(events: int) -> None:
        for ts in range(events):
            event = Tick(ts, 1.0)
            for handler in handlers:
                handler(event)

    return deliver


def bare_async(means: list[Mean]) -> Deliver:
    handlers = [mean.add_later for mean in means]

    async def deliver(events: int) -> None:
        for ts in range(events):
            event = Tick(ts, 1.0)
            for handler in handlers:
                await handler(event)

    return deliver


def admf_bus(means: list[Mean], *, later: bool, mailbox: Mailbox | None) -> Deliver:
    bus = Bus()
    for mean in means:
        bus.subscribe(Tick, mean.add_later if later else mean.add, mailbox=mailbox)

    async def deliver(events: int) -> None:
        publish = bus.publish
        for start in range(0, events, BATCH):
            for ts in range(start, min(start + BATCH, events)):
                publish(Tick(ts, 1.0))
            await bus.drain()

    return deliver


def pymitter_sync(means: list[Mean]) -> Deliver:
    from pymitter import EventEmitter

    emitter = EventEmitter()
    for mean in means:
        emitter.on("tick", mean.add)

    async def deliver(events: int) -> None:
        for ts in range(events):
            emitter.emit("tick", Tick(ts, 1.0))

    return deliver


def pymitter_async(means: list[Mean]) -> Deliver:
    from pymitter import EventEmitter

    emitter = EventEmitter()
    for mean in means:
        emitter.on("tick", mean.add_later)

    async def deliver(events: int) -> None:
        for ts in range(events):
            await emitter.emit_async("tick", Tick(ts, 1.0))

    return deliver


def pyee_sync(means: list[Mean]) -> Deliver:
    from pyee import EventEmitter

    emitter = EventEmitter()
    for mean in means:
        emitter.add_listener("tick", mean.add)

    async def deliver(events: int) -> None:
        for ts in range(events):
            emitter.emit("tick", Tick(ts, 1.0))

    return deliver


def pyee_async(means: list[Mean]) -> Deliver:
    from pyee.asyncio import AsyncIOEventEmitter

    emitter = AsyncIOEventEmitter()
    for mean in means:
        emitter.add_listener("tick", mean.add_later)

    async def deliver(events: int) -> None:
        for start in range(0, events, BATCH):
            for ts in range(start, min(start + BATCH, events)):
                emitter.emit("tick", Tick(ts, 1.0))
            await emitter.wait_for_complete()

    return deliver


def psygnal_sync(means: list[Mean], *, fast: bool) -> Deliver:
    from psygnal import SignalInstance

    signal = SignalInstance((object,))
    for mean in means:
        signal.connect(mean.add, check_nargs=False, on_ref_error="ignore")
    emit = signal.emit_fast if fast else signal.emit

    async def deliver(events: int) -> None:
        for ts in range(events):
            emit(Tick(ts, 1.0))

    return deliver


def bubus_any(means: list[Mean], *, later: bool, buses: AsyncExitStack) -> Deliver:
    logging.disable(logging.CRITICAL)
    import warnings

    from bubus import BaseEvent, EventBus

    class BubusTick(BaseEvent[None]):
        value: float

    bus = EventBus(max_history_size=BATCH)
    buses.push_async_callback(bus.stop, timeout=0, clear=True)  # it outlives a cancellation
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of handlers with the same name
        for mean in means:
            bus.on(BubusTick, mean.add_later if later else mean.add)

    async def deliver(events: int) -> None:
        for _ in range(events):
            await bus.dispatch(BubusTick(value=1.0))

    return deliver


ROWS: dict[str, dict[str, tuple[str, Make]]] = {
    "sync inline": {
        "bare loop": ("", bare_sync),
        "admf": ("", partial(admf_bus, later=False, mailbox=None)),
        "psygnal": ("psygnal", partial(psygnal_sync, fast=False)),
        "psygnal fast": ("psygnal", partial(psygnal_sync, fast=True)),
        "pymitter": ("pymitter", pymitter_sync),
        "pyee": ("pyee", pyee_sync),
        "bubus": ("bubus", partial(bubus_any, later=False)),
    },
    "async inline": {
        "bare loop": ("", bare_async),
        "admf": ("", partial(admf_bus, later=True, mailbox=None)),
        "pymitter": ("pymitter", pymitter_async),
        "pyee": ("pyee", pyee_async),
        "bubus": ("bubus", partial(bubus_any, later=True)),
    },
    "sync mailbox": {
        "bare loop": ("", bare_sync),
        "admf": ("", partial(admf_bus, later=False, mailbox=Mailbox())),
        "bubus": ("bubus", partial(bubus_any, later=False)),
    },
    "async mailbox": {
        "bare loop": ("", bare_async),
        "admf": ("", partial(admf_bus, later=True, mailbox=Mailbox())),
        "bubus": ("bubus", partial(bubus_any, later=True)),
    },
}
SLOW = {"bubus": 1_000}
"""Candidates that would hold up the others get fewer events, by this factor."""


async def measure_row(mode: str, handlers: int, events: int, rounds: int) -> list[Figure]:
    """Let all candidates of a row take turns, and return the best of each."""
    async with AsyncExitStack() as buses:
        made = {
            name: (
                make(
                    [Mean() for _ in range(handlers)], **({"buses": buses} if name in SLOW else {})
                ),
                max(1, events // SLOW.get(name, 1)),
            )
            for name, (library, make) in ROWS[mode].items()
            if not library or importlib.util.find_spec(library)
        }
        best = dict.fromkeys(made, float("inf"))
        for _ in range(rounds):
            for name, (deliver, count) in made.items():
                start = time.perf_counter()
                await deliver(count)
                seconds = (time.perf_counter() - start) / (count * handlers)
                best[name] = min(best[name], seconds)
    bare = best["bare loop"]
    return [Figure(mode, handlers, name, 1 / it, bare / it) for name, it in best.items()]


async def measure(events: int, rounds: int) -> list[Figure]:
    """Measure the whole table; rows with more handlers get fewer events."""
    figures: list[Figure] = []
    for mode in ROWS:
        for handlers in HANDLERS:
            figures += await measure_row(mode, handlers, max(1, events // handlers), rounds)
    return figures


def verdicts(figures: list[Figure]) -> Iterator[tuple[bool, str]]:
    """Compare the figures with what is required."""
    by_row: dict[tuple[str, int], dict[str, Figure]] = {}
    for figure in figures:
        by_row.setdefault((figure.mode, figure.handlers), {})[figure.candidate] = figure
    for (mode, handlers), row in by_row.items():
        own = row["admf"]
        if mode == "sync inline" and handlers >= 10:
            text = f"{mode}, {handlers} handlers: {own.ratio:.2f}x the bare loop (>= {REQUIRED})"
            yield own.ratio >= REQUIRED, text
        for name, peer in row.items():
            if name not in {"admf", "bare loop"}:
                factor = own.deliveries_per_s / peer.deliveries_per_s
                yield factor > 1, f"{mode}, {handlers} handlers: {factor:.1f}x {name}"


def print_table(figures: list[Figure]) -> None:
    print(
        f"{'mode':14} {'handlers':>8}  {'candidate':12} {'deliveries/s':>13} {'of bare loop':>13}"
    )
    row = None
    for it in figures:
        if row != (it.mode, it.handlers):
            row = (it.mode, it.handlers)
            print()
        speed, ratio = f"{it.deliveries_per_s:,.0f}", f"{it.ratio:.3f}x"
        print(f"{it.mode:14} {it.handlers:8}  {it.candidate:12} {speed:>13} {ratio:>13}")
    print()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=100_000, help="deliveries per row and round")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args()
    libraries = {library for row in ROWS.values() for library, _ in row.values() if library}
    missing = sorted(library for library in libraries if not importlib.util.find_spec(library))
    if missing:
        print(f"left out: {', '.join(missing)} (pip install --group bench)", file=sys.stderr)
    figures = anyio.run(measure, options.events, options.rounds)
    judged = list(verdicts(figures))
    if options.json:
        print(json.dumps([msgspec.structs.asdict(figure) for figure in figures], indent=1))
    else:
        print_table(figures)
        for passed, text in judged:
            print("PASS" if passed else "FAIL", text)
    return 0 if all(passed for passed, _ in judged) else 1


if __name__ == "__main__":
    sys.exit(main())

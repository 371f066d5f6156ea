"""How long an event is under way, beside an asyncio.Queue and bubus.

Unit of work: make one event object, publish it, and note in its consumer when it came. The consumer
is a handler, or another task that waits for events.

The load is open: event number n is due at ``start + n / rate``, whatever became of those before it.
Its latency counts from when it was due, not from when the publisher got round to it, so that a
consumer that holds up its publisher does not look quick (no coordinated omission). The publisher
looks at the clock again and again, publishes what is due, for a millisecond at most, and yields to
the event loop, so that no timer's coarseness shows. All of it is one thread in one event loop.

Since the publisher never sleeps, the clock is the process's own: its CPU time, which is the time by
the wall on a machine with nothing else to do, and does not count what other programs take of it.
``--wall`` takes that of the wall. ``direct call`` is the consumer called by the publisher itself,
which is the floor of the measurement, the interpreter's garbage collector included.

All candidates of a rate take turns, round after round; a figure is the median of its rounds. One
that delivers less than 90 % of the rate fell behind: its latencies say no more than that, since
they grow as long as the load lasts, and what is not delivered in three times that is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import logging
import statistics
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from functools import partial
from time import perf_counter_ns, process_time_ns
from typing import Any, TypeAlias

import anyio
import msgspec

from admf.engine import Bus, Event, Mailbox

RATES = (1_000, 10_000, 50_000)
PATIENCE = 3
"""A candidate has this many times the time of the load to deliver it."""
KEEPS_UP = 0.9
BURST_NS = 1_000_000

Clock: TypeAlias = Callable[[], int]
Publish: TypeAlias = Callable[[int], None]
Settle: TypeAlias = Callable[[], Awaitable[None]]
Opened: TypeAlias = AbstractAsyncContextManager[tuple[Publish, Settle]]


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    """A number; its time is when it was due."""

    value: float


class Arrivals:
    """Notes how long each event was under way."""

    def __init__(self, clock: Clock) -> None:
        self.ns: list[int] = []
        self._clock = clock

    def take(self, event: Any) -> None:
        """Note one event."""
        self.ns.append(self._clock() - event.ts)

    async def take_later(self, event: Any) -> None:
        """Note one event, as a coroutine."""
        self.ns.append(self._clock() - event.ts)


class Figure(msgspec.Struct, frozen=True):
    """One row of the table; latencies in microseconds."""

    path: str
    rate: int
    candidate: str
    p50_us: float
    p99_us: float
    p999_us: float
    delivered_per_s: float
    kept_up: bool


class Round(msgspec.Struct, frozen=True):
    """What one load came to."""

    latencies_ns: list[int]
    delivered_per_s: float
    kept_up: bool


async def nothing() -> None:
    """Leave it to the consumer's own task."""


@asynccontextmanager
async def direct_call(arrivals: Arrivals) -> AsyncGenerator[tuple[Publish, Settle]]:
    yield lambda due: arrivals.take(Tick(due, 1.0)), nothing


@asynccontextmanager
async def admf_bus(
    arrivals: Arrivals, *, later: bool = False, mailbox: Mailbox | None = None
) -> AsyncGenerator[tuple[Publish, Settle]]:
    bus = Bus()
    bus.subscribe(Tick, arrivals.take_later if later else arrivals.take, mailbox=mailbox)
    async with aclosing(bus):
        yield lambda due: bus.publish(Tick(due, 1.0)) and None, bus.drain


@asynccontextmanager
async def admf_stream(arrivals: Arrivals) -> AsyncGenerator[tuple[Publish, Settle]]:
    bus = Bus()
    stream = bus.stream(Tick, maxsize=1_000_000)

    async def consume() -> None:
        async for envelope in stream:
            arrivals.take(envelope.event)

    async with aclosing(bus), anyio.create_task_group() as group:
        group.start_soon(consume)
        with stream:
            yield lambda due: bus.publish(Tick(due, 1.0)) and None, bus.drain


@asynccontextmanager
async def asyncio_queue(arrivals: Arrivals) -> AsyncGenerator[tuple[Publish, Settle]]:
    queue: asyncio.Queue[Tick] = asyncio.Queue()

    async def consume() -> None:
        while True:
            arrivals.take(await queue.get())

    task = asyncio.create_task(consume())
    try:
        yield lambda due: queue.put_nowait(Tick(due, 1.0)), nothing
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def bubus_bus(arrivals: Arrivals) -> AsyncGenerator[tuple[Publish, Settle]]:
    logging.disable(logging.CRITICAL)
    from bubus import BaseEvent, EventBus

    class BubusTick(BaseEvent[None]):
        ts: int

    bus = EventBus(max_history_size=None)  # a bounded one refuses events beyond 100
    bus.on(BubusTick, arrivals.take_later)
    try:
        yield lambda due: bus.dispatch(BubusTick(ts=due)) and None, nothing
    finally:
        await bus.stop(timeout=0, clear=True)


CANDIDATES: dict[str, dict[str, tuple[str, Callable[[Arrivals], Opened]]]] = {
    "publish -> handler": {
        "direct call": ("", direct_call),
        "admf, plain": ("", admf_bus),
        "admf, async": ("", partial(admf_bus, later=True)),
        "bubus": ("bubus", bubus_bus),
    },
    "publish -> other task": {
        "asyncio.Queue": ("", asyncio_queue),
        "admf, mailbox": ("", partial(admf_bus, mailbox=Mailbox(maxsize=1_000_000))),
        "admf, stream": ("", admf_stream),
        "bubus": ("bubus", bubus_bus),
    },
}


class Load:
    """Events that are due at a rate, for so many seconds.

    Args:
        rate: Events per second.
        seconds: How long it lasts.
        clock: Tells the time in nanoseconds.
    """

    def __init__(self, rate: int, seconds: float, clock: Clock) -> None:
        self._count = max(1, round(rate * seconds))
        self._interval_ns = 1_000_000_000 / rate
        self._clock = clock

    async def put_on(self, open_candidate: Callable[[Arrivals], Opened]) -> Round:
        """Publish all that is due, and return how long the events were under way."""
        arrivals = Arrivals(self._clock)
        async with open_candidate(arrivals) as (publish, settle):
            publish(self._clock())  # so that nothing happens for the first time
            await self._await(arrivals, 1, settle, self._clock() + 1_000_000_000)
            arrivals.ns.clear()
            start = self._clock()
            deadline = start + round(PATIENCE * self._count * self._interval_ns)
            await self._publish(publish, settle, start, deadline)
            await self._await(arrivals, self._count, settle, deadline)
            seconds = (self._clock() - start) / 1e9
            delivered = arrivals.ns[: self._count]
        per_s = len(delivered) / seconds
        return Round(delivered, per_s, per_s >= KEEPS_UP * 1e9 / self._interval_ns)

    async def _publish(self, publish: Publish, settle: Settle, start: int, deadline: int) -> None:
        clock, published = self._clock, 0
        while published < self._count and clock() < deadline:
            now = clock()
            burst_ends = min(now + BURST_NS, deadline)
            while published < self._count and now < burst_ends:
                due = start + round(published * self._interval_ns)
                if due > now:
                    break
                publish(due)
                published += 1
                now = clock()
            await settle()
            await asyncio.sleep(0)

    async def _await(self, arrivals: Arrivals, count: int, settle: Settle, deadline: int) -> None:
        """Wait until so many events have come, or time is up."""
        while len(arrivals.ns) < count and self._clock() < deadline:
            await settle()
            await asyncio.sleep(0)


async def measure(rates: list[int], seconds: float, repeats: int, clock: Clock) -> list[Figure]:
    """Measure all candidates at all rates."""
    return [
        figure
        for path in CANDIDATES
        for rate in rates
        for figure in await measure_rate(path, rate, Load(rate, seconds, clock), repeats)
    ]


async def measure_rate(path: str, rate: int, load: Load, repeats: int) -> list[Figure]:
    """Let the candidates take turns at one rate, and return the medians of each."""
    found: dict[str, list[Round]] = {}
    for _ in range(repeats):
        for name, (library, candidate) in CANDIDATES[path].items():
            if not library or importlib.util.find_spec(library):
                found.setdefault(name, []).append(await load.put_on(candidate))
    return [figure_of(path, rate, name, rounds) for name, rounds in found.items()]


def figure_of(path: str, rate: int, candidate: str, rounds: list[Round]) -> Figure:
    """Return the medians of some rounds."""

    def median_us(share: float) -> float:
        return statistics.median(quantile(it.latencies_ns, share) for it in rounds) / 1000

    return Figure(
        path,
        rate,
        candidate,
        p50_us=median_us(0.5),
        p99_us=median_us(0.99),
        p999_us=median_us(0.999),
        delivered_per_s=statistics.median(it.delivered_per_s for it in rounds),
        kept_up=all(it.kept_up for it in rounds),
    )


def quantile(values: list[int], share: float) -> float:
    """Return the value at a rank; infinity if there is none."""
    ranked = sorted(values)
    return ranked[min(int(share * len(ranked)), len(ranked) - 1)] if ranked else float("inf")


def print_table(figures: list[Figure]) -> None:
    print("latency in microseconds\n")
    print(f"{'events/s':>8}  {'candidate':14} {'p50':>10} {'p99':>10} {'p99.9':>10}")
    path, rate = "", 0
    for it in figures:
        if path != it.path:
            print(f"\n{it.path}")
        elif rate != it.rate:
            print()
        path, rate = it.path, it.rate
        columns = " ".join(f"{us:>10,.0f}" for us in (it.p50_us, it.p99_us, it.p999_us))
        behind = "" if it.kept_up else f"  fell behind: {it.delivered_per_s:,.0f} delivered per s"
        print(f"{it.rate:>8,}  {it.candidate:14} {columns}{behind}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rates", type=int, nargs="+", default=RATES, help="events per second")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a load lasts")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--wall", action="store_true", help="time by the wall, not the CPU")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args()
    if not importlib.util.find_spec("bubus"):
        print("left out: bubus (pip install --group bench)", file=sys.stderr)
    clock = perf_counter_ns if options.wall else process_time_ns
    figures = anyio.run(measure, options.rates, options.seconds, options.repeats, clock)
    if options.json:
        print(json.dumps([msgspec.structs.asdict(figure) for figure in figures], indent=1))
    else:
        print_table(figures)
    return 0 if all(it.kept_up for it in figures if it.candidate.startswith("admf")) else 1


if __name__ == "__main__":
    sys.exit(main())

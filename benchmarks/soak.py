"""A live session under load for as long as one likes, and whether it stays as it was.

Events come at a fixed rate; a window takes those of a second. Beside a ledger, which counts, each
window has a subscriber that stalls in its mailbox and one that raises, and all the time containers
are added to the window that is open and removed again. Checked are

* the resident set after the warm-up: median of the last tenth against that of the first;
* the account of every subscription of every window: accepted = handled + dropped + dead-lettered +
  queued; and that the windows hold every event exactly once, in order;
* every file of every window, against its commit record; checked windows are removed;
* how long the event loop is held: p99.9 of what a timer of 1 ms is late, without the time in which
  the machine had no processor for threads of this process, where the system tells it.

The exit code is 1 if one of them misses what is required. With ``--virtual`` the pace is that of a
clock that need not be waited for, so it takes a moment, and figures of time mean nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import msgspec
import numpy as np
import psutil

from admf.engine import (
    AdmfError,
    Container,
    Document,
    Event,
    EveryDuration,
    Intake,
    LifecycleManager,
    LocalStorage,
    Mailbox,
    Registry,
    ResultStore,
    RollingSession,
    Subscription,
    TopologyBuilder,
    WindowSpec,
    WindowSummary,
    verify_window,
)

MEGABYTE = 1_000_000
BATCH_S = 0.01
MOST_DRIFT_MB = 2.0
MOST_STALL_MS = 10.0
RAISES_EVERY = 997
STALLS_EVERY = 1_499


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    """A numbered event."""

    number: int


class Accounts(msgspec.Struct):
    """What has been checked so far.

    Args:
        windows: Windows.
        events: Events that they hold.
        gaps: Events lost or doubled between or within windows.
        unbalanced: Subscriptions whose account does not add up.
        torn: Windows with a file that is not as it was written.
        dropped: Events that the stalling subscriber has let go.
        dead_lettered: Events on which a handler has raised.
        guests: Containers that were added to and removed from an open window.
    """

    windows: int = 0
    events: int = 0
    gaps: int = 0
    unbalanced: int = 0
    torn: int = 0
    dropped: int = 0
    dead_lettered: int = 0
    guests: int = 0


class Observer(Container):
    """Counts what it handles; its results are its count and the accounts of its subscriptions."""

    def __init__(self, container_id: str, builder: TopologyBuilder | None, scope: Any) -> None:
        super().__init__(container_id, "observer", scope=scope if builder is None else builder.bus)
        self.first = self.last = self.count = self.gaps = 0
        self.accounts: list[Subscription] = []

    async def on_start(self) -> None:
        """Subscribe."""
        self.accounts.append(self.subscribe(Tick, self.handle))

    def handle(self, tick: Tick) -> None:
        """Take note."""
        if not self.count:
            self.first = tick.number
        elif tick.number != self.last + 1:
            self.gaps += 1
        self.last = tick.number
        self.count += 1

    def results(self) -> Document:
        """Return what was seen."""
        accounts = [msgspec.structs.asdict(it.stats) for it in self.accounts]
        body = {"first": self.first, "last": self.last, "count": self.count, "gaps": self.gaps}
        return Document(self.id, {**body, "accounts": accounts})


class Stalling(Observer):
    """Waits now and then, so that its mailbox overflows."""

    stall_s, stall_turns = 0.25, 0

    async def on_start(self) -> None:
        """Subscribe with a mailbox that drops."""
        mailbox = Mailbox(100, "drop_oldest")
        self.accounts.append(self.subscribe(Tick, self.handle_slowly, mailbox=mailbox))

    async def handle_slowly(self, tick: Tick) -> None:
        """Take note, after a while."""
        if self.count % STALLS_EVERY == 100:
            await anyio.sleep(self.stall_s)
            for _ in range(self.stall_turns):
                await anyio.sleep(0.0)
        self.handle(tick)


class Raising(Observer):
    """Raises now and then; that is its own affair."""

    async def on_start(self) -> None:
        """Subscribe in isolation."""
        self.accounts.append(self.subscribe(Tick, self.handle_badly, on_error="isolate"))

    def handle_badly(self, tick: Tick) -> None:
        """Take note, or raise."""
        if tick.number % RAISES_EVERY == 0:
            raise ValueError(f"no {tick.number}")
        self.handle(tick)


class SoakTopology:
    """An intake and three observers."""

    def build(self, builder: TopologyBuilder) -> None:
        """Add the containers."""
        intake = builder.add(Intake("intake", scope=builder.bus))
        builder.add_report(intake.report)
        for name, cls in (("ledger", Observer), ("stalling", Stalling), ("raising", Raising)):
            builder.add(cls(name, builder, None))


class ProcessorWaits:
    """For how long threads of this process could run and no processor was free.

    A thread that has to wait while it holds the interpreter's lock holds up the event loop too.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int]] = {}  # by thread: a file, and its last figure
        self.passed()

    def passed(self) -> float:
        """Return the seconds since the last call, of all threads together."""
        before = self._known
        self._known = {}
        total = 0
        for thread in threading.enumerate():
            file, last = before.pop(thread.native_id or 0, (-1, 0))
            with contextlib.suppress(OSError):  # it has ended, or the system does not tell
                if file < 0:
                    file = os.open(f"/proc/self/task/{thread.native_id}/schedstat", os.O_RDONLY)
                now = int(os.pread(file, 100, 0).split()[1])
                total += now - last
                self._known[thread.native_id or 0] = (file, now)
        for file, _ in before.values():
            os.close(file)
        return total / 1e9

    def close(self) -> None:
        """Close the files."""
        for file, _ in self._known.values():
            os.close(file)
        self._known = {}


class Soak:
    """One run.

    Args:
        folder: Where results go.
        seconds: How long.
        rate: Events a second.
        virtual: Whether to wait for nobody.
    """

    def __init__(self, folder: str, seconds: float, rate: int, *, virtual: bool) -> None:
        self.storage = LocalStorage(folder)
        self.seconds = seconds
        self.rate = rate
        self.virtual = virtual
        self.accounts = Accounts()
        self.last_number = 0
        self.resident: list[tuple[float, int]] = []
        self.stalls = np.zeros(20_000, dtype=np.int64)  # by tenths of a millisecond
        self.closed: asyncio.Queue[str] = asyncio.Queue(maxsize=0 if virtual else 64)
        self.process = psutil.Process()
        self.started = time.monotonic()

    async def source(self) -> AsyncIterator[Event]:
        """Yield events at the rate, some at a time."""
        batch = max(round(self.rate * BATCH_S), 1)
        for number in range(1, round(self.rate * self.seconds) + 1):
            if number % batch == 0:
                await self.pace(self.started + number / self.rate)
            yield Tick(number * 1_000_000_000 // self.rate, number)

    async def pace(self, until: float) -> None:
        """Wait for the time at which an event is due."""
        await asyncio.sleep(0.0 if self.virtual else max(until - time.monotonic(), 0.0))

    async def run(self) -> None:
        """Take events, check windows, come and go, and look at the clock, all at once."""
        registry = Registry()
        registry.register("topologies", "soak", SoakTopology)
        gc.collect()
        gc.freeze()  # as services do once they are up: what lives on is not looked through again
        self.started = time.monotonic()
        store = await ResultStore.create(self.storage, "soak")
        session = RollingSession(
            LifecycleManager(registry=registry),
            store,
            WindowSpec(workflow_id="soak", phase_name="session", topology="soak"),
            self.source(),
            rolls=[EveryDuration(1.0)],
            keep=10,
            on_window=self.note,
        )
        helpers = [asyncio.create_task(it) for it in (self.watch(), self.visit(session))]
        checker = asyncio.create_task(self.check())
        await session.run()
        for helper in helpers:
            helper.cancel()
        await asyncio.wait(helpers)
        self.closed.put_nowait("")
        await checker
        self.accounts.gaps += session.counts.events - self.accounts.events

    def note(self, summary: WindowSummary) -> None:
        """Have a window checked."""
        self.closed.put_nowait(summary.window_id)

    async def watch(self) -> None:
        """Note by how much a timer is late."""
        with contextlib.closing(ProcessorWaits()) as waits:
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.001)
                late = time.monotonic() - before - 0.001 - waits.passed()
                self.stalls[min(max(round(late * 10_000), 0), len(self.stalls) - 1)] += 1

    async def visit(self, session: RollingSession) -> None:
        """Add a container to the window that is open, and remove it again, over and over."""
        number = 0
        while True:
            window, number = session.window, number + 1
            if window is not None:
                with contextlib.suppress(AdmfError):  # the window ends
                    await window.add(Observer(f"guest_{number:06}", None, window.bus))
                    await asyncio.sleep(0.0 if self.virtual else 0.2)
                    await window.remove(f"guest_{number:06}")
                    self.accounts.guests += 1
            await asyncio.sleep(0.0 if self.virtual else 0.1)

    async def check(self) -> None:
        """Check windows when they are closed, and remove them."""
        while window_id := await self.closed.get():
            folder = f"soak/session/{window_id}"
            check = await verify_window(self.storage, folder)
            self.accounts.torn += not check.complete
            for path in await self.storage.list_files(f"{folder}/containers"):
                self.take(json.loads(await self.storage.read(path)))
            self.accounts.windows += 1
            await self.storage.remove_tree(folder)
            self.resident.append((time.monotonic(), self.process.memory_info().rss))

    def take(self, document: dict[str, Any]) -> None:
        """Add up what a container of a window says."""
        for it in document["accounts"]:
            parts = it["handled"] + it["dropped"] + it["dead_lettered"] + it["queued"]
            self.accounts.unbalanced += it["accepted"] != parts
            self.accounts.dropped += it["dropped"]
            self.accounts.dead_lettered += it["dead_lettered"]
        if document["container_id"] == "ledger":
            self.accounts.gaps += document["gaps"]
            if document["count"]:
                self.accounts.gaps += abs(document["first"] - self.last_number - 1)
                self.last_number = document["last"]
            self.accounts.events += document["count"]

    def figures(self) -> dict[str, float]:
        """Return what was measured."""
        took = time.monotonic() - self.started
        late = np.repeat(np.arange(len(self.stalls)) / 10, self.stalls) if took < 1e5 else []
        return {
            "events_per_second": self.accounts.events / took,
            "rss_drift_mb": self.drift() / MEGABYTE,
            "rss_mb": self.resident[-1][1] / MEGABYTE,
            "stall_p50_ms": float(np.quantile(late, 0.5)) if len(late) else 0.0,
            "stall_p999_ms": float(np.quantile(late, 0.999)) if len(late) else 0.0,
            "stall_max_ms": float(np.max(late)) if len(late) else 0.0,
        }

    def drift(self) -> float:
        """Return by how much the resident set has grown since the warm-up, bytes."""
        warm = [rss for _, rss in self.resident[len(self.resident) // 5 :]]
        tenth = max(len(warm) // 10, 1)
        return statistics.median(warm[-tenth:]) - statistics.median(warm[:tenth])


def misses(soak: Soak, figures: dict[str, float]) -> list[str]:
    """Return what was required and is not so."""
    found = soak.accounts
    required = {
        "events lost or doubled": found.gaps == 0,
        "accounts that do not add up": found.unbalanced == 0,
        "windows that are not complete": found.torn == 0,
        "no event was dropped by the subscriber that stalls": found.dropped > 0,
        "no handler has raised": found.dead_lettered > 0,
        "no container was added and removed": found.guests > 0,
    }
    if not soak.virtual:
        required["resident set has grown"] = figures["rss_drift_mb"] <= MOST_DRIFT_MB
        required["event loop was held"] = figures["stall_p999_ms"] < MOST_STALL_MS
    return [name for name, holds in required.items() if not holds]


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1_800.0)
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--virtual", action="store_true", help="wait for nobody")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.virtual:
            Stalling.stall_s, Stalling.stall_turns = 0.0, 500
        soak = Soak(folder, options.seconds, options.rate, virtual=options.virtual)
        asyncio.run(soak.run())
        figures = soak.figures()
    missed = misses(soak, figures)
    report = {**msgspec.structs.asdict(soak.accounts), **figures, "missed": missed}
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        for name, value in report.items():
            shown = f"{value:,.2f}" if isinstance(value, float) else value
            sys.stdout.write(f"{name:20} {shown}\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

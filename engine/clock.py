"""Where time comes from: the machine, or a test or replay that sets it."""

from __future__ import annotations

import heapq
import itertools
import time
from typing import Protocol

import anyio
import anyio.lowlevel

from admf.engine.errors import StateError

__all__ = ["Clock", "SimulatedClock", "WallClock"]

NS_PER_SECOND = 1_000_000_000


class Clock(Protocol):
    """Tells the time and waits for it."""

    def now_ns(self) -> int:
        """Return the time in nanoseconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed instant; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once this many seconds have passed; always a checkpoint."""
        ...


class WallClock:
    """The machine's own clock."""

    def now_ns(self) -> int:
        """Return the time in nanoseconds since 1970-01-01 UTC."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Return seconds since some fixed instant; never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return once this many seconds have passed."""
        await anyio.sleep(seconds)


class SimulatedClock:
    """A clock that stands still until it is advanced.

    Args:
        start_ns: Nanoseconds since 1970-01-01 UTC.
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._start_ns = start_ns
        self._now_ns = start_ns
        self._sleepers: list[tuple[int, int, anyio.Event]] = []
        self._tickets = itertools.count()

    def now_ns(self) -> int:
        """Return the simulated time in nanoseconds since 1970-01-01 UTC."""
        return self._now_ns

    def monotonic(self) -> float:
        """Return the simulated seconds since the start."""
        return (self._now_ns - self._start_ns) / NS_PER_SECOND

    def advance_to(self, now_ns: int) -> None:
        """Set the time and wake every sleeper that is due.

        Sleepers wake in the order of their deadlines, those of one deadline in the order in which
        they went to sleep (trio shuffles what one call wakes; asyncio does not). All of them then
        see the new time, not their deadline.

        Args:
            now_ns: Nanoseconds since 1970-01-01 UTC.

        Raises:
            StateError: The time lies before the present one.
        """
        if now_ns < self._now_ns:
            raise StateError(
                f"the clock stands at {self._now_ns} ns and cannot go back to {now_ns}"
            )
        self._now_ns = now_ns
        while self._sleepers and self._sleepers[0][0] <= now_ns:
            heapq.heappop(self._sleepers)[2].set()

    async def sleep(self, seconds: float) -> None:
        """Return once the clock has been advanced by this many seconds."""
        deadline_ns = self._now_ns + round(seconds * NS_PER_SECOND)
        if deadline_ns <= self._now_ns:
            await anyio.lowlevel.checkpoint()
            return
        sleeper = (deadline_ns, next(self._tickets), anyio.Event())
        heapq.heappush(self._sleepers, sleeper)
        try:
            await sleeper[2].wait()
        finally:
            if not sleeper[2].is_set():
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

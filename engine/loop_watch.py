"""Watches how long an event loop is held by whatever runs in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil

import anyio

from admf.engine.observing import LoopReport, Observer, Observers

__all__ = ["LoopWatch"]


class LoopWatch:
    """Asks for a turn of the event loop again and again, and reports how late the turns come.

    It sees what holds the loop, be it admf's or not: a stall of s seconds makes a turn late by up
    to s. Start it in a task of its own::

        group.start_soon(LoopWatch([collector]).watch)

    Args:
        observers: Are told after each period; see `Observer.loop_held`.
        every_s: Seconds between two turns; a stall that is shorter may fall between them.
        period_s: Seconds after which there is a report.

    Raises:
        ValueError: A time is not positive.
    """

    def __init__(
        self,
        observers: Iterable[Observer] | Observers,
        *,
        every_s: float = 0.01,
        period_s: float = 10.0,
    ) -> None:
        if not 0 < every_s <= period_s:
            raise ValueError(f"needed is 0 < every_s <= period_s, got {every_s} and {period_s}")
        self._observers = Observers.of(observers)
        self._every_s = every_s
        self._period_s = period_s

    async def watch(self) -> None:
        """Watch until cancelled; what was seen till then is reported."""
        while True:
            delays: list[float] = []
            try:
                await self._sample(delays)
            finally:
                self._tell(delays)

    async def _sample(self, delays: list[float]) -> None:
        until = anyio.current_time() + self._period_s
        while (start := anyio.current_time()) < until:
            await anyio.sleep(self._every_s)
            delays.append(max(anyio.current_time() - start - self._every_s, 0.0))

    def _tell(self, delays: Sequence[float]) -> None:
        if delays:
            self._observers.tell("loop_held", _report(sorted(delays), tuple(delays)))


def _report(ranked: Sequence[float], delays: tuple[float, ...]) -> LoopReport:
    def quantile(share: float) -> float:
        return ranked[ceil(share * len(ranked)) - 1]

    return LoopReport(delays, p50=quantile(0.5), p99=quantile(0.99), max=ranked[-1])

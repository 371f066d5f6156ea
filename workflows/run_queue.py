"""The runs of a host: some at work, others waiting for their turn, and those that are over."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from functools import partial
from typing import NamedTuple

from admf.engine.shielding import Joinable, finish
from admf.workflows.run import Run

__all__ = ["RunQueue"]


class _Waiting(NamedTuple):
    """A run that has yet to begin."""

    number: int
    run: Run
    context: contextvars.Context


class RunQueue:
    """Lets runs begin in the order of their numbers, so many at a time; each in a task of its own.

    Args:
        max_runs: Runs that are at work at once.
        kept: Runs that are over and still can be looked up.
    """

    def __init__(self, max_runs: int, kept: int) -> None:
        self._max_runs = max_runs
        self._kept = kept
        self._waiting: list[_Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: dict[int, Run] = {}
        self._closing = Joinable()

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs in the order of their numbers."""
        return tuple(self._runs[number] for number in sorted(self._runs))

    def add(self, number: int, run: Run) -> None:
        """Let a run begin when it has its turn.

        Args:
            number: Its place in the order.
            run: The run; it has the context variables of the caller.
        """
        self._forget_oldest()
        self._runs[number] = run
        heapq.heappush(self._waiting, _Waiting(number, run, contextvars.copy_context()))
        self._start()

    async def aclose(self) -> None:
        """Cancel all runs and wait for what they still write; idempotent, and can be joined."""
        await finish(lambda: self._closing.run(self._close))

    async def _close(self) -> None:
        self._waiting.clear()
        for run in self._runs.values():
            run.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self) -> None:
        while self._waiting and len(self._tasks) < self._max_runs:
            _, run, context = heapq.heappop(self._waiting)
            if not run.is_over:
                task = asyncio.create_task(run.begin(), name=repr(run), context=context)
                self._tasks.add(task)
                task.add_done_callback(partial(self._go_on, run))

    def _go_on(self, run: Run, task: asyncio.Task[None]) -> None:
        run.give_up()
        self._tasks.discard(task)
        self._start()

    def _forget_oldest(self) -> None:
        over = [number for number in sorted(self._runs) if self._runs[number].is_over]
        for number in over[: len(over) - self._kept]:
            del self._runs[number]

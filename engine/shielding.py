"""Work that a cancellation cannot cut short, and work that many can wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import anyio

__all__ = ["DONE", "MAX_RESTARTS", "Joinable", "finish"]

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

MAX_RESTARTS = 10
"""How often `finish` begins again when the work's own task is cancelled, before it gives in."""


async def finish(work: Work) -> None:
    """Run ``work`` to its end even if the caller is cancelled; then let the cancellation happen.

    An anyio scope delivers its cancellation at the caller's next checkpoint by itself. A native
    ``Task.cancel()`` pierces anyio's shield and comes only once; so on asyncio the work runs in a
    task of its own, which the caller waits for however often it is cancelled. The count that
    ``Task.cancelling`` keeps is left alone, so ``asyncio.timeout`` and task groups around the
    caller see a cancellation that came when the work was over.

    Args:
        work: Called again if its own task is cancelled, as by a host that cancels all its tasks; it
            must be able to go on where it was interrupted.

    Raises:
        asyncio.CancelledError: The caller was cancelled natively; what ``work`` raised, if it did,
            is its cause.
    """
    if _runs_on_asyncio():
        await _finish_beside(work)
    else:
        with anyio.CancelScope(shield=True):
            await work()


def _runs_on_asyncio() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


async def _finish_beside(work: Work) -> None:
    cancellation: asyncio.CancelledError | None = None
    restarts = 0
    task = asyncio.create_task(work())
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                # The latest is kept: behind the shield only native ones arrive, and no anyio scope
                # further out may swallow those.
                cancellation = error
            if task.cancelled() and task.cancelling() and restarts < MAX_RESTARTS:
                restarts += 1
                task = asyncio.create_task(work())
    try:
        if cancellation is not None:
            raise cancellation from (None if task.cancelled() else task.exception())
        task.result()
    finally:
        del cancellation, task  # they refer to this frame


class Joinable:
    """Work that is done once: all who ask for it wait for its end and get the same outcome.

    If the one who does it is cancelled, the next one who asks does it again.
    """

    __slots__ = ("_done", "_error", "_lock")

    def __init__(self) -> None:
        self._lock: anyio.Lock | None = None  # made when it is needed: there are many of us
        self._done = False
        self._error: Exception | None = None

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work, or wait for whoever is at it; raise what it raised."""
        if not self._done:
            self._lock = self._lock or anyio.Lock(fast_acquire=True)
            async with self._lock:
                self._done = self._done or await self._do(work)
        if self._error is not None:
            raise self._error

    def run_now(self, work: Callable[[], None]) -> None:
        """Do work that takes no time, unless it was done; raise what it raised."""
        if not self._done:
            self._done = True
            try:
                work()
            except Exception as error:  # noqa: BLE001 - raised to everyone who asks
                self._error = error
        if self._error is not None:
            raise self._error

    async def _do(self, work: Callable[[], Awaitable[None]]) -> bool:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - raised to everyone who asks
            self._error = error
        return True


DONE = Joinable()
"""Stands for all work that was done and did not fail: there is much of it."""
DONE.run_now(lambda: None)

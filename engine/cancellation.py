"""Tells a cancellation from outside apart from a CancelledError that code raised by itself."""

from __future__ import annotations

import asyncio
import math

import anyio

__all__ = ["CATCHABLE", "cancellations", "current_task", "is_cancelled"]

CATCHABLE: tuple[type[BaseException], ...] = (Exception, asyncio.CancelledError)
"""What a handler may raise of its own; everything else ends the process or the task."""


def current_task() -> object:
    """Return what stands for the current task: it is equal to itself, and to no other's."""
    return _asyncio_task() or anyio.get_current_task().id


def cancellations() -> int:
    """Return how many native cancellations the current task was asked for and has not undone."""
    task = _asyncio_task()
    return task.cancelling() if task is not None else 0


def _asyncio_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # not on asyncio: there a cancellation always comes from a scope
        return None


def is_cancelled(since: int = 0) -> bool:
    """Whether the current task has been cancelled, natively or by an anyio scope around it.

    Args:
        since: What `cancellations` was when the work at hand began: a task that works on after a
            cancellation, be it in a shielded scope or because it ignores it, still counts that one.
    """
    return anyio.current_effective_deadline() == -math.inf or cancellations() > since

"""Tells a cancellation from outside apart from a CancelledError that code raised by itself."""

from __future__ import annotations

import asyncio
import math

import anyio

__all__ = ["CATCHABLE", "cancellations", "is_cancelled"]

CATCHABLE: tuple[type[BaseException], ...] = (Exception, asyncio.CancelledError)
"""What a handler may raise of its own; everything else ends the process or the task."""


def cancellations() -> int:
    """Return how many native cancellations the current task was asked for and has not undone."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # not on asyncio: there a cancellation always comes from a scope
        return 0
    return task.cancelling() if task is not None else 0


def is_cancelled(since: int = 0) -> bool:
    """Whether the current task has been cancelled, natively or by an anyio scope around it.

    Args:
        since: What `cancellations` was when the work at hand began: a task that works on after a
            cancellation, be it in a shielded scope or because it ignores it, still counts that one.
    """
    return anyio.current_effective_deadline() == -math.inf or cancellations() > since

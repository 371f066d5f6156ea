"""Tells a cancellation from outside apart from a CancelledError that code raised by itself."""

from __future__ import annotations

import asyncio
import math

import anyio

__all__ = ["CATCHABLE", "is_cancelled"]

CATCHABLE: tuple[type[BaseException], ...] = (Exception, asyncio.CancelledError)
"""What a handler may raise of its own; everything else ends the process or the task."""


def is_cancelled() -> bool:
    """Whether the current task has been cancelled, natively or by an anyio scope around it."""
    if anyio.current_effective_deadline() == -math.inf:
        return True
    try:
        task = asyncio.current_task()
    except RuntimeError:  # not on asyncio: there a cancellation always comes from outside
        return False
    return task is not None and task.cancelling() > 0

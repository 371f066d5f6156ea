"""Binds the ids of run, phase and window to the log lines that are written within them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType

import structlog

from admf.engine.activity import Activity, ActivityKind
from admf.engine.observing import Observer

__all__ = ["LogContext"]

_NAMES: Mapping[ActivityKind, str] = MappingProxyType(
    {"run": "run_id", "phase": "phase", "window": "window_id", "flush": "step"}
)


class LogContext(Observer):
    """Sets ``run_id``, ``phase`` and ``window_id`` among structlog's context variables.

    They are those of the task that the run or window is in, and of tasks begun within, never those
    of the host. They show in all lines of structlog, also in those of strategies and handlers, if
    the host has ``structlog.contextvars.merge_contextvars`` among its processors.
    """

    def within(self, activity: Activity) -> AbstractContextManager[object]:
        """Bind the id."""
        return structlog.contextvars.bound_contextvars(**{_NAMES[activity.kind]: activity.name})

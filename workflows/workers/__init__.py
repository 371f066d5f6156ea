"""Execution windows on several processes."""

from __future__ import annotations

from admf.workflows.workers.executor import ProcessExecutor, usable_cores

__all__ = ["ProcessExecutor", "usable_cores"]

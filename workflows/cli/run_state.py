"""Whether a run that has not ended is under way, or was cut off."""

from __future__ import annotations

from pathlib import Path

import anyio

from admf.engine.clock import WallClock
from admf.engine.lock import read_lock
from admf.engine.lock_owner import LockOwner, is_stale
from admf.engine.storage import LocalStorage
from admf.workflows.cli.rendering import path_text

__all__ = ["state_of_unfinished"]


def state_of_unfinished(folder: Path) -> str:
    """Say what a run is that has not ended: ``under way`` and where, or ``cut off``.

    Args:
        folder: The run's folder.

    Raises:
        StorageError: Its lock cannot be read.
    """
    owner = anyio.run(_owner, folder)
    now_ns = WallClock().now_ns()
    if owner is None or is_stale(owner, now_ns):
        return f"cut off: admf resume {path_text(str(folder))}"
    return f"under way, {owner.describe(now_ns)}"


async def _owner(folder: Path) -> LockOwner | None:
    return await read_lock(LocalStorage(folder), "")

"""Whether a run that has not ended is under way, or was cut off."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import anyio

from admf.engine.clock import WallClock
from admf.engine.lock import read_lock
from admf.engine.lock_owner import LockOwner, is_stale
from admf.engine.storage import LocalStorage
from admf.workflows.cli.rendering import path_text

__all__ = ["RunState", "state_of_unfinished"]


class RunState(NamedTuple):
    """What is known of a run that has not ended.

    Args:
        folder: Its folder.
        owner: The process that holds its lock, or held it and is gone; empty if there is none.
        is_under_way: Whether that process is at work.
    """

    folder: Path
    owner: str
    is_under_way: bool

    def __str__(self) -> str:
        if self.is_under_way:
            return f"under way, {self.owner}"
        return f"cut off: admf resume {path_text(str(self.folder))}"


def state_of_unfinished(folder: Path) -> RunState:
    """Find out whether a run that has not ended is under way.

    Args:
        folder: The run's folder.

    Raises:
        StorageError: Its lock cannot be read.
    """
    owner = anyio.run(_owner, folder)
    now_ns = WallClock().now_ns()
    if owner is None:
        return RunState(folder, "", is_under_way=False)
    return RunState(folder, owner.describe(now_ns), not is_stale(owner, now_ns))


async def _owner(folder: Path) -> LockOwner | None:
    return await read_lock(LocalStorage(folder), "")

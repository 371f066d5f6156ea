"""Whether a run that has not ended is under way, or was cut off."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import anyio
import msgspec

from admf.engine.clock import WallClock
from admf.engine.documents import read_document_from
from admf.engine.local_folder import LocalFolder
from admf.engine.lock import read_lock
from admf.engine.lock_owner import LockOwner, is_stale
from admf.engine.result_names import RUN_FILE
from admf.engine.storage import LocalStorage
from admf.workflows.cli.rendering import path_text
from admf.workflows.results.records import LIVE

__all__ = ["RunState", "how_to_go_on", "state_of_unfinished"]


class RunState(NamedTuple):
    """What is known of a run that has not ended.

    Args:
        folder: Its folder.
        owner: The process that holds its lock, or held it and is gone; empty if there is none.
        is_under_way: Whether that process is at work.
        workflow: Its workflow.
    """

    folder: Path
    owner: str
    is_under_way: bool
    workflow: str = ""

    def __str__(self) -> str:
        if self.is_under_way:
            return f"under way, {self.owner}"
        if self.workflow == LIVE:
            return "cut off: LiveSession(..., resume=True) goes on"
        return f"cut off: admf resume {path_text(str(self.folder))}"


class _Head(msgspec.Struct, frozen=True):
    workflow: str


def how_to_go_on(folder: Path, workflow: str) -> str:
    """Return for people what goes on with a run that was killed: a live one needs its source."""
    return "`LiveSession(..., resume=True)`" if workflow == LIVE else f"`admf resume {folder}`"


def state_of_unfinished(folder: Path) -> RunState:
    """Find out whether a run that has not ended is under way.

    Args:
        folder: The run's folder.

    Raises:
        StorageError: Its lock or its record cannot be read.
    """
    workflow = read_document_from(LocalFolder(folder), RUN_FILE, _Head).workflow
    owner = anyio.run(_owner, folder)
    now_ns = WallClock().now_ns()
    if owner is None:
        return RunState(folder, "", is_under_way=False, workflow=workflow)
    return RunState(folder, owner.describe(now_ns), not is_stale(owner, now_ns), workflow)


async def _owner(folder: Path) -> LockOwner | None:
    return await read_lock(LocalStorage(folder), "")

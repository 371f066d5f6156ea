"""Keeps a run within its memory: results go to disk in time, windows wait, and the newest yields.

This is what ``results_storage: auto`` runs on. When to do what is for `MemoryGovernor` to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import anyio

from admf.engine.container import Container
from admf.engine.errors import MemoryLimitError, WindowError
from admf.engine.memory import MemoryGovernor, MemoryProbe, SystemMemory
from admf.engine.storage import Storage
from admf.engine.tiered import TieredStorage

__all__ = ["GuardedWindow", "MemoryGuard", "held_by"]

LOOK_EVERY_S = 0.05
"""A process that fills 500 MB a second takes 25 MB meanwhile, 5 % of a limit of 512 MB."""

TRACERS_MEASURED = 32
"""Of how many containers of a window it is measured what they hold."""

DATA_PER_BYTE = 8
"""Python objects take this many times the memory of the JSON that they are decoded from."""


class GuardedWindow(Protocol):
    """What is asked of a window."""

    def give_up(self, error: WindowError) -> None:
        """End early: flush what ran, and fail."""
        ...

    @property
    def containers(self) -> Sequence[Container]:
        """Its containers."""
        ...


class MemoryGuard:
    """Looks at the memory of one run, and sees to it that there is enough.

    Args:
        disk: Where results go in the end.
        probe: Tells the state of the memory; that of the system by default.

    Attributes:
        storage: Keeps results in memory as long as there is room.
    """

    def __init__(self, disk: Storage, probe: MemoryProbe | None = None) -> None:
        self._governor = MemoryGovernor(probe or SystemMemory())
        self.storage = TieredStorage(disk, self.is_on_disk)
        self._open: dict[GuardedWindow, None] = {}
        self._yielding: GuardedWindow | None = None
        self._spilling = False
        self._looked = anyio.Event()

    def is_on_disk(self) -> bool:
        """Whether results, and what containers gather, are to go to disk."""
        return self._governor.on_disk

    async def admit(self, window: GuardedWindow) -> None:
        """Return when a window may open; it counts as open from then on."""
        while not self._governor.may_open(len(self._open)):
            await self._looked.wait()
        self._open[window] = None

    def leave(self, window: GuardedWindow) -> None:
        """Take note that a window is closed, or was never opened."""
        self._open.pop(window, None)
        self._tell()

    async def watch(self) -> None:
        """Look again and again until cancelled.

        Raises:
            StorageError: Results cannot be moved to disk; they are still in memory.
        """
        async with anyio.create_task_group() as group:
            while True:
                self.look()
                if self.is_on_disk() and self.storage.held_bytes and not self._spilling:
                    self._spilling = True
                    group.start_soon(self._spill)
                await anyio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Take in the state of the memory, and have the newest window yield if that is the last."""
        self._governor.look(self._managed_bytes())
        self._tell()
        newest = next(reversed(self._open), None)
        waits = self._yielding is not None and self._yielding in self._open
        if self._governor.must_give_up and newest is not None and not waits:
            self._yielding = newest
            newest.give_up(MemoryLimitError(_refusal(self._governor.describe())))

    async def keeps(self, folder: str) -> bool:
        """Whether results of a folder may stay in memory as data; otherwise they go to disk now."""
        held = self.storage.held_bytes
        if not self._governor.has_room(DATA_PER_BYTE * held) or await self.storage.saved(folder):
            await self.storage.spill(folder)
            return False
        return True

    async def _spill(self) -> None:
        try:
            await self.storage.spill()
        finally:
            self._spilling = False

    def _managed_bytes(self) -> int:
        """Return what could go to disk; only of interest when deciding whether to go back."""
        held = self.storage.held_bytes
        if not self._governor.on_disk:
            return held
        return held + sum(held_by(window.containers) for window in self._open)

    def _tell(self) -> None:
        self._looked.set()
        self._looked = anyio.Event()


def held_by(containers: Sequence[Container]) -> int:
    """Estimate what tracers hold, at a cost that does not grow with the containers."""
    tracers = [it.tracer for it in containers if it.tracer is not None]
    sample = tracers[:: 1 + len(tracers) // TRACERS_MEASURED]
    held = sum(tracer.size_bytes() for tracer in sample)
    return held * len(tracers) // len(sample) if sample else 0


def _refusal(state: str) -> str:
    return (
        f"the window was ended to stay within the memory ({state}); resume the run, with a smaller "
        "batch, fewer traced events, or more memory"
    )

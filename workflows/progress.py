"""How far a run is, for whoever looks on."""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

import anyio
import msgspec

from admf.engine.clock import Clock

__all__ = ["ProgressFeed", "ProgressMeter", "ProgressUpdates", "RunProgress", "RunStatus"]

RunStatus: TypeAlias = Literal["queued", "running", "completed", "failed", "cancelled"]


class RunProgress(msgspec.Struct, frozen=True):
    """How far a run is.

    Args:
        phase: Name of the phase that runs; empty before the first.
        window_id: The execution window that runs; empty if it is the phase's only one.
        bars_done: Bars of the window that were handled.
        bars_total: Bars of the window.
        lanes: Lanes that handle them.
        windows_done: Execution windows of the phase that are over.
        bars_per_s: Bars that the run has handled per second, in all its windows so far; None until
            that can be told.
        eta_s: Seconds until the window is over if it goes on like that; how many windows follow is
            for the sequence to know. None until that can be told.
        status: How the run is.
    """

    phase: str
    window_id: str
    bars_done: int
    bars_total: int
    lanes: int
    windows_done: int = 0
    bars_per_s: float | None = None
    eta_s: float | None = None
    status: RunStatus = "running"


class ProgressMeter:
    """Adds to the progress of a run how fast it is.

    Args:
        clock: Its monotonic time is used.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began: float | None = None
        self._bars = 0
        self._open: dict[tuple[str, str], int] = {}

    def measured(self, progress: RunProgress) -> RunProgress:
        """Return the progress with the speed as of now."""
        now = self._clock.monotonic()
        if self._began is None:
            self._began = now
        self._count(progress)
        elapsed = now - self._began
        if not self._bars or elapsed <= 0:
            return progress
        speed = self._bars / elapsed
        left = (progress.bars_total - progress.bars_done) / speed
        return msgspec.structs.replace(progress, bars_per_s=speed, eta_s=left)

    def _count(self, progress: RunProgress) -> None:
        window, done = (progress.phase, progress.window_id), progress.bars_done
        self._bars += max(done - self._open.pop(window, 0), 0)
        if done < progress.bars_total:
            self._open[window] = done


class ProgressFeed:
    """The latest progress of a run, for any number of consumers."""

    def __init__(self) -> None:
        self.latest = RunProgress("", "", 0, 0, 0, status="queued")
        self.number = 0
        self.is_over = False
        self._changed: anyio.Event | None = None  # made only when somebody waits

    def tell(self, progress: RunProgress) -> None:
        """Have a newer progress."""
        self.latest = progress
        self.number += 1
        self._wake()

    def tell_status(self, status: RunStatus) -> None:
        """Have the same progress with another status."""
        self.tell(msgspec.structs.replace(self.latest, status=status))

    def end(self, status: RunStatus) -> None:
        """Tell how the run ended, which is the last that there is to tell."""
        self.is_over = True
        self.tell(msgspec.structs.replace(self.latest, status=status, eta_s=None))

    async def changed(self) -> None:
        """Wait for the next progress."""
        self._changed = self._changed or anyio.Event()
        await self._changed.wait()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


class ProgressUpdates:
    """Yields the progress of a run, beginning with how it is now, until the run is over.

    Who is slower than the run gets the latest progress and misses those in between. The last one
    says how the run ended.
    """

    def __init__(self, feed: ProgressFeed) -> None:
        self._feed = feed
        self._seen = -1

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RunProgress:
        """Return the latest progress, once it is one that has not been returned before."""
        feed = self._feed
        while self._seen == feed.number:
            if feed.is_over:
                raise StopAsyncIteration
            await feed.changed()
        self._seen = feed.number
        return feed.latest

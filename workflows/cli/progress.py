"""How far a run is, on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from admf.workflows.cli.streams import can_draw, write_error
from admf.workflows.progress import RunProgress

if TYPE_CHECKING:
    from rich.progress import Progress as Display

__all__ = ["ProgressBar", "ProgressLines", "Report", "progress_display", "progress_report"]

Report: TypeAlias = Callable[[RunProgress], None]
Clock: TypeAlias = Callable[[], float]

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_FRAMES = 0.1


@contextmanager
def progress_report(*, quiet: bool) -> Generator[Report | None]:
    """Give what is to be called as bars are handled; None if nothing is to be shown."""
    if quiet:
        yield None
    elif can_draw():
        with progress_display() as display:
            yield ProgressBar(display).show
    else:
        lines = ProgressLines()
        try:
            yield lines.show
        finally:
            lines.finish()


class ProgressLines:
    """Writes a line every few seconds, and one at the end of each phase.

    The first window of a phase, which may be its only one, has a line at its end. The end of the
    others is seen when another phase begins, or all is over.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._pace = _Pace(clock)
        self._due = _Every(_SECONDS_BETWEEN_LINES, clock)
        self._phases: dict[str, _PhaseSoFar] = {}

    def show(self, progress: RunProgress) -> None:
        """Take note of how far a window is."""
        text = self._pace.text(progress)
        phase = self._phases.get(progress.phase)
        if phase is None:
            self.finish()
            phase = self._phases[progress.phase] = _PhaseSoFar(self._clock())
        phase.take(progress)
        if progress.windows_done == 0 and progress.bars_done == progress.bars_total:
            phase.is_told = True
        elif not self._due.now():
            return
        write_error(f"{_name(progress)}: {text}\n")

    def finish(self) -> None:
        """Tell how the phases ended that have not been told to their end."""
        for name, phase in self._phases.items():
            if not phase.is_told:
                phase.is_told = True
                write_error(f"{name}: {phase.text(self._clock())}\n")


class _PhaseSoFar:
    """What the windows of a phase that are over add up to."""

    def __init__(self, began: float) -> None:
        self.is_told = True
        self._began = began
        self._windows = 0
        self._bars = 0

    def take(self, progress: RunProgress) -> None:
        if progress.bars_done == progress.bars_total:
            self._windows += 1
            self._bars += progress.bars_total
            self.is_told = False

    def text(self, now: float) -> str:
        return f"{self._windows:,} windows, {self._bars:,} bars, {now - self._began:.1f} s"


class ProgressBar:
    """Draws a bar. It is drawn when there is news, so it needs no thread.

    Args:
        display: See `progress_display`; it is started and stopped by its owner.
        clock: Seconds that never go back.
    """

    def __init__(self, display: Display, clock: Clock = time.monotonic) -> None:
        self._display = display
        self._task = display.add_task("reading data", total=None, text="")
        self._pace = _Pace(clock)
        self._due = _Every(_SECONDS_BETWEEN_FRAMES, clock)

    def show(self, progress: RunProgress) -> None:
        """Draw how far a window is, unless something was drawn just before."""
        text = self._pace.text(progress)
        self._display.update(
            self._task,
            description=_name(progress),
            completed=progress.bars_done,
            total=progress.bars_total,
            text=text,
        )
        if self._due.now():
            self._display.refresh()


def progress_display() -> Display:
    """Return what draws a progress bar on standard error, and removes it in the end."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
    )


class _Every:
    """Says when it is time again."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._last = clock()

    def now(self) -> bool:
        now = self._clock()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True


class _Pace:
    """Measures the speed of the window that runs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._window = ("", "")
        self._began = 0.0

    def text(self, progress: RunProgress) -> str:
        """Return bars, bars per second and the time that is left or, in the end, was taken."""
        now = self._clock()
        window = (progress.phase, progress.window_id)
        if window != self._window:
            self._window, self._began = window, now
        done, total, elapsed = progress.bars_done, progress.bars_total, now - self._began
        windows = progress.windows_done
        parts = [f"{windows:,} windows done"] if windows else []
        parts.append(f"{done:,} of {total:,} bars")
        if done and elapsed > 0:
            speed = done / elapsed
            left = f"{_duration((total - done) / speed)} left"
            parts += [f"{speed:,.0f} bars/s", f"{elapsed:.1f} s" if done == total else left]
        return ", ".join(parts)


def _name(progress: RunProgress) -> str:
    return f"{progress.phase} {progress.window_id}".rstrip()


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))

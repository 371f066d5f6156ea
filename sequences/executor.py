"""Where execution windows run: in this process, or on several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from admf.engine.errors import MemoryLimitError, WindowError
from admf.engine.failures import ungroup
from admf.engine.lifecycle import LifecycleManager
from admf.engine.results import WindowResults
from admf.engine.summary import WindowSummary
from admf.engine.window import ExecutionWindow
from admf.engine.window_spec import WindowSpec

__all__ = ["InlineExecutor", "WindowExecutor", "WindowObserver", "run_to_its_end", "run_window"]


class WindowObserver(Protocol):
    """Is told of the windows of a phase."""

    def opened(self, window: ExecutionWindow) -> None:
        """A window is about to start in this process."""
        ...

    def watch(self, spec: WindowSpec) -> Callable[[int], None] | None:
        """Return what is to be told how many bars a window has handled; None if nothing is."""
        ...

    def closed(self, summary: WindowSummary) -> None:
        """A window is over, also if it failed or was cancelled."""
        ...


class WindowExecutor(Protocol):
    """Runs execution windows; what they leave behind does not depend on where they run."""

    @property
    def slots(self) -> int:
        """How many windows it runs side by side."""
        ...

    async def run(
        self, spec: WindowSpec, results: WindowResults, observer: WindowObserver, *, alone: bool
    ) -> WindowSummary:
        """Run a window to its end; one that fails says so in its summary.

        Args:
            spec: The window.
            results: Where its files go.
            observer: Is told of it.
            alone: Whether nothing runs beside it.

        Raises:
            ConfigError: It could not be built; UserCodeError likewise.
            DataError: Its data cannot be used.
            StorageError: Its results cannot be written.
            MemoryLimitError: It was ended because memory ran out.
        """
        ...

    def hurry(self) -> None:
        """Have windows that were cancelled end within seconds, even if results are lost."""
        ...


class InlineExecutor:
    """Runs windows in this process and event loop, one at a time.

    Args:
        lifecycle: Makes the windows.
    """

    slots = 1

    def __init__(self, lifecycle: LifecycleManager) -> None:
        self._lifecycle = lifecycle

    async def run(
        self,
        spec: WindowSpec,
        results: WindowResults,
        observer: WindowObserver,
        *,
        alone: bool,  # noqa: ARG002 - it always is
    ) -> WindowSummary:
        """Run a window; see `WindowExecutor`."""
        return await run_window(self._lifecycle.window(spec, results), observer)

    def hurry(self) -> None:
        """Have cancelled windows end soon."""
        self._lifecycle.hurry()

    async def aclose(self) -> None:
        """Let go of nothing, since it holds nothing."""


async def run_window(window: ExecutionWindow, observer: WindowObserver) -> WindowSummary:
    """Run a window to its end; one that fails says so in its summary.

    Raises:
        MemoryLimitError: It was ended because memory ran out, so there is no point in going on.
    """
    observer.opened(window)
    try:
        failure = await run_to_its_end(window)
    finally:
        if window.summary is not None:
            observer.closed(window.summary)
    if isinstance(failure, MemoryLimitError):
        raise failure
    if window.summary is None:
        raise failure or WindowError(f"{window!r} was closed before it ran")
    return window.summary


async def run_to_its_end(window: ExecutionWindow) -> BaseException | None:
    """Run a window, and return why it failed if it did."""
    failure: BaseException | None = None
    try:
        async with window:
            await window.run()
    except* WindowError as errors:
        failure = ungroup(errors)
    return failure

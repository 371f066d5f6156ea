"""Runs a phase: its sequence says which windows, the lifecycle manager gives each its life."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from admf.engine.errors import WindowError
from admf.engine.failures import ungroup
from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry, needs_method
from admf.engine.results import ResultStore
from admf.engine.summary import WindowSummary
from admf.engine.window import ExecutionWindow, WindowSpec
from admf.sequences.phase import PhaseConfig

__all__ = ["RunWindow", "Sequence", "Sequencer", "WindowObserver"]

RunWindow: TypeAlias = Callable[[WindowSpec], Awaitable[WindowSummary]]
"""Runs one execution window to its end and returns how it ended."""

_check_sequence = needs_method("run", "phase", "workflow_id", "run_window")


class Sequence(Protocol):
    """A pattern that runs a phase as one or more execution windows."""

    async def run(self, phase: PhaseConfig, workflow_id: str, run_window: RunWindow) -> None:
        """Run the windows of a phase; one may depend on how those before it ended."""
        ...


class WindowObserver(Protocol):
    """Is told of the windows of a phase."""

    def opened(self, window: ExecutionWindow) -> None:
        """A window is about to start."""
        ...

    def closed(self, summary: WindowSummary) -> None:
        """A window is over, also if it failed or was cancelled."""
        ...


class Sequencer:
    """Runs phases.

    Args:
        registry: Holds the sequences.
        lifecycle: Makes the windows.
    """

    def __init__(self, registry: Registry, lifecycle: LifecycleManager) -> None:
        registry.define_group("sequences", _check_sequence)
        self._registry = registry
        self._lifecycle = lifecycle

    async def run(
        self, phase: PhaseConfig, workflow_id: str, store: ResultStore, observer: WindowObserver
    ) -> None:
        """Run a phase.

        A window that fails is reported like any other; what concerns the whole study (its settings,
        its data, the storage) is raised.

        Raises:
            ConfigError: The phase names unknown plug-ins, or settings they refuse.
            DataError: The data cannot be used.
            StorageError: Results cannot be written.
        """

        async def run_window(spec: WindowSpec) -> WindowSummary:
            results = store.window(spec.phase_name, spec.window_id)
            return await _run_window(self._lifecycle.window(spec, results), observer)

        plugin = self._registry.get("sequences", phase.sequence)
        sequence: Sequence = plugin() if isinstance(plugin, type) else plugin
        await sequence.run(phase, workflow_id, run_window)


async def _run_window(window: ExecutionWindow, observer: WindowObserver) -> WindowSummary:
    observer.opened(window)
    failure: BaseException | None = None
    try:
        async with window:
            await window.run()
    except* WindowError as errors:
        failure = ungroup(errors)
    finally:
        if window.summary is not None:
            observer.closed(window.summary)
    if window.summary is None:
        raise failure or WindowError(f"{window!r} was closed before it ran")
    return window.summary

"""The lifecycle manager: what the execution windows of one host have in common."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

from admf.engine.clock import Clock, SimulatedClock
from admf.engine.memory_guard import MemoryGuard
from admf.engine.registry import Registry
from admf.engine.results import WindowResults
from admf.engine.storage import MemoryStorage, Storage
from admf.engine.teardown import Deadlines
from admf.engine.topology import Resources, TopologyBuilder
from admf.engine.window import ExecutionWindow
from admf.engine.window_spec import WindowSpec

__all__ = ["LifecycleManager"]


class LifecycleManager:
    """Makes execution windows, any number of which may be open side by side.

    Args:
        registry: Where topologies and their plug-ins are found; none are if not given.
        clock: Shared by all windows. By default each window has a simulated one of its own, which
            starts at 0, so that no trace depends on when it was made.
        resources: What the windows share.
        deadlines: How long the steps of a teardown may take.
        flushes_at_once: Containers of a window that write their results side by side.
        memory: Looks after the memory of windows with ``results_storage: auto``.

    Raises:
        ValueError: ``flushes_at_once`` is less than 1.
    """

    def __init__(
        self,
        *,
        registry: Registry | None = None,
        clock: Clock | None = None,
        resources: Resources | None = None,
        deadlines: Deadlines | None = None,
        flushes_at_once: int = 4,
        memory: MemoryGuard | None = None,
    ) -> None:
        if flushes_at_once < 1:
            raise ValueError(f"flushes_at_once must be at least 1, got {flushes_at_once}")
        self._registry = Registry() if registry is None else registry
        self._clock = clock
        self._resources = resources or Resources()
        self._deadlines = deadlines or Deadlines()
        self._flushes_at_once = flushes_at_once
        self._memory = memory
        self._windows: WeakSet[ExecutionWindow] = WeakSet()

    def window(self, spec: WindowSpec, results: WindowResults) -> ExecutionWindow:
        """Return a window that is yet to be started, by ``async with`` or `start`.

        Args:
            spec: What the window is to do.
            results: Where its files go.
        """
        return self._window(spec, results, None)

    def window_of(
        self,
        build: Callable[[TopologyBuilder], object],
        name: str = "window",
        storage: Storage | None = None,
    ) -> ExecutionWindow:
        """Return a window of an application's own containers, which is no part of any study.

        Args:
            build: Adds the containers, as `Topology.build` does.
            name: Names the window, and the folder of its results.
            storage: Where the results go; they stay in memory if not given.
        """
        spec = WindowSpec(workflow_id=name, phase_name=name, topology=name)
        return self._window(spec, WindowResults(storage or MemoryStorage(), name), build)

    def _window(
        self,
        spec: WindowSpec,
        results: WindowResults,
        build: Callable[[TopologyBuilder], object] | None,
    ) -> ExecutionWindow:
        window = ExecutionWindow(
            spec,
            results,
            registry=self._registry,
            build=build,
            clock=self._clock or SimulatedClock(),
            resources=self._resources,
            deadlines=self._deadlines,
            flushes_at_once=self._flushes_at_once,
            memory=self._memory,
        )
        self._windows.add(window)
        return window

    def hurry(self, seconds: float = 1.0) -> None:
        """Give each step of the teardown of every open window no more than this from now on.

        For a host that is asked a second time to come to an end; what is cut short is reported like
        any other overrun.
        """
        for window in tuple(self._windows):
            window.hurry(seconds)

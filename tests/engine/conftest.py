"""Fixtures shared by the tests of the engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry
from admf.engine.results import WindowResults
from admf.engine.storage import MemoryStorage, Storage
from admf.engine.topology import TopologyBuilder
from admf.engine.window import ExecutionWindow, WindowSpec


class FunctionTopology:
    def __init__(self, function: Callable[[TopologyBuilder], object]) -> None:
        self._function = function

    def build(self, builder: TopologyBuilder) -> None:
        self._function(builder)


@pytest.fixture
def make_window() -> Callable[..., ExecutionWindow]:
    """Return a function that makes a window whose topology is a plain function of the builder."""

    def make_window(
        build: Callable[[TopologyBuilder], object],
        storage: Storage | None = None,
        **options: object,
    ) -> ExecutionWindow:
        registry = Registry()
        registry.register("topologies", "function", FunctionTopology(build))
        manager = LifecycleManager(registry=registry, **options)
        spec = WindowSpec(
            workflow_id="study", phase_name="phase", window_id="w1", topology="function", seed=7
        )
        return manager.window(spec, WindowResults(storage or MemoryStorage(), "phase/w1"))

    return make_window

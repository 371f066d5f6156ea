"""Fixtures shared by the tests of the engine: windows of recording containers, their results."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from admf.engine.events import Event, WindowEnd
from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry
from admf.engine.results import WindowResults
from admf.engine.storage import MemoryStorage, Storage
from admf.engine.testing import RecordingContainer
from admf.engine.topology import TopologyBuilder
from admf.engine.verification import verify_window
from admf.engine.window import ExecutionWindow
from admf.engine.window_spec import WindowSpec

Build = Callable[[TopologyBuilder], object]

WINDOW = "phase/w1"


class Ping(Event, frozen=True, gc=False, tag="PING"):
    """A fact without meaning."""


class FunctionTopology:
    def __init__(self, function: Build) -> None:
        self._function = function

    def build(self, builder: TopologyBuilder) -> None:
        self._function(builder)


@pytest.fixture
def make_window() -> Callable[..., ExecutionWindow]:
    """Return a function that makes a window whose topology is a plain function of the builder."""

    def make_window(
        build: Build, storage: Storage | None = None, **options: object
    ) -> ExecutionWindow:
        registry = Registry()
        registry.register("topologies", "function", FunctionTopology(build))
        manager = LifecycleManager(registry=registry, **options)
        spec = WindowSpec(
            workflow_id="study", phase_name="phase", window_id="w1", topology="function", seed=7
        )
        return manager.window(spec, WindowResults(storage or MemoryStorage(), WINDOW))

    return make_window


@pytest.fixture
def chain() -> Callable[..., Build]:
    """Return a function that makes a topology: data publishes for strategy and portfolio.

    ``errors`` maps a container's name to the errors of its hooks; other keyword arguments map it to
    attributes to set on the container, e.g. ``data={"run": hang}``.
    """

    def chain(
        journal: list[str] | None = None,
        errors: dict[str, dict[str, BaseException]] | None = None,
        **attributes: dict[str, object],
    ) -> Build:
        def build(builder: TopologyBuilder) -> None:
            before: list[str] = []
            for name in ("data", "strategy", "portfolio"):
                container = RecordingContainer(
                    name,
                    scope=builder.bus,
                    types=[] if name == "data" else [Ping],
                    publishes=[Ping(1), Ping(2), Ping(3)] if name == "data" else [],
                    journal=journal,
                    errors=(errors or {}).get(name, {}),
                    depends_on=before[-1:],
                )
                for attribute, value in attributes.get(name, {}).items():
                    setattr(container, attribute, value)
                builder.add(container)
                before.append(name)

        return build

    return chain


@pytest.fixture
def handling() -> Callable[..., Build]:
    """Return a function that makes a topology: data, healthy, and odd with a handler in a scope."""

    def handling(handler: Callable[[Any], object], *, contain: bool = False) -> Build:
        def build(builder: TopologyBuilder) -> None:
            bus = builder.bus
            builder.add(RecordingContainer("data", scope=bus, publishes=[Ping(1), Ping(2)]))
            builder.add(RecordingContainer("healthy", scope=bus, types=[Ping, WindowEnd]))
            scope = bus.scope("lane", contain_failures=contain)
            odd = builder.add(RecordingContainer("odd", scope=scope, depends_on=["healthy"]))
            odd.subscribe(Ping, handler)

        return build

    return handling


@pytest.fixture
def read() -> Callable[[Storage, str], Awaitable[dict[str, Any]]]:
    """Return a function that reads a document of the window."""

    async def read(storage: Storage, name: str) -> dict[str, Any]:
        return json.loads(await storage.read(f"{WINDOW}/{name}"))

    return read


@pytest.fixture
def record_of(read) -> Callable[[Storage], Awaitable[dict[str, Any]]]:
    """Return a function that reads the commit record and checks the files against it."""

    async def record_of(storage: Storage) -> dict[str, Any]:
        check = await verify_window(storage, WINDOW)
        assert check.complete
        return await read(storage, "phase_summary.json")

    return record_of


@pytest.fixture
def statuses() -> Callable[[Storage], Awaitable[dict[str, str]]]:
    """Return a function that reads the status in each container's document."""

    async def statuses(storage: Storage) -> dict[str, str]:
        files = [path for path in await storage.list_files(WINDOW) if "containers/" in path]
        documents = [json.loads(await storage.read(path)) for path in files]
        return {document["container_id"]: document["status"] for document in documents}

    return statuses

"""Which containers exist in an execution window: the `Topology` protocol and its builder."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Protocol, TypeAlias, TypeVar

from admf.engine.activity import Attribute
from admf.engine.bus import Bus
from admf.engine.clock import Clock
from admf.engine.container import Container
from admf.engine.errors import ConfigError, did_you_mean
from admf.engine.ids import UniqueIds, check_id
from admf.engine.journal import Journal
from admf.engine.overflow import Overflow
from admf.engine.registry import Registry
from admf.engine.results import WindowResults
from admf.engine.window_spec import WindowSpec

__all__ = ["ContainerOverflow", "Report", "Resources", "Topology", "TopologyBuilder"]

C = TypeVar("C", bound=Container)
T = TypeVar("T")

Report: TypeAlias = Callable[[WindowResults], Awaitable[Mapping[str, object]]]
"""Writes what concerns a window as a whole, and returns what its commit record is to say of it."""


class Topology(Protocol):
    """Knows which containers a window needs and how they are wired."""

    def build(self, builder: TopologyBuilder) -> None:
        """Add the containers; nothing is started, opened or read yet."""
        ...


class Resources:
    """What the windows of one host share, such as caches and data already loaded, by type."""

    def __init__(self, *resources: object) -> None:
        self._by_type = {type(resource): resource for resource in resources}

    def find(self, kind: type[T]) -> T | None:
        """Return the resource of exactly this type, or None."""
        found = self._by_type.get(kind)
        return found if isinstance(found, kind) else None


class ContainerOverflow:
    """The `Overflow` of a container: files of its own in the folder of its window.

    Args:
        container_id: The container.
        results: The files of the window.
        spills: Whether what is gathered is to leave memory now.
    """

    def __init__(
        self, container_id: str, results: WindowResults, spills: Callable[[], bool]
    ) -> None:
        self._container_id = container_id
        self._results = results
        self._spills = spills

    @property
    def active(self) -> bool:
        """Whether what is gathered is to leave memory now."""
        return self._spills()

    def journal(self, name: str) -> Journal:
        """Return a new file, which is to be discarded."""
        return self._results.scratch(self._container_id, name)


class TopologyBuilder:
    """What a topology has at hand, and where it puts its containers.

    Attributes:
        spec: What the window is to do.
        bus: The window's root bus.
        registry: Plug-ins by name.
        clock: The window's clock.
        resources: What the host shares between windows.
        description: What `describe` was told.
    """

    def __init__(
        self,
        spec: WindowSpec,
        bus: Bus,
        *,
        registry: Registry,
        clock: Clock,
        resources: Resources,
        results: WindowResults,
        spills: Callable[[], bool],
    ) -> None:
        self.spec = spec
        self.bus = bus
        self.registry = registry
        self.clock = clock
        self.resources = resources
        self._results = results
        self._spills = spills
        self._containers: dict[str, Container] = {}
        self._ids = UniqueIds("container id")
        self._reports: list[Report] = []
        self.description: dict[str, Attribute] = {}

    def describe(self, **attributes: Attribute) -> None:
        """Say of the window what its observers may want to know, such as how many lanes it has."""
        self.description.update(attributes)

    def add(self, container: C) -> C:
        """Add a container and return it.

        Raises:
            ConfigError: Another container has its id, or the id cannot be a file name.
        """
        self._ids.add(check_id(container.id, "container id"))
        known = self._containers.setdefault(container.id, container)
        if known is not container:
            raise ConfigError(
                f"two containers have the id {container.id!r} (roles {known.role!r} and "
                f"{container.role!r}): each needs an id of its own"
            )
        return container

    def overflow(self, container_id: str) -> Overflow:
        """Return where a container puts what it gathers when that is to leave memory."""
        return ContainerOverflow(container_id, self._results, self._spills)

    def trace(self, container_id: str) -> Journal:
        """Return the file for a container's trace; see `admf.engine.results.Document`."""
        return self._results.trace(container_id)

    def add_report(self, report: Report) -> None:
        """Have ``report`` called once all containers have flushed, before the window is committed.

        The containers are still there, so it may draw on them for ``aggregate_results.json`` and
        the like. What it returns goes into the commit record, and into `ExecutionWindow.summary`.
        """
        self._reports.append(report)

    @property
    def reports(self) -> tuple[Report, ...]:
        """The reports in the order in which they were added."""
        return tuple(self._reports)

    def in_start_order(self) -> tuple[Container, ...]:
        """Return the containers, each after all that it depends on.

        Raises:
            ConfigError: There are none, one depends on an unknown id, or some depend on each other
                in a circle.
        """
        if not self._containers:
            raise ConfigError(f"topology {self.spec.topology!r} adds no container")
        graph = {id_: container.depends_on for id_, container in self._containers.items()}
        for id_, needed in graph.items():
            for unknown in (name for name in needed if name not in graph):
                hint = did_you_mean(unknown, graph)
                raise ConfigError(f"container {id_!r} depends on unknown {unknown!r}{hint}")
        try:
            return tuple(self._containers[id_] for id_ in TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = " -> ".join(reversed(error.args[1]))
            raise ConfigError(f"containers depend on each other in a circle: {circle}") from None

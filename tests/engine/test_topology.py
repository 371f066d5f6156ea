from __future__ import annotations

from itertools import pairwise

import pytest

from admf.engine.bus import Bus
from admf.engine.clock import SimulatedClock
from admf.engine.container import Container
from admf.engine.errors import ConfigError, UnsafeIdError
from admf.engine.registry import Registry
from admf.engine.results import WindowResults
from admf.engine.storage import MemoryStorage
from admf.engine.topology import Resources, TopologyBuilder
from admf.engine.window_spec import WindowSpec

SPEC = WindowSpec(workflow_id="study", phase_name="phase", topology="some")


@pytest.fixture
def builder() -> TopologyBuilder:
    return TopologyBuilder(
        SPEC,
        Bus(),
        registry=Registry(),
        clock=SimulatedClock(),
        resources=Resources(),
        results=WindowResults(MemoryStorage(), "phase"),
        spills=lambda: True,
    )


def add(builder: TopologyBuilder, container_id: str, *depends_on: str, role: str = "any") -> None:
    builder.add(Container(container_id, role, scope=builder.bus, depends_on=depends_on))


def order(builder: TopologyBuilder) -> list[str]:
    return [container.id for container in builder.in_start_order()]


def test_each_container_comes_after_all_it_depends_on(builder):
    add(builder, "execution", "portfolio", "data")
    add(builder, "portfolio", "features")
    add(builder, "features", "data")
    add(builder, "data")
    assert order(builder) == ["data", "features", "portfolio", "execution"]


def test_independent_containers_start_in_the_order_in_which_they_were_added(builder):
    names = ["zeta", "alpha", "mid", "beta"]
    for name in names:
        add(builder, name)
    assert order(builder) == names


def test_add_returns_the_container(builder):
    container = Container("one", "any", scope=builder.bus)
    assert builder.add(container) is container
    assert builder.add(container) is container
    assert builder.in_start_order() == (container,)


def test_two_containers_of_one_id_are_refused_by_name(builder):
    add(builder, "one", role="first")
    with pytest.raises(ConfigError, match=r"the id 'one'.*'first' and 'second'"):
        add(builder, "one", role="second")


@pytest.mark.parametrize("odd", ["", "a/b", "..", "One"])
def test_an_id_that_cannot_be_a_file_name_is_refused(builder, odd):
    add(builder, "one")
    with pytest.raises(UnsafeIdError):
        add(builder, odd)


def test_an_unknown_dependency_is_refused_by_name(builder):
    add(builder, "features")
    add(builder, "strategy", "featurs")
    expected = r"'strategy' depends on unknown 'featurs' \(did you mean 'features'\?\)"
    with pytest.raises(ConfigError, match=expected):
        builder.in_start_order()


@pytest.mark.parametrize(
    "edges", [[("a", "a")], [("a", "b"), ("b", "a")], [("a", "b"), ("b", "c"), ("c", "a")]]
)
def test_a_circle_of_dependencies_is_refused_by_name(builder, edges):
    for container_id, needed in edges:
        add(builder, container_id, needed)
    with pytest.raises(ConfigError, match="in a circle: ") as caught:
        builder.in_start_order()
    named = str(caught.value).partition("circle: ")[2].split(" -> ")
    assert named[0] == named[-1]
    assert sorted(pairwise(named)) == edges


def test_a_topology_without_containers_is_refused(builder):
    with pytest.raises(ConfigError, match="topology 'some' adds no container"):
        builder.in_start_order()


def test_resources_are_found_by_their_type():
    class Cache(dict[str, int]): ...

    cache = Cache()
    resources = Resources(cache, "text")
    assert resources.find(Cache) is cache
    assert resources.find(str) == "text"
    assert resources.find(dict) is None
    assert resources.find(bytes) is None


def test_what_leaves_memory_goes_to_files_of_the_container(builder):
    overflow = builder.overflow("portfolio")
    assert overflow.active
    journal = overflow.journal("trades")
    journal.append(b"frame")
    assert (journal.size, journal.read(0, 5)) == (5, b"frame")
    trace = builder.trace("portfolio")
    trace.append(b"event")
    assert trace.read(0, 5) == b"event"

from __future__ import annotations

import asyncio
import gc
import weakref

import anyio
import pytest

from admf.engine.clock import SimulatedClock
from admf.engine.container import Container
from admf.engine.errors import DeadlineError
from admf.engine.events import Event
from admf.engine.failures import describe_all
from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry
from admf.engine.results import WindowResults
from admf.engine.retention import SlidingWindow
from admf.engine.storage import LocalStorage, MemoryStorage
from admf.engine.subscription import Mailbox
from admf.engine.testing import RecordingContainer
from admf.engine.topology import Resources, TopologyBuilder
from admf.engine.tracer import EventTracer
from admf.engine.window import ExecutionWindow
from admf.engine.window_spec import WindowSpec

pytestmark = pytest.mark.anyio

SPEC = WindowSpec(workflow_id="study", phase_name="phase", topology="probe")


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    """A fact without meaning."""


class Probe:
    """A topology that keeps what it was given."""

    builders: list[TopologyBuilder]

    def __init__(self) -> None:
        self.builders = []

    def build(self, builder: TopologyBuilder) -> None:
        self.builders.append(builder)
        builder.add(Container("one", "any", scope=builder.bus))


def results() -> WindowResults:
    return WindowResults(MemoryStorage(), "phase")


async def test_windows_get_what_the_manager_has():
    probe, registry, clock, resources = Probe(), Registry(), SimulatedClock(9), Resources("cache")
    registry.register("topologies", "probe", probe)
    manager = LifecycleManager(registry=registry, clock=clock, resources=resources)
    async with manager.window(SPEC, results()), manager.window(SPEC, results()):
        first, second = probe.builders
    assert first.spec is SPEC
    assert (first.registry, first.clock, first.resources) == (registry, clock, resources)
    assert second.clock is clock
    assert first.bus is not second.bus


async def test_without_a_clock_each_window_has_a_simulated_one_of_its_own():
    probe, registry = Probe(), Registry()
    registry.register("topologies", "probe", probe)
    manager = LifecycleManager(registry=registry)
    async with manager.window(SPEC, results()), manager.window(SPEC, results()):
        first, second = probe.builders
    assert isinstance(first.clock, SimulatedClock)
    assert first.clock is not second.clock
    assert first.clock.now_ns() == 0
    assert first.resources.find(str) is None


class Odd(Container):
    async def on_start(self) -> None:
        self.subscribe(Tick, self.handle)

    def handle(self, event: Event) -> None:
        raise ValueError("odd")


class Tracked:
    """Weak references to all that a window brings about."""

    def __init__(self) -> None:
        self.references: list[weakref.ref[object]] = []

    def build(self, builder: TopologyBuilder) -> None:
        lane = builder.bus.scope("lane", contain_failures=True)
        data = RecordingContainer("data", scope=builder.bus, publishes=[Tick(1), Tick(2)])
        sink = RecordingContainer("sink", scope=lane, types=[Tick], depends_on=["data"])
        slow = RecordingContainer("slow", scope=builder.bus)
        slow.subscribe(Tick, slow.seen.append, mailbox=Mailbox(1))
        doomed = builder.bus.scope("doomed", contain_failures=True)
        odd = Odd("odd", "odd", scope=doomed, tracer=EventTracer([Tick], SlidingWindow(10)))
        for container in (data, sink, slow, odd):
            builder.add(container)
        self.watch(builder, builder.bus, lane, doomed, data, sink, slow, odd, odd.tracer)

    def watch(self, *things: object) -> None:
        self.references += [weakref.ref(thing) for thing in things]

    @property
    def alive(self) -> list[object]:
        gc.collect()
        return [thing for reference in self.references if (thing := reference()) is not None]


async def use_well(window) -> None:
    async with window:
        await window.run()


async def use_badly(window) -> None:
    with pytest.raises(ValueError, match="body"):
        async with window:
            raise ValueError("body")


async def use_until_cancelled(window) -> None:
    async def host() -> None:
        async with window:
            await window.run()
            await anyio.sleep_forever()

    task = asyncio.create_task(host())
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await anyio.lowlevel.checkpoint()  # till its next turn the loop holds the exception


@pytest.mark.parametrize("use", [use_well, use_badly, use_until_cancelled])
async def test_nothing_is_left_of_a_closed_window(make_window, use):
    tracked = Tracked()
    tasks = asyncio.all_tasks()
    window = make_window(tracked.build)
    tracked.watch(window)
    await use(window)
    assert asyncio.all_tasks() == tasks
    del window
    assert tracked.alive == []


async def test_a_window_that_is_kept_does_not_keep_its_containers(make_window):
    tracked = Tracked()
    window = make_window(tracked.build)
    await use_well(window)
    assert [type(thing).__name__ for thing in tracked.alive] == ["Bus"]
    assert tracked.alive == [window.bus]
    assert window.status == "completed"


async def test_hurry_reaches_every_open_window():
    class Stuck(Container):
        async def on_stop(self) -> None:
            await anyio.sleep_forever()

    class Topology:
        def build(self, builder: TopologyBuilder) -> None:
            builder.add(Stuck("one", "any", scope=builder.bus))

    registry = Registry()
    registry.register("topologies", "probe", Topology)
    manager = LifecycleManager(registry=registry)
    windows = [manager.window(SPEC, results()) for _ in range(2)]
    ends: list[tuple[str, ...]] = []

    async def use(window: ExecutionWindow) -> None:
        await window.start()
        try:
            await window.aclose()
        except* DeadlineError as errors:  # on a busy machine, later steps overrun too
            ends.append(tuple(describe_all(errors.exceptions)))

    async with anyio.create_task_group() as group:
        for window in windows:
            group.start_soon(use, window)
        await anyio.wait_all_tasks_blocked()
        assert ends == []
        manager.hurry(0.001)
    assert len(ends) == 2
    assert all("stop of container 'one' took longer" in texts[0] for texts in ends)


def test_at_least_one_container_flushes_at_a_time() -> None:
    with pytest.raises(ValueError, match="flushes_at_once must be at least 1, got 0"):
        LifecycleManager(registry=Registry(), flushes_at_once=0)


async def test_a_window_of_an_applications_own_needs_no_registry_and_keeps_results_in_memory():
    seen: list[Container] = []

    def build(builder: TopologyBuilder) -> None:
        seen.append(builder.add(RecordingContainer("one", scope=builder.bus)))

    async with LifecycleManager().window_of(build, "service") as window:
        await window.run()
        assert window.containers == tuple(seen)
    document = await window.results.read("containers/one_results.json", dict)
    assert document["status"] == "completed"
    assert (window.summary.topology, window.summary.phase_name) == ("service", "service")


async def test_a_window_of_an_applications_own_writes_where_it_is_told_to(tmp_path):
    storage = LocalStorage(tmp_path)

    def build(builder: TopologyBuilder) -> None:
        builder.add(RecordingContainer("one", scope=builder.bus))

    async with LifecycleManager().window_of(build, storage=storage) as window:
        await window.run()
    assert (tmp_path / "window" / "phase_summary.json").exists()

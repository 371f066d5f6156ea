"""What happens to windows and results as memory runs short; the memory itself is made up."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from admf.engine.bus import Bus
from admf.engine.container import Container
from admf.engine.errors import MemoryLimitError, WindowError
from admf.engine.lifecycle import LifecycleManager
from admf.engine.memory_guard import MemoryGuard
from admf.engine.registry import Registry
from admf.engine.results import ResultStore, WindowResults
from admf.engine.retention import Minimal
from admf.engine.storage import MemoryStorage
from admf.engine.summary import WindowSummary
from admf.engine.testing import RecordingContainer
from admf.engine.tracer import EventTracer
from admf.engine.verification import verify_window
from admf.engine.window import ExecutionWindow
from admf.engine.window_spec import WindowSpec

pytestmark = pytest.mark.anyio


class MadeUpMemory:
    """A limit of 1,000 bytes, and a use that a test sets."""

    def __init__(self, used: int = 0) -> None:
        self.used = used
        self.pressure = 0.0

    def limit_bytes(self) -> int:
        return 1_000

    def used_bytes(self) -> int:
        return self.used

    def pressure_pct(self) -> float:
        return self.pressure


class Waiting(Container):
    """A source that never ends by itself."""

    async def run(self) -> None:
        await anyio.sleep_forever()


class Sized(EventTracer):
    """Holds so many bytes."""

    def __init__(self, held: int) -> None:
        super().__init__([], Minimal())
        self.held = held

    def size_bytes(self) -> int:
        assert super().size_bytes() >= 0
        return self.held


def traced(held: int, name: str = "one") -> Container:
    return Container(name, "any", scope=Bus(), tracer=Sized(held))


class Window:
    """Takes note of being given up."""

    def __init__(self, containers: Sequence[Container] = ()) -> None:
        self.errors: list[WindowError] = []
        self.containers = containers

    def give_up(self, error: WindowError) -> None:
        self.errors.append(error)


@pytest.fixture
def memory() -> MadeUpMemory:
    return MadeUpMemory()


@pytest.fixture
def disk() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def guard(disk, memory) -> MemoryGuard:
    return MemoryGuard(disk, memory)


async def look(guard: MemoryGuard, memory: MadeUpMemory, used: int) -> None:
    memory.used = used
    guard.look()
    await anyio.wait_all_tasks_blocked()


async def test_the_system_is_asked_if_nobody_else_is(disk):
    assert not MemoryGuard(disk).storage.held_bytes


async def test_at_70_percent_what_is_held_goes_to_disk(guard, memory, disk):
    await guard.storage.write_atomic("run/a", [b"held"])
    async with anyio.create_task_group() as group:
        group.start_soon(guard.watch)
        await anyio.wait_all_tasks_blocked()
        assert not await disk.exists("run/a")
        memory.used = 700
        while guard.storage.held_bytes:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert guard.is_on_disk()
    assert await disk.read("run/a") == b"held"


async def test_memory_pressure_sends_results_to_disk_as_well(guard, memory):
    memory.pressure = 10.0
    guard.look()
    assert guard.is_on_disk()


async def test_results_stay_on_disk_while_open_windows_hold_much(guard, memory):
    tracer = Sized(300)
    await guard.admit(Window([Container("one", "any", scope=Bus(), tracer=tracer)]))
    await look(guard, memory, 700)
    await look(guard, memory, 100)
    assert guard.is_on_disk()
    tracer.held = 299
    guard.look()
    assert not guard.is_on_disk()


@pytest.mark.parametrize(("count", "stays"), [(0, False), (1, False), (29, False), (30, True)])
@pytest.mark.parametrize("untraced", [0, 1, 100])
async def test_what_windows_hold_is_what_their_tracers_do(guard, memory, count, untraced, stays):
    plain = [Container(f"p{number}", "any", scope=Bus()) for number in range(untraced)]
    await guard.admit(Window([*plain, *(traced(10, f"c{number}") for number in range(count))]))
    await look(guard, memory, 700)
    await look(guard, memory, 100)
    assert guard.is_on_disk() is stays


@pytest.mark.parametrize(("held", "stays"), [(2, False), (3, True)])
async def test_of_many_tracers_some_are_measured(guard, memory, held, stays):
    await guard.admit(Window([traced(held, f"c{number}") for number in range(100)]))
    await look(guard, memory, 700)
    await look(guard, memory, 100)
    assert guard.is_on_disk() is stays


async def test_above_80_percent_windows_open_one_at_a_time(guard, memory):
    first, second, third = Window(), Window(), Window()
    await guard.admit(first)
    await look(guard, memory, 800)
    opened = []

    async def open_window(window: Window) -> None:
        await guard.admit(window)
        opened.append(window)

    async with anyio.create_task_group() as group:
        group.start_soon(open_window, second)
        await look(guard, memory, 900)
        assert opened == []
        guard.leave(first)
        await anyio.wait_all_tasks_blocked()
        assert opened == [second]
        group.start_soon(open_window, third)
        await look(guard, memory, 801)
        assert opened == [second]
        await look(guard, memory, 799)
        assert opened == [second, third]


async def test_at_92_percent_the_newest_window_yields_and_then_the_one_before(guard, memory):
    old, new = Window(), Window()
    await guard.admit(old)
    await guard.admit(new)
    await look(guard, memory, 919)
    assert (old.errors, new.errors) == ([], [])
    await look(guard, memory, 920)
    await look(guard, memory, 930)  # it has not ended yet
    (error,) = new.errors
    assert isinstance(error, MemoryLimitError)
    assert "(92 %)" in str(error)
    assert "resume the run" in str(error)
    assert old.errors == []
    guard.leave(new)
    guard.look()
    assert len(old.errors) == 1
    guard.leave(old)
    guard.look()  # nobody is left


async def test_results_are_handed_back_as_data_only_if_that_fits(guard, memory, disk):
    await guard.storage.write_atomic("run/search/a", [b"x" * 50])
    await look(guard, memory, 299)
    assert await guard.keeps("run/search")
    await look(guard, memory, 300)  # 50 bytes may become 400
    assert not await guard.keeps("run/search")
    assert await disk.exists("run/search/a")


async def test_results_that_are_partly_on_disk_go_there_as_a_whole(guard, memory, disk):
    await look(guard, memory, 700)
    await guard.storage.write_atomic("run/search/a", [b"early"])
    await look(guard, memory, 0)
    await guard.storage.write_atomic("run/search/b", [b"late"])
    assert not await guard.keeps("run/search")
    assert await disk.list_files("run/search") == ["run/search/a", "run/search/b"]


# -- real windows ----------------------------------------------------------------------------------


def manager(guard: MemoryGuard, build) -> LifecycleManager:
    registry = Registry()
    registry.define_group("topologies", lambda *_: None)

    class Topology:
        def build(self, builder) -> None:
            build(builder)

    registry.register("topologies", "some", Topology)
    return LifecycleManager(registry=registry, memory=guard)


def spec(storage: str) -> WindowSpec:
    return WindowSpec(
        workflow_id="w", phase_name="p", topology="some", results_storage=storage, fingerprint="f"
    )


def window_results(guard: MemoryGuard) -> WindowResults:
    return ResultStore(guard.storage, "run").window("p")


def waits(builder) -> None:
    builder.add(Waiting("source", "source", scope=builder.bus))
    builder.add(RecordingContainer("sink", scope=builder.bus))


async def run_until_given_up(window: ExecutionWindow, guard, memory) -> None:
    async with anyio.create_task_group() as group:

        async def host() -> None:
            with pytest.raises(MemoryLimitError, match="was ended to stay within the memory"):
                async with window:
                    await window.run()

        group.start_soon(host)
        await anyio.wait_all_tasks_blocked()
        await look(guard, memory, 950)


async def test_a_window_that_is_given_up_is_flushed_and_fails(guard, memory, disk):
    results = window_results(guard)
    window = manager(guard, waits).window(spec("auto"), results)
    await run_until_given_up(window, guard, memory)
    assert window.status == "failed"
    assert (await verify_window(disk, "run/p")).complete  # use was high, so it went to disk
    assert await results.kept("f", WindowSummary) is None  # and would run again
    assert guard._open == {}


@pytest.mark.parametrize("storage", ["disk", "memory"])
async def test_windows_that_are_not_auto_are_left_alone(guard, memory, storage):
    window = manager(guard, waits).window(spec(storage), window_results(guard))
    await look(guard, memory, 950)
    async with window:
        assert guard._open == {}
        assert window._spills() == (storage == "disk")


async def test_what_containers_gather_leaves_memory_when_results_do(guard, memory):
    def build(builder) -> None:
        builder.add(RecordingContainer("sink", scope=builder.bus))

    window = manager(guard, build).window(spec("auto"), window_results(guard))
    async with window:
        assert not window._spills()
        await look(guard, memory, 700)
        assert window._spills()
        await window.run()


async def test_a_window_that_cannot_start_does_not_count_as_open(guard):
    def build(_) -> None:
        raise ZeroDivisionError

    window = manager(guard, build).window(spec("auto"), window_results(guard))
    with pytest.raises(ZeroDivisionError):
        await window.start()
    assert guard._open == {}


async def test_giving_up_a_window_that_does_not_run_does_nothing(guard):
    window = manager(guard, waits).window(spec("auto"), window_results(guard))
    window.give_up(MemoryLimitError("too late"))
    assert window.status == "cancelled"  # as that of a window that did not run

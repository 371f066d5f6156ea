"""Containers that are added to a running window, and removed from it."""

from __future__ import annotations

import gc
import weakref
from typing import Self

import anyio
import pytest

from admf.engine.bus import Bus
from admf.engine.clock import SimulatedClock
from admf.engine.container import Container, ContainerState
from admf.engine.errors import (
    BusClosedError,
    BusError,
    ConfigError,
    DeadlineError,
    HandlerError,
    StateError,
    StorageError,
    UnsafeIdError,
)
from admf.engine.events import ContainerAdded, ContainerRemoved, Envelope, Event, WindowEnd
from admf.engine.storage import MemoryStorage
from admf.engine.subscription import Mailbox
from admf.engine.teardown import Deadlines
from admf.engine.testing import RecordingContainer
from admf.engine.window import ExecutionWindow
from admf.engine.window_run import WindowRun
from tests.engine.conftest import Ping

pytestmark = pytest.mark.anyio


class Gate(Container):
    """A source that publishes what it is given, until it is closed."""

    def __init__(self, container_id: str, *, scope: Bus) -> None:
        super().__init__(container_id, "source", scope=scope)
        self._closed = anyio.Event()

    async def run(self) -> None:
        await self._closed.wait()

    def close(self) -> None:
        self._closed.set()


class Trace:
    """A tracer of everything."""

    types = frozenset([Event])

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    def record(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)

    @property
    def seqs(self) -> list[int]:
        return [envelope.seq for envelope in self.envelopes]

    @property
    def events(self) -> list[Event]:
        return [envelope.event for envelope in self.envelopes]


class Host:
    """A window that runs in another task until the body ends, and what was traced of it."""

    def __init__(self, window: ExecutionWindow) -> None:
        self.window = window
        self.bus = window.bus
        self.trace = Trace()

    async def __aenter__(self) -> Self:
        self.bus.attach_tracer(self.trace)
        await self.window.start()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self.window.run)
        await anyio.wait_all_tasks_blocked()
        return self

    async def __aexit__(self, *error) -> None:
        for gate in self.window.containers:
            if isinstance(gate, Gate):
                gate.close()
        try:
            await self._group.__aexit__(*error)
        finally:
            await self.window.aclose(error[1])

    async def publish(self, *stamps: int) -> None:
        for ts in stamps:
            self.bus.publish(Ping(ts))
        await self.bus.drain()


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def host(make_window, storage) -> Host:
    """Return a window with one open gate."""
    return Host(make_window(lambda it: it.add(Gate("gate", scope=it.bus)), storage))


def recorder(host: Host, container_id: str = "late", **options) -> RecordingContainer:
    return RecordingContainer(container_id, scope=host.bus, types=[Ping], **options)


def stamps(container: RecordingContainer) -> list[int]:
    return [event.ts for event in container.seen]


# -- add ------------------------------------------------------------------------------------------


async def test_an_added_container_sees_events_from_the_next_one_on(host):
    async with host:
        await host.publish(1, 2)
        late = recorder(host)
        after = await host.window.add(late)
        await host.publish(3, 4)
        assert late.state is ContainerState.RUNNING
        assert host.window.containers[-1] is late
    assert stamps(late) == [3, 4]
    assert after == 3  # WINDOW_START and two pings
    assert ContainerAdded(0, "late", after) in host.trace.events
    assert host.trace.seqs == [*range(1, len(host.trace.seqs) + 1)]


async def test_it_does_not_see_what_was_queued_before(host):
    async with host:
        late = recorder(host)
        host.bus.publish(Ping(1))
        host.bus.publish(Ping(2))
        assert await host.window.add(late) == 3
        await host.publish(3)
    assert stamps(late) == [3]


async def test_its_tracer_and_all_its_subscriptions_enter_at_the_same_event(host):
    class Slow(RecordingContainer):
        async def on_start(self) -> None:
            self.subscribe(Ping, self.seen.append, name="first")
            await host.publish(1)
            self.subscribe(Ping, self.seen.append, name="second")

    async with host:
        late = Slow("late", scope=host.bus)
        late.tracer = Trace()
        after = await host.window.add(late)
        await host.publish(2)
    assert stamps(late) == [2, 2]
    assert late.tracer.seqs[0] == after + 1


async def test_its_results_are_written_and_recorded_with_those_of_the_window(
    host, storage, record_of, statuses
):
    async with host:
        after = await host.window.add(recorder(host))
    assert await statuses(storage) == {"late": "completed"}
    record = await record_of(storage)
    assert record["status"] == "completed"
    assert record["containers"][-1] == {
        "id": "late",
        "role": "recorder",
        "status": "completed",
        "error": "",
        "after_seq": after,
    }


async def test_an_added_source_joins_the_run_which_goes_on_until_it_is_exhausted(host):
    async with host:
        seen = recorder(host, "seen")
        await host.window.add(seen)
        source = RecordingContainer("source", scope=host.bus, publishes=[Ping(1), Ping(2)])
        await host.window.add(source)
        await anyio.wait_all_tasks_blocked()
        assert stamps(seen) == [1, 2]
        gate = Gate("other", scope=host.bus)
        await host.window.add(gate)
        host.window.containers[0].close()
        await anyio.wait_all_tasks_blocked()
        assert not isinstance(host.trace.events[-1], WindowEnd)
    assert host.window.status == "completed"


async def test_a_source_that_is_added_before_the_run_begins_runs_with_the_others(make_window):
    window = make_window(lambda it: it.add(RecordingContainer("one", scope=it.bus, types=[Ping])))
    async with window:
        await window.add(RecordingContainer("two", scope=window.bus, publishes=[Ping(1)]))
        one = window.containers[0]
        await window.run()
    assert stamps(one) == [1]


async def test_a_source_that_is_added_while_the_bus_is_drained_still_runs(make_window):
    """The sources of the start are exhausted by then."""
    window = make_window(lambda it: it.add(RecordingContainer("one", scope=it.bus, types=[Ping])))
    entered = anyio.Event()

    async def wait(_: Event) -> None:
        adding.start_soon(window.add, source)
        await anyio.wait_all_tasks_blocked()
        entered.set()

    async with window, anyio.create_task_group() as adding:
        one = window.containers[0]
        source = RecordingContainer("two", scope=window.bus, publishes=[Ping(2)])
        window.bus.subscribe(Ping, lambda event: wait(event) if event.ts == 1 else None)
        window.bus.publish(Ping(1))
        await window.run()
    assert stamps(one) == [1, 2]
    assert window.status == "completed"


async def test_a_source_that_comes_after_the_last_event_is_refused(make_window):
    window = make_window(lambda it: it.add(RecordingContainer("one", scope=it.bus)))
    async with window:
        await window.run()
        source = RecordingContainer("two", scope=window.bus, publishes=[Ping(1)])
        with pytest.raises(StateError, match="source 'two' comes too late"):
            await window.add(source)
        assert source.state is ContainerState.DESTROYED
        await window.add(Container("three", "idle", scope=window.bus))
        assert [it.id for it in window.containers] == ["one", "three"]


async def test_a_failed_start_is_taken_back_and_leaves_the_window_untouched(host, storage):
    async with host:
        before = host.window.containers
        late = recorder(host, errors={"on_start": ValueError("no capital")})
        late.tracer = Trace()
        with pytest.raises(ValueError, match="no capital"):
            await host.window.add(late)
        assert host.window.containers == before
        assert late.journal == ["late.on_start", "late.on_release"]
        assert late.state is ContainerState.DESTROYED
        await host.publish(1)
        assert (late.seen, late.tracer.envelopes) == ([], [])
        again = recorder(host)
        await host.window.add(again)  # the id is free
    assert [it.id for it in host.window.summary.containers] == ["gate", "late"]
    assert host.window.status == "completed"
    assert not any("late" in path and "add" in path for path in await storage.list_files("phase"))


async def test_what_fails_while_a_start_is_taken_back_is_noted_on_the_first_error(host):
    async with host:
        errors = {"on_start": ValueError("no capital"), "on_release": OSError("socket")}
        with pytest.raises(ValueError, match="no capital") as caught:
            await host.window.add(recorder(host, errors=errors))
        assert caught.value.__notes__ == [
            "taking back container 'late' failed as well: OSError: socket"
        ]


async def test_a_cancelled_start_is_taken_back(host):
    class Hanging(RecordingContainer):
        async def on_start(self) -> None:
            await super().on_start()
            await anyio.sleep_forever()

    async with host:
        late = Hanging("late", scope=host.bus, types=[Ping])
        async with anyio.create_task_group() as group:
            group.start_soon(host.window.add, late)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert late.state is ContainerState.DESTROYED
        assert [it.id for it in host.window.containers] == ["gate"]


async def test_closing_the_window_takes_a_start_back_that_is_under_way(host):
    class Hanging(RecordingContainer):
        async def on_start(self) -> None:
            await anyio.sleep_forever()

    refused: list[str] = []

    async def add(container: Container) -> None:
        with pytest.raises(StateError) as caught:
            await host.window.add(container)
        refused.append(str(caught.value))

    async with host, anyio.create_task_group() as group:
        late = Hanging("late", scope=host.bus)
        group.start_soon(add, late)
        group.start_soon(add, recorder(host, "waiting"))
        await anyio.wait_all_tasks_blocked()
        await host.window.aclose()
    assert late.state is ContainerState.DESTROYED
    assert refused == [
        "window 'w1' was closed before it was changed",
        "window 'w1' can be changed between its start and its close alone",
    ]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda host: recorder(host, "gate"), ConfigError, "has or had the id 'gate'"),
        (lambda host: recorder(host, "GATE"), ConfigError, "differs by case alone"),
        (lambda host: recorder(host, "../x"), UnsafeIdError, "'/'"),
        (lambda host: recorder(host, depends_on=["gtae"]), ConfigError, "did you mean 'gate'"),
        (lambda host: RecordingContainer("x", scope=Bus()), ConfigError, "lives on another bus"),
    ],
)
async def test_a_container_that_does_not_fit_is_refused_by_name(host, make, error, text):
    async with host:
        container = make(host)
        with pytest.raises(error, match=text):
            await host.window.add(container)
        assert container.state is ContainerState.CREATED
        assert len(host.window.containers) == 1


async def test_a_container_that_is_not_new_is_refused_and_left_alone(host):
    async with host:
        late = recorder(host)
        await host.window.add(late)
        late.id = "other"
        with pytest.raises(StateError, match="'other' RUNNING> is not new"):
            await host.window.add(late)
        assert late.state is ContainerState.RUNNING
        early = recorder(host, "early")
        early.subscribe(Ping, early.seen.append)
        with pytest.raises(StateError, match="nor have subscribed"):
            await host.window.add(early)


async def test_one_cannot_depend_on_what_failed(make_window, handling):
    def fail(_: Event) -> None:
        raise ValueError

    async with make_window(handling(fail, contain=True)) as window:
        await window.run()
        with pytest.raises(StateError, match="depends on 'odd', which failed"):
            await window.add(
                RecordingContainer("late", scope=window.bus, depends_on=["healthy", "odd"])
            )


async def test_a_window_is_changed_between_its_start_and_its_close_alone(make_window, chain):
    window = make_window(chain())
    late = RecordingContainer("late", scope=window.bus)
    with pytest.raises(StateError, match="between its start and its close"):
        await window.add(late)
    async with window:
        pass
    with pytest.raises(StateError, match="between its start and its close"):
        await window.remove("data")


# -- remove ---------------------------------------------------------------------------------------


async def test_a_removed_container_sees_no_further_event_and_is_released(host):
    async with host:
        late = recorder(host)
        after = await host.window.add(late)
        host.bus.publish(Ping(1))
        host.bus.publish(Ping(2))
        last = await host.window.remove("late")
        await host.publish(3)
        assert stamps(late) == [1, 2]
        assert late.journal[-3:] == ["late.on_stop", "late.results", "late.on_release"]
        assert late.state is ContainerState.DESTROYED
        assert [it.id for it in host.window.containers] == ["gate"]
    assert last == after + 3  # CONTAINER_ADDED and two pings
    assert ContainerRemoved(0, "late", last) in host.trace.events
    assert host.trace.seqs == [*range(1, len(host.trace.seqs) + 1)]


async def test_the_commit_record_lists_its_results(host, storage, record_of, read):
    async with host:
        after = await host.window.add(recorder(host))
        await host.publish(1)
        last = await host.window.remove("late")
        assert (await read(storage, "containers/late_results.json"))["seen"] == ["PING"]
    record = await record_of(storage)
    assert [file["path"] for file in record["files"]] == ["containers/late_results.json"]
    assert [it["id"] for it in record["containers"]] == ["gate", "late"]
    late = record["containers"][1]
    assert (late["status"], late["after_seq"], late["last_seq"]) == ("completed", after, last)
    assert record["status"] == "completed"


async def test_a_window_all_of_whose_containers_were_removed_is_committed(
    make_window, storage, record_of
):
    build = lambda it: it.add(RecordingContainer("one", scope=it.bus))  # noqa: E731
    async with make_window(build, storage) as window:
        await window.remove("one")
    assert len((await record_of(storage))["files"]) == 1


async def test_what_a_mailbox_has_accepted_is_handled_before_the_results_are_written(host):
    go_on = anyio.Event()
    late, seen = recorder(host), []

    async def handle(event: Event) -> None:
        await go_on.wait()
        seen.append(event.ts)

    async def on_start() -> None:
        subscriptions.append(late.subscribe(Ping, handle, mailbox=Mailbox(10)))

    async def remove() -> None:
        await host.window.remove("late")

    subscriptions, late.on_start = [], on_start
    async with host, anyio.create_task_group() as group:
        await host.window.add(late)
        for ts in (1, 2, 3):
            host.bus.publish(Ping(ts))
        group.start_soon(remove)
        await anyio.wait_all_tasks_blocked()
        host.bus.publish(Ping(4))  # others get it although the mailbox is not empty yet
        await anyio.wait_all_tasks_blocked()
        assert Ping(4) in host.trace.events
        assert late.state is ContainerState.STOPPING
        go_on.set()
    assert seen == [1, 2, 3]
    stats = subscriptions[0].stats
    assert (stats.accepted, stats.handled, stats.queued) == (3, 3, 0)


async def test_a_removal_is_not_starved_by_a_source_that_never_rests(make_window, storage):
    class Busy(Container):
        async def run(self) -> None:
            while not removed:
                self.scope.publish(Ping(0))
                await self.scope.drain()

    removed: list[int] = []

    def build(builder) -> None:
        builder.add(Busy("busy", "source", scope=builder.bus))
        builder.add(RecordingContainer("one", scope=builder.bus, types=[Ping]))

    async def remove() -> None:
        removed.append(await window.remove("one"))

    window = make_window(build, storage)
    window.bus._drive.pace.max_block_s = 0.0
    async with window, anyio.create_task_group() as group:
        group.start_soon(remove)
        await window.run()
    assert removed


async def test_the_source_of_a_removed_container_ends(host):
    async with host:
        gate = Gate("other", scope=host.bus)
        await host.window.add(gate)
        await anyio.wait_all_tasks_blocked()
        await host.window.remove("other")
        assert gate.state is ContainerState.DESTROYED
        host.window.containers[0].close()
        while host.window.status != "completed":
            await anyio.lowlevel.checkpoint()
        assert isinstance(host.trace.events[-1], WindowEnd)
    assert host.window.status == "completed"


async def test_a_source_that_is_removed_before_the_run_begins_never_runs(make_window):
    window = make_window(lambda it: it.add(RecordingContainer("one", scope=it.bus, types=[Ping])))
    async with window:
        one = window.containers[0]
        await window.add(RecordingContainer("two", scope=window.bus, publishes=[Ping(1)]))
        await window.remove("two")
        await window.run()
    assert one.seen == []


async def test_a_container_that_others_depend_on_stays(host):
    async with host:
        await host.window.add(recorder(host, "base"))
        await host.window.add(recorder(host, "a", depends_on=["base"]))
        await host.window.add(recorder(host, "b", depends_on=["a", "base"]))
        with pytest.raises(StateError, match="'base' stays: 'a', 'b' depend on it"):
            await host.window.remove("base")
        for name in ("b", "a", "base"):
            await host.window.remove(name)
        assert [it.id for it in host.window.containers] == ["gate"]


async def test_an_unknown_container_cannot_be_removed(host):
    async with host:
        with pytest.raises(ConfigError, match=r"no container 'gat' \(did you mean 'gate'\?\)"):
            await host.window.remove("gat")


async def test_an_id_is_not_given_twice(host):
    async with host:
        await host.window.add(recorder(host))
        await host.window.remove("late")
        with pytest.raises(ConfigError, match="has or had the id 'late'"):
            await host.window.add(recorder(host))


async def test_handlers_leave_changes_to_a_task(host):
    async def remove(_: Event) -> None:
        try:
            await host.window.remove("late")
        except BusError as error:
            refused.append(str(error))
        group.start_soon(host.window.remove, "late")

    refused: list[str] = []
    async with host, anyio.create_task_group() as group:
        await host.window.add(recorder(host))
        host.bus.subscribe(Ping, remove)
        await host.publish(1)
    assert "called by one of its own handlers" in refused[0]
    assert [it.id for it in host.window.summary.containers] == ["gate", "late"]
    assert host.window.status == "completed"


@pytest.mark.parametrize("hook", ["on_stop", "results", "on_release"])
async def test_what_fails_while_a_container_leaves_is_raised_and_fails_the_window(
    host, storage, record_of, hook
):
    async with host:
        late = recorder(host, errors={hook: OSError(hook)})
        await host.window.add(late)
        with pytest.raises(OSError, match=hook):
            await host.window.remove("late")
        assert {"late.on_stop", "late.results", "late.on_release"} <= set(late.journal)
        assert late.state is ContainerState.DESTROYED
    record = await record_of(storage)
    assert (record["status"], record["errors"]) == ("failed", [f"OSError: {hook}"])
    status = "completed" if hook == "on_release" else "failed"
    assert record["containers"][1]["status"] == status


async def test_several_failures_are_raised_as_a_group(host):
    async with host:
        errors = {"on_stop": OSError("a"), "on_release": OSError("b")}
        await host.window.add(recorder(host, errors=errors))
        with pytest.raises(ExceptionGroup, match="the end of container 'late' failed") as caught:
            await host.window.remove("late")
        assert [str(error) for error in caught.value.exceptions] == ["a", "b"]


async def test_results_that_cannot_be_written_fail_the_window(make_window, record_of):
    class Full(MemoryStorage):
        async def write_atomic(self, path, chunks) -> None:
            if "late" in path:
                raise StorageError("disk full")
            await super().write_atomic(path, chunks)

    storage = Full()
    host = Host(make_window(lambda it: it.add(Gate("gate", scope=it.bus)), storage))
    async with host:
        await host.window.add(recorder(host))
        with pytest.raises(StorageError, match="disk full"):
            await host.window.remove("late")
    assert (await record_of(storage))["status"] == "failed"


async def test_a_handler_that_fails_while_another_container_leaves_ends_the_run_not_the_removal(
    host, storage, statuses
):
    def fail(_: Event) -> None:
        raise ValueError("odd")

    async def use() -> None:
        async with host:
            late = recorder(host)
            await host.window.add(late)
            host.bus.subscribe(Ping, fail)
            host.bus.publish(Ping(1))
            await host.window.remove("late")
            removed.append(late.state)

    removed: list[ContainerState] = []
    with pytest.raises(ExceptionGroup) as caught:
        await use()
    assert caught.group_contains(HandlerError, match="odd")
    assert removed == [ContainerState.DESTROYED]
    assert await statuses(storage) == {"late": "completed"}


async def test_without_a_run_the_failure_of_a_handler_goes_to_whoever_changes_the_window(
    make_window,
):
    def fail(_: Event) -> None:
        raise ValueError("odd")

    window = make_window(lambda it: it.add(RecordingContainer("one", scope=it.bus)))
    async with window:
        window.bus.subscribe(Ping, fail)
        window.bus.publish(Ping(1))
        with pytest.raises(HandlerError, match="odd"):
            await window.add(RecordingContainer("two", scope=window.bus))
        assert len(window.containers) == 2  # it has been let in all the same
        window.bus.publish(Ping(2))
        with pytest.raises(HandlerError, match="odd"):
            await window.remove("two")
        assert len(window.containers) == 1


async def test_a_handler_that_hangs_does_not_keep_a_container_from_leaving(
    make_window, storage, statuses
):
    build = lambda it: it.add(Gate("gate", scope=it.bus))  # noqa: E731
    host = Host(make_window(build, storage, deadlines=Deadlines(drain=0.01)))
    late = recorder(host)

    async def hang_once(_: Event) -> None:
        if not removed:
            await anyio.sleep_forever()

    removed: list[str] = []
    async with host:
        await host.window.add(late)
        host.bus.subscribe(Ping, hang_once)
        async with anyio.create_task_group() as group:
            group.start_soon(host.publish, 1, 2)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(DeadlineError, match="drain of container 'late'"):
                await host.window.remove("late")
            removed.append("late")
            group.cancel_scope.cancel()
        await host.publish(3)
        assert stamps(late) == [1]
    assert await statuses(storage) == {"late": "failed"}


async def test_a_scope_that_failed_for_itself_can_be_emptied(make_window, handling, storage):
    def fail(_: Event) -> None:
        raise ValueError("odd")

    async with make_window(handling(fail, contain=True), storage) as window:
        await window.run()
        await window.remove("odd")
        assert [it.id for it in window.containers] == ["data", "healthy"]
    assert [it.status for it in window.summary.containers] == ["completed", "completed", "failed"]


async def test_a_hurried_teardown_hurries_a_removal_too(host):
    late = recorder(host)

    async def hang() -> None:
        await anyio.sleep_forever()

    async def remove() -> None:
        with pytest.raises(DeadlineError):
            await host.window.remove("late")

    async with host:
        await host.window.add(late)
        late.on_stop = hang
        async with anyio.create_task_group() as group:
            group.start_soon(remove)
            await anyio.wait_all_tasks_blocked()
            host.window.hurry(0.01)


async def test_a_removal_from_a_bus_that_was_closed_is_reported(make_window, storage, statuses):
    window = make_window(lambda it: it.add(RecordingContainer("one", scope=it.bus)), storage)
    await window.start()
    await window.bus.aclose()
    with pytest.raises(BusClosedError):
        await window.remove("one")
    assert await statuses(storage) == {"one": "failed"}
    await window.aclose()


async def test_a_source_that_is_dismissed_before_its_task_begins_never_runs(host):
    async with host:
        source = RecordingContainer("source", scope=host.bus, publishes=[Ping(1)])
        host.window._run.join(source)
        host.window._run.dismiss(source)
        await anyio.wait_all_tasks_blocked()
        assert source.journal == []


async def test_a_run_of_its_own_fails_with_its_source():
    source = RecordingContainer("one", scope=Bus(), errors={"run": OSError("port")})
    run = WindowRun(source.scope, "w1", SimulatedClock())
    with pytest.raises(OSError, match="port"):
        await run.run([source], lambda: None)
    assert [str(error) for error in run.failures] == ["port"]


async def test_nothing_holds_on_to_a_container_that_has_left(host):
    async with host:
        old, new = recorder(host, "old"), recorder(host, "new")
        left = [weakref.ref(old)]
        await host.window.add(old)
        await host.publish(1)
        await host.window.swap("old", new)
        del old
        left.append(weakref.ref(new))
        await host.window.remove("new")
        del new
        await host.bus.drain()
        gc.collect()
        assert [ref() for ref in left] == [None, None]


def test_containers_come_and_go_on_trio_too(make_window):
    async def main() -> None:
        host = Host(make_window(lambda it: it.add(Gate("gate", scope=it.bus))))
        async with host:
            late = recorder(host)
            await host.window.add(late)
            await host.publish(1)
            await host.window.remove("late")
            await host.publish(2)
        assert stamps(late) == [1]

    anyio.run(main, backend="trio")

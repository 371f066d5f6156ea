"""Containers that take another's place, exactly between two events."""

from __future__ import annotations

import anyio
import msgspec
import pytest

from admf.engine.container import Container, ContainerState
from admf.engine.errors import ConfigError, DeadlineError, HandlerError, StateError
from admf.engine.events import ContainerSwapped, Event
from admf.engine.results import Document
from admf.engine.storage import MemoryStorage
from admf.engine.subscription import Mailbox
from admf.engine.teardown import Deadlines
from tests.engine.conftest import Ping
from tests.engine.test_membership import Gate, Host, Trace

pytestmark = pytest.mark.anyio


class Sum(Container):
    """Adds up the pings it handles; its state is the sum, its results what it has seen."""

    def __init__(
        self,
        container_id: str,
        *,
        scope,
        mailbox: Mailbox | None = None,
        depends_on=(),
        error: Exception | None = None,
        fails_in: str = "",
    ) -> None:
        super().__init__(container_id, "sum", scope=scope, depends_on=depends_on)
        self.seen: list[int] = []
        self.total = 0
        self.go_on = anyio.Event()
        self._mailbox = mailbox
        self._error = error
        self._fails_in = fails_in

    def _maybe_fail(self, hook: str) -> None:
        if self._error is not None and hook == self._fails_in:
            raise self._error

    async def on_start(self) -> None:
        self._maybe_fail("on_start")
        handler = self.handle if self._mailbox is None else self.handle_slowly
        self.subscribe(Ping, handler, mailbox=self._mailbox)

    def handle(self, event: Ping) -> None:
        self.seen.append(event.ts)
        self.total += event.ts

    async def handle_slowly(self, event: Ping) -> None:
        await self.go_on.wait()
        self.handle(event)

    async def on_stop(self) -> None:
        self._maybe_fail("on_stop")

    def hand_over(self) -> int:
        self._maybe_fail("hand_over")
        return self.total

    def take_over(self, state: int) -> None:
        self._maybe_fail("take_over")
        self.total = state

    def results(self) -> Document:
        return Document(self.id, {"status": self.status, "seen": self.seen, "total": self.total})


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def host(make_window, storage) -> Host:
    """Return a window with a gate, a sum and one that depends on it."""

    def build(builder) -> None:
        builder.add(Gate("gate", scope=builder.bus))
        builder.add(Sum("old", scope=builder.bus))
        builder.add(Sum("after", scope=builder.bus, depends_on=["old"]))

    return Host(make_window(build, storage, deadlines=Deadlines(drain=0.05)))


def old_of(host: Host) -> Sum:
    return host.window.containers[1]


async def test_the_old_one_handles_every_event_up_to_the_swap_and_the_new_one_every_later_one(
    host, storage, read, record_of
):
    async with host:
        old, new = old_of(host), Sum("new", scope=host.bus)
        await host.publish(1, 2)
        host.bus.publish(Ping(3))
        last = await host.window.swap("old", new)
        await host.publish(4, 5)
        assert old.state is ContainerState.DESTROYED
        assert [it.id for it in host.window.containers] == ["gate", "new", "after"]
    assert (old.seen, new.seen) == ([1, 2, 3], [4, 5])
    assert new.total == 15
    assert last == 4
    assert ContainerSwapped(0, "old", "new", last) in host.trace.events
    assert host.trace.seqs == [*range(1, len(host.trace.seqs) + 1)]
    assert (await read(storage, "containers/old_results.json"))["seen"] == [1, 2, 3]
    assert (await read(storage, "containers/new_results.json"))["seen"] == [4, 5]
    record = await record_of(storage)
    assert record["status"] == "completed"
    assert [(it["id"], it["status"]) for it in record["containers"]] == [
        *((name, "completed") for name in ("gate", "new", "after", "old"))
    ]
    assert (record["containers"][1]["after_seq"], record["containers"][3]["last_seq"]) == (4, 4)
    assert record["containers"][3]["successor"] == "new"


async def test_what_the_old_ones_mailbox_holds_is_handled_before_the_state_goes_over(make_window):
    def build(builder) -> None:
        builder.add(Gate("gate", scope=builder.bus))
        builder.add(Sum("old", scope=builder.bus, mailbox=Mailbox(10)))

    host = Host(make_window(build))
    async with host:
        old, new = old_of(host), Sum("new", scope=host.bus)
        accounts = old.subscriptions[0]
        async with anyio.create_task_group() as group:
            for ts in (1, 2, 3):
                host.bus.publish(Ping(ts))
            group.start_soon(host.window.swap, "old", new)
            await anyio.wait_all_tasks_blocked()
            host.bus.publish(Ping(4))
            group.start_soon(host.bus.drain)
            await anyio.wait_all_tasks_blocked()
            assert (old.seen, new.seen) == ([], [])
            old.go_on.set()
    assert (old.seen, new.seen, new.total) == ([1, 2, 3], [4], 10)
    stats = accounts.stats
    assert (stats.accepted, stats.handled, stats.queued, stats.dropped) == (3, 3, 0, 0)


async def test_the_new_one_takes_the_old_ones_place_in_the_order_of_subscribers(host):
    order: list[str] = []

    class Noting(Sum):
        def handle(self, event: Ping) -> None:
            order.append(self.id)

    async with host:
        for name in ("a", "b", "c"):
            await host.window.add(Noting(name, scope=host.bus))
        await host.window.swap("b", Noting("b2", scope=host.bus))
        await host.publish(1)
    assert order == ["a", "b2", "c"]


async def test_a_swap_for_its_like_changes_nothing_in_what_others_publish(make_window):
    """But for the event that tells of it, which is the last of each trace."""

    class Doubler(Sum):
        def handle(self, event: Ping) -> None:
            super().handle(event)
            if event.ts < 100:
                self.scope.publish(Ping(100 + self.total), "doubler")

    traces = []
    for swapped in (False, True):

        def build(builder) -> None:
            builder.add(Gate("gate", scope=builder.bus))
            builder.add(Doubler("old", scope=builder.bus))
            builder.add(Sum("other", scope=builder.bus))

        host = Host(make_window(build))
        async with host:
            await host.publish(1, 2)
            if swapped:
                host.bus.publish(Ping(3))
                await host.window.swap("old", Doubler("new", scope=host.bus))
            else:
                await host.publish(3)
            await host.publish(4)
        traces.append([it.event for it in host.trace.envelopes if isinstance(it.event, Ping)])
    assert traces[0] == traces[1]


async def test_each_ones_tracer_sees_its_own_part(host):
    async with host:
        first = Sum("first", scope=host.bus)
        second = Sum("second", scope=host.bus)
        first.tracer, second.tracer = Trace(), Trace()
        after = await host.window.add(first)
        await host.publish(1)
        last = await host.window.swap("first", second)
        await host.publish(2)
    assert first.tracer.seqs == [*range(after + 1, last + 1)]
    assert second.tracer.seqs == [*range(last + 1, host.trace.seqs[-1] + 1)]


async def test_whoever_has_the_place_answers_to_the_ids_of_those_before(host):
    async with host:
        await host.window.swap("old", Sum("two", scope=host.bus))
        await host.window.swap("old", Sum("three", scope=host.bus))
        await host.window.add(Sum("late", scope=host.bus, depends_on=["old"]))
        with pytest.raises(StateError, match="'three' stays: 'after', 'late' depend on it"):
            await host.window.remove("old")
        with pytest.raises(ConfigError, match="has or had the id 'two'"):
            await host.window.swap("old", Sum("two", scope=host.bus))
    ids = [it.id for it in host.window.summary.containers]
    assert ids == ["gate", "three", "after", "late", "old", "two"]


@pytest.mark.parametrize("hook", ["hand_over", "on_start", "take_over"])
async def test_a_swap_that_fails_leaves_the_old_one_in_its_place(host, hook, storage):
    async with host:
        old = old_of(host)
        new = Sum("new", scope=host.bus, error=ValueError(hook), fails_in=hook)
        if hook == "hand_over":
            old._error, old._fails_in = ValueError(hook), hook
        before = host.window.containers
        await host.publish(1)
        with pytest.raises(ValueError, match=hook):
            await host.window.swap("old", new)
        await host.publish(2)
        assert host.window.containers == before
        assert (old.seen, new.seen) == ([1, 2], [])
        assert (old.state, new.state) == (ContainerState.RUNNING, ContainerState.DESTROYED)
        old._error = None
        await host.window.swap("old", Sum("new", scope=host.bus))
        await host.publish(3)
        assert old.seen == [1, 2]
    assert host.window.status == "completed"
    assert not any(isinstance(it, ContainerSwapped) for it in host.trace.events[:-3])


async def test_a_mailbox_that_is_not_emptied_in_time_keeps_the_old_one_in_its_place(make_window):
    def build(builder) -> None:
        builder.add(Gate("gate", scope=builder.bus))
        builder.add(Sum("old", scope=builder.bus, mailbox=Mailbox(10)))

    host = Host(make_window(build, deadlines=Deadlines(drain=0.01)))
    async with host:
        old = old_of(host)
        host.bus.publish(Ping(1))
        async with anyio.create_task_group() as group:
            group.start_soon(host.bus.drain)
            with pytest.raises(DeadlineError, match=r"'old' RUNNING> were not empty after 0\.01 s"):
                await host.window.swap("old", Sum("new", scope=host.bus))
            old.go_on.set()
        await host.publish(2)
    assert old.seen == [1, 2]


async def test_a_swap_that_is_cancelled_while_it_waits_leaves_the_old_one_in_its_place(
    make_window,
):
    def build(builder) -> None:
        builder.add(Gate("gate", scope=builder.bus))
        builder.add(Sum("old", scope=builder.bus, mailbox=Mailbox(10)))

    host = Host(make_window(build))
    async with host, anyio.create_task_group() as draining:
        old, new = old_of(host), Sum("new", scope=host.bus)
        host.bus.publish(Ping(1))
        draining.start_soon(host.bus.drain)
        async with anyio.create_task_group() as group:
            group.start_soon(host.window.swap, "old", new)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert new.state is ContainerState.DESTROYED
        old.go_on.set()
        await host.publish(2)
        assert old.seen == [1, 2]


async def test_the_end_of_the_old_one_may_fail_and_the_new_one_is_in_its_place(
    host, storage, record_of
):
    async with host:
        old = old_of(host)
        old._error, old._fails_in = OSError("socket"), "on_stop"
        new = Sum("new", scope=host.bus)
        with pytest.raises(OSError, match="socket"):
            await host.window.swap("old", new)
        await host.publish(1)
        assert new.seen == [1]
    record = await record_of(storage)
    assert (record["status"], record["errors"]) == ("failed", ["OSError: socket"])


async def test_a_swap_of_a_source_goes_on_where_the_old_one_stopped(make_window):
    class Count(Container):
        def __init__(self, container_id: str, *, scope) -> None:
            super().__init__(container_id, "source", scope=scope)
            self.position = 0

        async def run(self) -> None:
            while self.position < 20:
                if self.position == 19:  # however slow the machine, no swap comes too late
                    await swapped.wait()
                self.position += 1
                self.scope.publish(Ping(self.position), self.id)
                await self.scope.drain()
                await anyio.lowlevel.checkpoint()

        def hand_over(self) -> int:
            return self.position

        def take_over(self, state: int) -> None:
            self.position = state

    def build(builder) -> None:
        builder.add(Count("old", scope=builder.bus))
        builder.add(Sum("sum", scope=builder.bus))

    async def swap() -> None:
        for number in range(3):
            for _ in range(4):
                await anyio.lowlevel.checkpoint()
            await window.swap("old", Count(f"new_{number}", scope=window.bus))
        swapped.set()

    swapped = anyio.Event()
    window = make_window(build)
    async with window, anyio.create_task_group() as group:
        total = window.containers[1]
        group.start_soon(swap)
        await window.run()
    assert total.seen == [*range(1, 21)]
    assert len(window.summary.containers) == 5
    assert window.status == "completed"


class Clocked(Container):
    """A source whose drain takes as long as the handlers of others do."""

    def __init__(self, container_id: str, *, scope) -> None:
        super().__init__(container_id, "source", scope=scope)
        self.position = 0

    async def run(self) -> None:
        while self.position < 6:
            self.position += 1
            self.scope.publish(Ping(self.position), self.id)
            await self.scope.drain()

    def hand_over(self) -> Position:
        return Position(self.position)

    def take_over(self, state: Position) -> None:
        self.position = state.value


class Position(msgspec.Struct):
    value: int


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("mailbox", [None, Mailbox(1)])
@pytest.mark.parametrize("change", ["swap", "remove"])
def test_a_source_that_leaves_while_it_drains_interrupts_no_handler_of_others(
    make_window, change, mailbox, backend
):
    begun: list[int] = []
    done: list[int] = []

    async def handle(event: Ping) -> None:
        begun.append(event.ts)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        done.append(event.ts)

    def build(builder) -> None:
        builder.add(Clocked("old", scope=builder.bus))
        slow = builder.add(Sum("slow", scope=builder.bus))
        slow.subscribe(Ping, handle, mailbox=mailbox)

    async def change_it() -> None:
        while 3 not in begun:
            await anyio.lowlevel.checkpoint()
        assert 3 not in done
        if change == "swap":
            await window.swap("old", Clocked("new", scope=window.bus))
        else:
            await window.remove("old")

    async def main() -> None:
        nonlocal window
        window = make_window(build)
        async with window, anyio.create_task_group() as group:
            group.start_soon(change_it)
            await window.run()

    window = None
    anyio.run(main, backend=backend)
    assert begun == done == ([1, 2, 3, 4, 5, 6] if change == "swap" else [1, 2, 3])
    assert window.status == "completed"


async def test_a_new_one_has_to_fit_into_the_place(host):
    async with host:
        lane = host.bus.scope("lane")
        for new, text in [
            (Sum("new", scope=lane), "has to live in the scope of"),
            (Sum("new", scope=host.bus, depends_on=["after"]), "'after', which starts no earlier"),
            (Sum("new", scope=host.bus, depends_on=["old"]), "'old', which starts no earlier"),
        ]:
            with pytest.raises(ConfigError, match=text):
                await host.window.swap("old", new)
            assert new.state is ContainerState.CREATED
        await host.window.swap("old", Sum("new", scope=host.bus, depends_on=["gate"]))


async def test_a_swap_in_a_scope_is_exact_by_the_numbers_of_the_scope(make_window):
    def build(builder) -> None:
        builder.add(Gate("gate", scope=builder.bus))
        builder.add(Sum("old", scope=builder.bus.scope("lane")))

    host = Host(make_window(build))
    async with host:
        old = old_of(host)
        new = Sum("new", scope=old.scope)
        await host.publish(1, 2)
        for ts in (3, 4):
            old.scope.publish(Ping(ts))
        last = await host.window.swap("old", new)
        await host.publish(5)
    assert (old.seen, new.seen) == ([1, 2, 3, 4], [5])
    assert last == 5  # WINDOW_START and four pings
    assert not any(isinstance(it, ContainerSwapped) for it in host.trace.events)


async def test_a_scope_that_has_failed_takes_no_container(make_window):
    def fail(_: Event) -> None:
        raise ValueError("odd")

    def build(builder) -> None:
        builder.add(Gate("gate", scope=builder.bus))
        builder.add(Sum("old", scope=builder.bus.scope("lane", contain_failures=True)))

    host = Host(make_window(build))
    async with host:
        lane = old_of(host).scope
        lane.subscribe(Ping, fail)
        lane.publish(Ping(1))
        with pytest.raises(StateError, match="'new' came into a scope that has failed"):
            await host.window.swap("old", Sum("new", scope=lane))
        with pytest.raises(StateError, match="'newer' is for a scope that has failed"):
            await host.window.swap("old", Sum("newer", scope=lane))


async def test_a_handler_that_fails_meanwhile_ends_the_run_and_not_the_swap(host):
    def fail(_: Event) -> None:
        raise ValueError("odd")

    async def use() -> None:
        async with host:
            host.bus.subscribe(Ping, fail)
            host.bus.publish(Ping(1))
            await host.window.swap("old", new)

    new = Sum("new", scope=host.bus)
    with pytest.raises(ExceptionGroup) as caught:
        await use()
    assert caught.group_contains(HandlerError, match="odd")
    assert [it.id for it in host.window.summary.containers][1] == "new"


def test_swaps_work_on_trio_too(make_window):
    def build(builder) -> None:
        builder.add(Gate("gate", scope=builder.bus))
        builder.add(Sum("old", scope=builder.bus))

    async def main() -> None:
        host = Host(make_window(build))
        async with host:
            new = Sum("new", scope=host.bus)
            await host.publish(1)
            await host.window.swap("old", new)
            await host.publish(2)
        assert (new.seen, new.total) == ([2], 3)

    anyio.run(main, backend="trio")

"""Containers that fail while their window goes on."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import msgspec
import pytest

from admf.engine.clock import SimulatedClock
from admf.engine.container import Container, ContainerState
from admf.engine.errors import ConfigError, HandlerError, StateError, WindowError
from admf.engine.events import ContainerSwapped, HandlerFailed, SourceFailed
from admf.engine.results import Document
from admf.engine.storage import MemoryStorage
from admf.engine.subscription import Mailbox
from admf.engine.supervision import RestartCount, Supervision
from tests.engine.conftest import Ping
from tests.engine.test_membership import Gate, Host, Trace

pytestmark = pytest.mark.anyio

FAILS_AT = 100
"""Pings from this time on make a worker fail."""


class Worker(Container):
    """Adds up the pings it handles, in a state that can be handed over."""

    def __init__(
        self,
        container_id: str = "worker",
        *,
        scope,
        supervision: Supervision,
        made: list[Worker],
        mailbox: Mailbox | None = None,
        start_errors: list[Exception] | None = None,
    ) -> None:
        super().__init__(container_id, "worker", scope=scope, supervision=supervision)
        self.made = made
        self.seen: list[int] = []
        self.total = 0
        self.started = False
        self.mailbox = mailbox
        self.start_errors = [] if start_errors is None else start_errors
        made.append(self)

    async def on_start(self) -> None:
        if self.start_errors and self.id != "worker":
            raise self.start_errors.pop(0)
        self.subscribe(Ping, self.handle, mailbox=self.mailbox)

    def handle(self, event: Ping) -> None:
        self.seen.append(event.ts)
        if event.ts >= FAILS_AT:
            raise ValueError(f"ping {event.ts}")
        self.total += event.ts

    def hand_over(self) -> int:
        return self.total

    def take_over(self, state: int) -> None:
        self.total = state

    def renew(self, container_id: str) -> Worker:
        return Worker(
            container_id,
            scope=self.scope,
            supervision=self.supervision,
            made=self.made,
            mailbox=self.mailbox,
            start_errors=self.start_errors,
        )

    def results(self) -> Document:
        return Document(self.id, {"status": self.status, "total": self.total})


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def made() -> list[Worker]:
    """The workers that were made, the first one first."""
    return []


@pytest.fixture
def supervised(make_window, storage, made) -> Callable[..., Host]:
    """Return a function that makes a window with a gate and a worker."""

    def supervised(policy: str, *, clock: SimulatedClock | None = None, **settings) -> Host:
        worker = {
            name: settings.pop(name) for name in ("mailbox", "start_errors") if name in settings
        }

        def build(builder) -> None:
            builder.add(Gate("gate", scope=builder.bus))
            supervision = Supervision(policy=policy, **settings)
            builder.add(Worker(scope=builder.bus, supervision=supervision, made=made, **worker))

        return Host(make_window(build, storage, clock=clock))

    return supervised


def restarting(**settings) -> Supervision:
    return Supervision(policy="restart", **settings)


# -- isolate --------------------------------------------------------------------------------------


async def test_the_failures_of_an_isolated_container_are_in_the_trace_and_the_record(
    supervised, storage, made, record_of
):
    host = supervised("isolate")
    async with host:
        await host.publish(1, 100, 2)
        assert made[0].state is ContainerState.DEGRADED
    assert made[0].seen == [1, 100, 2]
    failed = [event for event in host.trace.events if isinstance(event, HandlerFailed)]
    assert [(it.subscriber, it.error) for it in failed] == [
        ("worker.handle", "ValueError: ping 100")
    ]
    record = await record_of(storage)
    assert record["status"] == "completed"
    assert record["containers"][1] == {
        "id": "worker",
        "role": "worker",
        "status": "completed",
        "error": "",
        "health": "degraded",
        "failures": 1,
    }


# -- restart --------------------------------------------------------------------------------------


async def test_a_new_instance_handles_every_event_after_the_one_that_failed(
    supervised, storage, made, record_of, read
):
    host = supervised("restart")
    async with host:
        await host.publish(1, 2, 100, 3, 4)
        assert [it.state for it in made] == [ContainerState.DESTROYED, ContainerState.RUNNING]
        assert [it.id for it in host.window.containers] == ["gate", "worker.2"]
    assert [it.seen for it in made] == [[1, 2, 100], [3, 4]]
    assert made[1].total == 10  # it took over what had come together
    swapped = [it for it in host.trace.envelopes if isinstance(it.event, ContainerSwapped)]
    assert [it.event for it in swapped] == [ContainerSwapped(0, "worker", "worker.2", 4)]
    assert [it.cause for it in swapped] == [4]
    assert host.trace.seqs == [*range(1, len(host.trace.seqs) + 1)]
    record = await record_of(storage)
    assert record["status"] == "completed"
    old, new = record["containers"][2], record["containers"][1]
    assert (old["status"], old["error"], old["health"]) == (
        "failed",
        "ValueError: ping 100",
        "failed",
    )
    assert (old["last_seq"], old["successor"]) == (4, "worker.2")
    assert (new["id"], new["status"], new["after_seq"]) == ("worker.2", "completed", 4)
    assert (await read(storage, "containers/worker_results.json"))["total"] == 3
    assert (await read(storage, "containers/worker.2_results.json"))["total"] == 10


async def test_it_may_begin_afresh(supervised, made):
    host = supervised("restart", keep_state=False)
    async with host:
        await host.publish(1, 100, 3)
    assert [it.total for it in made] == [1, 3]


async def test_each_failure_makes_one_more_instance(supervised, made):
    host = supervised("restart")
    async with host:
        await host.publish(100, 101, 1, 102, 2)
    assert [it.id for it in made] == ["worker", "worker.2", "worker.3", "worker.4"]
    assert [it.seen for it in made] == [[100], [101], [1, 102], [2]]


async def test_a_container_that_fails_too_often_fails_the_window(
    supervised, storage, made, record_of
):
    async def use() -> None:
        async with host:
            await host.publish(100, 101, 102, 103)

    host = supervised("restart", max_restarts=2)
    with pytest.raises(ExceptionGroup) as caught:
        await use()
    assert caught.group_contains(HandlerError, match=r"'worker\.3\.handle' failed on PING")
    record = await record_of(storage)
    assert record["status"] == "failed"
    health = [it.get("health", "healthy") for it in record["containers"]]
    assert health == ["healthy", "failed", "failed", "failed"]


async def test_restarts_long_ago_do_not_count(supervised, made):
    clock = SimulatedClock()
    host = supervised("restart", clock=clock, max_restarts=1, within_s=10.0)
    async with host:
        for number in range(4):
            clock.advance_to(number * 10_000_000_000)
            await host.publish(100)
    assert len(made) == 5


async def test_the_scope_waits_for_the_backoff_so_that_nothing_is_lost(supervised, made):
    clock = SimulatedClock()
    host = supervised("restart", clock=clock, backoff_s=1.0)
    async with host, anyio.create_task_group() as group:
        group.start_soon(host.publish, 100, 1, 101, 2)
        for now_s, instances in [(0.9, 1), (1.0, 2), (2.9, 2), (3.0, 3)]:
            await anyio.wait_all_tasks_blocked()
            clock.advance_to(round(now_s * 1e9))
            await anyio.wait_all_tasks_blocked()
            assert len(made) == instances
    assert [it.seen for it in made] == [[100], [1, 101], [2]]


def test_the_backoff_doubles_up_to_its_limit_and_begins_anew_after_a_quiet_time():
    now = [0.0]
    count = RestartCount(
        "worker",
        restarting(max_restarts=4, within_s=100.0, backoff_s=1.0, max_backoff_s=5.0),
        lambda: now[0],
    )
    waits = []
    while count.take():
        waits.append(count.backoff_s)
    assert waits == [1.0, 2.0, 4.0, 5.0]
    now[0] = 100.0
    assert count.take()
    assert count.backoff_s == 1.0


async def test_the_bytes_of_a_run_with_restarts_do_not_depend_on_their_backoff(
    make_window, supervised, made
):
    traces = []
    for backoff_s in (0.0, 1.0):
        clock = SimulatedClock()
        host = supervised("restart", clock=clock, backoff_s=backoff_s)
        async with host, anyio.create_task_group() as group:
            group.start_soon(host.publish, 1, 100, 2, 101, 3)
            for _ in range(4):
                await anyio.wait_all_tasks_blocked()
                clock.advance_to(clock.now_ns() + 1_000_000_000 * (backoff_s > 0))
        traces.append([(it.seq, it.cause, type(it.event)) for it in host.trace.envelopes])
    assert traces[0] == traces[1]


async def test_an_instance_that_cannot_start_counts_as_a_restart(supervised, made):
    host = supervised("restart", start_errors=[OSError("port"), OSError("port")])
    async with host:
        await host.publish(100, 1)
    assert [it.id for it in made] == ["worker", "worker.2", "worker.3", "worker.4"]
    assert [it.seen for it in made] == [[100], [], [], [1]]
    assert {it.state for it in made} == {ContainerState.DESTROYED}


async def test_if_no_instance_can_start_the_first_failure_is_raised(supervised, made, storage):
    async def use() -> None:
        async with host:
            await host.publish(100, 1)

    host = supervised("restart", max_restarts=2, start_errors=[OSError("port")] * 9)
    with pytest.raises(ExceptionGroup) as caught:
        await use()
    assert caught.group_contains(HandlerError, match="ping 100")
    assert made[0].error is not None
    assert host.window.status == "failed"


async def test_what_a_mailbox_holds_is_handled_by_the_one_that_accepted_it(supervised, made):
    host = supervised("restart", mailbox=Mailbox(10))
    async with host:
        await host.publish(1, 100, 2, 101, 3)
        await host.publish(4)
    assert [it.seen for it in made] == [[1, 100, 2, 101, 3], [4]]
    assert made[0].failures == 2  # of which one led to the restart


async def test_a_failure_while_the_window_closes_restarts_nothing(supervised, made):
    host = supervised("restart")
    async with host:
        host.bus.publish(Ping(100))
        await host.window.aclose()
    assert len(made) == 1
    assert made[0].health == "degraded"


async def test_a_container_that_is_to_be_restarted_has_to_say_how(make_window, host_of_gate):
    class Mute(Container):
        pass

    def build(builder) -> None:
        builder.add(Mute("mute", "any", scope=builder.bus, supervision=restarting()))

    with pytest.raises(ConfigError, match=r"has to define renew\(\)"):
        await make_window(build).start()
    async with host_of_gate as host:
        mute = Mute("mute", "any", scope=host.bus, supervision=restarting())
        with pytest.raises(ConfigError, match=r"has to define renew\(\)"):
            await host.window.add(mute)
        assert mute.state is ContainerState.CREATED


@pytest.fixture
def host_of_gate(make_window, storage) -> Host:
    return Host(make_window(lambda it: it.add(Gate("gate", scope=it.bus)), storage))


async def test_results_that_fail_in_a_restart_fail_the_window(supervised, made, storage):
    async def use() -> None:
        async with host:
            made[0].results = broken
            await host.publish(100, 1)

    def broken() -> Document:
        raise OSError("disk full")

    host = supervised("restart")
    with pytest.raises(ExceptionGroup) as caught:
        await use()
    assert caught.group_contains(WindowError, match="and so did its end: OSError: disk full")
    assert host.window.status == "failed"
    assert made[1].seen == [1]


async def test_a_restart_that_is_interrupted_is_done_by_the_next_drain(supervised, made):
    clock = SimulatedClock()
    host = supervised("restart", clock=clock, backoff_s=1.0)
    async with host:
        async with anyio.create_task_group() as group:
            group.start_soon(host.publish, 100, 1)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert len(made) == 1
        async with anyio.create_task_group() as group:
            group.start_soon(host.publish, 2)
            await anyio.wait_all_tasks_blocked()
            clock.advance_to(1_000_000_000)
    assert [it.seen for it in made] == [[100], [1, 2]]


async def test_a_swap_comes_too_late_for_a_container_that_fails_for_good(supervised, made):
    async def use() -> None:
        async with host:
            host.bus.publish(Ping(100))
            successor = made[0].renew("other")
            with pytest.raises(StateError, match="'worker' is on its way out, or failed"):
                await host.window.swap("worker", successor)
            assert successor.state is ContainerState.DESTROYED

    host = supervised("restart", max_restarts=0)
    with pytest.raises(ExceptionGroup) as caught:
        await use()
    assert caught.group_contains(HandlerError, match="ping 100")


# -- sources --------------------------------------------------------------------------------------


class Feed(Container):
    """A source that publishes numbers and fails at some of them, the first time it gets there."""

    def __init__(self, container_id: str = "feed", *, scope, supervision, fails: set[int]) -> None:
        super().__init__(container_id, "source", scope=scope, supervision=supervision)
        self.fails = fails
        self.position = 0

    async def run(self) -> None:
        while self.position < 6:
            if self.position in self.fails:
                self.fails.discard(self.position)
                raise ConnectionError(f"lost at {self.position}")
            self.scope.publish(Ping(self.position), self.id)
            self.position += 1
            await self.scope.drain()

    def hand_over(self) -> int:
        return self.position

    def take_over(self, state: int) -> None:
        self.position = state

    def renew(self, container_id: str) -> Feed:
        return Feed(container_id, scope=self.scope, supervision=self.supervision, fails=self.fails)


async def run_feed(make_window, supervision: Supervision, fails: set[int], storage=None):
    trace = Trace()
    build = lambda it: it.add(  # noqa: E731
        Feed(scope=it.bus, supervision=supervision, fails=fails)
    )
    window = make_window(build, storage)
    window.bus.attach_tracer(trace)
    async with window:
        await window.run()
    return window, trace


def pings(trace: Trace) -> list[int]:
    return [event.ts for event in trace.events if isinstance(event, Ping)]


async def test_a_source_that_raises_fails_the_window_unless_told_otherwise(make_window):
    with pytest.raises(ConnectionError, match="lost at 3"):
        await run_feed(make_window, Supervision(), {3})


async def test_an_isolated_source_ends_and_its_window_goes_on(make_window, storage, record_of):
    window, trace = await run_feed(make_window, Supervision(policy="isolate"), {3}, storage)
    assert pings(trace) == [0, 1, 2]
    assert SourceFailed(0, "feed", "ConnectionError: lost at 3") in trace.events
    assert window.status == "completed"
    assert (await record_of(storage))["containers"][0]["health"] == "degraded"


async def test_a_source_that_is_restarted_goes_on_where_it_stopped(make_window):
    window, trace = await run_feed(make_window, restarting(), {2, 4})
    assert pings(trace) == [0, 1, 2, 3, 4, 5]
    assert [it.id for it in window.summary.containers] == ["feed.3", "feed", "feed.2"]
    assert window.status == "completed"


async def test_a_source_that_fails_too_often_fails_the_window_with_its_own_error(make_window):
    with pytest.raises(ConnectionError, match="lost at 2"):
        await run_feed(make_window, restarting(max_restarts=1), {1, 2})


@pytest.mark.parametrize("odd", [{"max_restarts": -1}, {"within_s": 0}, {"policy": "retry"}])
def test_settings_out_of_range_are_refused(odd):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(odd, Supervision)


class Echo(Feed):
    """A source that hears itself, and fails when it does, in a drain of its own."""

    async def on_start(self) -> None:
        self.heard: list[int] = []
        self.subscribe(Ping, self.hear)

    def hear(self, event: Ping) -> None:
        self.heard.append(event.ts)
        if event.ts in self.fails:
            self.fails.discard(event.ts)
            raise ValueError(f"ping {event.ts}")

    async def run(self) -> None:
        while self.position < 6:
            self.position += 1
            self.scope.publish(Ping(self.position - 1), self.id)
            await self.scope.drain()

    def renew(self, container_id: str) -> Echo:
        echo = Echo(container_id, scope=self.scope, supervision=self.supervision, fails=self.fails)
        self.successor = echo
        return echo


async def test_a_source_whose_own_drain_restarts_it_is_replaced_and_seen_off(make_window):
    def build(builder) -> None:
        first.append(builder.add(Echo(scope=builder.bus, supervision=restarting(), fails={2})))

    first: list[Echo] = []
    trace = Trace()
    window = make_window(build)
    window.bus.attach_tracer(trace)
    async with window:
        await window.run()
    assert pings(trace) == [0, 1, 2, 3, 4, 5]
    assert (first[0].heard, first[0].successor.heard) == ([0, 1, 2], [3, 4, 5])
    assert [it.id for it in window.summary.containers] == ["feed.2", "feed"]

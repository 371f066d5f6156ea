from __future__ import annotations

import asyncio
from itertools import pairwise, product

import anyio
import pytest

from admf.engine.bus import Bus
from admf.engine.container import TRANSITIONS, Container, ContainerState
from admf.engine.errors import HandlerError, StateError, StorageError
from admf.engine.events import Event, WindowStart
from admf.engine.intake import Intake
from admf.engine.results import Document
from admf.engine.subscription import Mailbox
from admf.engine.supervision import Supervision
from admf.engine.testing import RecordingContainer

pytestmark = pytest.mark.anyio

S = ContainerState

# The design's line of states, written out independently of the table in the code.
LINE = [S.CREATED, S.STARTING, S.RUNNING, S.STOPPING, S.FLUSHING, S.DESTROYED]
ALLOWED = (
    set(pairwise(LINE))
    | {(S.RUNNING, S.PAUSED), (S.PAUSED, S.RUNNING), (S.PAUSED, S.STOPPING)}
    | {(S.RUNNING, S.DEGRADED), (S.DEGRADED, S.PAUSED), (S.PAUSED, S.DEGRADED)}
    | {(S.DEGRADED, S.STOPPING)}
    | {(state, S.FAILED) for state in S if state not in {S.FAILED, S.DESTROYED}}
    | {(S.FAILED, S.FLUSHING)}
)


class Ping(Event, frozen=True, gc=False, tag="CONTAINER_PING"):
    name: str = ""


class Writer:
    """Keeps documents; the first ``failures`` writes raise instead."""

    def __init__(self, *failures: BaseException) -> None:
        self.documents: list[Document] = []
        self.attempts = 0
        self._failures = list(failures)

    async def __call__(self, document: Document) -> None:
        self.attempts += 1
        await anyio.lowlevel.checkpoint()
        if self._failures:
            raise self._failures.pop(0)
        self.documents.append(document)


class Tracer:
    types = frozenset([Event])

    def __init__(self) -> None:
        self.recorded: list[object] = []

    def record(self, envelope) -> None:
        self.recorded.append(envelope.event)


def recorder(**options) -> RecordingContainer:
    return RecordingContainer("one", scope=Bus(), **options)


async def brought_to(state: ContainerState) -> RecordingContainer:
    container = recorder()
    if state is S.CREATED:
        return container
    if state is S.FAILED:
        container.fail(ValueError("told so"))
        return container
    await container.start()
    if state is S.PAUSED:
        await container.pause()
    if state is S.DEGRADED:
        container.note_failure()
    if state in {S.STOPPING, S.FLUSHING, S.DESTROYED}:
        await container.stop()
    if state in {S.FLUSHING, S.DESTROYED}:
        await container.flush(Writer())
    if state is S.DESTROYED:
        await container.release()
    assert container.state is state
    return container


def test_transitions_are_those_of_the_design():
    assert {(a, b) for a, targets in TRANSITIONS.items() for b in targets} == ALLOWED


STEPS = {
    "start": ({S.CREATED}, S.RUNNING),
    "pause": ({S.RUNNING, S.DEGRADED}, S.PAUSED),
    "resume": ({S.PAUSED}, S.RUNNING),
    "stop": (
        {S.RUNNING, S.DEGRADED, S.PAUSED, S.STOPPING, S.DESTROYED, S.FLUSHING, S.FAILED},
        S.STOPPING,
    ),
    "flush": ({S.STOPPING, S.FLUSHING, S.DESTROYED, S.FAILED}, S.FLUSHING),
    "release": ({S.FLUSHING, S.DESTROYED, S.FAILED}, S.DESTROYED),
}
STANDSTILL = {("stop", state) for state in (S.FLUSHING, S.DESTROYED, S.FAILED)} | {
    ("flush", S.DESTROYED)
}


@pytest.mark.parametrize(
    ("step", "state"), list(product(STEPS, [s for s in S if s is not S.STARTING]))
)
async def test_each_step_is_allowed_in_its_states_alone(step, state):
    container = await brought_to(state)
    allowed, target = STEPS[step]
    arguments = [Writer()] if step == "flush" else []
    if state in allowed:
        await getattr(container, step)(*arguments)
        assert container.state is (state if (step, state) in STANDSTILL else target)
        return
    with pytest.raises(StateError, match=f"'one' cannot go from {state.name} to"):
        await getattr(container, step)(*arguments)
    assert container.state is state


async def test_the_hooks_are_called_in_order_and_the_document_is_written():
    container, writer = recorder(), Writer()
    await container.start()
    await container.run()
    await container.stop()
    await container.cleanup(writer)
    hooks = ["on_start", "run", "on_stop", "results", "on_release"]
    assert container.journal == [f"one.{hook}" for hook in hooks]
    assert writer.documents == [Document("one", {"status": "completed", "seen": []})]


async def test_a_plain_container_goes_through_its_life_and_writes_nothing():
    container, writer = Container("plain", "idle", scope=Bus()), Writer()
    await container.start()
    await container.run()
    await container.stop()
    await container.cleanup(writer)
    assert container.state is S.DESTROYED
    assert writer.attempts == 0
    assert repr(container) == "<Container 'plain' DESTROYED>"


async def test_stop_and_cleanup_are_idempotent():
    container, writer = recorder(), Writer()
    await container.start()
    for _ in range(3):
        await container.stop()
    for _ in range(3):
        await container.cleanup(writer)
    assert container.journal.count("one.on_stop") == 1
    assert container.journal.count("one.on_release") == 1
    assert len(writer.documents) == 1


@pytest.mark.parametrize("hook", ["on_stop", "on_release"])
async def test_all_callers_get_the_error_of_the_first(hook):
    container = recorder(errors={hook: ValueError("of the hook")})
    await container.start()
    caught: list[Exception] = []

    async def join() -> None:
        try:
            await container.stop()
            await container.cleanup(Writer())
        except ValueError as error:
            caught.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(join)
    assert len(caught) == 3
    assert len(set(map(id, caught))) == 1
    assert container.journal.count(f"one.{hook}") == 1


async def test_a_step_that_took_no_time_is_over_for_all_who_ask_later():
    container = Container("one", "plain", scope=Bus())
    await container.start()
    for step in ("stop", "flush", "release"):
        at_once = container.step_at_once(step)
        assert at_once is not None
        at_once()
        at_once()
    assert container.state is S.DESTROYED
    await container.stop()
    await container.cleanup(Writer())
    assert container.state is S.DESTROYED


async def test_a_step_that_failed_without_taking_time_fails_for_all_who_ask_later():
    container = Container("one", "plain", scope=Bus())
    at_once = container.step_at_once("stop")
    assert at_once is not None
    for _ in range(2):
        with pytest.raises(StateError):
            at_once()
    with pytest.raises(StateError):
        await container.stop()


async def test_a_second_caller_waits_for_the_first():
    container, writer = recorder(), Writer()
    await container.start()
    await container.stop()
    ends: list[ContainerState] = []

    async def join() -> None:
        await container.cleanup(writer)
        ends.append(container.state)

    async with anyio.create_task_group() as group:
        group.start_soon(join)
        group.start_soon(join)
    assert ends == [S.DESTROYED, S.DESTROYED]
    assert writer.attempts == 1


async def test_a_failing_start_makes_it_failed_and_it_writes_nothing():
    error = ValueError("no such file")
    container, writer = recorder(errors={"on_start": error}), Writer()
    with pytest.raises(ValueError, match="no such file"):
        await container.start()
    assert (container.state, container.error, container.status) == (S.FAILED, error, "failed")
    await container.stop()
    await container.cleanup(writer)
    assert container.state is S.DESTROYED
    assert container.journal == ["one.on_start", "one.on_release"]
    assert writer.attempts == 0


async def test_a_container_told_to_fail_while_it_starts_does_not_run():
    class Doubting(Container):
        async def on_start(self) -> None:
            self.fail(ValueError("on second thoughts"))

    container = Doubting("doubting", "doubting", scope=Bus())
    with pytest.raises(StateError, match="from FAILED to RUNNING"):
        await container.start()
    assert isinstance(container.error, ValueError)
    assert not container.ran


async def test_a_cancelled_start_makes_it_failed_and_is_raised():
    class Hanging(Container):
        async def on_start(self) -> None:
            await anyio.sleep_forever()

    container = Hanging("hanging", "hanging", scope=Bus())
    with anyio.move_on_after(0) as scope:
        await container.start()
    assert scope.cancelled_caught
    assert container.state is S.FAILED
    assert container.status == "cancelled"


async def test_a_failed_container_is_stopped_and_writes_what_it_has():
    container, writer = recorder(), Writer()
    await container.start()
    container.fail(ValueError("first"))
    container.fail(ValueError("second"))
    await container.stop()
    await container.cleanup(writer)
    assert str(container.error) == "first"
    assert container.state is S.DESTROYED
    assert "one.on_stop" in container.journal
    assert writer.documents[0].body["status"] == "failed"


async def test_a_destroyed_container_cannot_fail():
    container = await brought_to(S.DESTROYED)
    with pytest.raises(StateError, match="'one' cannot go from DESTROYED to FAILED"):
        container.fail(ValueError("late"))
    assert container.error is None


@pytest.mark.parametrize("outcome", ["completed", "cancelled", "failed"])
async def test_the_document_carries_the_outcome_of_the_window(outcome):
    container, writer = recorder(), Writer()
    await container.start()
    await container.stop()
    container.outcome = outcome
    await container.flush(writer)
    assert writer.documents[0].body["status"] == outcome


@pytest.mark.parametrize("error", [OSError("glitch"), asyncio.CancelledError("interrupted")])
async def test_an_interrupted_flush_is_tried_once_more(error):
    container, writer = recorder(), Writer(error)
    await container.start()
    await container.stop()
    await container.cleanup(writer)
    assert (writer.attempts, len(writer.documents)) == (2, 1)
    assert container.error is None


async def test_a_flush_that_fails_twice_is_given_up_and_the_container_released():
    container, writer = recorder(), Writer(OSError("first"), OSError("second"))
    await container.start()
    await container.stop()
    with pytest.raises(OSError, match="second"):
        await container.cleanup(writer)
    assert writer.attempts == 2
    assert container.state is S.DESTROYED


async def test_what_the_storage_refused_is_not_tried_again():
    container, writer = recorder(), Writer(StorageError("fsync failed"))
    await container.start()
    await container.stop()
    with pytest.raises(StorageError):
        await container.cleanup(writer)
    assert writer.attempts == 1


async def interrupted(work) -> None:
    """Await ``work`` in a task that is cancelled as soon as it waits for something."""
    task = asyncio.create_task(work)
    await anyio.lowlevel.checkpoint()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_flush_is_done_by_the_next_who_asks():
    container, writer = recorder(), Writer()
    await container.start()
    await container.stop()
    await interrupted(container.flush(writer))
    assert (writer.attempts, writer.documents) == (1, [])
    assert container.state is S.FLUSHING
    await container.flush(writer)
    assert len(writer.documents) == 1


class Slow(RecordingContainer):
    async def on_stop(self) -> None:
        await super().on_stop()
        await anyio.lowlevel.checkpoint()

    async def on_release(self) -> None:
        await super().on_release()
        await anyio.lowlevel.checkpoint()


async def test_a_cancelled_stop_is_done_again():
    container = Slow("one", scope=Bus())
    await container.start()
    await interrupted(container.stop())
    assert container.state is S.STOPPING
    await container.stop()
    assert container.journal.count("one.on_stop") == 2


async def test_a_cancelled_release_lets_go_all_the_same_and_is_done_again():
    bus = Bus()
    container = Slow("one", scope=bus, types=[Ping])
    await container.start()
    await container.stop()
    await container.flush(Writer())
    await interrupted(container.release())
    bus.publish(Ping(1))
    await bus.drain()
    assert container.seen == []
    assert container.state is S.DESTROYED
    await container.release()
    assert container.journal.count("one.on_release") == 2


async def test_the_source_waits_while_the_container_is_paused():
    container = recorder(types=[Ping], publishes=[Ping(1), Ping(2)])
    await container.start()
    await container.pause()
    async with anyio.create_task_group() as group:
        group.start_soon(container.run)
        await anyio.wait_all_tasks_blocked()
        assert container.seen == []
        await container.resume()
    assert [event.ts for event in container.seen] == [1, 2]


@pytest.mark.parametrize("ending", ["stop", "fail"])
async def test_a_paused_source_is_let_go_when_the_container_ends(ending):
    container = recorder()
    await container.start()
    await container.pause()
    async with anyio.create_task_group() as group:
        group.start_soon(container.until_resumed)
        await anyio.wait_all_tasks_blocked()
        if ending == "stop":
            await container.stop()
        else:
            container.fail(ValueError("over"))


async def test_the_tracer_records_from_before_the_start_until_the_release():
    class Announcing(Container):
        async def on_start(self) -> None:
            self.scope.publish(Ping(1), self.id)

        async def on_release(self) -> None:
            self.scope.publish(Ping(2), self.id)
            await self.scope.drain()

    bus, tracer = Bus(), Tracer()
    container = Announcing("one", "announcing", scope=bus, tracer=tracer)
    bus.publish(Ping(0))
    await bus.drain()
    await container.start()
    await container.stop()
    await container.cleanup(Writer())
    bus.publish(Ping(3))
    await bus.drain()
    assert [event.ts for event in tracer.recorded] == [1, 2]


async def test_the_release_cancels_the_subscriptions():
    bus = Bus()
    container = RecordingContainer("one", scope=bus, types=[Ping])
    await container.start()
    bus.publish(Ping(1))
    await bus.drain()
    await container.stop()
    await container.cleanup(Writer())
    bus.publish(Ping(2))
    await bus.drain()
    assert [event.ts for event in container.seen] == [1]


class Callable:
    def __call__(self, event: Event) -> None: ...


@pytest.mark.parametrize(
    ("handler", "name", "expected"),
    [
        (test_the_release_cancels_the_subscriptions, "", "one.test_the_release_cancels_the_su"),
        (Callable(), "", "one.Callable"),
        (Callable(), "own", "own"),
    ],
)
async def test_subscriptions_are_named_after_container_and_handler(handler, name, expected):
    subscription = recorder().subscribe(Ping, handler, name=name)
    assert subscription.name.startswith(expected)


async def test_subscription_options_reach_the_bus():
    subscription = recorder().subscribe(
        [Ping, WindowStart], Callable(), blocks=True, mailbox=Mailbox(), on_error="isolate"
    )
    assert subscription.types == (Ping, WindowStart)
    assert subscription.takes_blocks
    assert subscription.queue is not None
    assert subscription.on_error == "isolate"


# -- failures that it survives --------------------------------------------------------------------


ISOLATED = Supervision(policy="isolate")


def fail(_: Event) -> None:
    raise ValueError("odd")


class Failing(Container):
    """A container whose handler raises, while it starts already if told so."""

    def __init__(self, supervision: Supervision, *, early: bool = False) -> None:
        super().__init__("odd", "any", scope=Bus(), supervision=supervision)
        self._early = early

    async def on_start(self) -> None:
        self.subscribe(Ping, fail)
        if self._early:
            await self.meet(1)

    async def meet(self, count: int) -> None:
        for ts in range(count):
            self.scope.publish(Ping(ts))
        await self.scope.drain()


async def test_an_isolated_container_goes_on_degraded_and_counts_its_failures():
    container = Failing(ISOLATED)
    await container.start()
    assert (container.state, container.health) == (S.RUNNING, "healthy")
    await container.meet(3)
    assert (container.state, container.health) == (S.DEGRADED, "degraded")
    assert container.failures == 3
    assert [type(letter.error) for letter in container.scope.dead_letters] == [ValueError] * 3
    await container.stop()
    await container.cleanup(Writer())
    assert (container.state, container.health) == (S.DESTROYED, "degraded")
    assert container.status == "completed"


async def test_one_that_fails_while_it_starts_is_degraded_from_the_start():
    container = Failing(ISOLATED, early=True)
    await container.start()
    assert container.state is S.DEGRADED


async def test_a_pause_outlives_a_failure_which_shows_when_it_is_over():
    container = Failing(ISOLATED)
    await container.start()
    await container.pause()
    await container.meet(1)
    assert container.state is S.PAUSED
    await container.resume()
    assert container.state is S.DEGRADED


@pytest.mark.parametrize("policy", ["propagate", "restart"])
async def test_without_a_window_that_could_restart_it_a_failure_fails_the_drain(policy):
    container = Failing(Supervision(policy=policy))
    await container.start()
    with pytest.raises(HandlerError, match="odd"):
        await container.meet(1)
    assert container.state is S.RUNNING
    container.fail(ValueError("for good"))
    assert container.health == "failed"


async def test_a_subscription_may_say_otherwise_than_the_container():
    container = Failing(ISOLATED)
    await container.start()
    container.subscribe(Ping, fail, on_error="propagate")
    with pytest.raises(HandlerError):
        await container.meet(1)


def test_a_container_that_does_not_say_how_cannot_be_renewed():
    with pytest.raises(StateError, match=r"does not define renew\(\), so there is no 'one.2'"):
        recorder().renew("one.2")


async def test_a_tracer_that_is_replaced_before_the_start_records_nothing():
    bus, first, second = Bus(), Tracer(), Tracer()
    container = Container("one", "role", scope=bus, tracer=first)
    container.replace_tracer(second)
    await container.start()
    bus.publish(Ping(1, "a"))
    await bus.drain()
    assert (first.recorded, second.recorded) == ([], [Ping(1, "a")])


async def test_an_intake_with_more_than_it_has_room_for_publishes_all_in_order():
    bus, tracer = Bus(), Tracer()
    intake = Intake(scope=bus, room=1, tracer=tracer)
    await intake.start()
    pings = [Ping(number, "x") for number in range(4)]
    for number, ping in enumerate(pings):
        intake.put(ping, number)
    assert intake.is_full
    await bus.drain()
    assert tracer.recorded == pings
    assert not intake.is_full

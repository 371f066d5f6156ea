"""Cancellation injected at every suspension of every task of an execution window."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections import Counter
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from admf.engine.container import Container, ContainerState
from admf.engine.errors import HandlerError
from admf.engine.events import Event
from admf.engine.storage import LocalStorage, MemoryStorage
from admf.engine.subscription import Mailbox
from admf.engine.testing import RecordingContainer
from admf.engine.verification import verify_window
from admf.engine.window import ExecutionWindow
from tests.engine.injection import Injection, Suspensions, open_descriptors

# anyio forgets the coroutine of a child task that is cancelled natively before its first step
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    """A fact without meaning."""


class Outcome:
    """What a run under injection came to."""

    def __init__(self) -> None:
        self.cancelled = False
        self.error: BaseException | None = None
        self.containers: list[Container] = []
        self.window: ExecutionWindow | None = None
        self.status = ""
        self.injected = False
        self.published: Counter[str] = Counter()


def drive(make_window, build, storage, mode: str, at: int) -> Outcome:
    """Run a window in a loop of its own, with an injection at one suspension."""
    outcome, suspensions, injection = Outcome(), Suspensions(), Injection(mode, at)

    def remember(builder) -> None:
        build(builder)
        outcome.containers = list(builder.in_start_order())

    async def host() -> None:
        outcome.window = make_window(remember, storage)
        with anyio.CancelScope() as injection.scope:
            async with outcome.window:
                await outcome.window.run()
        outcome.cancelled = injection.scope.cancelled_caught

    async def main() -> None:
        injection.main = suspensions.main = asyncio.current_task()
        suspensions.act = injection
        injection.host = task = asyncio.create_task(host())
        await asyncio.wait([task])
        suspensions.act = None
        outcome.cancelled |= task.cancelled()
        outcome.error = None if task.cancelled() else task.exception()
        assert asyncio.all_tasks() == {suspensions.main}

    with asyncio.Runner() as runner:
        runner.get_loop().set_task_factory(suspensions.make_task)
        runner.run(main())
    outcome.injected = injection.injected
    outcome.published = storage.published
    return outcome


class CountedMemory(MemoryStorage):
    """Counts how often each file was written to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.published: Counter[str] = Counter()

    async def write_atomic(self, path, chunks) -> None:
        await super().write_atomic(path, chunks)
        self.published[path] += 1


class CountedFolder(LocalStorage):
    """Counts how often each file was renamed to its name."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.published: Counter[str] = Counter()

    def system_call(self, function, /, *args, **kwargs):
        result = super().system_call(function, *args, **kwargs)
        if function.__name__ == "replace":
            self.published[args[0].relative_to(self.folder.root).as_posix()] += 1
        return result


class Slow(RecordingContainer):
    """Suspends in each of its hooks, and handles each event in two steps."""

    async def on_start(self) -> None:
        await anyio.lowlevel.checkpoint()
        await super().on_start()
        await anyio.lowlevel.checkpoint()

    async def on_stop(self) -> None:
        await anyio.lowlevel.checkpoint()
        await super().on_stop()

    async def on_release(self) -> None:
        await anyio.lowlevel.checkpoint()
        await super().on_release()

    async def handle(self, event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        self.seen.append(event)


def window_of_all_kinds(builder) -> None:
    """A source, an inline async handler, one with a mailbox, and a lane in a scope of its own."""
    bus = builder.bus
    builder.add(Slow("data", scope=bus, publishes=[Tick(1), Tick(2)]))
    inline = builder.add(Slow("inline", scope=bus, depends_on=["data"]))
    inline.subscribe(Tick, inline.handle)
    mailbox = builder.add(Slow("mailbox", scope=bus, depends_on=["data"]))
    mailbox.subscribe(Tick, mailbox.handle, mailbox=Mailbox(1))
    scope = bus.scope("lane", contain_failures=True)
    builder.add(Slow("lane", scope=scope, types=[Tick], depends_on=["inline"]))


def window_that_fails(builder) -> None:
    """A source, a container that listens, and a handler that raises."""
    builder.add(Slow("data", scope=builder.bus, publishes=[Tick(1), Tick(2)]))
    listener = builder.add(Slow("listener", scope=builder.bus, depends_on=["data"]))
    listener.subscribe(Tick, listener.handle)
    builder.bus.subscribe(Tick, fail)


async def fail(event: Event) -> None:
    await anyio.lowlevel.checkpoint()
    raise ValueError("handler")


def small_window(builder) -> None:
    """Two containers with little in between, since each injection writes to a real disk."""
    builder.add(RecordingContainer("data", scope=builder.bus, publishes=[Tick(1)]))
    builder.add(RecordingContainer("sink", scope=builder.bus, types=[Tick], depends_on=["data"]))


MODES = [
    *(f"{what} {how}" for what in ("host", "both") for how in ("once", "twice", "on and on")),
    *("scope once", "everybody once", "everybody twice"),
]


async def read(storage, path: str) -> dict[str, object]:
    return json.loads(await storage.read(path))


async def status_of_all(outcome: Outcome, storage) -> str:
    """Check the files against the containers that ran; return the status that all agree on."""
    ran = {container.id for container in outcome.containers if container.ran}
    states = {container.state for container in outcome.containers}
    assert states <= {ContainerState.DESTROYED}  # none are there before the window is built
    assert outcome.window.bus.closed
    documents = [path for path in await storage.list_files("phase") if "containers/" in path]
    assert {(await read(storage, path))["container_id"] for path in documents} == ran
    check = await verify_window(storage, "phase/w1")
    if not ran:
        assert not check.committed
        return "no record"
    assert check.complete
    status = (await read(storage, "phase/w1/phase_summary.json"))["status"]
    assert {(await read(storage, path))["status"] for path in documents} == {status}
    return status


def inject_everywhere(make_window, build, make_storage, mode: str) -> list[Outcome]:
    """Run a window once for each of its suspensions, check its files, and return the outcomes."""
    outcomes = []
    for at in itertools.count(1):
        storage = make_storage(at)
        with capture_logs():
            outcome = drive(make_window, build, storage, mode, at)
        outcome.status = asyncio.run(status_of_all(outcome, storage))
        most = 2 if "everybody" in mode else 1  # there the writers themselves are interrupted
        assert set(outcome.published.values()) <= set(range(1, most + 1)), at
        if not outcome.injected:
            break  # the run was over before
        outcomes.append(outcome)
    return outcomes


@pytest.mark.parametrize("mode", MODES)
def test_no_cancellation_at_any_suspension_loses_or_tears_a_result(make_window, mode):
    outcomes = inject_everywhere(make_window, window_of_all_kinds, lambda at: CountedMemory(), mode)
    for at, outcome in enumerate(outcomes, 1):
        assert outcome.cancelled, at
    assert {outcome.status for outcome in outcomes} == {"no record", "cancelled", "completed"}


@pytest.mark.parametrize("mode", MODES)
def test_a_failing_window_that_is_cancelled_anywhere_is_never_completed(make_window, mode):
    outcomes = inject_everywhere(make_window, window_that_fails, lambda at: CountedMemory(), mode)
    for at, outcome in enumerate(outcomes, 1):
        # An anyio scope cancels at the next checkpoint anyway, so there the error stays primary.
        is_primary = mode == "scope once" and isinstance(outcome.error, HandlerError)
        assert outcome.cancelled or is_primary, at
    assert {outcome.status for outcome in outcomes} == {"no record", "cancelled", "failed"}


@pytest.mark.parametrize("mode", ["host once", "host twice", "scope once", "everybody once"])
def test_nothing_is_lost_or_left_on_a_real_disk(make_window, mode, tmp_path):
    threads, descriptors = set(threading.enumerate()), open_descriptors()
    outcomes = inject_everywhere(
        make_window, small_window, lambda at: CountedFolder(tmp_path / str(at)), mode
    )
    assert all(outcome.cancelled for outcome in outcomes)
    assert {outcome.status for outcome in outcomes} == {"no record", "cancelled", "completed"}
    assert not list(tmp_path.rglob("*.tmp"))
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
    assert set(threading.enumerate()) <= threads  # one of an earlier test may have ended since
    assert open_descriptors() <= descriptors


async def hang() -> None:
    await anyio.sleep_forever()


@pytest.mark.anyio
async def test_a_timeout_around_a_window_is_reported_when_all_is_written(
    make_window, chain, record_of
):
    storage = MemoryStorage()

    async def host() -> None:
        async with asyncio.timeout(0.01), make_window(chain(data={"run": hang}), storage) as window:
            await window.run()

    with pytest.raises(TimeoutError):
        await host()
    assert (await record_of(storage))["status"] == "cancelled"


@pytest.mark.anyio
async def test_a_task_group_around_a_window_sees_the_error_of_its_other_task(
    make_window, chain, record_of
):
    storage = MemoryStorage()

    async def open_window() -> None:
        async with make_window(chain(data={"run": hang}), storage) as window:
            await window.run()

    async def fail_later() -> None:
        await anyio.wait_all_tasks_blocked()
        raise ValueError("other task")

    async def host() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(open_window())
            group.create_task(fail_later())

    with pytest.raises(ExceptionGroup) as caught:
        await host()
    assert caught.group_contains(ValueError, match="other task")
    assert (await record_of(storage))["status"] == "cancelled"


@pytest.mark.anyio
async def test_what_fails_while_a_cancellation_waits_is_its_cause(make_window, chain):
    errors = {"data": {"on_stop": OSError("socket")}}
    window = make_window(chain(errors=errors, portfolio={"run": hang}))
    await window.start()

    async def host() -> None:
        await window.aclose()

    task = asyncio.create_task(host())
    await anyio.lowlevel.checkpoint()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert isinstance(caught.value.__cause__, OSError)

from __future__ import annotations

import asyncio
import re

import anyio
import pytest
from structlog.testing import capture_logs

from admf.engine.activity import Activity
from admf.engine.bus import Bus
from admf.engine.errors import HandlerError, WindowError
from admf.engine.events import Event
from admf.engine.observing import HOOKS, Observer, Observers, current_activity
from admf.engine.storage import MemoryStorage
from admf.engine.testing import RecordingObserver
from tests.engine.conftest import Ping

pytestmark = pytest.mark.anyio


class Deaf(Observer):
    """Overrides nothing."""


async def files_of(make_window, build, **options: object) -> dict[str, bytes]:
    """Run a window and return the files that it leaves."""
    storage = MemoryStorage()
    async with make_window(build, storage, **options) as window:
        await window.run()
    return {path: await storage.read(path) for path in await storage.list_files("phase/w1")}


async def test_a_window_tells_of_itself_its_flush_and_each_container_that_writes(
    make_window, chain
):
    observer = RecordingObserver()
    async with make_window(chain(), observers=[observer]) as window:
        await window.run()
    told = [line for line in observer.journal if re.match("opened|closed|container", line)]
    assert told[:2] == ["opened window w1", "opened flush flush"]
    assert sorted(told[2:5]) == [
        "container_flushed data",
        "container_flushed portfolio",
        "container_flushed strategy",
    ]
    assert told[5:] == ["closed flush flush completed", "closed window w1 completed"]
    opened, flush = observer.activities
    assert (flush.parent, opened.parent) == (opened, None)
    assert opened.attributes == {
        "workflow_id": "study",
        "phase": "phase",
        "window_id": "w1",
        "topology": "function",
        "seed": 7,
        "containers": 3,
        "failed": 0,
        "events": 5,  # three pings, the start and the end of the window
    }
    assert flush.attributes == {"containers": 3}
    assert all(it.activity is flush and it.seconds >= 0.0 for it in observer.flushes)
    assert opened.window is None


async def test_what_a_topology_says_of_its_window_is_an_attribute(make_window, chain):
    def build(builder):
        builder.describe(lanes=3)
        chain()(builder)

    observer = RecordingObserver()
    async with make_window(build, observers=[observer]) as window:
        await window.run()
    assert observer.activities[0].attributes["lanes"] == 3


async def test_an_observer_changes_no_byte_of_the_results(make_window, chain):
    plain = await files_of(make_window, chain())
    assert await files_of(make_window, chain(), observers=[RecordingObserver()]) == plain


async def test_hooks_that_are_not_overridden_are_not_asked_for(make_window, chain):
    assert not Observers([Deaf()])
    assert Observers([RecordingObserver()])
    assert current_activity() is None
    seen: list[Activity | None] = []

    def build(builder):
        chain()(builder)
        builder.bus.subscribe(Ping, lambda _: seen.append(current_activity()))

    await files_of(make_window, build, observers=[Deaf()])
    assert seen == [None] * 3


async def test_code_within_a_window_finds_it_also_in_tasks_of_its_own(make_window, chain):
    seen: list[Activity | None] = []

    async def look(_: Event) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(look_inside)

    async def look_inside() -> None:
        seen.append(current_activity())

    def build(builder):
        chain()(builder)
        builder.bus.subscribe(Ping, look)

    observer = RecordingObserver()
    await files_of(make_window, build, observers=[observer])
    assert seen == [observer.activities[0]] * 3
    assert current_activity() is None


async def test_windows_side_by_side_are_told_apart(make_window, chain):
    seen: dict[str, set[str]] = {"a": set(), "b": set()}
    observer = RecordingObserver()

    async def run(name: str) -> None:
        async def look(_: Event) -> None:
            await anyio.lowlevel.checkpoint()
            seen[name].add(str(current_activity()))

        def build(builder):
            chain()(builder)
            builder.bus.subscribe(Ping, look)

        window = make_window(build, observers=[observer])
        async with window:
            with Observers([observer]).within(Activity("phase", name)):
                await window.run()

    async with anyio.create_task_group() as group:
        group.start_soon(run, "a")
        group.start_soon(run, "b")
    assert [len(it) for it in seen.values()] == [1, 1]
    first, second = (it for it in observer.activities if it.kind == "window")
    assert first is not second


@pytest.mark.parametrize("kind", [RuntimeError, asyncio.CancelledError])
@pytest.mark.parametrize("hook", [*HOOKS, "enter", "leave"])
async def test_an_observer_that_raises_is_logged_once_and_breaks_nothing(
    make_window, chain, hook, kind
):
    errors = {"strategy": {"results": WindowError("no results")}}
    plain, build = await failing_window(make_window, chain(errors=errors)), chain(errors=errors)
    observer = RecordingObserver({hook: kind("broken")})
    with capture_logs() as lines:
        storage, told = await failing_window(
            make_window, build, observers=[observer, RecordingObserver()], slow_handler_ms=0
        )
    assert (storage, told) == plain
    complaints = [line for line in lines if line["event"] == "observer_failed"]
    wanted = 0 if hook in {"handler_failed", "loop_held"} else 1  # which nobody has called here
    assert len(complaints) == wanted
    assert all(line["hook"].startswith("RecordingObserver.") for line in complaints)


async def failing_window(make_window, build, **options: object) -> tuple[dict[str, bytes], str]:
    """Run a window one of whose containers cannot write; return its files and its error."""
    storage = MemoryStorage()
    with pytest.raises(WindowError) as caught:
        async with make_window(build, storage, **options) as window:
            await window.run()
    paths = await storage.list_files("phase/w1")
    return {path: await storage.read(path) for path in paths}, str(caught.value)


async def test_nothing_is_logged_of_a_broken_observer_while_the_host_has_no_log(
    make_window, chain, capsys
):
    await files_of(
        make_window, chain(), observers=[RecordingObserver({"opened": ValueError("broken")})]
    )
    assert capsys.readouterr() == ("", "")


async def test_a_container_that_cannot_write_fails_the_flush_and_the_window(make_window, chain):
    observer = RecordingObserver()
    error = ValueError("no results")
    with pytest.raises(ValueError, match="no results"):
        async with make_window(
            chain(errors={"strategy": {"results": error}}), observers=[observer]
        ) as window:
            await window.run()
    opened, flush = observer.activities
    assert (flush.status, flush.errors) == ("failed", (error,))
    assert (opened.status, opened.errors, opened.attributes["failed"]) == ("failed", (error,), 1)
    assert {it.container_id: it.error for it in observer.flushes} == {
        "data": None,
        "strategy": error,
        "portfolio": None,
    }


async def test_a_window_that_cannot_start_is_told_of_from_start_to_end(make_window, chain):
    observer = RecordingObserver()
    error = OSError("no socket")
    window = make_window(chain(errors={"portfolio": {"on_start": error}}), observers=[observer])
    with pytest.raises(OSError, match="socket"):
        await window.start()
    assert observer.activities[0].errors == (error,)
    assert observer.journal[-2:] == ["closed window w1 failed", "leave window w1"]
    assert observer.journal.count("closed window w1 failed") == 1


async def test_a_cancelled_window_is_told_of_as_cancelled(make_window, chain):
    observer = RecordingObserver()

    async def hang() -> None:
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        async with make_window(chain(data={"run": hang}), observers=[observer]) as window:
            scope.cancel()
            await window.run()
    assert observer.journal[-2:] == ["closed window w1 cancelled", "leave window w1"]
    assert len(observer.flushes) == 3


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("wrong"), "failed"), (KeyboardInterrupt(), "cancelled")]
)
def test_a_block_of_code_that_raises_ends_its_activity_so(error, status):
    observer = RecordingObserver()
    with pytest.raises(type(error)), Observers([observer]).activity("run", "r"):
        raise error
    (run,) = observer.activities
    assert (run.status, run.errors) == (status, (error,))
    assert observer.journal == [
        "opened run r", "within run r", "enter run r", "leave run r", f"closed run r {status}",
    ]  # fmt: skip


def test_an_activity_keeps_how_it_ended_first():
    observer = RecordingObserver()
    with Observers([observer]).activity("phase", "p", {"seed": 1}) as phase:
        phase.end("skipped", attributes={"lanes": 2})
        phase.end("failed", [ValueError("late")], {"lanes": 3})
    assert (phase.status, phase.errors, phase.attributes) == (
        "skipped",
        (),
        {"seed": 1, "lanes": 3},
    )
    assert repr(phase) == "<Activity phase 'p' skipped>"


def test_without_observers_there_is_no_activity():
    with Observers().activity("run", "r") as run:
        assert run is None
        assert current_activity() is None


def test_without_observers_an_error_is_raised_as_it_is():
    with pytest.raises(ValueError, match="wrong"), Observers().activity("run", "r"):
        raise ValueError("wrong")


def test_a_hook_may_leave_the_rest_to_the_base_class():
    class Half(Observer):
        def within(self, activity: Activity):
            return super().within(activity)

        def opened(self, activity: Activity) -> None:
            super().opened(activity)

    with Observers([Half()]).activity("run", "r") as run:
        assert current_activity() is run
    assert run.status == "completed"


def test_the_nearest_activity_of_a_kind_is_found():
    run = Activity("run", "r")
    window = Activity("window", "w", Activity("phase", "p", run))
    assert window.nearest("window") is window
    assert window.nearest("run") is run
    assert run.nearest("window") is None


def test_what_is_no_observer_is_refused():
    with pytest.raises(TypeError, match=r"must be an admf.engine.Observer, not <object"):
        Observers([object()])


# -- handlers that fail ---------------------------------------------------------------------------


def fail(_: Event) -> None:
    raise ValueError("wrong")


async def test_a_failing_handler_is_told_of_by_name_whatever_its_policy():
    observer = RecordingObserver()
    bus = Bus("root", observers=[observer])
    bus.subscribe(Ping, fail, name="isolated", on_error="isolate")
    bus.subscribe(Ping, fail, name="propagating")
    bus.publish(Ping(1))
    with pytest.raises(HandlerError):
        await bus.drain()
    told = [(it.bus, it.handler, it.event, it.seq) for it in observer.failures]
    assert told == [("root", "isolated", "PING", 1), ("root", "propagating", "PING", 1)]
    assert all(str(it.error) == "wrong" and it.activity is None for it in observer.failures)


async def test_a_failing_process_and_a_failing_tracer_are_told_of():
    class Tracer:
        types = frozenset({Ping})

        def record(self, envelope: object) -> None:
            raise ValueError("wrong")

    def steps():
        raise ValueError("wrong")
        yield

    observer = RecordingObserver()
    bus = Bus("root", observers=[observer])
    lane = bus.scope("lane", contain_failures=True)
    lane.advance(steps())
    await bus.drain()
    bus.attach_tracer(Tracer())
    bus.publish(Ping(1))
    with pytest.raises(HandlerError):
        await bus.drain()
    (process, tracer) = observer.failures
    assert (process.bus, process.handler) == ("root.lane", "steps")
    assert (tracer.bus, tracer.handler.rpartition(".")[2]) == ("root", "Tracer")


async def test_a_failure_within_a_window_says_which(make_window, handling):
    observer = RecordingObserver()
    async with make_window(handling(fail, contain=True), observers=[observer]) as window:
        await window.run()
    (failure,) = observer.failures
    assert failure.activity is observer.activities[0]
    assert failure.handler == "odd.fail"


async def test_a_stream_that_is_full_is_no_failed_handler():
    observer = RecordingObserver()
    bus = Bus(observers=[observer])
    with bus.stream(Ping, maxsize=1, overflow="fail"):
        bus.publish(Ping(1))
        bus.publish(Ping(2))
        await bus.drain()
    assert observer.failures == []

from __future__ import annotations

import anyio
import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from admf.engine.clock import SimulatedClock
from admf.engine.container import Container, ContainerState
from admf.engine.errors import (
    BusClosedError,
    DeadlineError,
    StateError,
    StorageError,
)
from admf.engine.events import Event, WindowEnd, WindowStart, event_name
from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry
from admf.engine.results import Document, WindowResults
from admf.engine.retention import TracingConfig
from admf.engine.storage import MemoryStorage
from admf.engine.teardown import Deadlines
from admf.engine.testing import RecordingContainer
from admf.engine.window_spec import WindowSpec

pytestmark = pytest.mark.anyio

NAMES = ("data", "strategy", "portfolio")


async def hang(*_: object) -> None:
    await anyio.sleep_forever()


async def test_containers_start_in_order_of_dependency_and_end_in_reverse(make_window, chain):
    journal: list[str] = []
    async with make_window(chain(journal)) as window:
        await window.run()
    ends = NAMES[::-1]
    assert journal == [
        *(f"{name}.on_start" for name in NAMES),
        *(f"{name}.run" for name in NAMES),
        *(f"{name}.on_stop" for name in ends),
        *(f"{name}.results" for name in ends),
        *(f"{name}.on_release" for name in ends),
    ]


async def test_every_document_is_written_and_the_record_lists_them(
    make_window, chain, record_of, statuses, read
):
    storage = MemoryStorage()
    async with make_window(chain(), storage) as window:
        await window.run()
    assert await statuses(storage) == dict.fromkeys(NAMES, "completed")
    portfolio = await read(storage, "containers/portfolio_results.json")
    assert portfolio["seen"] == ["PING"] * 3
    record = await record_of(storage)
    assert record["status"] == "completed"
    assert record["errors"] == []
    assert (record["workflow_id"], record["phase_name"], record["window_id"]) == (
        "study",
        "phase",
        "w1",
    )
    assert (record["topology"], record["seed"]) == ("function", 7)
    assert record["containers"] == [
        {"id": name, "role": "recorder", "status": "completed", "error": ""} for name in NAMES
    ]
    assert len(record["files"]) == len(NAMES)


async def test_the_summary_is_what_the_record_says(make_window, chain, record_of):
    storage = MemoryStorage()
    async with make_window(chain(), storage) as window:
        assert window.summary is None
        await window.run()
    record = await record_of(storage)
    summary = msgspec.json.decode(msgspec.json.encode(window.summary))
    assert summary == {key: record[key] for key in summary}
    assert window.status == "completed"
    assert window.containers == ()


async def test_the_run_is_enclosed_by_events_stamped_by_the_clock(make_window):
    seen: list[Event] = []

    def build(builder) -> None:
        container = RecordingContainer("one", scope=builder.bus, types=[WindowStart, WindowEnd])
        container.seen = seen
        builder.add(container)

    async with make_window(build, clock=SimulatedClock(5)) as window:
        await window.run()
    assert seen == [WindowStart(5, "w1"), WindowEnd(5, "w1", "completed")]


async def test_sources_run_side_by_side(make_window):
    met = anyio.Event()

    class First(Container):
        async def run(self) -> None:
            await met.wait()

    class Second(Container):
        async def run(self) -> None:
            met.set()

    def build(builder) -> None:
        builder.add(First("first", "source", scope=builder.bus))
        builder.add(Second("second", "source", scope=builder.bus))

    async with make_window(build) as window:
        await window.run()
    assert window.status == "completed"


async def test_a_topology_class_is_made_and_given_what_it_needs():
    class Topology:
        def build(self, builder) -> None:
            config = msgspec.json.decode(builder.spec.config)
            for name in config["names"]:
                builder.add(Container(name, "any", scope=builder.bus))

    registry = Registry()
    registry.register("topologies", "named", Topology)
    spec = WindowSpec(
        workflow_id="study",
        phase_name="phase",
        topology="named",
        config=msgspec.Raw(b'{"names": ["a", "b"]}'),
    )
    window = LifecycleManager(registry=registry).window(spec, WindowResults(MemoryStorage(), "p"))
    async with window:
        assert [container.id for container in window.containers] == ["a", "b"]


@pytest.mark.parametrize("form", [msgspec.json, msgspec.msgpack])
def test_a_spec_survives_the_way_to_another_process(form):
    spec = WindowSpec(
        workflow_id="study",
        phase_name="search",
        window_id="wf_001",
        topology="backtest",
        config=msgspec.Raw(form.encode({"lanes": [1, 2]})),
        tracing=TracingConfig(event_tracing=("FILL",)),
        results_storage="memory",
        seed=7,
    )
    copy = form.decode(form.encode(spec), type=WindowSpec)
    assert form.decode(copy.config) == {"lanes": [1, 2]}
    assert form.encode(copy) == form.encode(spec)


async def test_one_line_is_logged_for_a_window(make_window, chain):
    with capture_logs() as lines:
        async with make_window(chain()) as window:
            await window.run()
    assert lines == [
        {
            "event": "window_closed",
            "log_level": "info",
            "workflow_id": "study",
            "phase": "phase",
            "window_id": "w1",
            "status": "completed",
            "containers": 3,
            "failed": 0,
            "errors": (),
        }
    ]


def test_a_window_runs_on_trio_too(make_window, chain, statuses):
    storage = MemoryStorage()

    async def main() -> None:
        async with make_window(chain(), storage) as window:
            await window.run()
        assert await statuses(storage) == dict.fromkeys(NAMES, "completed")

    anyio.run(main, backend="trio")


async def test_reports_are_written_after_the_documents_and_before_the_record(
    make_window, chain, record_of
):
    storage, journal = MemoryStorage(), []

    async def best(results: WindowResults) -> dict[str, object]:
        journal.append("best")
        await results.write("aggregate_results.json", {"best": "portfolio"})
        return {"best": "portfolio"}

    async def count(results: WindowResults) -> dict[str, object]:
        journal.append("count")
        return {"count": 3}

    def build(builder) -> None:
        chain(journal)(builder)
        builder.add_report(best)
        builder.add_report(count)

    async with make_window(build, storage) as window:
        await window.run()
    assert journal[journal.index("data.results") + 1 :][:2] == ["best", "count"]
    record = await record_of(storage)
    assert record["report"] == {"best": "portfolio", "count": 3}
    assert "aggregate_results.json" in [file["path"] for file in record["files"]]


async def test_a_failing_report_fails_the_window(make_window, chain, record_of):
    async def fail(results: WindowResults) -> dict[str, object]:
        raise ValueError("no lanes")

    def build(builder) -> None:
        chain()(builder)
        builder.add_report(fail)

    storage = MemoryStorage()
    with pytest.raises(ValueError, match="no lanes"):
        async with make_window(build, storage) as window:
            await window.run()
    record = await record_of(storage)
    assert (record["status"], record["errors"]) == ("failed", ["ValueError: no lanes"])


async def test_start_and_aclose_do_without_nesting(make_window, chain, record_of):
    storage = MemoryStorage()
    window = make_window(chain(), storage)
    await window.start()
    await window.run()
    await window.aclose()
    assert (await record_of(storage))["status"] == "completed"


async def test_all_who_close_get_the_same_outcome(make_window, chain):
    window = make_window(chain(errors={"data": {"on_stop": OSError("socket")}}))
    await window.start()
    await window.run()
    caught: list[Exception] = []

    async def close() -> None:
        try:
            await window.aclose()
        except OSError as error:
            caught.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(close)
        group.start_soon(close)
    await close()
    assert len(caught) == 3
    assert len(set(map(id, caught))) == 1


async def test_closing_cuts_a_run_short_that_goes_on_elsewhere(
    make_window, chain, record_of, statuses
):
    storage = MemoryStorage()
    window = make_window(chain(data={"run": hang}), storage)
    await window.start()
    async with anyio.create_task_group() as group:
        group.start_soon(window.run)
        await anyio.wait_all_tasks_blocked()
        await window.aclose()
    assert (await record_of(storage))["status"] == "cancelled"
    assert await statuses(storage) == dict.fromkeys(NAMES, "cancelled")


async def test_a_run_that_refuses_to_end_is_reported(make_window, chain):
    release = anyio.Event()

    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            await release.wait()

    window = make_window(chain(data={"run": stubborn}), deadlines=Deadlines(stop=0.01))
    await window.start()
    async with anyio.create_task_group() as group:
        group.start_soon(window.run)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(DeadlineError, match="stop of the run took longer"):
            await window.aclose()
        release.set()


async def test_a_window_that_was_never_started_can_be_closed(make_window, chain):
    storage = MemoryStorage()
    window = make_window(chain(), storage)
    await window.aclose()
    assert await storage.list_files("phase") == []
    with pytest.raises(StateError, match="can be started only once"):
        await window.start()


async def test_a_window_starts_once_and_runs_once_in_between(make_window, chain):
    window = make_window(chain())
    assert repr(window) == "<ExecutionWindow 'w1' cancelled>"
    with pytest.raises(StateError, match="runs once"):
        await window.run()
    async with window:
        with pytest.raises(StateError, match="can be started only once"):
            await window.start()
        await window.run()
        with pytest.raises(StateError, match="runs once"):
            await window.run()
    with pytest.raises(StateError, match="runs once"):
        await window.run()
    assert window.status == "completed"


def fail(event: Event) -> None:
    raise ValueError("handler")


async def test_a_container_that_the_body_destroyed_is_left_alone(
    make_window, handling, record_of, statuses
):
    storage = MemoryStorage()
    window = make_window(handling(fail, contain=True), storage)
    async with window:
        await window.run()
        odd = window.containers[-1]
        await odd.stop()
        await odd.cleanup(window.results.write_container)
        assert odd.state is ContainerState.DESTROYED
    assert (await statuses(storage))["odd"] == "failed"
    assert (await record_of(storage))["status"] == "completed"


async def test_a_bus_that_the_body_closed_is_reported(make_window, chain, record_of):
    storage = MemoryStorage()
    window = make_window(chain(data={"run": hang}), storage)
    await window.start()
    with anyio.move_on_after(0):
        await window.run()
    await window.bus.aclose()
    with pytest.raises(BusClosedError):
        await window.aclose()
    assert (await record_of(storage))["status"] == "failed"


@pytest.mark.parametrize("at_once", [1, 2, 4])
async def test_flushes_run_side_by_side_up_to_a_limit(make_window, at_once, statuses):
    class CountingStorage(MemoryStorage):
        now = peak = 0

        async def write_atomic(self, path, chunks) -> None:
            self.now += 1
            self.peak = max(self.peak, self.now)
            await super().write_atomic(path, chunks)
            self.now -= 1

    def build(builder) -> None:
        for number in range(9):
            builder.add(RecordingContainer(f"lane_{number}", scope=builder.bus))

    storage = CountingStorage()
    async with make_window(build, storage, flushes_at_once=at_once) as window:
        await window.run()
    assert storage.peak == at_once
    assert len(await statuses(storage)) == 9


async def test_several_failing_flushes_are_reported_in_order_whatever_ends_first(make_window):
    def build(builder) -> None:
        for number in range(6):
            builder.add(RecordingContainer(f"lane_{number}", scope=builder.bus))

    class Reluctant(MemoryStorage):
        async def write_atomic(self, path, chunks) -> None:
            if "lane" in path:
                for _ in range(20 * (path[-14] in "024")):
                    await anyio.lowlevel.checkpoint()
                raise StorageError(path)
            await super().write_atomic(path, chunks)

    window = make_window(build, Reluctant())
    with pytest.raises(ExceptionGroup) as caught:
        async with window:
            await window.run()
    assert [str(error)[-14] for error in caught.value.exceptions] == list("543210")


async def test_documents_know_how_the_window_ended(make_window, statuses):
    class Reporting(Container):
        def results(self) -> Document:
            return Document(self.id, {"status": self.status, "name": event_name(WindowEnd)})

    def build(builder) -> None:
        builder.add(Reporting("one", "any", scope=builder.bus))

    storage = MemoryStorage()
    async with make_window(build, storage) as window:
        await window.run()
    assert await statuses(storage) == {"one": "completed"}


async def test_nothing_is_printed_while_the_host_has_not_configured_structlog(
    make_window, chain, capsys
):
    structlog.reset_defaults()
    async with make_window(chain()) as window:
        await window.run()
    assert capsys.readouterr() == ("", "")

from __future__ import annotations

import anyio
import pytest

from admf.engine.container import Container, ContainerState
from admf.engine.errors import ConfigError, HandlerError, RegistryError
from admf.engine.events import Event, WindowEnd
from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry
from admf.engine.results import WindowResults
from admf.engine.storage import MemoryStorage
from admf.engine.window import ExecutionWindow
from admf.engine.window_spec import WindowSpec

pytestmark = pytest.mark.anyio

NAMES = ("data", "strategy", "portfolio")


async def hang(*_: object) -> None:
    await anyio.sleep_forever()


async def test_a_failed_start_is_rolled_back_in_reverse(make_window, chain, record_of, statuses):
    journal: list[str] = []
    storage = MemoryStorage()
    errors = {"portfolio": {"on_start": ValueError("no capital")}}
    window = make_window(chain(journal, errors), storage)
    with pytest.raises(ValueError, match="no capital"):
        await window.start()
    assert journal == [
        *(f"{name}.on_start" for name in NAMES),
        *("strategy.on_stop", "data.on_stop"),
        *("strategy.results", "data.results"),
        *(f"{name}.on_release" for name in NAMES[::-1]),
    ]
    assert await statuses(storage) == dict.fromkeys(("data", "strategy"), "failed")
    record = await record_of(storage)
    assert (record["status"], record["errors"]) == ("failed", ["ValueError: no capital"])
    assert window.bus.closed


async def test_what_was_never_started_is_released_and_writes_nothing(make_window, chain, record_of):
    journal: list[str] = []
    storage = MemoryStorage()
    errors = {"strategy": {"on_start": ValueError("bad parameter")}}
    with pytest.raises(ValueError, match="bad parameter"):
        await make_window(chain(journal, errors), storage).start()
    assert [line for line in journal if line.startswith("portfolio")] == ["portfolio.on_release"]
    record = await record_of(storage)
    assert [container["error"] for container in record["containers"]] == [
        "",
        "ValueError: bad parameter",
        "WindowError: container 'portfolio' was never started",
    ]


async def test_a_window_none_of_whose_containers_ran_leaves_nothing(make_window, chain):
    storage = MemoryStorage()
    window = make_window(chain(errors={"data": {"on_start": ValueError("no file")}}), storage)
    with pytest.raises(ValueError, match="no file"):
        await window.start()
    assert await storage.list_files("phase") == []
    assert window.summary is None
    assert window.status == "failed"


async def test_a_cancelled_start_is_rolled_back(make_window, chain, record_of, statuses):
    storage = MemoryStorage()
    window = make_window(chain(portfolio={"on_start": hang}), storage)
    with anyio.move_on_after(0.001) as scope:
        await window.start()
    assert scope.cancelled_caught
    assert await statuses(storage) == dict.fromkeys(("data", "strategy"), "cancelled")
    assert (await record_of(storage))["status"] == "cancelled"


async def test_what_fails_in_the_rollback_is_noted_on_the_first_error(make_window, chain):
    errors = {
        "data": {"on_stop": OSError("socket")},
        "strategy": {"on_start": ValueError("bad parameter")},
    }
    with pytest.raises(ValueError, match="bad parameter") as caught:
        await make_window(chain(errors=errors)).start()
    assert caught.value.__notes__ == ["closing the window failed as well: OSError: socket"]


async def test_a_topology_that_does_not_fit_together_leaves_nothing(make_window):
    def build(builder) -> None:
        builder.add(Container("one", "any", scope=builder.bus, depends_on=["two"]))

    storage = MemoryStorage()
    window = make_window(build, storage)
    with pytest.raises(ConfigError, match="unknown 'two'"):
        await window.start()
    assert await storage.list_files("phase") == []
    assert window.bus.closed


async def test_an_unknown_topology_is_named():
    spec = WindowSpec(workflow_id="study", phase_name="phase", topology="backtset")
    window = LifecycleManager(registry=Registry()).window(spec, WindowResults(MemoryStorage(), "p"))
    with pytest.raises(RegistryError, match="'backtset'"):
        await window.start()


async def run_and_raise(window: ExecutionWindow, error: BaseException) -> None:
    async with window:
        await window.run()
        raise error


async def test_an_error_of_the_body_fails_the_window_and_nothing_is_lost(
    make_window, chain, record_of, statuses
):
    storage, error = MemoryStorage(), ValueError("body")
    with pytest.raises(ValueError, match="body") as caught:
        await run_and_raise(make_window(chain(), storage), error)
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    assert await statuses(storage) == dict.fromkeys(NAMES, "failed")
    record = await record_of(storage)
    assert (record["status"], record["errors"]) == ("failed", ["ValueError: body"])


def fail_on_ping(event) -> None:
    raise ValueError(f"ping {event.ts}")


async def test_a_handler_that_fails_at_the_root_fails_the_window(
    make_window, handling, record_of, statuses, read
):
    storage = MemoryStorage()
    window = make_window(handling(fail_on_ping), storage)
    with pytest.raises(HandlerError, match=r"'odd\.fail_on_ping'"):
        async with window:
            await window.run()
    assert set((await statuses(storage)).values()) == {"failed"}
    record = await record_of(storage)
    assert record["status"] == "failed"
    assert len(record["errors"]) == 1
    healthy = await read(storage, "containers/healthy_results.json")
    assert healthy["seen"][-1] == "WINDOW_END"


async def test_a_window_that_failed_tells_so_in_its_last_event(make_window, handling):
    ends: list[Event] = []

    def build(builder) -> None:
        handling(fail_on_ping)(builder)
        builder.bus.subscribe(WindowEnd, ends.append)

    window = make_window(build)
    with pytest.raises(HandlerError):
        async with window:
            await window.run()
    assert ends == [WindowEnd(0, "w1", "failed")]


async def test_a_scope_that_contains_its_failures_fails_its_own_containers_alone(
    make_window, handling, record_of, statuses, read
):
    storage = MemoryStorage()
    async with make_window(handling(fail_on_ping, contain=True), storage) as window:
        await window.run()
        states = {container.id: container.state for container in window.containers}
    assert states == {
        "data": ContainerState.RUNNING,
        "healthy": ContainerState.RUNNING,
        "odd": ContainerState.FAILED,
    }
    assert await statuses(storage) == {"data": "completed", "healthy": "completed", "odd": "failed"}
    record = await record_of(storage)
    assert record["status"] == "completed"
    odd = next(c for c in record["containers"] if c["id"] == "odd")
    assert odd["status"] == "failed"
    assert "ping 1" in odd["error"]
    healthy = await read(storage, "containers/healthy_results.json")
    assert healthy["seen"] == ["PING", "PING", "WINDOW_END"]


async def test_the_error_of_one_source_is_raised_bare(make_window, chain):
    errors = {"data": {"run": ValueError("no more bars")}}
    window = make_window(chain(errors=errors))
    with pytest.raises(ValueError, match="no more bars"):
        async with window:
            await window.run()
    assert window.status == "failed"


async def test_errors_of_several_sources_are_raised_as_a_group(make_window, chain):
    errors = {name: {"run": ValueError(name)} for name in ("data", "strategy")}
    window = make_window(chain(errors=errors))
    with pytest.raises(ExceptionGroup) as caught:
        async with window:
            await window.run()
    assert [str(error) for error in caught.value.exceptions] == ["data", "strategy"]
    assert window.summary is not None
    assert window.summary.errors == ("ValueError: data", "ValueError: strategy")


async def test_an_error_of_the_run_that_the_body_swallows_still_fails_the_window(
    make_window, handling, record_of
):
    storage = MemoryStorage()
    async with make_window(handling(fail_on_ping), storage) as window:
        with pytest.raises(HandlerError):
            await window.run()
    assert (await record_of(storage))["status"] == "failed"


async def test_a_run_that_the_body_gave_up_is_cancelled(make_window, chain, record_of, statuses):
    storage = MemoryStorage()
    async with make_window(chain(data={"run": hang}), storage) as window:
        with anyio.move_on_after(0):
            await window.run()
    assert await statuses(storage) == dict.fromkeys(NAMES, "cancelled")
    assert (await record_of(storage))["status"] == "cancelled"


async def test_a_window_that_never_ran_is_not_completed(make_window, chain, record_of):
    storage = MemoryStorage()
    async with make_window(chain(), storage):
        pass
    assert (await record_of(storage))["status"] == "cancelled"


async def test_a_body_that_is_interrupted_after_the_run_is_not_completed(
    make_window, chain, record_of
):
    storage = MemoryStorage()
    with pytest.raises(KeyboardInterrupt):
        await run_and_raise(make_window(chain(), storage), KeyboardInterrupt())
    assert (await record_of(storage))["status"] == "cancelled"

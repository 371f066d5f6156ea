from __future__ import annotations

import anyio
import msgspec
import pytest
from structlog.testing import capture_logs

from admf.engine.errors import (
    DeadlineError,
    StorageError,
)
from admf.engine.storage import MemoryStorage
from admf.engine.teardown import Deadlines
from admf.engine.verification import verify_window

pytestmark = pytest.mark.anyio

NAMES = ("data", "strategy", "portfolio")
SOON = Deadlines(stop=0.01, drain=0.01, flush=0.01, commit=0.01, release=0.01)


async def hang(*_: object) -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize("hook", ["on_stop", "results", "on_release"])
async def test_one_cleanup_error_is_raised_bare_and_every_step_is_attempted(
    make_window, hook, chain
):
    journal: list[str] = []
    error = OSError(hook)
    window = make_window(chain(journal, {"strategy": {hook: error}}))
    with pytest.raises(OSError, match=hook) as caught:
        async with window:
            await window.run()
    assert caught.value is error
    for name in NAMES:
        for step in ("on_stop", "results", "on_release"):
            assert f"{name}.{step}" in journal


async def test_several_cleanup_errors_are_raised_as_a_group_in_order_of_the_steps(
    make_window, chain
):
    errors = {
        "data": {"on_stop": OSError("data stop"), "on_release": OSError("data release")},
        "portfolio": {"on_stop": OSError("portfolio stop"), "results": OSError("portfolio flush")},
    }
    window = make_window(chain(errors=errors))
    with pytest.raises(ExceptionGroup, match="closing window 'w1' failed") as caught:
        async with window:
            await window.run()
    assert [str(error) for error in caught.value.exceptions] == [
        "portfolio stop",
        "data stop",
        "portfolio flush",
        "data release",
    ]


async def test_cleanup_errors_are_noted_on_the_error_of_the_body(make_window, chain):
    error = ValueError("body")
    errors = {"data": {"on_stop": OSError("a")}, "portfolio": {"results": OSError("b")}}
    with pytest.raises(ValueError, match="body"):
        async with make_window(chain(errors=errors)):
            raise error
    assert error.__notes__ == [
        "closing the window failed as well: OSError: a",
        "closing the window failed as well: OSError: b",
    ]


@pytest.mark.parametrize(("hook", "status"), [("on_stop", "failed"), ("on_release", "completed")])
async def test_what_fails_before_the_record_fails_the_window(
    make_window, hook, status, chain, record_of, statuses
):
    storage = MemoryStorage()
    window = make_window(chain(errors={"data": {hook: OSError(hook)}}), storage)
    with pytest.raises(OSError, match=hook):
        async with window:
            await window.run()
    assert (await record_of(storage))["status"] == status
    assert set((await statuses(storage)).values()) == {status}
    assert window.status == status


class FailingStorage(MemoryStorage):
    """Refuses to write files whose path contains a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    async def write_atomic(self, path, chunks) -> None:
        if self._text in path:
            raise StorageError(f"{path} cannot be written: disk full")
        await super().write_atomic(path, chunks)


async def test_a_flush_that_fails_leaves_no_completed_record(
    make_window, chain, record_of, statuses
):
    storage = FailingStorage("strategy")
    window = make_window(chain(), storage)
    with pytest.raises(StorageError, match="disk full"):
        async with window:
            await window.run()
    record = await record_of(storage)
    assert record["status"] == "failed"
    assert [container["status"] for container in record["containers"]] == [
        "completed",
        "failed",
        "completed",
    ]
    assert await statuses(storage) == dict.fromkeys(("data", "portfolio"), "completed")


async def test_a_record_that_cannot_be_written_fails_the_window(make_window, chain):
    storage = FailingStorage("phase_summary")
    window = make_window(chain(), storage)
    with pytest.raises(StorageError, match="disk full"):
        async with window:
            await window.run()
    assert not (await verify_window(storage, "phase/w1")).committed
    assert window.status == "failed"


async def test_a_failed_window_is_logged_as_an_error(make_window, chain):
    window = make_window(chain(errors={"data": {"on_stop": OSError("socket")}}))
    with capture_logs() as lines, pytest.raises(OSError, match="socket"):
        async with window:
            await window.run()
    assert len(lines) == 1
    assert lines[0]["log_level"] == "error"
    assert lines[0]["failed"] == 1
    assert lines[0]["errors"] == ("OSError: socket",)


@pytest.mark.parametrize(
    ("step", "hook", "status"),
    [("stop", "on_stop", "failed"), ("release", "on_release", "completed")],
)
async def test_a_hook_that_hangs_is_reported_and_the_rest_is_done(
    make_window, step, hook, status, chain, record_of, statuses
):
    journal: list[str] = []
    storage = MemoryStorage()
    deadlines = msgspec.structs.replace(Deadlines(), **{step: 0.01})
    build = chain(journal, strategy={hook: hang})
    window = make_window(build, storage, deadlines=deadlines)
    with pytest.raises(DeadlineError, match=f"{step} of container 'strategy' took longer"):
        async with window:
            await window.run()
    assert (await record_of(storage))["status"] == status
    assert set(await statuses(storage)) == set(NAMES)
    assert {"data.on_stop", "data.on_release"} <= set(journal)


async def test_a_drain_that_hangs_does_not_spend_the_time_of_the_flush(
    make_window, handling, record_of, statuses
):
    async def hang_and_tell(_: object) -> None:
        running.cancel()
        await hang()

    storage = MemoryStorage()
    deadlines = Deadlines(drain=0.01)
    window = make_window(handling(hang_and_tell), storage, deadlines=deadlines)
    await window.start()
    with anyio.CancelScope() as running:
        await window.run()
    with pytest.raises(DeadlineError, match="drain of the bus took longer"):
        await window.aclose()
    assert set((await statuses(storage)).values()) == {"failed"}
    assert (await record_of(storage))["status"] == "failed"


class HangingStorage(MemoryStorage):
    """Never finishes writing files whose path contains a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    async def write_atomic(self, path, chunks) -> None:
        if self._text in path:
            await hang()
        await super().write_atomic(path, chunks)


async def test_a_flush_that_hangs_does_not_keep_others_from_theirs(
    make_window, chain, record_of, statuses
):
    storage = HangingStorage("strategy")
    deadlines = Deadlines(flush=0.01)
    window = make_window(chain(), storage, deadlines=deadlines, flushes_at_once=1)
    with pytest.raises(DeadlineError, match="flush of container 'strategy' took longer"):
        async with window:
            await window.run()
    assert await statuses(storage) == dict.fromkeys(("data", "portfolio"), "completed")
    assert (await record_of(storage))["status"] == "failed"


async def test_a_commit_that_hangs_is_reported(make_window, chain):
    window = make_window(chain(), HangingStorage("phase_summary"), deadlines=Deadlines(commit=0.01))
    with pytest.raises(DeadlineError, match="commit of the window took longer"):
        async with window:
            await window.run()
    assert window.status == "failed"


async def test_a_window_in_which_everything_hangs_is_over_soon(make_window, chain):
    hooks = {name: {"on_stop": hang, "on_release": hang} for name in NAMES}
    window = make_window(chain(**hooks), HangingStorage("phase"), deadlines=SOON)
    with pytest.raises(ExceptionGroup) as caught, anyio.fail_after(5):
        async with window:
            await window.run()
    assert {type(error) for error in caught.value.exceptions} == {DeadlineError}
    assert len(caught.value.exceptions) == 3 * len(NAMES) + 1

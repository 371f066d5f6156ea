"""Writes that fail or are cancelled at every single call to the operating system."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import anyio
import pytest
from anyio import to_thread

from admf.engine.errors import StorageError
from admf.engine.files import Draft, sync_folder
from admf.engine.storage import LocalStorage
from admf.engine.testing import FaultStorage

pytestmark = pytest.mark.anyio

P = ParamSpec("P")
T = TypeVar("T")

# Replacing run/file: three folders and files are looked at, then the draft is made and published.
CALLS = ["lstat", "lstat", "open", "write", "write", "fsync", "close", "replace"]
FOLDER_CALLS = ["open", "fsync", "close"]
NUMBERS = range(1, len(CALLS + FOLDER_CALLS) + 1)
PUBLISHED_FROM = len(CALLS) + 1
ERRORS = [errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EACCES]
OLD, NEW = b"old content", [b"new ", b"content"]


def temporary_files(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*.tmp")]


def open_descriptors() -> set[str]:
    return {entry.name for entry in Path("/dev/fd").iterdir()}


async def write_old(root: Path) -> None:
    await LocalStorage(root).write_atomic("run/file", [OLD])


async def test_a_write_syncs_the_file_before_it_renames_and_the_folder_after(
    tmp_path: Path,
) -> None:
    await write_old(tmp_path)
    storage = FaultStorage(tmp_path)
    await storage.write_atomic("run/file", NEW)
    assert storage.calls == CALLS + FOLDER_CALLS


async def test_new_folders_are_made_durable_from_the_top_down(tmp_path: Path) -> None:
    synced: list[Path] = []

    class Recording(LocalStorage):
        def system_call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            if function is os.open and isinstance(args[0], Path) and args[0].is_dir():
                synced.append(args[0])
            return function(*args, **kwargs)

    await Recording(tmp_path / "a/b").write_atomic("run/c/file", NEW)
    new = ["", "a", "a/b", "a/b/run", "a/b/run/c"]
    assert synced == [tmp_path / folder for folder in new]


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("number", NUMBERS)
async def test_a_write_that_fails_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, number: int, error: int, dead: bool
) -> None:
    await write_old(tmp_path)
    before = open_descriptors()
    storage = FaultStorage(tmp_path, fail_at=number, error=error, dead=dead)
    with pytest.raises(StorageError, match=errno.errorcode[error]):
        await storage.write_atomic("run/file", NEW)
    content = (tmp_path / "run/file").read_bytes()
    assert content == (b"new content" if number >= PUBLISHED_FROM else OLD)
    assert open_descriptors() <= before
    clean = LocalStorage(tmp_path)
    if not dead:
        assert temporary_files(tmp_path) == []
    await clean.sweep("run")
    assert temporary_files(tmp_path) == []
    assert await clean.list_files("run") == ["run/file"]


async def test_a_file_whose_fsync_failed_is_thrown_away_not_synced_again(tmp_path: Path) -> None:
    await write_old(tmp_path)
    storage = FaultStorage(tmp_path, fail_at=1, only="fsync")
    with pytest.raises(StorageError, match="EIO"):
        await storage.write_atomic("run/file", NEW)
    assert storage.calls == [*CALLS[:6], "close", "unlink"]
    await storage.write_atomic("run/file", NEW)
    assert storage.calls[8:] == CALLS + FOLDER_CALLS
    assert (tmp_path / "run/file").read_bytes() == b"new content"


async def test_a_short_write_is_continued_where_it_stopped(tmp_path: Path) -> None:
    class Short(LocalStorage):
        def system_call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            call: Callable[..., T] = function
            if function is os.write:
                descriptor, data = args
                return call(descriptor, memoryview(data)[:3])  # type: ignore[arg-type]
            return call(*args, **kwargs)

    await Short(tmp_path).write_atomic("file", [b"0123456789"])
    assert (tmp_path / "file").read_bytes() == b"0123456789"


class Held(LocalStorage):
    """Runs ``on_call`` in the thread before the nth call, and knows when its threads are done."""

    def __init__(self, root: Path, number: int, on_call: Callable[[], None]) -> None:
        super().__init__(root)
        self.number = number
        self.on_call = on_call
        self.calls: list[str] = []

    def system_call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self.calls.append(function.__name__)
        if len(self.calls) == self.number:
            self.on_call()
        return function(*args, **kwargs)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[asyncio.Event]:
    """One event for each function given to a thread; set when the function has ended."""
    events: set[asyncio.Event] = set()
    original = to_thread.run_sync

    async def tracked(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def run() -> Any:
            try:
                return function(*args)
            finally:
                loop.call_soon_threadsafe(ended.set)

        events.add(ended)
        return await original(run, **options)

    monkeypatch.setattr(to_thread, "run_sync", tracked)
    return events


async def wait_for_all(threads: set[asyncio.Event]) -> None:
    for ended in list(threads):
        await ended.wait()


def cancel_and_wait(
    loop: asyncio.AbstractEventLoop, cancel: Callable[[], object], go_on: threading.Event
) -> None:
    """In a thread: have the waiting task cancelled, and come too late for everything."""
    loop.call_soon_threadsafe(cancel)
    assert go_on.wait(10)


RENAME = CALLS.index("replace") + 1


@pytest.mark.parametrize("how", ["native", "scope"])
@pytest.mark.parametrize("number", [number for number in NUMBERS if number != RENAME])
async def test_a_thread_left_behind_at_any_call_publishes_nothing_more(
    tmp_path: Path, threads: set[asyncio.Event], number: int, how: str
) -> None:
    await write_old(tmp_path)
    before = open_descriptors()
    go_on = threading.Event()
    scope = anyio.CancelScope()

    async def write() -> None:
        with scope:
            await storage.write_atomic("run/file", NEW)

    loop = asyncio.get_running_loop()
    task = loop.create_task(write())
    cancel = task.cancel if how == "native" else scope.cancel
    storage = Held(tmp_path, number, partial(cancel_and_wait, loop, cancel, go_on))
    await asyncio.wait([task])
    assert task.cancelled() == (how == "native")
    assert scope.cancelled_caught == (how == "scope")
    if number < PUBLISHED_FROM:
        await LocalStorage(tmp_path).write_atomic("run/file", [b"written since"])
    go_on.set()
    await wait_for_all(threads)
    content = (tmp_path / "run/file").read_bytes()
    assert content == (b"written since" if number < PUBLISHED_FROM else b"new content")
    assert temporary_files(tmp_path) == []
    assert open_descriptors() <= before


async def test_a_cancellation_waits_for_a_rename_that_is_under_way(
    tmp_path: Path, threads: set[asyncio.Event]
) -> None:
    await write_old(tmp_path)
    loop = asyncio.get_running_loop()
    left = threading.Event()
    left_before_the_rename: list[bool] = []

    def cancel_and_give_it_time() -> None:
        loop.call_soon_threadsafe(task.cancel)
        left_before_the_rename.append(left.wait(0.05))

    storage = Held(tmp_path, RENAME, cancel_and_give_it_time)
    task = loop.create_task(storage.write_atomic("run/file", NEW))
    task.add_done_callback(lambda _: left.set())
    await asyncio.wait([task])
    assert task.cancelled()
    assert left_before_the_rename == [False]
    assert (tmp_path / "run/file").read_bytes() == b"new content"
    await wait_for_all(threads)
    assert temporary_files(tmp_path) == []


@pytest.mark.parametrize("how", ["native", "scope"])
async def test_a_second_write_succeeds_after_the_first_was_cancelled_twice(
    tmp_path: Path, threads: set[asyncio.Event], how: str
) -> None:
    await write_old(tmp_path)
    go_on = threading.Event()
    loop = asyncio.get_running_loop()
    scope = anyio.CancelScope()

    async def write() -> None:
        with scope:
            await storage.write_atomic("run/file", NEW)

    def cancel_twice() -> None:
        for _ in range(2):
            (task.cancel if how == "native" else scope.cancel)()

    task = loop.create_task(write())
    late = partial(cancel_and_wait, loop, cancel_twice, go_on)
    storage = Held(tmp_path, CALLS.index("fsync") + 1, late)
    await asyncio.wait([task])
    await storage.write_atomic("run/file", [b"second"])
    go_on.set()
    await wait_for_all(threads)
    assert (tmp_path / "run/file").read_bytes() == b"second"


def test_an_abandoned_draft_cannot_be_used(tmp_path: Path) -> None:
    def call(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    draft = Draft(tmp_path / "file", call)
    draft.open()
    draft.write(b"x")
    draft.abandon()
    draft.abandon()
    assert list(tmp_path.iterdir()) == []
    for action in (draft.open, partial(draft.write, b"x"), draft.publish):
        with pytest.raises(StorageError, match="file was abandoned"):
            action()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_synced_where_the_system_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("admf.engine.files._FOLDER", None)
    sync_folder(tmp_path, pytest.fail)  # type: ignore[arg-type]

"""Files in memory that go to disk: nothing is lost, and the disk is truthful at every moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from admf.engine.documents import read_document
from admf.engine.errors import MissingFileError, StorageError
from admf.engine.result_names import COMMIT_FILE
from admf.engine.results import Document, ResultStore
from admf.engine.storage import LocalStorage, MemoryStorage
from admf.engine.testing import FaultStorage
from admf.engine.tiered import TieredStorage
from admf.engine.verification import verify_window

pytestmark = pytest.mark.anyio

T = TypeVar("T")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Switch:
    """Says where files go; to memory at first."""

    def __init__(self) -> None:
        self.on_disk = False

    def __call__(self) -> bool:
        return self.on_disk


def record_listing(*paths: str) -> bytes:
    return json.dumps(paths).encode()


def missing_from(files: dict[str, bytes]) -> list[str]:
    """Return the paths that commit records list and that are not there."""
    return [
        f"{folder}{name}"
        for path, content in files.items()
        if path.endswith(COMMIT_FILE)
        for folder in [path.removesuffix(COMMIT_FILE)]
        for name in json.loads(content)
        if f"{folder}{name}" not in files
    ]


class WatchedDisk(MemoryStorage):
    """A disk that takes its time, can fail, and is looked at after each change.

    Attributes:
        written: Paths in the order in which they arrived.
        interrupt: Called with the path before each write.
        fail_in: Number of writes after which one fails; then there is no fault until set again.
        late: The failing write has replaced the file all the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        self.interrupt: Callable[[str], Coroutine[Any, Any, None]] | None = None
        self.fail_in = -1
        self.late = False

    def files(self) -> dict[str, bytes]:
        return {path: self.peek(path) or b"" for path in self.peek_files()}

    async def write_atomic(self, path: str, chunks: Iterable[bytes]) -> None:
        if self.interrupt is not None:
            await self.interrupt(path)
        await checkpoint()
        self.fail_in -= 1
        failing = self.fail_in == -1
        if not failing or self.late:
            await super().write_atomic(path, chunks)
            self.written.append(path)
            assert missing_from(self.files()) == []
        await checkpoint()
        if failing:
            raise StorageError(f"cannot write {path}")
        self.fail_in = max(self.fail_in, -1)

    async def exists(self, path: str) -> bool:
        return await self.later(await super().exists(path))

    async def list_files(self, path: str) -> list[str]:
        return await self.later(await super().list_files(path))

    async def later(self, answer: T) -> T:
        for _ in range(7):
            await checkpoint()
        return answer


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
def disk() -> WatchedDisk:
    disk = WatchedDisk()
    disk.fail_in = -2
    return disk


@pytest.fixture
def tiered(disk: WatchedDisk, switch: Switch) -> TieredStorage:
    return TieredStorage(disk, switch)


WINDOWS = {
    "run/run.json": b"{}",
    "run/p/phase_summary.json": record_listing("a.json", "w1/phase_summary.json"),
    "run/p/a.json": b"a",
    "run/p/w1/phase_summary.json": record_listing("z.json"),
    "run/p/w1/z.json": b"z",
}


async def put_windows(storage: TieredStorage) -> None:
    for path, content in WINDOWS.items():
        await storage.write_atomic(path, [content])


async def read_all(storage: TieredStorage) -> dict[str, bytes]:
    return {path: await storage.read(path) for path in await storage.list_files("run")}


# Where a file is


async def test_files_stay_in_memory_until_told_otherwise(
    tiered: TieredStorage, disk: WatchedDisk, switch: Switch
) -> None:
    await tiered.write_atomic("run/a", [b"12345"])
    assert (disk.files(), tiered.held_bytes) == ({}, 5)
    switch.on_disk = True
    await tiered.write_atomic("run/b", [b"b"])
    assert (disk.files(), tiered.held_bytes) == ({"run/b": b"b"}, 5)
    assert await read_all(tiered) == {"run/a": b"12345", "run/b": b"b"}


async def test_a_file_that_goes_to_disk_leaves_memory(
    tiered: TieredStorage, disk: WatchedDisk, switch: Switch
) -> None:
    await tiered.write_atomic("run/a", [b"old"])
    switch.on_disk = True
    await tiered.write_atomic("run/a", [b"new"])
    assert (disk.files(), tiered.held_bytes) == ({"run/a": b"new"}, 0)
    assert await tiered.read("run/a") == b"new"


async def test_memory_stands_in_front_of_the_disk(
    tiered: TieredStorage, disk: WatchedDisk, switch: Switch
) -> None:
    switch.on_disk = True
    await tiered.write_atomic("run/a", [b"old"])
    switch.on_disk = False
    await tiered.write_atomic("run/a", [b"new"])
    assert disk.files() == {"run/a": b"old"}
    assert await read_all(tiered) == {"run/a": b"new"}
    assert await tiered.spill() == 1
    assert disk.files() == {"run/a": b"new"}


async def test_a_failed_write_to_disk_leaves_what_memory_holds(
    tiered: TieredStorage, disk: WatchedDisk, switch: Switch
) -> None:
    await tiered.write_atomic("run/a", [b"old"])
    switch.on_disk = True
    disk.fail_in = 0
    with pytest.raises(StorageError):
        await tiered.write_atomic("run/a", [b"new"])
    assert await tiered.read("run/a") == b"old"


async def test_holds_and_saved_tell_where_files_of_a_folder_are(
    tiered: TieredStorage, switch: Switch
) -> None:
    await tiered.write_atomic("run/memory/a", [b"x"])
    switch.on_disk = True
    await tiered.write_atomic("run/disk/a", [b"x"])
    folders = ("run", "run/memory", "run/disk", "run/mem")
    assert [await tiered.holds(folder) for folder in folders] == [True, True, False, False]
    assert [await tiered.saved(folder) for folder in folders] == [True, False, True, False]


async def test_what_is_dropped_is_forgotten_but_stays_on_disk(
    tiered: TieredStorage, disk: WatchedDisk, switch: Switch
) -> None:
    for path in ("run/p/a", "run/p/b", "run/pp/a"):
        await tiered.write_atomic(path, [b"x"])
    await tiered.spill("run/p/b")
    await tiered.drop("run/p")
    assert await tiered.list_files("run") == ["run/p/b", "run/pp/a"]
    assert tiered.held_bytes == 1
    assert disk.files() == {"run/p/b": b"x"}
    await tiered.drop("run")
    await tiered.remove_tree("run")
    assert not await tiered.exists("run")


@pytest.mark.parametrize("name", ["holds", "saved", "drop", "spill"])
async def test_the_questions_refuse_unsafe_paths(tiered: TieredStorage, name: str) -> None:
    with pytest.raises(StorageError, match="not a path below the results root"):
        await getattr(tiered, name)("../up")


async def test_a_place_is_that_on_disk(tmp_path: Path, switch: Switch) -> None:
    assert TieredStorage(LocalStorage(tmp_path), switch).locate("a/b") == f"{tmp_path}/a/b"


# Folders


async def test_the_disk_decides_who_makes_a_folder(disk: WatchedDisk, switch: Switch) -> None:
    one, other = TieredStorage(disk, switch), TieredStorage(disk, switch)
    await one.write_atomic("run/a", [b"x"])
    assert await other.make_dir("run")
    assert not await one.make_dir("run")
    assert await one.make_dir("run/deep/folder")
    assert not await other.make_dir("run/deep")


async def test_a_folder_in_memory_alone_can_still_be_made(tiered: TieredStorage) -> None:
    await tiered.write_atomic("run/a", [b"x"])
    assert await tiered.make_dir("run")
    assert not await tiered.make_dir("run")


async def test_below_a_file_in_memory_nothing_is_made_on_disk(
    tiered: TieredStorage, disk: WatchedDisk, switch: Switch
) -> None:
    await tiered.write_atomic("run/file", [b"x"])
    await tiered.write_atomic("other/a", [b"x"])
    switch.on_disk = True
    for action in (
        partial(tiered.write_atomic, "run/file/a", [b"x"]),
        partial(tiered.make_dir, "run/file/a"),
        partial(tiered.move, "other", "run/file/a"),
    ):
        with pytest.raises(StorageError, match="run/file is a file"):
            await action()
    assert not await tiered.make_dir("run/file")
    with pytest.raises(StorageError, match="it is a folder"):
        await tiered.write_atomic("run", [b"x"])
    with pytest.raises(StorageError, match="run is there"):
        await tiered.move("other", "run")
    assert disk.files() == {}


async def test_a_folder_moves_with_what_is_in_memory_and_on_disk(
    tiered: TieredStorage, switch: Switch
) -> None:
    await tiered.write_atomic("run/a", [b"a"])
    switch.on_disk = True
    await tiered.write_atomic("run/b", [b"b"])
    await tiered.move("run", "old/run")
    assert await tiered.list_files("old") == ["old/run/a", "old/run/b"]
    assert not await tiered.exists("run")


async def test_removing_takes_the_file_from_memory_and_disk(
    tiered: TieredStorage, disk: WatchedDisk
) -> None:
    await tiered.write_atomic("run/a", [b"old"])
    await tiered.spill()
    await tiered.write_atomic("run/a", [b"new"])
    await tiered.remove("run/a")
    await tiered.remove("run/a")
    assert (disk.files(), tiered.held_bytes) == ({}, 0)
    assert not await tiered.exists("run/a")


async def test_a_file_that_cannot_be_removed_is_as_it_was(tmp_path: Path, switch: Switch) -> None:
    tiered = TieredStorage(FaultStorage(tmp_path, fail_at=1, only="unlink"), switch)
    await tiered.write_atomic("run/a", [b"old"])
    await tiered.spill()
    await tiered.write_atomic("run/a", [b"new"])
    with pytest.raises(StorageError, match="cannot remove"):
        await tiered.remove("run/a")
    assert await tiered.read("run/a") == b"new"


async def test_removing_a_folder_takes_it_from_memory_and_disk(
    tiered: TieredStorage, disk: WatchedDisk, switch: Switch
) -> None:
    await put_windows(tiered)
    await tiered.spill("run/p/w1")
    await tiered.remove_tree("run/p")
    assert await tiered.list_files("run") == ["run/run.json"]
    assert disk.files() == {}


async def test_a_journal_is_on_disk(tmp_path: Path, switch: Switch) -> None:
    tiered = TieredStorage(LocalStorage(tmp_path), switch)
    journal = tiered.journal("run/p/x.frames")
    journal.append(b"frames")
    assert (tmp_path / "run/p/x.frames").read_bytes() == b"frames"
    assert await tiered.read("run/p/x.frames") == b"frames"
    assert tiered.held_bytes == 0
    assert await tiered.saved("run/p")


async def test_a_journal_cannot_stand_behind_a_file_in_memory(tiered: TieredStorage) -> None:
    await tiered.write_atomic("run/a", [b"x"])
    with pytest.raises(StorageError, match="held in memory"):
        tiered.journal("run/a")
    with pytest.raises(StorageError, match="run/a is a file"):
        tiered.journal("run/a/b")


async def test_dead_writers_are_swept_on_disk(tmp_path: Path, switch: Switch) -> None:
    tiered = TieredStorage(LocalStorage(tmp_path), switch)
    await tiered.write_atomic("run/a", [b"x"])
    await tiered.spill()
    (tmp_path / "run/.a.0123.tmp").touch()
    assert await tiered.sweep("run") == 1
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["a"]
    await tiered.remove("run/a")
    assert list((tmp_path / "run").iterdir()) == []


# Spilling


async def test_commit_records_are_spilled_last_and_the_deepest_first(
    tiered: TieredStorage, disk: WatchedDisk
) -> None:
    await put_windows(tiered)
    assert await tiered.spill() == 5
    assert disk.written == [
        "run/run.json",
        "run/p/a.json",
        "run/p/w1/z.json",
        "run/p/w1/phase_summary.json",
        "run/p/phase_summary.json",
    ]
    assert disk.files() == await read_all(tiered) == WINDOWS
    assert tiered.held_bytes == 0
    assert await tiered.spill() == 0


@pytest.mark.parametrize(
    ("path", "moved"),
    [
        ("run/p/w1", {"run/p/w1/z.json", "run/p/w1/phase_summary.json"}),
        ("run/p/w1/phase_summary.json", {"run/p/w1/z.json", "run/p/w1/phase_summary.json"}),
        ("run/p/a.json", {"run/p/a.json"}),
        ("run/p", set(WINDOWS) - {"run/run.json"}),
        ("run/p/w", set[str]()),
        ("nowhere", set[str]()),
    ],
)
async def test_only_what_is_asked_for_is_spilled(
    tiered: TieredStorage, disk: WatchedDisk, path: str, moved: set[str]
) -> None:
    await put_windows(tiered)
    assert await tiered.spill(path) == len(moved)
    assert set(disk.files()) == moved
    assert await read_all(tiered) == WINDOWS


async def test_a_record_at_the_root_is_a_record(tiered: TieredStorage, disk: WatchedDisk) -> None:
    await tiered.write_atomic(COMMIT_FILE, [record_listing("a/b")])
    await tiered.write_atomic("a/b", [b"x"])
    assert await tiered.spill(COMMIT_FILE) == 2
    assert disk.written == ["a/b", COMMIT_FILE]


async def test_a_record_that_goes_to_disk_takes_its_folder_along(
    tiered: TieredStorage, disk: WatchedDisk, switch: Switch
) -> None:
    await tiered.write_atomic("run/run.json", [b"{}"])
    await tiered.write_atomic("run/p/a", [b"a"])
    switch.on_disk = True
    await tiered.write_atomic("run/p/b", [b"b"])
    await tiered.write_atomic("run/p/phase_summary.json", [record_listing("a", "b")])
    assert disk.written == ["run/p/b", "run/p/a", "run/p/phase_summary.json"]
    assert await tiered.holds("run/run.json")


async def test_no_record_goes_to_disk_if_its_folder_cannot(
    tiered: TieredStorage, disk: WatchedDisk, switch: Switch
) -> None:
    await tiered.write_atomic("run/a", [b"a"])
    switch.on_disk = True
    disk.fail_in = 0
    with pytest.raises(StorageError):
        await tiered.write_atomic("run/phase_summary.json", [record_listing("a")])
    assert await read_all(tiered) == {"run/a": b"a"}
    assert disk.files() == {}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("number", range(5))
async def test_when_the_disk_fails_everything_is_still_readable(
    tiered: TieredStorage, disk: WatchedDisk, number: int, late: bool
) -> None:
    await put_windows(tiered)
    disk.fail_in, disk.late = number, late
    with pytest.raises(StorageError):
        await tiered.spill()
    assert await read_all(tiered) == WINDOWS
    assert tiered.held_bytes == sum(map(len, WINDOWS.values())) - sum(
        map(len, [disk.files()[path] for path in disk.written[:number]])
    )
    assert await tiered.spill() == 5 - number
    assert disk.files() == WINDOWS


@pytest.mark.parametrize("number", range(5))
async def test_when_it_is_cancelled_everything_is_still_readable(
    tiered: TieredStorage, disk: WatchedDisk, number: int
) -> None:
    await put_windows(tiered)
    with anyio.CancelScope() as scope:

        async def cancel(path: str) -> None:
            if len(disk.written) == number:
                scope.cancel()

        disk.interrupt = cancel
        await tiered.spill()
    disk.interrupt = None
    assert scope.cancelled_caught
    assert len(disk.files()) == number
    assert await read_all(tiered) == WINDOWS
    assert await tiered.spill() == 5 - number


async def test_files_can_be_read_at_every_moment_of_a_spill(
    tiered: TieredStorage, disk: WatchedDisk
) -> None:
    await put_windows(tiered)
    seen: list[str] = []

    async def read(path: str) -> None:
        assert await tiered.read(path) == WINDOWS[path]

    async def look_for(path: str) -> None:
        assert await tiered.exists(path)

    async def look_into(_: str) -> None:
        assert await tiered.list_files("run") == sorted(WINDOWS)

    async def watch(look: Callable[[str], Coroutine[Any, Any, None]], path: str) -> None:
        while tiered.held_bytes:
            await look(path)
            seen.append(path)

    async with anyio.create_task_group() as tasks:
        for path in WINDOWS:
            for look in (read, look_for, look_into):
                tasks.start_soon(watch, look, path)
        tasks.start_soon(tiered.spill)
    assert all(seen.count(path) > 9 for path in WINDOWS)


async def test_what_is_replaced_in_memory_while_it_is_spilled_is_spilled_again(
    tiered: TieredStorage, disk: WatchedDisk
) -> None:
    await tiered.write_atomic("run/a", [b"old"])

    async def replace(path: str) -> None:
        disk.interrupt = None
        await tiered.write_atomic("run/a", [b"new"])

    disk.interrupt = replace
    assert await tiered.spill() == 1
    assert disk.written == ["run/a", "run/a"]
    assert (disk.files(), tiered.held_bytes) == ({"run/a": b"new"}, 0)


async def test_what_comes_while_the_disk_fails_is_not_lost(
    tiered: TieredStorage, disk: WatchedDisk
) -> None:
    await tiered.write_atomic("run/a", [b"old"])

    async def replace(path: str) -> None:
        await tiered.write_atomic("run/a", [b"new"])

    disk.interrupt, disk.fail_in, disk.late = replace, 0, True
    with pytest.raises(StorageError):
        await tiered.spill()
    assert await tiered.read("run/a") == b"new"


async def test_what_goes_to_disk_while_an_older_content_is_spilled_comes_later(
    tiered: TieredStorage, disk: WatchedDisk, switch: Switch
) -> None:
    await tiered.write_atomic("run/a", [b"old"])
    async with anyio.create_task_group() as tasks:

        async def replace(path: str) -> None:
            disk.interrupt = None
            switch.on_disk = True
            tasks.start_soon(tiered.write_atomic, "run/a", [b"new"])
            for _ in range(5):
                await checkpoint()

        disk.interrupt = replace
        await tiered.spill()
    assert (disk.files(), tiered.held_bytes) == ({"run/a": b"new"}, 0)


async def test_what_is_written_to_memory_while_older_content_goes_to_disk_stays(
    tiered: TieredStorage, disk: WatchedDisk, switch: Switch
) -> None:
    await tiered.write_atomic("run/a", [b"oldest"])
    switch.on_disk = True

    async def replace(path: str) -> None:
        switch.on_disk = False
        await tiered.write_atomic("run/a", [b"new"])

    disk.interrupt = replace
    await tiered.write_atomic("run/a", [b"old"])
    disk.interrupt = None
    assert await tiered.read("run/a") == b"new"
    await tiered.spill()
    assert disk.files() == {"run/a": b"new"}


async def test_a_file_removed_or_written_before_its_turn_is_not_spilled(
    tiered: TieredStorage, disk: WatchedDisk, switch: Switch
) -> None:
    for path in ("run/a", "run/b", "run/c"):
        await tiered.write_atomic(path, [b"old"])

    async def change(path: str) -> None:
        disk.interrupt = None
        switch.on_disk = True
        await tiered.remove("run/b")
        await tiered.write_atomic("run/c", [b"new"])

    disk.interrupt = change
    assert await tiered.spill() == 1
    assert disk.written == ["run/c", "run/a"]
    assert disk.files() == {"run/a": b"old", "run/c": b"new"}


async def test_a_file_removed_while_it_is_spilled_does_not_come_back(
    tiered: TieredStorage, disk: WatchedDisk
) -> None:
    await tiered.write_atomic("run/a", [b"x"])
    async with anyio.create_task_group() as tasks:

        async def remove(path: str) -> None:
            tasks.start_soon(tiered.remove, "run/a")
            for _ in range(5):
                await checkpoint()

        disk.interrupt = remove
        await tiered.spill()
    assert (disk.files(), tiered.held_bytes) == ({}, 0)


async def test_a_record_written_during_a_spill_waits_for_the_files_it_lists(
    tiered: TieredStorage, disk: WatchedDisk
) -> None:
    """The disk itself checks that no record arrives before what it lists."""
    await put_windows(tiered)

    async def extend(path: str) -> None:
        if path == "run/p/w1/phase_summary.json" and "run/p/b" not in disk.written:
            await tiered.write_atomic("run/p/b", [b"b"])
            await tiered.write_atomic("run/p/phase_summary.json", [record_listing("a.json", "b")])

    disk.interrupt = extend
    assert await tiered.spill() == 6
    assert disk.written[-3:] == [
        "run/p/w1/phase_summary.json",
        "run/p/b",
        "run/p/phase_summary.json",
    ]


async def test_spills_at_once_write_each_file_once(
    tiered: TieredStorage, disk: WatchedDisk
) -> None:
    await put_windows(tiered)
    counts: list[int] = []

    async def spill(path: str) -> None:
        counts.append(await tiered.spill(path))

    async with anyio.create_task_group() as tasks:
        for path in ("", "run/p", "run/p/w1", ""):
            tasks.start_soon(spill, path)
    assert sum(counts) == len(disk.written) == 5


@pytest.mark.parametrize("name", ["drop", "remove_tree", "sweep", "move"])
async def test_a_folder_is_not_changed_under_a_spill(
    tiered: TieredStorage, disk: WatchedDisk, name: str
) -> None:
    await put_windows(tiered)
    async with anyio.create_task_group() as tasks:

        async def change(path: str) -> None:
            disk.interrupt = None
            tasks.start_soon(getattr(tiered, name), *["run", "new"][: 2 if name == "move" else 1])

        disk.interrupt = change
        await tiered.spill()
        assert disk.files() == WINDOWS
    assert bool(disk.peek_files("run")) == (name in {"drop", "sweep"})
    assert tiered.held_bytes == 0


async def test_nothing_is_kept_of_files_that_are_gone(
    tiered: TieredStorage, switch: Switch
) -> None:
    """Neither their folders nor their locks, however many windows a run has."""
    await put_windows(tiered)
    await tiered.spill()
    switch.on_disk = True
    await put_windows(tiered)
    await tiered.remove("run/p/a.json")
    front = tiered._front
    assert not any(front.has_folder(folder) for folder in ("run", "run/p", "run/p/w1"))
    assert tiered._turns == {}


# On a real file system


async def fill(storage: TieredStorage) -> None:
    """A window with a container below a phase, all in memory."""
    store = await ResultStore.create(storage, "run")
    await store.write_run({"status": "running"})
    phase = store.window("p")
    window = store.window("p", "w1")
    await window.write_container(Document("c", {"trades": [1, 2]}))
    await window.commit({"status": "completed"})
    await phase.write("aggregate_results.json", {"best": 1})
    await phase.commit({"status": "completed"}, filter(None, [window.record_below(phase)]))


async def check_truthful(disk: LocalStorage) -> None:
    """Every commit record on disk is one of a complete window."""
    for path in await disk.list_files("run"):
        folder, _, name = path.rpartition("/")
        if name == COMMIT_FILE:
            check = await verify_window(disk, folder)
            assert check.complete, (folder, check)


def spill_calls(root: Path) -> tuple[int, int]:
    """Return how many system calls there are before a spill, and after it."""

    async def run() -> tuple[int, int]:
        disk = FaultStorage(root)
        tiered = TieredStorage(disk, Switch())
        await fill(tiered)
        before = len(disk.calls)
        await tiered.spill()
        return before, len(disk.calls)

    return anyio.run(run)


@pytest.mark.parametrize("dead", [True, False])
def test_whichever_call_fails_or_is_the_last_the_disk_is_truthful(
    tmp_path: Path, dead: bool
) -> None:
    before, after = spill_calls(tmp_path / "clean")

    async def run(number: int) -> None:
        root = tmp_path / str(number)
        tiered = TieredStorage(FaultStorage(root, fail_at=number, dead=dead), Switch())
        await fill(tiered)
        held = {path: tiered._front.peek(path) for path in tiered._front.peek_files()}
        try:
            await tiered.spill()
        except StorageError:
            assert tiered.held_bytes
        await check_truthful(LocalStorage(root))
        if dead:
            tiered._disk = LocalStorage(root)
        assert {path: await tiered.read(path) for path in held} == held
        await tiered.spill()
        assert {path: await LocalStorage(root).read(path) for path in held} == held

    async def run_all() -> None:
        for number in range(before + 1, after + 1):
            await run(number)

    assert after - before > 5 * 10
    anyio.run(run_all)


def test_whichever_call_is_the_last_of_a_switch_in_the_middle_the_disk_is_truthful(
    tmp_path: Path,
) -> None:
    """The last container, the trades and the record go to disk, the first is in memory."""

    async def run(disk: FaultStorage) -> None:
        switch = Switch()
        store = await ResultStore.create(TieredStorage(disk, switch), "run")
        window = store.window("p")
        await window.write_container(Document("first", {}))
        switch.on_disk = True
        await window.write_container(Document("last", {}))
        await window.write("all_trades.json", {})
        await window.commit({"status": "completed"})

    async def run_all() -> None:
        clean = FaultStorage(tmp_path / "clean")
        await run(clean)
        assert (await verify_window(LocalStorage(tmp_path / "clean"), "run/p")).complete
        for number in range(1, len(clean.calls) + 1):
            root = tmp_path / str(number)
            with pytest.raises(StorageError):
                await run(FaultStorage(root, fail_at=number, dead=True))
            await check_truthful(LocalStorage(root))

    anyio.run(run_all)


async def test_results_can_be_read_before_and_after_a_spill(tmp_path: Path, switch: Switch) -> None:
    tiered = TieredStorage(LocalStorage(tmp_path), switch)
    await fill(tiered)
    assert not await tiered.saved("run")
    assert (await verify_window(tiered, "run/p")).complete
    before = await read_document(tiered, "run/p/w1/containers/c_results.json", dict[str, Any])
    assert await tiered.spill("run") == 5
    assert not await tiered.holds("run")
    after = await read_document(tiered, "run/p/w1/containers/c_results.json", dict[str, Any])
    assert before == after
    await check_truthful(LocalStorage(tmp_path))
    with pytest.raises(StorageError, match="results exist"):
        await ResultStore.create(tiered, "run")
    await ResultStore.create(tiered, "run", overwrite=True)
    assert await tiered.list_files("run") == []


# The size of what is in memory


async def test_the_size_of_a_memory_storage_is_that_of_its_files() -> None:
    storage = MemoryStorage()
    sizes = [storage.size_bytes]

    def note() -> None:
        sizes.append(storage.size_bytes)
        assert storage.size_bytes == sum(len(storage.peek(p) or b"") for p in storage.peek_files())

    await storage.write_atomic("run/a", [b"12", b"3"])
    note()
    await storage.write_atomic("run/a", [b"1"])
    note()
    await storage.write_atomic("run/b/c", [b"22"])
    note()
    journal = storage.journal("run/j")
    journal.append(b"333")
    journal.append(b"4444")
    note()
    await storage.move("run", "moved")
    note()
    await storage.remove("moved/a")
    note()
    await storage.write_atomic("moved/j", [b"55555"])
    note()
    await storage.remove_tree("moved/b")
    note()
    other = storage.journal("moved/j")
    other.append(b"6")
    note()
    other.discard()
    note()
    assert sizes == [0, 3, 1, 3, 10, 10, 9, 7, 5, 1, 0]


async def test_a_file_is_dropped_only_with_the_content_it_has() -> None:
    storage = MemoryStorage()
    await storage.write_atomic("a", [b"new"])
    assert not storage.drop_file("a", b"old")
    assert not storage.drop_file("a", None)
    assert not storage.drop_file("b", b"old")
    assert storage.drop_file("a", storage.peek("a"))
    assert (storage.peek("a"), storage.size_bytes) == (None, 0)


# Anything, in any order

FOLDERS = ["r", "r/w1", "r/w2"]
PATHS = [f"{folder}/{name}" for folder in FOLDERS for name in ("a", "b")]
SCOPES = ["", *FOLDERS, "r/w1/a", "r/w1/phase_summary.json"]


class Storing(RuleBasedStateMachine):
    """A tiered storage beside a plain dict; the disk checks its records after every write."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.disk = WatchedDisk()
        self.disk.fail_in = -2
        self.switch = Switch()
        self.storage = TieredStorage(self.disk, self.switch)
        self.model: dict[str, bytes] = {}
        self.durable: dict[str, bytes] = {}
        self.numbers: Iterator[int] = iter(range(10**6))

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.close()

    @rule(on_disk=st.booleans())
    def switch_mode(self, on_disk: bool) -> None:
        self.switch.on_disk = on_disk

    @rule(path=st.sampled_from(PATHS))
    def write(self, path: str) -> None:
        self.put(path, self.new_content())

    @rule(folder=st.sampled_from(FOLDERS))
    def commit(self, folder: str) -> None:
        self.put(f"{folder}/{COMMIT_FILE}", self.new_record(folder, self.model))

    @rule(path=st.sampled_from(PATHS))
    def remove(self, path: str) -> None:
        for folder in FOLDERS:  # shallow first: they list those below
            self.remove_one(f"{folder}/{COMMIT_FILE}")
        self.remove_one(path)

    @rule()
    def remove_window(self) -> None:
        self.remove_one(f"r/{COMMIT_FILE}")
        self.runner.run(self.storage.remove_tree("r/w1"))
        for files in (self.model, self.durable):
            for path in [path for path in files if path.startswith("r/w1/")]:
                del files[path]

    @rule(scope=st.sampled_from(SCOPES))
    def spill(self, scope: str) -> None:
        held = set(self.storage._front.peek_files())
        moved = self.runner.run(self.storage.spill(scope))
        gone = held - set(self.storage._front.peek_files())
        assert moved == len(gone)
        self.settle(scope)

    @rule(scope=st.sampled_from(SCOPES), number=st.integers(0, 4), late=st.booleans())
    def spill_to_a_failing_disk(self, scope: str, number: int, late: bool) -> None:
        self.disk.fail_in, self.disk.late = number, late
        try:
            self.runner.run(self.storage.spill(scope))
        except StorageError:
            self.accept({})
        else:
            self.settle(scope)
        self.disk.fail_in = -2

    @rule(
        scope=st.sampled_from(SCOPES),
        paths=st.lists(st.sampled_from(PATHS), min_size=1, unique=True),
        pauses=st.lists(st.integers(0, 8), min_size=6, max_size=6),
        flips=st.booleans(),
    )
    def spill_while_others_write(
        self, scope: str, paths: list[str], pauses: list[int], flips: bool
    ) -> None:
        new = {path: self.new_content() for path in paths}

        async def write(path: str, pause: int) -> None:
            for _ in range(pause):
                await checkpoint()
            self.switch.on_disk ^= flips
            await self.storage.write_atomic(path, [new[path]])

        async def everything() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.storage.spill, scope)
                for path, pause in zip(paths, pauses, strict=False):
                    tasks.start_soon(write, path, pause)

        self.runner.run(everything())
        self.accept(new)

    @rule(
        folder=st.sampled_from(FOLDERS),
        path=st.sampled_from(PATHS),
        pause=st.integers(0, 12),
    )
    def spill_while_a_window_ends(self, folder: str, path: str, pause: int) -> None:
        """Its record lists a file that was written just before."""
        new = {path: self.new_content()}
        new[f"{folder}/{COMMIT_FILE}"] = self.new_record(folder, {**self.model, **new})

        async def end() -> None:
            for _ in range(pause):
                await checkpoint()
            for file, content in new.items():
                await self.storage.write_atomic(file, [content])

        async def everything() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.storage.spill)
                tasks.start_soon(end)

        self.runner.run(everything())
        self.accept(new)

    @rule()
    def crash(self) -> None:
        assert self.disk.files() == self.durable
        assert missing_from(self.durable) == []
        self.storage = TieredStorage(self.disk, self.switch)
        self.model = dict(self.durable)

    @rule()
    def drop(self) -> None:
        self.runner.run(self.storage.drop("r"))
        self.model = dict(self.durable)

    @invariant()
    def everything_can_be_read(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.check())

    async def check(self) -> None:
        assert await self.storage.list_files("r") == sorted(self.model)
        for path in (*PATHS, *(f"{folder}/{COMMIT_FILE}" for folder in FOLDERS)):
            assert await self.storage.exists(path) == (path in self.model)
            if path in self.model:
                assert await self.storage.read(path) == self.model[path]
            else:
                with pytest.raises(MissingFileError):
                    await self.storage.read(path)
        assert await self.storage.saved("r") == bool(self.durable)
        assert self.disk.files() == self.durable
        held = self.storage._front.peek_files()
        assert await self.storage.holds("r") == bool(held)
        assert self.storage.held_bytes == sum(len(self.model[path]) for path in held)

    def new_content(self) -> bytes:
        return b"%d" % next(self.numbers)

    def new_record(self, folder: str, files: dict[str, bytes]) -> bytes:
        inside = [path for path in files if path.startswith(f"{folder}/")]
        return record_listing(*(path.removeprefix(f"{folder}/") for path in sorted(inside)))

    def put(self, path: str, content: bytes) -> None:
        self.runner.run(self.storage.write_atomic(path, [content]))
        self.model[path] = content
        if self.switch.on_disk:
            if path.endswith(COMMIT_FILE):
                self.settle(path)
            self.durable[path] = content

    def remove_one(self, path: str) -> None:
        self.runner.run(self.storage.remove(path))
        self.model.pop(path, None)
        self.durable.pop(path, None)

    def settle(self, scope: str) -> None:
        """Have the model's files of a scope, and all that a record there needs, on disk."""
        folder = scope.removesuffix(COMMIT_FILE).removesuffix("/")
        for path, content in self.model.items():
            if f"{path}/".startswith(f"{folder}/" if folder else ""):
                self.durable[path] = content

    def accept(self, new: dict[str, bytes]) -> None:
        """Take what is on disk for given, if it is a state that each file may be in."""
        found = self.disk.files()
        for path in {*found, *self.durable}:
            allowed = {files.get(path) for files in (self.durable, self.model, new)}
            assert found.get(path) in allowed - {None}
        self.model |= new
        self.durable = found


TestStoring = Storing.TestCase
TestStoring.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)

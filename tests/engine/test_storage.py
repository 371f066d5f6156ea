"""The contract that every storage keeps, and what the local one does beyond it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import anyio
import pytest

from admf.engine.errors import AdmfError, StorageError
from admf.engine.storage import LocalStorage, MemoryStorage, Storage
from admf.engine.testing import FaultStorage
from admf.engine.tiered import TieredStorage

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(
    params=["local", "memory", "fault", "tiered", "tiered on disk", "tiered to and fro"]
)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    root = tmp_path / "deep" / "results"
    made: dict[str, Storage] = {
        "local": LocalStorage(root),
        "memory": MemoryStorage(),
        "fault": FaultStorage(root),
        "tiered": TieredStorage(LocalStorage(root), lambda: False),
        "tiered on disk": TieredStorage(LocalStorage(root), lambda: True),
        "tiered to and fro": TieredStorage(LocalStorage(root), cycle([False, True]).__next__),
    }
    return made[request.param]


@pytest.fixture
def local(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "results")


def tree(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


async def test_what_was_written_is_read_back(storage: Storage) -> None:
    await storage.write_atomic("run/a/b.json", [b"one", b"", b"two"])
    assert await storage.read("run/a/b.json") == b"onetwo"


async def test_a_file_of_no_chunks_is_empty(storage: Storage) -> None:
    await storage.write_atomic("empty", [])
    assert await storage.read("empty") == b""


async def test_a_second_write_replaces_the_first(storage: Storage) -> None:
    await storage.write_atomic("a", [b"a much longer old content"])
    await storage.write_atomic("a", [b"new"])
    assert await storage.read("a") == b"new"


async def test_who_reads_during_a_write_sees_the_old_file_or_the_new_one(storage: Storage) -> None:
    await storage.write_atomic("a", [b"old"])
    seen = [b"old"]

    async def watch() -> None:
        while seen[-1] == b"old":
            seen.append(await storage.read("a"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        tasks.start_soon(storage.write_atomic, "a", [b"new"] * 20)
    assert set(seen) == {b"old", b"new" * 20}


async def test_an_error_while_the_content_is_made_leaves_the_old_file(storage: Storage) -> None:
    await storage.write_atomic("run/a", [b"old"])

    def broken() -> Iterator[bytes]:
        yield b"new"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await storage.write_atomic("run/a", broken())
    assert await storage.read("run/a") == b"old"
    assert await storage.sweep("run") == 0


async def test_many_files_are_written_at_the_same_time(storage: Storage) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(storage.write_atomic, f"run/{number:02}", [b"%d" % number])
    assert await storage.list_files("run") == [f"run/{number:02}" for number in range(50)]
    assert await storage.read("run/37") == b"37"


async def test_reading_what_is_not_there_names_it(storage: Storage) -> None:
    with pytest.raises(StorageError, match=r"cannot read .*run/nothing\.json"):
        await storage.read("run/nothing.json")


async def test_a_folder_is_not_a_file(storage: Storage) -> None:
    await storage.write_atomic("run/folder/a", [b"x"])
    with pytest.raises(StorageError, match="folder"):
        await storage.read("run/folder")
    with pytest.raises(StorageError, match="folder"):
        await storage.write_atomic("run/folder", [b"x"])
    assert await storage.list_files("run") == ["run/folder/a"]


async def test_a_file_is_not_a_folder(storage: Storage) -> None:
    await storage.write_atomic("run/file", [b"x"])
    with pytest.raises(StorageError, match="file"):
        await storage.write_atomic("run/file/a", [b"x"])
    assert not await storage.make_dir("run/file")


async def test_files_and_folders_exist_once_written(storage: Storage) -> None:
    assert not await storage.exists("run")
    await storage.write_atomic("run/a/b", [b"x"])
    assert await storage.exists("run")
    assert await storage.exists("run/a")
    assert await storage.exists("run/a/b")
    assert not await storage.exists("run/a/c")


async def test_files_are_listed_below_a_folder_only(storage: Storage) -> None:
    for path in ("run/b", "run/a/z", "run/a/y", "running/x", "other"):
        await storage.write_atomic(path, [b"x"])
    assert await storage.list_files("run") == ["run/a/y", "run/a/z", "run/b"]
    assert await storage.list_files("nowhere") == []


async def test_only_one_of_many_makes_a_folder(storage: Storage) -> None:
    made: list[bool] = []

    async def make() -> None:
        made.append(await storage.make_dir("runs/goog"))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(make)
    assert sorted(made) == [False] * 9 + [True]
    assert await storage.exists("runs/goog")


async def test_a_folder_moves_with_all_it_holds(storage: Storage) -> None:
    await storage.write_atomic("run/a/b", [b"x"])
    await storage.write_atomic("running/a", [b"y"])
    await storage.move("run", "old/run")
    assert not await storage.exists("run")
    assert not await storage.exists("run/a")
    assert await storage.list_files("old") == ["old/run/a/b"]
    assert await storage.exists("old/run/a")
    assert await storage.read("running/a") == b"y"


async def test_what_is_not_there_cannot_move(storage: Storage) -> None:
    with pytest.raises(StorageError, match=r"cannot move .*nowhere"):
        await storage.move("nowhere", "target")


async def test_a_removed_folder_is_gone_with_all_it_held(storage: Storage) -> None:
    await storage.write_atomic("run/a/b", [b"x"])
    await storage.write_atomic("running/a", [b"y"])
    await storage.remove_tree("run")
    await storage.remove_tree("run")
    assert not await storage.exists("run")
    assert await storage.list_files("run") == []
    assert await storage.exists("running/a")


async def test_a_removed_file_is_gone_and_nothing_else(storage: Storage) -> None:
    for path in ("run/a", "run/ab", "run/b/a"):
        await storage.write_atomic(path, [b"x"])
    await storage.remove("run/a")
    assert not await storage.exists("run/a")
    assert await storage.list_files("run") == ["run/ab", "run/b/a"]
    with pytest.raises(StorageError, match=r"cannot read .*run/a"):
        await storage.read("run/a")
    await storage.write_atomic("run/a", [b"new"])
    assert await storage.read("run/a") == b"new"


@pytest.mark.parametrize("path", ["nothing", "run/nothing", "run/no/thing"])
async def test_what_is_not_there_need_not_be_removed(storage: Storage, path: str) -> None:
    await storage.write_atomic("run/a", [b"x"])
    await storage.remove(path)
    assert await storage.list_files("run") == ["run/a"]


async def test_a_folder_is_not_removed_as_if_it_were_a_file(storage: Storage) -> None:
    await storage.write_atomic("run/a/b", [b"x"])
    with suppress(StorageError):
        await storage.remove("run/a")
    assert await storage.list_files("run") == ["run/a/b"]


async def test_a_journal_is_a_file_like_any_other(storage: Storage) -> None:
    journal = storage.journal("run/deep/a")
    assert await storage.list_files("run") == []
    journal.append(b"one")
    journal.append(b"two")
    journal.sync()
    assert (journal.size, journal.read(2, 3)) == (6, b"etw")
    assert await storage.read("run/deep/a") == b"onetwo"
    assert await storage.exists("run/deep/a")
    assert await storage.list_files("run") == ["run/deep/a"]
    assert not await storage.make_dir("run/deep/a")


async def test_a_journal_goes_when_it_is_discarded(storage: Storage) -> None:
    journal = storage.journal("run/a")
    journal.append(b"x")
    journal.discard()
    journal.discard()
    assert not await storage.exists("run/a")
    assert await storage.list_files("run") == []


async def test_a_journal_can_be_removed_with_its_folder(storage: Storage) -> None:
    for remove in (storage.remove_tree("run"), storage.remove("run/a")):
        journal = storage.journal("run/a")
        journal.append(b"x")
        await remove
        assert not await storage.exists("run/a")
        journal.discard()


async def test_a_journal_starts_empty_whatever_an_earlier_one_left(storage: Storage) -> None:
    storage.journal("run/a").append(b"a long content that was left")
    journal = storage.journal("run/a")
    assert journal.size == 0
    journal.append(b"new")
    assert await storage.read("run/a") == b"new"


async def test_a_journal_is_not_where_a_folder_is_nor_below_a_file(storage: Storage) -> None:
    await storage.write_atomic("run/folder/a", [b"x"])
    for path in ("run/folder", "run/folder/a/b"):
        with pytest.raises(StorageError, match=r"cannot (write|append to) .*run/folder"):
            storage.journal(path).append(b"y")
    assert await storage.list_files("run") == ["run/folder/a"]
    assert await storage.read("run/folder/a") == b"x"


async def test_a_temporary_journal_is_swept(local: LocalStorage) -> None:
    local.journal("run/.scratch.tmp").append(b"x")
    assert await local.list_files("run") == []
    assert await local.sweep("run") == 1
    assert not await local.exists("run/.scratch.tmp")


UNSAFE_PATHS = [
    "", "/etc/passwd", "../up", "run/../../up", "run//a", "run/.", "run/a\0b", "run\\a", "a b",
    "é", "x" * 201,
]  # fmt: skip


@pytest.mark.parametrize("path", UNSAFE_PATHS)
async def test_paths_that_could_leave_the_root_are_refused(storage: Storage, path: str) -> None:
    await storage.write_atomic("run/a", [b"x"])
    for action in (
        storage.write_atomic(path, [b"x"]),
        storage.read(path),
        storage.exists(path),
        storage.list_files(path),
        storage.make_dir(path),
        storage.move(path, "elsewhere"),
        storage.move("run", path),
        storage.remove(path),
        storage.remove_tree(path),
        storage.sweep(path),
    ):
        with pytest.raises(StorageError, match="not a path below the results root"):
            await action
    with pytest.raises(StorageError, match="not a path below the results root"):
        storage.journal(path)
    with pytest.raises(StorageError, match="not a path below the results root"):
        storage.locate(path)


async def test_a_cancelled_write_changes_nothing(storage: Storage) -> None:
    await storage.write_atomic("run/a", [b"old"])
    given_up = threading.Event()
    with anyio.CancelScope() as scope:

        def chunks() -> Iterator[bytes]:
            yield b"new"
            if threading.current_thread() is threading.main_thread():
                scope.cancel()
            else:  # what takes time is made off the event loop
                anyio.from_thread.run_sync(scope.cancel)
                given_up.wait()
            yield b"never written"

        await storage.write_atomic("run/a", chunks())
    given_up.set()
    assert scope.cancelled_caught
    assert await storage.read("run/a") == b"old"


async def test_a_relative_root_is_fixed_when_the_storage_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = LocalStorage("results")
    monkeypatch.chdir("/")
    await storage.write_atomic("run/a", [b"x"])
    assert storage.locate("run/a") == str(tmp_path / "results/run/a")
    assert (tmp_path / "results/run/a").read_bytes() == b"x"


def test_a_path_in_memory_is_marked_as_such() -> None:
    assert MemoryStorage().locate("run/a") == "memory:run/a"


async def test_only_files_of_dead_writers_are_swept(local: LocalStorage, tmp_path: Path) -> None:
    await local.write_atomic("run/a/b.json", [b"x"])
    folder = tmp_path / "results/run/a"
    (folder / ".b.json.0123456789abcdef.tmp").write_bytes(b"half")
    (folder.parent / ".run.json.0123456789abcdef.tmp").write_bytes(b"")
    (folder / "mine.tmp").write_bytes(b"not a temporary file of ours")
    assert await local.list_files("run") == ["run/a/b.json", "run/a/mine.tmp"]
    assert await local.sweep("run") == 2
    assert tree(folder.parent) == {"a", "a/b.json", "a/mine.tmp"}
    assert await local.sweep("run") == 0


async def test_files_have_the_permissions_the_user_asks_for(
    local: LocalStorage, tmp_path: Path
) -> None:
    before = os.umask(0o027)
    try:
        await local.write_atomic("a", [b"x"])
    finally:
        os.umask(before)
    assert (tmp_path / "results/a").stat().st_mode & 0o777 == 0o640


async def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    storage = LocalStorage(tmp_path / "root")
    await storage.write_atomic("run/a", [b"x"])
    assert (tmp_path / "real/run/a").read_bytes() == b"x"


@pytest.mark.parametrize("planted", ["run", "run/phase", "run/phase/file"])
async def test_links_below_the_root_are_refused(
    local: LocalStorage, tmp_path: Path, planted: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"precious")
    (outside / "phase").mkdir()
    link = tmp_path / "results" / planted
    link.parent.mkdir(parents=True)
    link.symlink_to(outside / "file" if planted.endswith("file") else outside)
    before = tree(outside)
    for action in (
        local.write_atomic("run/phase/file", [b"x"]),
        local.read("run/phase/file"),
        local.exists("run/phase/file"),
        local.list_files("run/phase/file"),
        local.remove("run/phase/file"),
        local.remove_tree("run/phase/file"),
        local.sweep("run/phase/file"),
        local.make_dir("run/phase/file"),
        local.move("run/phase/file", "run/elsewhere"),
    ):
        with pytest.raises(StorageError, match=f"{planted} is a symbolic link"):
            await action
    assert tree(outside) == before
    assert (outside / "file").read_bytes() == b"precious"


async def test_a_link_in_a_folder_is_removed_but_what_it_points_to_stays(
    local: LocalStorage, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/.x.tmp").write_bytes(b"precious")
    await local.write_atomic("run/a", [b"x"])
    (tmp_path / "results/run/link").symlink_to(tmp_path / "outside")
    assert await local.list_files("run") == ["run/a"]
    assert await local.sweep("run") == 0
    await local.remove_tree("run")
    assert (tmp_path / "outside/.x.tmp").read_bytes() == b"precious"


async def test_reading_a_pipe_does_not_hang(local: LocalStorage) -> None:
    await local.write_atomic("run/a", [b"x"])
    os.mkfifo(local.locate("run/pipe"))
    with pytest.raises(StorageError, match="it is a pipe or a device"):
        await local.read("run/pipe")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (errno.ENOSPC, r"No space left on device \[ENOSPC\]; free some space"),
        (errno.EACCES, r"Permission denied \[EACCES\]; check who owns it"),
        (errno.EROFS, r"Read-only file system \[EROFS\]; the file system is read-only"),
        (errno.EMFILE, r"\[EMFILE\]; raise the limit of open files"),
        (errno.EIO, r"\[EIO\]; the device reports a fault"),
        (errno.EBUSY, r"\[EBUSY\]; mend the cause"),
    ],
)
async def test_an_error_names_path_reason_and_remedy(
    tmp_path: Path, error: int, remedy: str
) -> None:
    storage = FaultStorage(tmp_path, fail_at=1, only="write", error=error)
    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/run/a: .*{remedy}") as caught:
        await storage.write_atomic("run/a", [b"x"])
    assert isinstance(caught.value.__cause__, OSError)
    assert isinstance(caught.value, AdmfError)
    assert caught.value.exit_code == 6


async def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    await storage.write_atomic("run", [b"a file where a folder should be"])
    with pytest.raises(StorageError, match=r"cannot list .*run: .*directory"):
        await storage.list_files("run")


@pytest.mark.parametrize(
    "name", ["lstat", "rename", "rmtree", "mkdir", "walk", "unlink", "read", "open", "fsync"]
)
async def test_every_operation_turns_system_errors_into_storage_errors(
    tmp_path: Path, name: str
) -> None:
    await LocalStorage(tmp_path).write_atomic("run/a/b", [b"x"])
    (tmp_path / "run/.a.tmp").touch()
    storage = FaultStorage(tmp_path, fail_at=1, only=name, error=errno.EACCES)

    async def everything() -> None:
        await storage.read("run/a/b")
        await storage.make_dir("run/c")
        await storage.sweep("run")
        await storage.move("run/a", "run/d")
        await storage.remove_tree("run")

    with pytest.raises(StorageError, match="EACCES"):
        await everything()

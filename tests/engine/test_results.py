"""The result tree: what is where, what is refused, and what survives a fault at any point."""

from __future__ import annotations

import errno
import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from admf.engine.errors import (
    MissingFileError,
    ResultExistsError,
    StorageError,
    UnsafeIdError,
)
from admf.engine.files import is_temporary
from admf.engine.packing import SUFFIXES, Compression
from admf.engine.result_names import COMMIT_FILE, trace_path
from admf.engine.results import Document, ResultStore, WindowResults
from admf.engine.storage import LocalStorage, MemoryStorage, Storage
from admf.engine.testing import FaultStorage
from admf.engine.verification import WindowCheck, verify_window
from tests.sealing import sealed

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return LocalStorage(tmp_path) if request.param == "local" else MemoryStorage()


class Mark(msgspec.Struct, frozen=True):
    """The part of a commit record that these tests look at."""

    mark: str


class Record(Mark, frozen=True):
    """The same, and what says whether the window is to be kept."""

    status: str
    fingerprint: str


async def load(storage: Storage, path: str) -> Any:
    return json.loads(await storage.read(path))


async def write_window(window: WindowResults, mark: str) -> None:
    body = {"role": "portfolio", "mark": mark}
    await window.write_container(Document("portfolio_001", body))
    await window.write("all_trades.json", {"trades": [], "mark": mark})
    await window.commit({"status": "completed", "mark": mark})


async def write_study(storage: Storage, mark: str, *, overwrite: bool = False) -> None:
    store = await ResultStore.create(storage, "goog", overwrite=overwrite)
    await store.write_run({"status": "running", "mark": mark})
    await write_window(store.window("backtest"), mark)
    await store.write_run({"status": "completed", "mark": mark})


async def test_the_tree_of_a_run(storage: Storage) -> None:
    store = await ResultStore.create(storage, "goog")
    await store.write_run({"status": "running"})
    await write_window(store.window("backtest"), "a")
    await write_window(store.window("walk", "mc_003/wf_012"), "b")
    names = [
        "all_trades.json",
        "containers/portfolio_001_results.json",
        "phase_summary.json",
    ]
    assert await storage.list_files("goog") == [
        *(f"goog/backtest/{name}" for name in names),
        "goog/run.json",
        *(f"goog/walk/mc_003/wf_012/{name}" for name in names),
    ]


async def test_every_document_begins_with_its_head(storage: Storage) -> None:
    await write_study(storage, "a")
    start = b'{"schema_version":1,'
    assert (await storage.read("goog/run.json")).startswith(start + b'"status":"completed"')
    container = await storage.read("goog/backtest/containers/portfolio_001_results.json")
    assert container.startswith(start + b'"container_id":"portfolio_001","role":"portfolio"')
    summary = await storage.read("goog/backtest/phase_summary.json")
    assert summary.startswith(start + b'"status":"completed","mark":"a","files":[')


async def test_the_commit_record_lists_size_and_hash_of_every_file(storage: Storage) -> None:
    await write_study(storage, "a")
    files = (await load(storage, "goog/backtest/phase_summary.json"))["files"]
    contents = {
        path.removeprefix("goog/backtest/"): await storage.read(path)
        for path in await storage.list_files("goog/backtest")
        if not path.endswith("phase_summary.json")
    }
    assert files == [
        {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in sorted(contents.items())
    ]


async def test_the_commit_record_does_not_depend_on_the_order_of_writing(
    storage: Storage,
) -> None:
    store = await ResultStore.create(storage, "goog")
    for phase, numbers in (("a", [0, 1, 2]), ("b", [2, 0, 1])):
        window = store.window(phase)
        for number in numbers:
            await window.write_container(Document(f"portfolio_{number}", {}))
        await window.commit({})
    a = await storage.read("goog/a/phase_summary.json")
    assert a == await storage.read("goog/b/phase_summary.json")


async def test_containers_of_a_window_are_written_side_by_side(storage: Storage) -> None:
    store = await ResultStore.create(storage, "goog")
    window = store.window("backtest")
    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(window.write_container, Document(f"portfolio_{number}", {}))
    await window.commit({})
    check = await verify_window(storage, window.path)
    assert check == WindowCheck(committed=True)
    assert len(await storage.list_files("goog")) == 31


async def test_a_flush_that_is_repeated_replaces_the_file(storage: Storage) -> None:
    store = await ResultStore.create(storage, "goog")
    window = store.window("backtest")
    await window.write_container(Document("portfolio", {"attempt": 1}))
    await window.write_container(Document("portfolio", {"attempt": 2}))
    await window.commit({})
    assert (await verify_window(storage, window.path)).complete
    found = await load(storage, "goog/backtest/containers/portfolio_results.json")
    assert found["attempt"] == 2


async def test_locations_are_what_people_can_open(tmp_path: Path) -> None:
    store = await ResultStore.create(LocalStorage(tmp_path), "goog")
    assert store.location == str(tmp_path / "goog")
    assert store.window("backtest", "wf_1").location == str(tmp_path / "goog/backtest/wf_1")


# --- which names are refused


@pytest.mark.parametrize("bad", ["../x", "/abs", "a//b", "x" * 300, "a\0b", "..", "", "nul"])
async def test_unsafe_ids_reach_no_file(tmp_path: Path, bad: str) -> None:
    storage = LocalStorage(tmp_path / "root")
    with pytest.raises(UnsafeIdError, match="results_dir"):
        await ResultStore.create(storage, bad)
    assert not (tmp_path / "root").exists()
    store = await ResultStore.create(storage, "goog")
    window = store.window("backtest")
    with pytest.raises(UnsafeIdError, match="phase name"):
        store.window(bad)
    with pytest.raises(UnsafeIdError, match="container id"):
        await window.write_container(Document(bad, {}))
    with pytest.raises(UnsafeIdError, match="file name"):
        await window.write(bad, {})
    assert await storage.list_files("goog") == []


@pytest.mark.parametrize("bad", ["..", "../x", "wf//1", "/wf", "wf/", "wf/con"])
async def test_unsafe_window_ids_are_refused(bad: str) -> None:
    store = await ResultStore.create(MemoryStorage(), "goog")
    with pytest.raises(UnsafeIdError, match="window_id"):
        store.window("walk", bad)


@pytest.mark.parametrize(
    ("phase", "window_id"),
    [
        ("run.json", ""),
        ("Containers", ""),
        ("walk", "containers"),
        ("walk", "a/Phase_Summary.json"),
    ],
)
async def test_names_of_the_tree_itself_are_no_phase_or_window(phase: str, window_id: str) -> None:
    store = await ResultStore.create(MemoryStorage(), "goog")
    with pytest.raises(UnsafeIdError, match="name of the result tree itself"):
        store.window(phase, window_id)


@pytest.mark.parametrize("name", ["phase_summary.json", "Phase_Summary.JSON", "containers"])
async def test_only_commit_writes_the_commit_record(name: str) -> None:
    window = (await ResultStore.create(MemoryStorage(), "goog")).window("backtest")
    with pytest.raises(UnsafeIdError, match="taken by the result tree"):
        await window.write(name, {})


async def test_names_that_differ_only_by_case_are_refused() -> None:
    store = await ResultStore.create(MemoryStorage(), "goog")
    window = store.window("walk", "mc_1/wf_1")
    await window.write_container(Document("portfolio", {}))
    with pytest.raises(UnsafeIdError, match="only by case"):
        await window.write_container(Document("Portfolio", {}))
    for phase, window_id in (("Walk", ""), ("walk", "MC_1"), ("walk", "mc_1/WF_1")):
        with pytest.raises(UnsafeIdError, match="only by case"):
            store.window(phase, window_id)
    assert store.window("walk", "mc_1/wf_1").path == window.path
    assert store.window("test", "MC_1").path == "goog/test/MC_1"


# --- existing results


async def test_existing_results_are_never_overwritten_silently(storage: Storage) -> None:
    await write_study(storage, "old")
    with pytest.raises(
        ResultExistsError, match=r"goog: give --resume to .*--overwrite .*another results_dir"
    ) as caught:
        await ResultStore.create(storage, "goog")
    assert caught.value.exit_code == 6
    assert (await verify_window(storage, "goog/backtest")).complete


async def test_two_runs_at_once_do_not_share_a_folder(storage: Storage) -> None:
    refused: list[ResultExistsError] = []

    async def create() -> None:
        try:
            await ResultStore.create(storage, "goog")
        except ResultExistsError as error:
            refused.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(create)
    assert len(refused) == 4


async def test_overwrite_replaces_everything(storage: Storage) -> None:
    await write_study(storage, "old")
    store = await ResultStore.create(storage, "goog", overwrite=True)
    assert await storage.list_files("goog") == []
    assert not await storage.exists(".goog.replaced")
    await store.write_run({"status": "new"})
    assert await storage.list_files("goog") == ["goog/run.json"]


async def test_runs_may_lie_in_folders_but_not_in_each_other(storage: Storage) -> None:
    for run in ("studies/goog", "studies/ibm"):
        await (await ResultStore.create(storage, run)).write_run({})
    store = await ResultStore.create(storage, "studies/goog", overwrite=True)
    assert await storage.list_files("studies") == ["studies/ibm/run.json"]
    await store.write_run({})
    with pytest.raises(ResultExistsError, match="inside the results of another run"):
        await ResultStore.create(storage, "studies/goog/backtest/x")
    with pytest.raises(ResultExistsError, match="move it away"):
        await ResultStore.create(storage, "studies", overwrite=True)


async def test_overwrite_of_nothing_creates(storage: Storage) -> None:
    await ResultStore.create(storage, "goog", overwrite=True)
    assert await storage.exists("goog")


async def test_overwrite_takes_an_empty_folder(storage: Storage) -> None:
    await ResultStore.create(storage, "goog")
    await ResultStore.create(storage, "goog", overwrite=True)


@pytest.mark.parametrize(
    "files",
    [
        {"thesis.txt": b"precious"},
        {"run.json": b'{"name":"of another program"}'},
        {"run.json": b"not json"},
        {"backtest/run.json": b'{"schema_version":1}'},
    ],
)
async def test_overwrite_never_removes_what_admf_did_not_write(
    storage: Storage, files: dict[str, bytes]
) -> None:
    for name, content in files.items():
        await storage.write_atomic(f"goog/{name}", [content])
    with pytest.raises(ResultExistsError, match=r"did not write .*move it away"):
        await ResultStore.create(storage, "goog", overwrite=True)
    for name, content in files.items():
        assert await storage.read(f"goog/{name}") == content


async def test_opening_a_run_sweeps_what_dead_writers_left(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    await write_study(storage, "old")
    orphan = tmp_path / "goog/backtest/containers/.x_results.json.0123.tmp"
    orphan.write_bytes(b"{")
    store = await ResultStore.open(storage, "goog")
    assert not orphan.exists()
    await write_window(store.window("backtest"), "again")
    assert (await verify_window(storage, "goog/backtest")).complete


async def test_what_is_opened_need_not_hold_anything_yet(storage: Storage) -> None:
    await storage.make_dir("goog")
    store = await ResultStore.open(storage, "goog")
    await write_window(store.window("backtest"), "first")
    assert (await verify_window(storage, "goog/backtest")).complete


async def test_a_phase_that_is_forgotten_leaves_the_others_alone(storage: Storage) -> None:
    store = await ResultStore.create(storage, "goog")
    for phase, window_id in (("walk", "wf_1"), ("walk", ""), ("walker", "")):
        await write_window(store.window(phase, window_id), "a")
    await store.forget("walk")
    assert not await storage.exists("goog/walk")
    assert (await verify_window(storage, "goog/walker")).complete
    await store.forget("walk")
    await write_window(store.window("walk", "wf_1"), "again")
    assert (await verify_window(storage, "goog/walk/wf_1")).complete


@pytest.mark.parametrize("phase", ["", "..", "a/b", "/abs", "nul"])
async def test_only_a_phase_can_be_forgotten(storage: Storage, phase: str) -> None:
    await write_study(storage, "a")
    with pytest.raises(UnsafeIdError, match="phase name"):
        await ResultStore(storage, "goog").forget(phase)
    assert (await verify_window(storage, "goog/backtest")).complete


# --- verification


async def test_a_window_without_commit_record_is_not_complete(storage: Storage) -> None:
    store = await ResultStore.create(storage, "goog")
    window = store.window("backtest")
    await window.write_container(Document("portfolio", {}))
    check = await verify_window(storage, window.path)
    assert check == WindowCheck(committed=False)
    assert not check.complete


async def test_missing_and_torn_files_are_told_apart(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    await write_study(storage, "a")
    folder = tmp_path / "goog/backtest"
    (folder / "all_trades.json").write_bytes(b'{"schema_version":1}')
    (folder / "containers/portfolio_001_results.json").unlink()
    check = await verify_window(storage, "goog/backtest")
    assert check.committed
    assert check.missing == ("containers/portfolio_001_results.json",)
    assert check.torn == ("all_trades.json",)
    assert not check.complete


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema_version":1}', b"\x00" * 100])
async def test_a_torn_commit_record_commits_nothing(storage: Storage, content: bytes) -> None:
    await write_study(storage, "a")
    await storage.write_atomic("goog/backtest/phase_summary.json", [content])
    check = await verify_window(storage, "goog/backtest")
    assert check == WindowCheck(committed=False, torn=("phase_summary.json",))


@pytest.mark.parametrize("field", ["files", "windows"])
async def test_a_forged_commit_record_reads_nothing_outside(storage: Storage, field: str) -> None:
    await write_study(storage, "a")
    record = await load(storage, "goog/backtest/phase_summary.json")
    outside = {"path": "../../../x", "size": 1, "sha256": ""}
    forged = sealed({**record, field: [outside]})
    await storage.write_atomic("goog/backtest/phase_summary.json", [forged])
    with pytest.raises(StorageError, match="not a path below the results root"):
        await verify_window(storage, "goog/backtest")
    with pytest.raises(StorageError, match="not a path below the results root"):
        await WindowResults(storage, "goog/backtest").kept("", Record)


# --- replacing a run


async def test_a_replacement_that_fails_leaves_the_old_run_where_it_was_or_an_empty_folder(
    tmp_path: Path,
) -> None:
    """Its lock is in its folder, so if that stayed aside, whoever holds it could not release it."""

    async def replace(number: int) -> FaultStorage:
        root = tmp_path / str(number)
        await write_study(LocalStorage(root), "old")
        storage = FaultStorage(root, fail_at=number)
        with suppress(StorageError):
            await ResultStore.create(storage, "goog", overwrite=True)
        return storage

    clean = await replace(0)
    for number in range(1, len(clean.calls) + 1):
        storage = await replace(number)
        assert (tmp_path / str(number) / "goog").is_dir(), number
        if (tmp_path / str(number) / "goog/run.json").exists():
            assert (await verify_window(storage, "goog/backtest")).complete, number
        else:
            assert list((tmp_path / str(number) / "goog").iterdir()) == [], number


async def test_a_replacement_that_is_cancelled_leaves_the_old_run_where_it_was(
    tmp_path: Path,
) -> None:
    class Cancelled(LocalStorage):
        async def make_dir(self, path: str) -> bool:
            scope.cancel()
            await anyio.sleep_forever()
            return False

    await write_study(LocalStorage(tmp_path), "old")
    with anyio.CancelScope() as scope:
        await ResultStore.create(Cancelled(tmp_path), "goog", overwrite=True)
    assert scope.cancelled_caught
    assert (await verify_window(LocalStorage(tmp_path), "goog/backtest")).complete
    assert names_in(tmp_path) == ["goog"]


# --- what an earlier run left


async def commit_window(
    storage: Storage, *, status: str = "completed", compression: Compression = "none"
) -> WindowResults:
    window = walk_window(storage, compression)
    await window.write_container(Document("portfolio", {"trades": [1.5]}))
    await window.write("all_trades.json", {"trades": [1.5]})
    await window.commit({"status": status, "fingerprint": "abc", "mark": "old"})
    return window


def walk_window(storage: Storage, compression: Compression = "none") -> WindowResults:
    return ResultStore(storage, "goog").window("walk", "wf_1", compression)


@pytest.mark.parametrize("compression", SUFFIXES)
async def test_a_window_that_came_to_its_end_is_kept(
    storage: Storage, compression: Compression
) -> None:
    await commit_window(storage, compression=compression)
    assert await walk_window(storage, compression).kept("abc", Record) == Record(
        "old", "completed", "abc"
    )


async def test_a_window_without_a_record_is_not_kept(storage: Storage) -> None:
    assert await walk_window(storage).kept("abc", Record) is None
    await walk_window(storage).write_container(Document("portfolio", {}))
    assert await walk_window(storage).kept("abc", Record) is None


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_a_window_that_did_not_complete_is_not_kept(storage: Storage, status: str) -> None:
    await commit_window(storage, status=status)
    window = walk_window(storage)
    assert await window.kept("abc", Record) is None
    assert window.record_below(ResultStore(storage, "goog").window("walk")) is None


@pytest.mark.parametrize("fingerprint", ["", "ABC", "abcd"])
async def test_a_window_of_something_else_is_not_kept(storage: Storage, fingerprint: str) -> None:
    await commit_window(storage)
    assert await walk_window(storage).kept(fingerprint, Record) is None


@pytest.mark.parametrize(
    "name", ["all_trades.json", "containers/portfolio_results.json", COMMIT_FILE]
)
@pytest.mark.parametrize("missing", [True, False])
async def test_a_window_that_was_damaged_is_not_kept(
    storage: Storage, name: str, missing: bool
) -> None:
    path = f"{(await commit_window(storage)).path}/{name}"
    if missing:
        await storage.remove(path)
    else:
        await storage.write_atomic(path, [(await storage.read(path))[:-1]])
    assert await walk_window(storage).kept("abc", Record) is None


async def test_a_record_of_a_later_version_is_refused(storage: Storage) -> None:
    path = f"{(await commit_window(storage)).path}/{COMMIT_FILE}"
    later = sealed({**await load(storage, path), "schema_version": 2})
    await storage.write_atomic(path, [later])
    with pytest.raises(StorageError, match="format 2, which this version does not know") as caught:
        await walk_window(storage).kept("abc", Record)
    assert caught.value.exit_code == 6
    assert await storage.read(path) == later


async def test_a_record_that_is_withdrawn_commits_nothing(storage: Storage) -> None:
    path = (await commit_window(storage)).path
    before = await storage.list_files("goog")
    window = walk_window(storage)
    await window.withdraw()
    await window.withdraw()
    assert await verify_window(storage, path) == WindowCheck(committed=False)
    assert await window.kept("abc", Record) is None
    assert set(before) - set(await storage.list_files("goog")) == {f"{path}/{COMMIT_FILE}"}


async def test_a_kept_window_is_told_of_above_as_when_it_was_written(storage: Storage) -> None:
    written = await commit_window(storage)
    above = ResultStore(storage, "goog").window("walk")
    kept = walk_window(storage)
    assert kept.record_below(above) is None
    assert await kept.kept("abc", Record) is not None
    record = kept.record_below(above)
    assert record is not None
    assert record == written.record_below(above)
    content = await storage.read(f"goog/walk/wf_1/{COMMIT_FILE}")
    assert record.path == f"wf_1/{COMMIT_FILE}"
    assert (record.size, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())


async def test_the_record_of_a_folder_covers_the_windows_below_it(storage: Storage) -> None:
    written = await commit_window(storage)
    above = ResultStore(storage, "goog").window("walk")
    below = written.record_below(above)
    assert below is not None
    await above.commit({"status": "completed", "fingerprint": "", "mark": "whole"}, iter([below]))
    assert await above.kept("", Record) == Record("whole", "completed", "")
    await written.withdraw()
    check = await verify_window(storage, "goog/walk")
    assert check == WindowCheck(committed=True, missing=(f"wf_1/{COMMIT_FILE}",))
    assert await above.kept("", Record) is None
    await written.commit({"status": "completed", "fingerprint": "abc", "mark": "other"})
    check = await verify_window(storage, "goog/walk")
    assert check == WindowCheck(committed=True, torn=(f"wf_1/{COMMIT_FILE}",))


async def test_where_nothing_stands_aside_there_is_nothing_to_recover(storage: Storage) -> None:
    await ResultStore.recover(storage, "goog")
    assert not await storage.exists("goog")
    await write_study(storage, "old")
    before = await storage.list_files("goog")
    await ResultStore.recover(storage, "goog")
    assert await storage.list_files("goog") == before


async def test_of_a_run_and_the_one_that_it_replaced_the_new_one_stays(storage: Storage) -> None:
    await write_study(storage, "new")
    await storage.write_atomic(".goog.replaced/run.json", [b"left by one that died"])
    await ResultStore.recover(storage, "goog")
    assert not await storage.exists(".goog.replaced")
    assert (await load(storage, "goog/run.json"))["mark"] == "new"


# --- compressed files, scratch files and traces


@pytest.mark.parametrize(("compression", "suffix"), SUFFIXES.items())
async def test_all_files_of_a_window_but_its_record_are_compressed(
    storage: Storage, compression: Compression, suffix: str
) -> None:
    window = await commit_window(storage, compression=compression)
    names = [f"all_trades.json{suffix}", f"containers/portfolio_results.json{suffix}", COMMIT_FILE]
    assert await storage.list_files(window.path) == [f"{window.path}/{name}" for name in names]
    assert (await verify_window(storage, window.path)).complete
    assert await window.exists("all_trades.json")
    assert (await window.read("all_trades.json", dict))["trades"] == [1.5]
    found = await window.read("containers/portfolio_results.json", dict)
    assert found["container_id"] == "portfolio"


async def test_a_scratch_file_is_no_result(storage: Storage) -> None:
    window = ResultStore(storage, "goog").window("walk")
    scratch, other = window.scratch("portfolio", "trades"), window.scratch("portfolio", "equity")
    scratch.append(b"much")
    other.append(b"more")
    assert (scratch.read(0, 9), other.read(0, 9)) == (b"much", b"more")
    await window.write_container(Document("portfolio", {}))
    await window.commit({"status": "completed"})
    listed = (await load(storage, f"{window.path}/{COMMIT_FILE}"))["files"]
    assert [file["path"] for file in listed] == ["containers/portfolio_results.json"]
    scratch.discard()
    other.discard()
    assert len(await storage.list_files("goog")) == 2


async def test_scratch_files_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    window = (await ResultStore.create(storage, "goog")).window("walk")
    window.scratch("portfolio", "trades").append(b"much")
    [left] = (tmp_path / "goog/walk/containers").iterdir()
    assert is_temporary(left.as_posix())
    assert await storage.list_files("goog") == []
    await ResultStore.open(storage, "goog")
    assert not left.exists()


async def test_a_trace_is_one_of_the_files_of_the_window(storage: Storage) -> None:
    window = ResultStore(storage, "goog").window("walk", compression="zstd")
    trace = window.trace("portfolio")
    trace.append(b"one ")
    trace.append(b"two")
    await window.write_container(Document("portfolio", {}, trace))
    await window.commit({"status": "completed"})
    assert await storage.read(f"{window.path}/{trace_path('portfolio')}") == b"one two"
    listed = (await load(storage, f"{window.path}/{COMMIT_FILE}"))["files"]
    assert listed[1] == {
        "path": "containers/portfolio_trace.frames",
        "size": 7,
        "sha256": hashlib.sha256(b"one two").hexdigest(),
    }
    assert (await verify_window(storage, window.path)).complete


async def test_a_trace_that_cannot_be_made_durable_is_in_no_record(tmp_path: Path) -> None:
    await LocalStorage(tmp_path).write_atomic("goog/walk/containers/x", [])
    storage = FaultStorage(tmp_path, fail_at=1, only="fsync", error=errno.EIO)
    window = ResultStore(storage, "goog").window("walk")
    trace = window.trace("portfolio")
    trace.append(b"one")
    with pytest.raises(StorageError, match=r"cannot write .*portfolio_trace\.frames: .*EIO"):
        await window.write_container(Document("portfolio", {}, trace))
    await window.commit({"status": "failed"})
    assert (await load(storage, f"{window.path}/{COMMIT_FILE}"))["files"] == []


async def test_a_trace_that_was_never_written_is_an_error(storage: Storage) -> None:
    window = ResultStore(storage, "goog").window("walk")
    with pytest.raises(MissingFileError, match=r"portfolio_trace\.frames"):
        await window.write_container(Document("portfolio", {}, window.trace("portfolio")))


# --- faults


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def marks_of(root: Path) -> dict[str, str]:
    """Read every document, which fails if one is torn; return which study wrote it."""
    return {
        path.relative_to(root).as_posix(): json.loads(path.read_bytes())["mark"]
        for path in root.rglob("*.json")
    }


async def count_calls(root: Path) -> int:
    await write_study(LocalStorage(root), "old")
    storage = FaultStorage(root)
    await write_study(storage, "new", overwrite=True)
    return len(storage.calls)


async def assert_sound(root: Path) -> None:
    """Every file is whole, and a commit record stands for a complete window of one run."""
    found = marks_of(root)
    storage = LocalStorage(root)
    for run in ("goog", ".goog.replaced"):
        check = await verify_window(storage, f"{run}/backtest")
        assert check.complete or not check.committed
        marks = {mark for path, mark in found.items() if path.startswith(f"{run}/")}
        assert len(marks) <= 1


@pytest.mark.parametrize("dead", [False, True], ids=["one fault", "killed"])
async def test_a_fault_at_any_call_of_a_replacing_run_leaves_whole_results(
    tmp_path: Path, dead: bool
) -> None:
    for number in range(1, await count_calls(tmp_path / "clean") + 1):
        root = tmp_path / str(number)
        await write_study(LocalStorage(root), "old")
        with pytest.raises(StorageError):
            await write_study(FaultStorage(root, fail_at=number, dead=dead), "new", overwrite=True)
        await assert_sound(root)
        assert marks_of(root) or (root / "goog").exists()

        clean = LocalStorage(root)
        await write_study(clean, "after", overwrite=True)
        await assert_sound(root)
        assert (await verify_window(clean, "goog/backtest")).complete
        assert set(marks_of(root).values()) == {"after"}
        assert names_in(root) == ["goog"]
        assert not list(root.rglob("*.tmp"))


async def test_a_run_that_died_while_replacing_gives_the_old_results_back(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    await write_study(storage, "old")
    (tmp_path / "goog").rename(tmp_path / ".goog.replaced")
    with pytest.raises(ResultExistsError):
        await ResultStore.create(storage, "goog")
    assert (await verify_window(storage, "goog/backtest")).complete
    assert names_in(tmp_path) == ["goog"]


async def test_the_files_of_a_window_can_be_read_back() -> None:
    store = ResultStore(MemoryStorage(), "run")
    window = store.window("phase")
    assert not await window.exists("extra.json")
    await window.write("extra.json", {"values": [1, 2]})
    again = store.window("phase")
    assert await again.exists("extra.json")
    assert (await again.read("extra.json", dict))["values"] == [1, 2]


async def test_ids_are_kept_apart_in_the_folders_in_use_however_many_there_were() -> None:
    store = ResultStore(MemoryStorage(), "run")
    for number in range(200):
        store.window("phase", f"wf_{number}/train")
    with pytest.raises(UnsafeIdError, match="only by case"):
        store.window("phase", "WF_7")
    with pytest.raises(UnsafeIdError, match="only by case"):
        store.window("phase", "wf_199/Train")

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from admf.engine.local_folder import LocalFolder
from admf.engine.packing import SUFFIXES, Compression
from admf.engine.results import Document, ResultStore, WindowResults
from admf.engine.storage import LocalStorage
from admf.engine.testing import FaultStorage
from admf.engine.tree_check import Finding, TreeCheck, verify_tree
from admf.engine.verification import WindowCheck, verify_window
from tests.sealing import change, sealed

COMMIT = "phase_summary.json"
ROOTS = {"search": True, "iteration_002/search": True}
WINDOWS = ("wf_001", "wf_002", "mc_003/wf_012")


async def write_window(store: ResultStore, name: str, compression: Compression) -> WindowResults:
    window = store.window("search", name, compression)
    for container in ("portfolio_001", "portfolio_002"):
        await window.write_container(Document(container, {"window": name, "trades": [1.5, 2.5]}))
    await window.write("all_trades.json", {"window": name, "trades": list(range(100))})
    await window.commit({"phase_name": "search", "window_id": name})
    return window


async def write_phase(root: Path, folder: str, compression: Compression = "none") -> None:
    """Write a phase whose sequence has windows below it, one of them two folders down."""
    store = ResultStore(LocalStorage(root), folder)
    phase = store.window("search", "", compression)
    windows = [await write_window(store, name, compression) for name in WINDOWS]
    await phase.write("trials.json", {"trials": [{"x": 1}]})
    records = [window.record_below(phase) for window in windows]
    await phase.commit({"phase_name": "search", "window_id": ""}, filter(None, records))
    await store.write_run({"run_id": "study"})


async def write_run(root: Path, compression: Compression) -> None:
    await write_phase(root, "run", compression)
    await write_phase(root, "run/iteration_002", compression)
    (root / "run/iteration_002/run.json").unlink()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("written")
    for compression in SUFFIXES:
        anyio.run(write_run, root / compression, compression)
    return root


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder of a run."""
    return shutil.copytree(written / "none" / "run", tmp_path / "run")


def check(run: Path, **options: object) -> TreeCheck:
    return verify_tree(LocalFolder(run), ROOTS, beside=["run.json"], **options)


def found(run: Path) -> list[tuple[str, str]]:
    return [(it.kind, it.path) for it in check(run).findings]


# --- whole trees


@pytest.mark.parametrize("compression", SUFFIXES)
def test_a_tree_as_it_was_written_is_whole(written: Path, compression: Compression) -> None:
    run = written / compression / "run"
    result = check(run)
    assert result.findings == ()
    assert list(result.roots) == list(ROOTS)
    files = [path for path in run.rglob("*") if path.is_file() and path.name != "run.json"]
    assert sum(root.files for root in result.roots.values()) == len(files)
    assert sum(root.size_bytes for root in result.roots.values()) == sum(
        path.stat().st_size for path in files
    )
    for path, root in result.roots.items():
        assert root.windows == len(WINDOWS)
        assert root.committed == (path, *sorted(f"{path}/{name}" for name in WINDOWS))


def test_a_root_that_was_not_begun_need_not_be_there(run: Path) -> None:
    result = verify_tree(LocalFolder(run), {**ROOTS, "later": False}, beside=["run.json"])
    assert result.findings == ()
    later = result.roots["later"]
    assert (later.committed, later.windows, later.files, later.size_bytes) == ((), 0, 0, 0)


def test_hidden_files_at_the_top_are_no_results(run: Path) -> None:
    (run / ".lock" / "1").mkdir(parents=True)
    (run / ".lock/1/owner.json").write_text("{}")
    (run / ".note").write_text("")
    (run / ".link").symlink_to("nowhere")
    assert found(run) == []


# --- every file

FILES = [
    "search/phase_summary.json",
    "search/trials.json",
    "search/wf_001/phase_summary.json",
    "search/wf_002/all_trades.json",
    "search/mc_003/wf_012/phase_summary.json",
    "search/mc_003/wf_012/containers/portfolio_002_results.json",
    "iteration_002/search/wf_001/containers/portfolio_001_results.json",
]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [cut, empty, flip, lengthen])
def test_a_torn_file_is_the_one_thing_found(
    run: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(run / name)
    assert found(run) == [("torn", name)]
    assert all(it.is_damage for it in check(run).findings)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_the_one_thing_found(run: Path, name: str) -> None:
    (run / name).unlink()
    assert found(run) == [("missing", name)]


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_place_of_a_file_is_told(run: Path, name: str) -> None:
    (run / name).unlink()
    (run / name).mkdir()
    (finding,) = check(run).findings
    assert (finding.kind, finding.path) == ("unreadable", name)
    assert "it is a folder, not a file" in finding.reason


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_place_of_a_file_is_told_and_not_waited_for(run: Path, name: str) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    (finding,) = check(run).findings
    assert (finding.kind, finding.path) == ("unreadable", name)


@pytest.mark.parametrize("name", [*FILES, "search", "search/mc_003", "search/wf_001/containers"])
def test_a_link_is_told_once_and_never_followed(run: Path, name: str, tmp_path: Path) -> None:
    moved = (run / name).rename(tmp_path / "moved")
    (run / name).symlink_to(moved)
    (finding,) = check(run).findings
    if name.endswith(COMMIT):
        assert (finding.kind, finding.path) == ("unreadable", name)
        assert "is a symbolic link, and none is followed" in finding.reason
    else:
        assert finding == Finding("link", name)
    assert finding.is_damage


def test_a_link_beside_the_results_is_told(run: Path) -> None:
    (run / "search/wf_001/more").symlink_to("/")
    (run / "elsewhere").symlink_to("/")
    assert found(run) == [("link", "elsewhere"), ("link", "search/wf_001/more")]


# --- whole windows


@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_that_was_deleted_whole_is_noticed(run: Path, window: str) -> None:
    shutil.rmtree(run / "search" / window)
    assert found(run) == [("missing", f"search/{window}/{COMMIT}")]


@pytest.mark.parametrize("root", ROOTS)
def test_a_phase_that_was_deleted_whole_is_noticed(run: Path, root: str) -> None:
    shutil.rmtree(run / root)
    assert found(run) == [("missing", f"{root}/{COMMIT}")]


def test_windows_below_a_phase_without_record_are_checked_all_the_same(run: Path) -> None:
    (run / "search" / COMMIT).unlink()
    cut(run / "search/mc_003/wf_012/all_trades.json")
    assert found(run) == [
        ("torn", "search/mc_003/wf_012/all_trades.json"),
        ("missing", f"search/{COMMIT}"),
    ]
    root = check(run).roots["search"]
    assert root.committed == tuple(f"search/{name}" for name in sorted(WINDOWS))


def test_windows_that_were_cut_off_are_told(run: Path) -> None:
    (run / "search" / COMMIT).unlink()
    (run / "search/trials.json").unlink()
    (run / "search/wf_001" / COMMIT).unlink()
    shutil.rmtree(run / "search/mc_003/wf_012")
    (run / "search/mc_003/wf_012/containers").mkdir(parents=True)
    result = verify_tree(LocalFolder(run), {**ROOTS, "search": False}, beside=["run.json"])
    assert result.findings == (
        Finding("unfinished", "search/mc_003/wf_012"),
        Finding("unfinished", "search/wf_001"),
    )
    assert not any(it.is_damage for it in result.findings)
    assert result.roots["search"].committed == ("search/wf_002",)


def test_what_a_killed_process_leaves_in_a_window_is_told(run: Path) -> None:
    for name in WINDOWS:
        shutil.rmtree(run / "search" / name)
    shutil.rmtree(run / "search/mc_003")
    for name in (COMMIT, "trials.json"):
        (run / "search" / name).unlink()
    (run / "search/.trials.json.0123456789abcdef.tmp").write_text("{")
    (run / "search/wf_001").symlink_to("/")
    result = verify_tree(LocalFolder(run), {**ROOTS, "search": False}, beside=["run.json"])
    assert result.findings == (
        Finding("temporary", "search/.trials.json.0123456789abcdef.tmp"),
        Finding("link", "search/wf_001"),
    )


# --- files that are whole, but not these


def test_a_valid_file_of_another_window_is_torn(run: Path) -> None:
    for name in ("all_trades.json", "containers/portfolio_001_results.json"):
        shutil.copy(run / "search/wf_002" / name, run / "search/wf_001" / name)
    assert found(run) == [
        ("torn", "search/wf_001/all_trades.json"),
        ("torn", "search/wf_001/containers/portfolio_001_results.json"),
    ]


def test_a_valid_commit_record_of_another_window_is_torn(run: Path) -> None:
    shutil.copy(run / "search/wf_002" / COMMIT, run / "search/wf_001" / COMMIT)
    assert found(run) == [("torn", f"search/wf_001/{COMMIT}")]


def test_a_window_replaced_by_another_as_a_whole_is_torn(run: Path) -> None:
    shutil.rmtree(run / "search/wf_001")
    shutil.copytree(run / "search/wf_002", run / "search/wf_001")
    assert found(run) == [("torn", f"search/wf_001/{COMMIT}")]


def test_the_record_of_a_phase_that_nothing_lists_must_be_its_own(run: Path) -> None:
    shutil.rmtree(run / "search")
    shutil.copytree(run / "iteration_002/search/wf_001", run / "search")
    assert found(run) == [("torn", f"search/{COMMIT}")]


def test_a_commit_record_without_names_goes_by_its_files(run: Path) -> None:
    record = json.loads((run / "search" / COMMIT).read_text())
    bare = {name: record[name] for name in ("schema_version", "files", "windows")}
    (run / "search" / COMMIT).write_bytes(sealed(bare))
    assert found(run) == []


# --- forged and foreign records


@pytest.mark.parametrize("field", ["files", "windows"])
@pytest.mark.parametrize("path", ["../../x", "/etc/passwd", "a/../../b", "C:x", "x" * 300])
def test_a_forged_record_reads_nothing_outside(
    run: Path, field: str, path: str, tmp_path: Path
) -> None:
    (tmp_path / "x").write_text("secret")
    record = {"path": path, "size": 6, "sha256": hashlib.sha256(b"secret").hexdigest()}
    change(run / "search/wf_001" / COMMIT, **{field: [record]})
    change(run / "search" / COMMIT, windows=[])
    result = verify_tree(LocalFolder(run), {"search/wf_001": True})
    (finding,) = [it for it in result.findings if it.kind == "unreadable"]
    assert "is not a path below the results root" in finding.reason


def test_a_forged_record_with_unsafe_folders_on_the_way_is_told(run: Path) -> None:
    (run / "search/my notes").mkdir()
    (run / "search/my notes/a.json").write_text("{}")
    change(run / "search" / COMMIT, files=[{"path": "my notes/a.json", "size": 2, "sha256": ""}])
    assert ("unreadable", "search/my notes/a.json") in found(run)


@pytest.mark.parametrize("fields", [{"files": 1}, {"windows": [{}]}, {"phase_name": 3}])
def test_a_record_of_another_shape_is_torn(run: Path, fields: dict[str, object]) -> None:
    change(run / "search" / COMMIT, **fields)
    assert ("torn", f"search/{COMMIT}") in found(run)


def test_a_record_of_a_later_version_is_told(run: Path) -> None:
    change(run / "search" / COMMIT, schema_version=2)
    (finding,) = check(run).findings
    assert (finding.kind, finding.path) == ("unreadable", f"search/{COMMIT}")
    assert "has format 2, which this version does not know" in finding.reason


# --- what is listed nowhere


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "notes/a/b.txt",
        "iteration_002/x",
        "search/notes.txt",
        "search/.hidden",
        "search/wf_001/notes.json",
        "search/wf_001/containers/portfolio_003_results.json",
        "search/mc_003/notes.txt",
        "search/wf_009/containers/portfolio_001_results.json",
    ],
)
def test_a_foreign_file_is_told_and_is_no_damage(run: Path, name: str) -> None:
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).write_text("{}")
    (finding,) = check(run).findings
    assert finding.kind == "foreign"
    assert f"{name}/".startswith(f"{finding.path}/")
    assert not finding.is_damage


def test_a_file_in_place_of_a_window_is_told(run: Path) -> None:
    shutil.rmtree(run / "search/wf_001")
    (run / "search/wf_001").write_text("")
    assert ("foreign", "search/wf_001") in found(run)
    assert ("unreadable", f"search/wf_001/{COMMIT}") in found(run)


def test_a_socket_is_foreign(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)  # a socket's path has to be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    assert found(run) == [("foreign", "socket")]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"a b", "a b"),
        (b"\xff\xfe", r"\udcff\udcfe"),
        (b"a\nb", r"a\nb"),
        (b"\x1b[31m", r"\x1b[31m"),
        ("ü".encode(), "ü"),
    ],
)
def test_names_of_foreign_files_stand_on_one_line_of_text(
    run: Path, name: bytes, shown: str
) -> None:
    (Path(os.fsdecode(bytes(run) + b"/" + name))).write_text("")
    assert found(run) == [("foreign", shown)]
    found(run)[0][1].encode()


def test_folders_that_are_no_window_in_a_phase_without_record_are_foreign(run: Path) -> None:
    (run / "search" / COMMIT).unlink()
    (run / "search/my notes").mkdir()
    assert found(run) == [("foreign", "search/my notes"), ("missing", f"search/{COMMIT}")]


@pytest.mark.parametrize(
    "folder", ["", "search/", "search/wf_001/", "search/wf_001/containers/", "search/mc_003/"]
)
def test_temporary_files_are_told_as_such(run: Path, folder: str) -> None:
    name = f"{folder}.a.json.0123456789abcdef.tmp"
    (run / name).write_text("{")
    assert found(run) == [("temporary", name)]
    assert not check(run).findings[0].is_damage


@pytest.mark.parametrize("before", SUFFIXES.values())
@pytest.mark.parametrize("name", ["search/wf_001/all_trades.json", "search/phase_summary.json"])
def test_two_variants_of_a_document_are_damage(
    written: Path, tmp_path: Path, before: str, name: str
) -> None:
    (compression,) = [key for key, suffix in SUFFIXES.items() if suffix == before]
    run = shutil.copytree(written / compression / "run", tmp_path / "run")
    there = name if name.endswith(COMMIT) else name + before
    for suffix in SUFFIXES.values():
        if name + suffix != there:
            (run / (name + suffix)).write_bytes((run / there).read_bytes())
    others = [name + suffix for suffix in SUFFIXES.values() if name + suffix != there]
    assert found(run) == [("ambiguous", other) for other in sorted(others)]
    assert all(it.is_damage for it in check(run).findings)


def test_a_second_record_of_the_run_is_damage(run: Path) -> None:
    (run / "run.json.gz").write_bytes(b"")
    assert found(run) == [("ambiguous", "run.json.gz")]


# --- faults


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_a_fault_at_any_call_is_told(run: Path, error: int) -> None:
    roots = {"search": True}
    for name in ("wf_002", "mc_003"):
        shutil.rmtree(run / "search" / name)
    shutil.rmtree(run / "iteration_002")
    records = json.loads((run / "search" / COMMIT).read_text())["windows"]
    change(run / "search" / COMMIT, windows=records[:1])
    clean = FaultStorage(run)
    found = verify_tree(clean.folder, roots, beside=["run.json"], call=clean.system_call)
    assert found.findings == ()
    assert {"scandir", "lstat", "open", "read"} <= set(clean.calls)
    for number in range(1, len(clean.calls) + 1):
        storage = FaultStorage(run, fail_at=number, error=error)
        found = verify_tree(storage.folder, roots, beside=["run.json"], call=storage.system_call)
        (finding,) = found.findings
        assert finding.kind == "unreadable"
        assert errno.errorcode[error] in finding.reason
        assert finding.is_damage


# --- single windows


def test_a_single_window_is_compared_with_its_record(run: Path) -> None:
    async def one(path: str) -> WindowCheck:
        return await verify_window(LocalStorage(run), path)

    assert anyio.run(one, "search") == WindowCheck(committed=True)
    assert anyio.run(one, "search/wf_009") == WindowCheck(committed=False)
    (run / "search/wf_001" / COMMIT).unlink()
    cut(run / "search/wf_002" / COMMIT)
    torn = (f"wf_002/{COMMIT}",)
    found = anyio.run(one, "search")
    assert found == WindowCheck(committed=True, missing=(f"wf_001/{COMMIT}",), torn=torn)
    assert not found.complete
    assert anyio.run(one, "search/wf_002") == WindowCheck(committed=False, torn=(COMMIT,))

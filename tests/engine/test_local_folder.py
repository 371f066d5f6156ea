"""Blocking reads and writes below a root, and nowhere else."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from admf.engine.errors import MissingFileError, StorageError
from admf.engine.local_folder import LocalFolder, path_parts
from admf.engine.testing import FaultStorage

Action = Callable[[LocalFolder, str], object]


def append(folder: LocalFolder, path: str) -> None:
    folder.journal(path).append(b"x")


def write(folder: LocalFolder, path: str) -> None:
    folder.write_atomic(path, [b"x"])


def draft(folder: LocalFolder, path: str) -> None:
    """Write by way of a draft that is made before, as those do that must be able to abandon it."""
    made = folder.draft(path)
    try:
        folder.write_draft(path, made, [b"x"])
    finally:
        made.abandon()


def move_from(folder: LocalFolder, path: str) -> None:
    folder.move(path, "moved")


def move_to(folder: LocalFolder, path: str) -> None:
    folder.move("other", path)


READING: list[Action] = [LocalFolder.read, LocalFolder.exists, LocalFolder.list_files]
WRITING: list[Action] = [
    write,
    draft,
    append,
    LocalFolder.make_dir,
    LocalFolder.remove,
    LocalFolder.remove_tree,
    LocalFolder.sweep,
    move_from,
    move_to,
]


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    return LocalFolder(tmp_path / "root")


def tree(root: Path) -> dict[str, bytes | None]:
    """Return all there is below a folder: the content of files, None for folders."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


# --- paths

UNSAFE = {
    "empty": "",
    "up": "..",
    "up and down": "../root/a",
    "up in the middle": "run/../../a",
    "here": "run/.",
    "absolute": "/etc/passwd",
    "empty part": "run//a",
    "slash at the end": "run/",
    "drive": "C:",
    "drive and path": "C:/a",
    "share": "//host/share",
    "backslash": "run\\a",
    "backslash up": "..\\a",
    "nul": "run/a\0b",
    "newline": "a\n",
    "space": "a b",
    "tilde": "~",
    "star": "*",
    "letter beyond ascii": "caf\u00e9",
    "full-width dots": "\uff0e\uff0e",
    "300 characters": "x" * 300,
    "surrogate": "\udc80",
}


@pytest.mark.parametrize("path", UNSAFE.values(), ids=UNSAFE)
@pytest.mark.parametrize("action", [*READING, *WRITING], ids=lambda it: it.__name__)
def test_a_path_that_could_leave_the_root_reaches_nothing(
    tmp_path: Path, action: Action, path: str
) -> None:
    folder = LocalFolder(tmp_path / "root")
    folder.write_atomic("other/a", [b"old"])
    (tmp_path / "a").write_bytes(b"precious")
    before = tree(tmp_path)
    if not path and action in (LocalFolder.list_files, LocalFolder.sweep):
        action(folder, path)  # the root itself
    else:
        with pytest.raises(StorageError, match="not a path below the results root") as caught:
            action(folder, path)
        assert caught.value.exit_code == 6
        assert len(str(caught.value)) < 500
        with pytest.raises(StorageError, match="not a path below the results root"):
            folder.locate(path)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("path", ["a", "a/b/c", ".lock/1", "a.", "...", "a..b", "-", "x" * 200])
def test_other_paths_lead_below_the_root(folder: LocalFolder, path: str) -> None:
    assert "/".join(path_parts(path)) == path
    assert folder.root in folder.locate(path).parents
    append(folder, path)
    assert folder.read(path) == b"x"
    assert folder.list_files() == [path]


# --- links


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """Return a folder outside the root, which is to stay as it is."""
    outside = tmp_path / "outside"
    for name in ("file", "phase/file", ".x.tmp", "phase/.x.tmp"):
        (outside / name).parent.mkdir(parents=True, exist_ok=True)
        (outside / name).write_bytes(b"precious")
    before = tree(outside)
    yield outside
    assert tree(outside) == before


@pytest.mark.parametrize("planted", ["run", "run/phase", "run/phase/file"])
@pytest.mark.parametrize("action", [*READING, *WRITING], ids=lambda it: it.__name__)
@pytest.mark.parametrize("target", ["folder", "file", "nowhere"])
def test_a_planted_link_is_refused_at_every_level(
    folder: LocalFolder, outside: Path, planted: str, action: Action, target: str
) -> None:
    folder.make_dir("other")
    link = folder.root / planted
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to({"folder": outside, "file": outside / "file"}.get(target, "nowhere"))
    with pytest.raises(StorageError, match=f"{planted} is a symbolic link"):
        action(folder, "run/phase/file")
    assert link.is_symlink()
    assert (folder.root / "other").is_dir()


def test_links_in_a_folder_are_not_followed(folder: LocalFolder, outside: Path) -> None:
    folder.write_atomic("run/a", [b"x"])
    (folder.root / "run/folder").symlink_to(outside)
    (folder.root / "run/.link.tmp").symlink_to(outside / "file")
    assert folder.list_files("run") == ["run/a"]
    assert folder.sweep("run") == 1
    folder.remove_tree("run")
    assert not folder.exists("run")


def test_the_root_may_be_reached_through_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    folder = LocalFolder(tmp_path / "link")
    folder.write_atomic("run/a", [b"x"])
    assert folder.list_files() == ["run/a"]
    assert (tmp_path / "real/run/a").read_bytes() == b"x"


# --- writing


def test_a_file_is_replaced_as_a_whole(folder: LocalFolder) -> None:
    folder.write_atomic("run/a", [b"a long ", b"old content"])
    folder.write_atomic("run/a", [b"new"])
    assert tree(folder.root) == {"run": None, "run/a": b"new"}


def test_a_write_whose_content_cannot_be_made_changes_nothing(folder: LocalFolder) -> None:
    folder.write_atomic("run/a", [b"old"])

    def broken() -> Iterator[bytes]:
        yield b"new"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        folder.write_atomic("run/a", broken())
    assert tree(folder.root) == {"run": None, "run/a": b"old"}


def test_a_write_that_fails_at_any_call_leaves_the_old_file_or_the_new_one(
    tmp_path: Path,
) -> None:
    clean = FaultStorage(tmp_path / "clean")
    clean.folder.write_atomic("run/a", [b"old"])
    clean.calls.clear()
    clean.folder.write_atomic("run/a", [b"new"])
    for number, name in enumerate(clean.calls, 1):
        root = tmp_path / str(number)
        LocalFolder(root).write_atomic("run/a", [b"old"])
        with pytest.raises(StorageError, match=r"cannot write .*run/a: .*ENOSPC.*free some space"):
            FaultStorage(root, fail_at=number, error=errno.ENOSPC).folder.write_atomic(
                "run/a", [b"new"]
            )
        renamed = number > clean.calls.index("replace") + 1
        assert tree(root) == {"run": None, "run/a": b"new" if renamed else b"old"}, name


def test_nothing_is_made_before_a_draft_is_opened(folder: LocalFolder) -> None:
    made = folder.draft("run/a")
    journal = folder.journal("run/b")
    assert not folder.root.exists()
    folder.write_draft("run/a", made, [b"x"])
    journal.append(b"y")
    assert folder.list_files() == ["run/a", "run/b"]


def test_an_abandoned_draft_publishes_nothing(folder: LocalFolder) -> None:
    made = folder.draft("run/a")
    made.open()
    made.write(b"x")
    assert folder.list_files() == []
    made.abandon()
    with pytest.raises(StorageError, match="abandoned"):
        folder.write_draft("run/a", made, [b"x"])
    assert tree(folder.root) == {"run": None}


# --- looking, moving, removing


def test_what_is_not_there_is_no_error_but_to_readers(folder: LocalFolder) -> None:
    assert not folder.exists("run")
    assert folder.list_files("run") == []
    assert folder.sweep("run") == 0
    folder.remove("run/a")
    folder.remove_tree("run")
    with pytest.raises(MissingFileError, match=r"cannot read .*run/a: .*ENOENT"):
        folder.read("run/a")
    with pytest.raises(MissingFileError, match=r"cannot move .*run: .*ENOENT"):
        folder.move("run", "moved")


@pytest.mark.parametrize("look", [LocalFolder.list_files, LocalFolder.sweep])
def test_a_root_that_is_not_there_is_missed(folder: LocalFolder, look: Action) -> None:
    with pytest.raises(MissingFileError, match=f"{folder.root}: .*ENOENT.*the path is right"):
        look(folder, "")


def test_all_files_of_the_root_are_listed_but_temporary_ones(folder: LocalFolder) -> None:
    for path in ("run/b", "run/a/z", "top", ".lock/1/owner"):
        folder.write_atomic(path, [b"x"])
    for left in (".top.tmp", "run/a/.z.0123.tmp"):
        (folder.root / left).write_bytes(b"")
    assert folder.list_files() == [".lock/1/owner", "run/a/z", "run/b", "top"]
    assert folder.list_files("run/a") == ["run/a/z"]
    assert folder.sweep("") == 2
    assert folder.sweep("") == 0
    assert sorted(path for path, content in tree(folder.root).items() if content is not None) == [
        ".lock/1/owner",
        "run/a/z",
        "run/b",
        "top",
    ]


def test_one_file_is_removed_and_nothing_else(folder: LocalFolder) -> None:
    for path in ("run/a", "run/ab", "run/c/a"):
        folder.write_atomic(path, [b"x"])
    folder.remove("run/a")
    folder.remove("run/a")
    with pytest.raises(StorageError, match=r"cannot remove .*run/c: "):
        folder.remove("run/c")
    assert folder.list_files() == ["run/ab", "run/c/a"]


def test_a_folder_is_no_file_and_a_pipe_is_none_either(folder: LocalFolder) -> None:
    folder.make_dir("run")
    os.mkfifo(folder.root / "pipe")
    with pytest.raises(StorageError, match="run: it is a folder, not a file"):
        folder.read("run")
    with pytest.raises(StorageError, match="pipe: it is a pipe or a device, not a file"):
        folder.read("pipe")


def test_a_folder_does_not_move_onto_another(folder: LocalFolder) -> None:
    folder.write_atomic("run/a", [b"x"])
    folder.write_atomic("other/b", [b"y"])
    with pytest.raises(StorageError, match="cannot move"):
        folder.move("run", "other")
    folder.move("run", "deep/er/run")
    assert folder.list_files() == ["deep/er/run/a", "other/b"]


# --- errors of the operating system


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS, errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("action", [*READING, *WRITING], ids=lambda it: it.__name__)
def test_whatever_call_fails_the_error_says_where_and_why(
    tmp_path: Path, action: Action, error: int
) -> None:
    path = {move_to: "new/run", LocalFolder.make_dir: "new/run"}.get(action, "run")
    if action in (LocalFolder.read, LocalFolder.remove, write, draft, append):
        path = "run/a"

    def prepared(name: str, fail_at: int) -> FaultStorage:
        for file in ("other/b", "run/a"):
            LocalFolder(tmp_path / name).write_atomic(file, [b"x"])
        (tmp_path / name / "run/.a.tmp").touch()
        return FaultStorage(tmp_path / name, fail_at=fail_at, error=error, dead=True)

    clean = prepared("clean", 0)
    action(clean.folder, path)
    cleaning_up = 1 if action is draft else 0  # abandons a draft that is published
    for number in range(1, len(clean.calls) + 1 - cleaning_up):
        storage = prepared(str(number), number)
        with pytest.raises(StorageError, match=errno.errorcode[error]) as caught:
            action(storage.folder, path)
        assert str(tmp_path / str(number)) in str(caught.value)
        assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [(errno.EACCES, "check who owns it"), (errno.EROFS, "the file system is read-only")],
)
def test_a_read_only_root_is_told_of_before_anything_is_written(
    tmp_path: Path, error: int, remedy: str
) -> None:
    storage = FaultStorage(tmp_path / "root", fail_at=1, only="mkdir", error=error, dead=True)
    for action in (write, draft, append, LocalFolder.make_dir):
        with pytest.raises(StorageError, match=remedy):
            action(storage.folder, "run/a")
    assert list(tmp_path.iterdir()) == []

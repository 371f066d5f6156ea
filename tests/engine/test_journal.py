"""The contract of journals, on disk and in memory, and what the operating system may do to one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.engine.errors import MissingFileError, StorageError
from admf.engine.journal import FileJournal, Journal, MemoryJournal
from admf.engine.local_folder import LocalFolder
from admf.engine.testing import FaultStorage

P = ParamSpec("P")
T = TypeVar("T")

APPEND = ["open", "lseek", "write", "close"]
FIRST_APPEND = ["lstat", "unlink", *APPEND]


class Place(Protocol):
    """Makes journals, and looks at what is stored."""

    def journal(self, path: str) -> Journal: ...

    def stored(self, path: str) -> bytes | None: ...

    def put(self, path: str, content: bytes) -> None: ...


class Disk(Place):
    def __init__(self, root: Path) -> None:
        self.folder = LocalFolder(root)

    def journal(self, path: str) -> Journal:
        return self.folder.journal(path)

    def stored(self, path: str) -> bytes | None:
        return self.folder.read(path) if self.folder.exists(path) else None

    def put(self, path: str, content: bytes) -> None:
        self.folder.write_atomic(path, [content])


class Memory(Place):
    def __init__(self) -> None:
        self.files: dict[str, bytes | bytearray] = {}

    def journal(self, path: str) -> Journal:
        return MemoryJournal(path, self.files)

    def stored(self, path: str) -> bytes | None:
        content = self.files.get(path)
        return None if content is None else bytes(content)

    def put(self, path: str, content: bytes) -> None:
        self.files[path] = content


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Disk(tmp_path / "deep/root") if request.param == "disk" else Memory()


def content_of(journal: Journal) -> bytes:
    return journal.read(0, journal.size)


# --- the contract


def test_what_is_appended_can_be_read_from_any_place_on(place: Place) -> None:
    journal = place.journal("run/a")
    for part in (b"one", b"", b"two", b"three"):
        journal.append(part)
    assert journal.size == 11
    assert content_of(journal) == b"onetwothree"
    for start in range(14):
        for count in range(14):
            assert journal.read(start, count) == b"onetwothree"[start : start + count]


def test_appending_goes_on_after_a_read(place: Place) -> None:
    journal = place.journal("run/a")
    journal.append(b"one")
    assert journal.read(1, 1) == b"n"
    journal.append(b"two")
    assert content_of(journal) == b"onetwo"


def test_nothing_is_made_until_something_is_appended(place: Place) -> None:
    journal = place.journal("run/a")
    journal.sync()
    assert journal.size == 0
    assert journal.read(0, 100) == b""
    journal.discard()
    assert place.stored("run/a") is None
    journal.append(b"")
    assert place.stored("run/a") == b""


def test_what_is_synced_is_stored(place: Place) -> None:
    journal = place.journal("run/a")
    journal.append(b"one")
    journal.sync()
    journal.sync()
    assert place.stored("run/a") == b"one"
    journal.append(b"two")
    assert place.stored("run/a") == b"onetwo"


def test_a_discarded_journal_is_gone_and_can_begin_anew(place: Place) -> None:
    journal = place.journal("run/a")
    journal.append(b"a long content")
    journal.discard()
    journal.discard()
    assert place.stored("run/a") is None
    assert (journal.size, content_of(journal), journal.read(0, 9)) == (0, b"", b"")
    journal.append(b"new")
    assert content_of(journal) == b"new"
    assert place.stored("run/a") == b"new"


def test_a_second_journal_at_a_path_starts_empty(place: Place) -> None:
    place.journal("run/a").append(b"a long content that a dead process left")
    journal = place.journal("run/a")
    assert (journal.size, content_of(journal)) == (0, b"")
    journal.append(b"new")
    assert content_of(journal) == b"new"
    assert place.stored("run/a") == b"new"


def test_a_journal_replaces_a_file(place: Place) -> None:
    place.put("run/a", b"a long content of something else")
    place.journal("run/a").append(b"new")
    assert place.stored("run/a") == b"new"


def test_a_journal_that_was_never_used_discards_nothing(place: Place) -> None:
    place.put("run/a", b"of somebody else")
    place.journal("run/a").discard()
    assert place.stored("run/a") == b"of somebody else"


def test_journals_side_by_side_do_not_mix(place: Place) -> None:
    journals = [place.journal(f"run/{name}") for name in "abc"]
    for number in range(5):
        for journal, name in zip(journals, "abc", strict=True):
            journal.append(f"{name}{number}".encode())
    journals[1].discard()
    assert content_of(journals[0]) == b"a0a1a2a3a4"
    assert content_of(journals[2]) == b"c0c1c2c3c4"


ACTIONS = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.tuples(st.integers(0, 100), st.integers(0, 100)),
        st.sampled_from(["sync", "discard", "anew"]),
    ),
    max_size=25,
)


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_a_journal_is_as_good_as_a_string_of_bytes(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @settings(max_examples=60, deadline=None)
    @given(ACTIONS)
    def check(actions: list[bytes | tuple[int, int] | str]) -> None:
        place = Disk(tmp_path_factory.mktemp("root")) if kind == "disk" else Memory()
        journal, content = place.journal("a"), b""
        for action in actions:
            if isinstance(action, bytes):
                journal.append(action)
                content += action
            elif isinstance(action, tuple):
                start, count = action
                assert journal.read(start, count) == content[start : start + count]
            elif action == "sync":
                journal.sync()
            else:
                content = b""
                journal.discard() if action == "discard" else None
                journal = place.journal("a") if action == "anew" else journal
            assert journal.size == len(content)
        assert content_of(journal) == content

    check()


# --- on disk


def open_descriptors() -> set[str]:
    return {entry.name for entry in Path("/dev/fd").iterdir()}


def test_thousands_of_journals_hold_no_descriptor(tmp_path: Path) -> None:
    before = open_descriptors()
    folder = LocalFolder(tmp_path)
    journals = [folder.journal(f"run/{number}") for number in range(1_500)]
    for journal in journals:
        journal.append(b"x")
    for journal in journals[:20]:
        journal.append(b"y")
        journal.sync()
        assert journal.read(0, 9) == b"xy"
    assert len(open_descriptors()) <= len(before)


def test_folders_are_looked_at_once(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    storage = FaultStorage(tmp_path)
    journal = storage.journal("run/a")
    journal.append(b"x")
    journal.append(b"y")
    assert storage.calls == ["lstat", *FIRST_APPEND, *APPEND]
    journal.sync()
    assert storage.calls[-4:] == ["open", "ftruncate", "fsync", "close"]


class Few:
    """Writes and reads no more than some bytes in a call, as the operating system may."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        call: Callable[..., T] = function
        if function is os.write:
            descriptor, data = args
            return call(descriptor, memoryview(data)[: self.most])  # type: ignore[arg-type]
        if function is os.read:
            descriptor, count = args
            return call(descriptor, min(count, self.most))  # type: ignore[call-overload]
        return call(*args, **kwargs)


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_a_short_write_is_continued_where_it_stopped(tmp_path: Path, most: int) -> None:
    journal = LocalFolder(tmp_path, Few(most)).journal("a")
    journal.append(b"0123456789")
    journal.append(b"abcdefghij")
    assert journal.size == 20
    assert (tmp_path / "a").read_bytes() == b"0123456789abcdefghij"
    assert journal.read(2, 18) == b"23456789abcdefghij"[:most]


class Failing:
    """Makes the calls of one name fail, those of ``write`` after half the bytes are there."""

    def __init__(self) -> None:
        self.name = ""
        self.error = errno.ENOSPC

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        call: Callable[..., T] = function
        if function.__name__ != self.name:
            return call(*args, **kwargs)
        if function is os.write:
            descriptor, data = args
            call(descriptor, memoryview(data)[: len(data) // 2])  # type: ignore[arg-type]
        if function is os.close:
            call(*args)
        raise OSError(self.error, os.strerror(self.error))


@pytest.fixture
def failing() -> Failing:
    return Failing()


@pytest.fixture
def journal(tmp_path: Path, failing: Failing) -> FileJournal:
    return LocalFolder(tmp_path, failing).journal("a")


@pytest.mark.parametrize("name", ["open", "lseek", "write", "close"])
def test_of_an_append_that_fails_nothing_counts(
    tmp_path: Path, failing: Failing, journal: FileJournal, name: str
) -> None:
    before = open_descriptors()
    journal.append(b"old")
    failing.name = name
    for _ in range(2):
        with pytest.raises(StorageError, match=f"cannot write {tmp_path}/a: .*ENOSPC.*free some"):
            journal.append(b"a long content that is lost")
        assert journal.size == 3
    assert len(open_descriptors()) <= len(before)
    failing.name = ""
    assert journal.read(0, 100) == b"old"
    journal.append(b" new")
    assert content_of(journal) == b"old new"
    journal.sync()
    assert (tmp_path / "a").read_bytes() == b"old new"


@pytest.mark.parametrize("name", ["lstat", "unlink", "open", "lseek", "write", "close"])
def test_a_first_append_that_fails_can_be_made_again(
    tmp_path: Path, failing: Failing, journal: FileJournal, name: str
) -> None:
    (tmp_path / "a").write_bytes(b"a long content that a dead process left")
    failing.name = name
    with pytest.raises(StorageError, match="ENOSPC"):
        journal.append(b"a long content that is lost")
    assert (journal.size, journal.read(0, 9)) == (0, b"")
    failing.name = ""
    journal.append(b"new")
    journal.sync()
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["open", "lseek", "read", "close"])
def test_a_read_that_fails_harms_nothing(failing: Failing, journal: FileJournal, name: str) -> None:
    journal.append(b"old")
    failing.name = name
    with pytest.raises(StorageError, match=r"cannot read .*/a: .*ENOSPC"):
        journal.read(0, 3)
    failing.name = ""
    journal.append(b" new")
    assert content_of(journal) == b"old new"


@pytest.mark.parametrize("name", ["open", "ftruncate", "fsync", "close"])
def test_a_sync_that_fails_is_not_silent(failing: Failing, journal: FileJournal, name: str) -> None:
    journal.append(b"old")
    failing.name, failing.error = name, errno.EIO
    with pytest.raises(StorageError, match=r"cannot write .*/a: .*EIO"):
        journal.sync()
    failing.name = ""
    assert content_of(journal) == b"old"


def test_a_discard_that_fails_can_be_made_again(
    tmp_path: Path, failing: Failing, journal: FileJournal
) -> None:
    journal.append(b"old")
    failing.name, failing.error = "unlink", errno.EACCES
    with pytest.raises(StorageError, match=r"cannot remove .*/a: .*EACCES"):
        journal.discard()
    assert content_of(journal) == b"old"
    failing.name = ""
    journal.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_discarded_file_may_be_gone_already(tmp_path: Path, journal: FileJournal) -> None:
    journal.append(b"old")
    (tmp_path / "a").unlink()
    journal.discard()
    assert journal.size == 0


def test_a_file_that_somebody_removed_is_missed(tmp_path: Path, journal: FileJournal) -> None:
    journal.append(b"old")
    (tmp_path / "a").unlink()
    actions: list[Callable[[], object]] = [
        lambda: journal.append(b"new"),
        lambda: journal.read(0, 3),
        journal.sync,
    ]
    for action in actions:
        with pytest.raises(MissingFileError, match="ENOENT"):
            action()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_somebody_cut_gives_what_is_left(tmp_path: Path, journal: FileJournal) -> None:
    journal.append(b"0123456789")
    os.truncate(tmp_path / "a", 4)
    assert content_of(journal) == b"0123"
    assert journal.read(6, 4) == b""


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """Return a file outside the root, which is to stay as it is."""
    file = tmp_path / "outside/file"
    file.parent.mkdir()
    file.write_bytes(b"precious")
    yield file
    assert file.read_bytes() == b"precious"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("planted", ["run", "run/phase", "run/phase/file"])
def test_a_link_is_refused_where_a_journal_is_to_be(
    tmp_path: Path, outside: Path, planted: str
) -> None:
    link = tmp_path / "root" / planted
    link.parent.mkdir(parents=True)
    link.symlink_to(outside if planted.endswith("file") else outside.parent)
    journal = LocalFolder(tmp_path / "root").journal("run/phase/file")
    with pytest.raises(StorageError, match=f"{planted} is a symbolic link"):
        journal.append(b"x")
    journal.discard()
    assert link.is_symlink()


def test_a_link_that_takes_the_place_of_a_journal_is_not_followed(
    tmp_path: Path, outside: Path
) -> None:
    journal = LocalFolder(tmp_path / "root").journal("a")
    journal.append(b"x")
    (tmp_path / "root/a").unlink()
    (tmp_path / "root/a").symlink_to(outside)
    actions: list[Callable[[], object]] = [
        lambda: journal.append(b"y"),
        lambda: journal.read(0, 1),
        journal.sync,
    ]
    for action in actions:
        with pytest.raises(StorageError, match="ELOOP"):
            action()
    journal.discard()
    assert not (tmp_path / "root/a").is_symlink()


def test_what_a_hard_link_shares_is_not_written_to(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").hardlink_to(outside)
    LocalFolder(tmp_path / "root").journal("a").append(b"x")
    assert (tmp_path / "root/a").read_bytes() == b"x"


def test_a_pipe_in_place_of_a_journal_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    LocalFolder(tmp_path).journal("a").append(b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_folder_in_place_of_a_journal_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/a"):
        LocalFolder(tmp_path).journal("a").append(b"x")
    assert (tmp_path / "a").is_dir()

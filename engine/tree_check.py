"""Whether a whole tree of results is as it was written, and holds nothing else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec

from admf.engine.documents import FileRecord, read_document_from
from admf.engine.errors import MissingFileError, StorageError, TornFileError
from admf.engine.files import SystemCall, is_temporary, storage_error
from admf.engine.local_folder import LocalFolder, call_system, path_parts
from admf.engine.packing import plain_name
from admf.engine.result_names import COMMIT_FILE, CONTAINERS
from admf.engine.verification import CommitRecord

__all__ = ["Finding", "FindingKind", "RootCheck", "TreeCheck", "verify_tree"]

FindingKind: TypeAlias = Literal[
    "torn", "missing", "unreadable", "ambiguous", "link", "unfinished", "foreign", "temporary"
]
"""What is wrong with a path.

* ``torn``: a file is not what was written.
* ``missing``: a file is listed, or must be there, and is not.
* ``unreadable``: a file or a folder cannot be read, or was written by a later version.
* ``ambiguous``: a file beside a listed one that could be read in its place.
* ``link``: a symbolic link, which is never followed.
* ``unfinished``: a folder has files and no commit record, for it was cut off.
* ``foreign``: a file or a folder is listed nowhere.
* ``temporary``: a file that a killed process left, or that is being written.
"""

_HARMLESS: frozenset[FindingKind] = frozenset(["unfinished", "foreign", "temporary"])


class Finding(msgspec.Struct, frozen=True):
    """Something in a tree that is not as it was written.

    Args:
        kind: What is wrong.
        path: Where, below the root.
        reason: Why a file cannot be read; empty otherwise.
    """

    kind: FindingKind
    path: str
    reason: str = ""

    @property
    def is_damage(self) -> bool:
        """Whether results were lost or falsified; what was cut off, or is foreign, is none."""
        return self.kind not in _HARMLESS


class RootCheck(msgspec.Struct, frozen=True):
    """What a folder with a commit record, and everything that this leads to, holds.

    Args:
        committed: Folders whose commit records are whole, its own first if that is.
        windows: How many of those are windows with results of containers.
        files: Files that are as they were written.
        size_bytes: Their size.
        findings: What is wrong.
    """

    committed: tuple[str, ...]
    windows: int
    files: int
    size_bytes: int
    findings: tuple[Finding, ...]


class TreeCheck(msgspec.Struct, frozen=True):
    """How a tree compares with its commit records.

    Args:
        roots: By the path of the folder.
        outside: What is wrong elsewhere.
    """

    roots: Mapping[str, RootCheck]
    outside: tuple[Finding, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that is wrong."""
        return (*self.outside, *(it for root in self.roots.values() for it in root.findings))


def verify_tree(
    folder: LocalFolder,
    roots: Mapping[str, bool],
    *,
    beside: Iterable[str] = (),
    call: SystemCall = call_system,
) -> TreeCheck:
    """Compare all files in a folder with the commit records that list them, byte by byte; blocks.

    Damage and what cannot be read are found, not raised. One file at a time is in memory. Hidden
    files at the top are nobody's results.

    Args:
        folder: The tree, of a run for instance.
        roots: Folders whose commit records no other lists, those of phases for instance; and
            whether each must have one.
        beside: Files at the top that belong there.
        call: How to reach the operating system, to list folders.
    """
    top = _Walk(folder, call)
    top.look_around("", set(beside), set(roots))
    whole = [path for path in roots if not top.is_below_link(path)]
    return TreeCheck(
        {path: _Walk(folder, call).follow(path, required=roots[path]) for path in whole},
        top.findings,
    )


class _Step(msgspec.Struct, frozen=True):
    """A folder to look at: whether it must be committed, and what its record is listed as."""

    path: str
    required: bool
    listed: FileRecord | None = None


class _Walk:
    """Goes from a folder's commit record down to whatever that lists.

    Args:
        folder: The tree.
        call: How to reach the operating system.
    """

    def __init__(self, folder: LocalFolder, call: SystemCall) -> None:
        self._folder = folder
        self._call = call
        self._found: set[Finding] = set()
        self._links: set[str] = set()
        self._committed: list[str] = []
        self._windows = 0
        self._files = 0
        self._size_bytes = 0

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found so far, in the order of the paths."""
        return tuple(sorted(self._found, key=lambda it: (it.path, it.kind)))

    def follow(self, path: str, *, required: bool) -> RootCheck:
        """Look at a folder, and at all that its record leads to."""
        steps = [_Step(path, required)]
        while steps:
            steps += self._check(steps.pop())
        return RootCheck(
            committed=tuple(sorted(self._committed)),
            windows=self._windows,
            files=self._files,
            size_bytes=self._size_bytes,
            findings=self.findings,
        )

    def _check(self, step: _Step) -> Iterator[_Step]:
        """Look at one folder; yield those below it."""
        try:
            record = self._record(step)
        except MissingFileError:
            if step.required:
                self._find("missing", f"{step.path}/{COMMIT_FILE}")
            yield from self._uncommitted(step.path, unfinished=not step.required)
        except TornFileError:
            self._find("torn", f"{step.path}/{COMMIT_FILE}")
            yield from self._uncommitted(step.path, unfinished=False)
        except StorageError as error:
            self._find("unreadable", f"{step.path}/{COMMIT_FILE}", str(error))
        else:
            yield from self._listed(step.path, record)

    def _record(self, step: _Step) -> CommitRecord:
        """Return the commit record of a folder.

        Raises:
            MissingFileError: There is none.
            TornFileError: It is not whole, or is that of another folder.
            StorageError: It cannot be read.
        """
        path = f"{step.path}/{COMMIT_FILE}"
        content = self._folder.read(path)
        if step.listed is not None and not _is_content(content, step.listed):
            raise TornFileError(path)
        record = read_document_from(self._folder, path, CommitRecord)
        name = "/".join(filter(None, (record.phase_name, record.window_id)))
        if name and not f"/{step.path}".endswith(f"/{name}"):
            raise TornFileError(path)
        self._count(content)
        return record

    def _listed(self, path: str, record: CommitRecord) -> Iterator[_Step]:
        """Look at the files of a folder that is committed; yield the folders that it lists."""
        self._committed.append(path)
        self._windows += any(it.path.startswith(f"{CONTAINERS}/") for it in record.files)
        below = {it.path.removesuffix(f"/{COMMIT_FILE}"): it for it in record.windows}
        self.look_around(path, {COMMIT_FILE, *(it.path for it in record.files)}, set(below))
        for file in record.files:
            if not self.is_below_link(f"{path}/{file.path}"):
                self._check_file(f"{path}/{file.path}", file)
        for name, listed in below.items():
            if not self.is_below_link(f"{path}/{name}"):
                yield _Step(f"{path}/{name}", required=True, listed=listed)

    def _check_file(self, path: str, listed: FileRecord) -> None:
        try:
            content = self._folder.read(path)
        except MissingFileError:
            self._find("missing", path)
        except StorageError as error:
            self._find("unreadable", path, str(error))
        else:
            if _is_content(content, listed):
                self._count(content)
            else:
                self._find("torn", path)

    def _uncommitted(self, path: str, *, unfinished: bool) -> Iterator[_Step]:
        """Look at a folder without a record; yield those below it, which may have one.

        Args:
            path: The folder.
            unfinished: Whether files in it are worth telling.
        """
        for entry in self._entries(path):
            place = f"{path}/{entry.name}"
            if self._is_link_or_temporary(entry, place):
                continue
            if entry.is_dir(follow_symlinks=False) and entry.name != CONTAINERS:
                if _is_safe(entry.name):
                    yield _Step(place, required=False)
                else:
                    self._find("foreign", place)
            elif unfinished:
                self._find("unfinished", path)

    def look_around(self, path: str, files: set[str], folders: set[str]) -> None:
        """Find what is in a folder and is not listed.

        Args:
            path: The folder; empty for the top.
            files: What is listed, relative to it.
            folders: Folders that are listed, relative to it; what is in them is not looked at.
        """
        above = {name[:end] for name in (*files, *folders) for end in _slashes(name)}
        plain = {plain_name(file) for file in files}
        pending = [""]
        while pending:
            inner = pending.pop()
            for entry in self._entries("/".join(filter(None, (path, inner)))):
                name = f"{inner}/{entry.name}" if inner else entry.name
                place = f"{path}/{name}" if path else name
                hidden = not path and name.startswith(".") and not is_temporary(name)
                if hidden or self._is_link_or_temporary(entry, place):
                    continue
                is_folder = entry.is_dir(follow_symlinks=False)
                if is_folder and name in above and name not in folders:
                    pending.append(name)
                elif name not in files and not (is_folder and name in folders):
                    self._find("ambiguous" if plain_name(name) in plain else "foreign", place)

    def is_below_link(self, path: str) -> bool:
        """Whether a path is, or leads over, a link that was found."""
        return any(path[:end] in self._links for end in (*_slashes(path), len(path)))

    def _is_link_or_temporary(self, entry: os.DirEntry[str], place: str) -> bool:
        if entry.is_symlink():
            self._links.add(place)
            self._find("link", place)
        elif is_temporary(place):
            self._find("temporary", place)
        else:
            return False
        return True

    def _entries(self, path: str) -> list[os.DirEntry[str]]:
        """Return what is in a folder, which need not exist."""
        place = self._folder.root.joinpath(path)
        try:
            with self._call(os.scandir, place) as entries:
                return list(entries)
        except FileNotFoundError:
            return []
        except OSError as error:
            self._find("unreadable", path, str(storage_error("list", str(place), error)))
            return []

    def _find(self, kind: FindingKind, path: str, reason: str = "") -> None:
        self._found.add(Finding(kind, _printable(path), reason))

    def _count(self, content: bytes) -> None:
        self._files += 1
        self._size_bytes += len(content)


def _is_content(content: bytes, listed: FileRecord) -> bool:
    if len(content) != listed.size:
        return False
    return hashlib.sha256(content).hexdigest() == listed.sha256


def _is_safe(name: str) -> bool:
    try:
        path_parts(name)
    except StorageError:
        return False
    return True


def _slashes(path: str) -> list[int]:
    return [at for at, character in enumerate(path) if character == "/"]


def _printable(path: str) -> str:
    """Return a path that others may have named, so that it stands on one line of UTF-8."""
    return "".join(it if it.isprintable() else ascii(it)[1:-1] for it in path)

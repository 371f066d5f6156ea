"""A folder of the local file system, with calls that block.

`admf.engine.storage.LocalStorage` makes them in threads; who has no event loop to hold up uses
them as they are. Paths are relative, with ``/`` between their parts.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

from admf.engine.errors import StorageError
from admf.engine.files import (
    Draft,
    SystemCall,
    is_temporary,
    lstat,
    make_folder,
    read_file,
    storage_error,
    sync_folder,
)
from admf.engine.journal import FileJournal

__all__ = ["LocalFolder", "call_system", "path_parts"]

P = ParamSpec("P")
T = TypeVar("T")

_SAFE_PART = re.compile(r"[A-Za-z0-9_.-]{1,200}")


def call_system(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the operating system."""
    return function(*args, **kwargs)


class LocalFolder:
    """Reads and writes below a root, and nowhere else.

    Symbolic links below the root are refused, never followed. Every method may raise
    `StorageError`, whose message names the path, the reason and the remedy.

    Args:
        root: The folder; made when first written to. It may itself be reached through links.
        call: How to reach the operating system.
    """

    def __init__(self, root: str | os.PathLike[str], call: SystemCall = call_system) -> None:
        self.root = Path(root).absolute()
        self._call = call

    def locate(self, path: str) -> Path:
        """Return the absolute path."""
        return self.root.joinpath(*path_parts(path))

    def read(self, path: str) -> bytes:
        """Return the content of a regular file."""
        with self._telling("read", path):
            found = self._find(path)
            place = self.locate(path)
            if found is not None and not stat.S_ISREG(found.st_mode):
                kind = "folder" if stat.S_ISDIR(found.st_mode) else "pipe or a device"
                raise StorageError(f"cannot read {place}: it is a {kind}, not a file")
            return read_file(place, self._call)

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder."""
        with self._telling("look for", path):
            return self._find(path) is not None

    def list_files(self, path: str = "") -> list[str]:
        """Return the paths of all files in a folder and below, sorted, without temporary ones.

        The empty path is the root.
        """
        with self._telling("list", path):
            return sorted(file for file in self._walk(path) if not is_temporary(file))

    def make_dir(self, path: str) -> bool:
        """Make a folder; of several callers one gets True, also of those in other processes."""
        with self._telling("make", path):
            return make_folder(self._prepare(path), self._call)

    def draft(self, path: str) -> Draft:
        """Return a draft of a file, which makes missing folders when it is opened."""
        return Draft(self.locate(path), self._call, partial(self._prepare, path))

    def write_draft(self, path: str, draft: Draft, chunks: Iterable[bytes]) -> None:
        """Write a draft of a file from its beginning to its end, and publish it."""
        with self._telling("write", path):
            draft.open()
            for chunk in chunks:
                draft.write(chunk)
            draft.publish()

    def write_atomic(self, path: str, chunks: Iterable[bytes]) -> None:
        """Replace a file as a whole: whatever happens, it is the old one or the new one."""
        draft = self.draft(path)
        try:
            self.write_draft(path, draft, chunks)
        except BaseException:
            draft.abandon()
            raise

    def journal(self, path: str) -> FileJournal:
        """Return a file to append to, which is made, empty, when something is first appended."""
        return FileJournal(self.locate(path), partial(self._prepare, path), self._call)

    def move(self, source: str, target: str) -> None:
        """Rename a folder and fsync the folders around it; nothing may stand at the target."""
        with self._telling("move", source):
            self._find(source)
            origin, place = self.locate(source), self._prepare(target)
            self._call(origin.rename, place)
            for folder in dict.fromkeys((place.parent, origin.parent)):
                sync_folder(folder, self._call)

    def remove(self, path: str) -> None:
        """Remove a file, if there is one."""
        with self._telling("remove", path):
            if self._find(path) is not None:
                self._call(self.locate(path).unlink)

    def remove_tree(self, path: str) -> None:
        """Remove a folder and everything in it; links in it are removed, not followed."""
        from shutil import rmtree

        with self._telling("remove", path):
            if self._find(path) is not None:
                self._call(rmtree, self.locate(path))

    def sweep(self, path: str) -> int:
        """Remove the temporary files in a folder and below; return how many there were."""
        with self._telling("sweep", path):
            orphans = [file for file in self._walk(path) if is_temporary(file)]
            for orphan in orphans:
                self._call(self.root.joinpath(orphan).unlink)
            return len(orphans)

    @contextmanager
    def _telling(self, task: str, path: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(task, str(self.root.joinpath(path)), error) from error

    def _find(self, path: str) -> os.stat_result | None:
        """Return what stands at a path; refuse a link anywhere between it and the root."""
        place = self.root
        found = None
        for part in path_parts(path):
            place /= part
            found = lstat(place, self._call)
            if found is None:
                return None
        return found

    def _prepare(self, path: str) -> Path:
        """Make the folders above a path and return its place on disk; refuse links on the way."""
        *folders, name = path_parts(path)
        place = self.root
        for folder in folders:
            place /= folder
            if lstat(place, self._call) is None:
                self._make_root()
                make_folder(place, self._call)
        place /= name
        if lstat(place, self._call) is None and not folders:
            self._make_root()
        return place

    def _make_root(self) -> None:
        missing = [place for place in (self.root, *self.root.parents) if not place.exists()]
        for place in reversed(missing):
            make_folder(place, self._call)

    def _walk(self, path: str) -> list[str]:
        folder = self.locate(path) if path else self.root
        if path and self._find(path) is None:
            return []
        walk = self._call(os.walk, folder, onerror=_raise)
        places = (Path(folder, name) for folder, _, names in walk for name in names)
        return [place.relative_to(self.root).as_posix() for place in places]


def path_parts(path: str) -> list[str]:
    """Return the parts of a path.

    Raises:
        StorageError: A part is not safe as a file name, or would lead out of the root.
    """
    parts = path.split("/")
    for part in parts:
        if not _SAFE_PART.fullmatch(part) or part in {".", ".."}:
            raise StorageError(
                f"{path[:200]!r} is not a path below the results root: use parts of 1 to 200 "
                "letters, digits, '_', '-' and '.', with '/' between them"
            )
    return parts


def _raise(error: OSError) -> NoReturn:
    raise error

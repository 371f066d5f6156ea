"""Where results are kept: the `Storage` protocol, on disk and in memory.

Paths are relative, with ``/`` between their parts, and every part comes from a small allow-list; so
nothing is read or written outside a storage's root.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NoReturn, ParamSpec, Protocol, TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import checkpoint

from admf.engine.errors import StorageError
from admf.engine.files import (
    Draft,
    is_temporary,
    lstat,
    make_folder,
    read_file,
    storage_error,
    sync_folder,
)

__all__ = ["LocalStorage", "MemoryStorage", "Storage"]

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_WRITERS = 8
"""Files that one storage writes at the same time; bounds threads, descriptors and buffers."""

_SAFE_PART = re.compile(r"[A-Za-z0-9_.-]{1,200}")


class Storage(Protocol):
    """What results need of a file system.

    Every method may raise `StorageError`, whose message names the path, the reason and the remedy.
    """

    def locate(self, path: str) -> str:
        """Return where a path is, for people: a full path or the like."""
        ...

    async def write_atomic(self, path: str, chunks: Iterable[bytes]) -> None:
        """Replace a file as a whole: whatever happens, it is the old one or the new one.

        Missing folders are made. The event loop runs between chunks. A write that is cancelled
        changes nothing from then on.
        """
        ...

    async def read(self, path: str) -> bytes:
        """Return the content of a file."""
        ...

    async def exists(self, path: str) -> bool:
        """Whether there is a file or a folder."""
        ...

    async def list_files(self, path: str) -> list[str]:
        """Return the paths of all files in a folder and below, sorted, without temporary ones."""
        ...

    async def make_dir(self, path: str) -> bool:
        """Make a folder; of several callers one gets True, the others and later ones False."""
        ...

    async def move(self, source: str, target: str) -> None:
        """Rename a folder in one step; nothing may stand at the target."""
        ...

    async def remove_tree(self, path: str) -> None:
        """Remove a folder and everything in it."""
        ...

    async def sweep(self, path: str) -> int:
        """Remove what dead writers left in a folder and below; return how many files that were."""
        ...


class LocalStorage:
    """A folder of the local file system.

    Blocking calls run in threads. A thread whose caller was cancelled is left behind, and publishes
    nothing. Symbolic links below the root are refused, never followed.

    Args:
        root: The folder; made when first written to. It may itself be reached through links.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root).absolute()
        self._writers = CapacityLimiter(MAX_WRITERS)
        self._threads = CapacityLimiter(2 * MAX_WRITERS)

    def system_call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the operating system; the one place for a test double to step in."""
        return function(*args, **kwargs)

    def locate(self, path: str) -> str:
        """Return the absolute path."""
        return str(self._root.joinpath(*_parts(path)))

    async def write_atomic(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write a temporary file in the same folder, fsync, rename, fsync the folder."""
        async with self._writers:
            draft = Draft(Path(self.locate(path)), self.system_call)
            steps: list[Callable[[], None]] = [partial(self._begin, path, draft)]
            try:
                for number, chunk in enumerate(chunks):
                    if number:  # so that a file of one chunk takes a thread once
                        await self._run("write", path, _do_all, steps)
                        steps = []
                    steps.append(partial(draft.write, chunk))
                await self._run("write", path, _do_all, [*steps, draft.publish])
            except BaseException:
                draft.abandon()
                raise

    async def read(self, path: str) -> bytes:
        """Return the content of a regular file."""
        return await self._run("read", path, self._read, path)

    async def exists(self, path: str) -> bool:
        """Whether there is a file or a folder."""
        return await self._run("look for", path, self._find, path) is not None

    async def list_files(self, path: str) -> list[str]:
        """Return the paths of all files in a folder and below, sorted, without temporary ones."""
        files = await self._run("list", path, self._walk, path)
        return sorted(file for file in files if not is_temporary(file))

    async def make_dir(self, path: str) -> bool:
        """Make a folder; mkdir decides between several callers, also of other processes."""
        return await self._run("make", path, self._make_dir, path, abandon=False)

    async def move(self, source: str, target: str) -> None:
        """Rename a folder and fsync the folders around it."""
        await self._run("move", source, self._move, source, target, abandon=False)

    async def remove_tree(self, path: str) -> None:
        """Remove a folder and everything in it; links in it are removed, not followed."""
        await self._run("remove", path, self._remove_tree, path, abandon=False)

    async def sweep(self, path: str) -> int:
        """Remove the temporary files in a folder and below."""
        return await self._run("sweep", path, self._sweep, path, abandon=False)

    async def _run(
        self,
        task: str,
        path: str,
        function: Callable[[*Ts], T],
        *args: *Ts,
        abandon: bool = True,
    ) -> T:
        """Run in a thread; one that may not be abandoned outlasts the cancellation of a scope."""
        try:
            return await to_thread.run_sync(
                function, *args, limiter=self._threads, abandon_on_cancel=abandon
            )
        except OSError as error:
            raise storage_error(task, self.locate(path), error) from error

    def _find(self, path: str) -> os.stat_result | None:
        """Return what stands at a path; refuse a link anywhere between it and the root."""
        place = self._root
        found = None
        for part in _parts(path):
            place /= part
            found = lstat(place, self.system_call)
            if found is None:
                return None
        return found

    def _prepare(self, path: str) -> Path:
        """Make the folders above a path and return its place on disk; refuse links on the way."""
        *folders, name = _parts(path)
        missing = [place for place in (self._root, *self._root.parents) if not place.exists()]
        for place in reversed(missing):
            make_folder(place, self.system_call)
        place = self._root
        for folder in folders:
            place /= folder
            if lstat(place, self.system_call) is None:
                make_folder(place, self.system_call)
        place /= name
        lstat(place, self.system_call)
        return place

    def _begin(self, path: str, draft: Draft) -> None:
        self._prepare(path)
        draft.open()

    def _read(self, path: str) -> bytes:
        found = self._find(path)
        place = Path(self.locate(path))
        if found is not None and not stat.S_ISREG(found.st_mode):
            kind = "folder" if stat.S_ISDIR(found.st_mode) else "pipe or a device"
            raise StorageError(f"cannot read {place}: it is a {kind}, not a file")
        return read_file(place, self.system_call)

    def _walk(self, path: str) -> list[str]:
        if self._find(path) is None:
            return []
        walk = self.system_call(os.walk, self.locate(path), onerror=_raise)
        places = (Path(folder, name) for folder, _, names in walk for name in names)
        return [place.relative_to(self._root).as_posix() for place in places]

    def _make_dir(self, path: str) -> bool:
        return make_folder(self._prepare(path), self.system_call)

    def _move(self, source: str, target: str) -> None:
        self._find(source)
        origin, place = Path(self.locate(source)), self._prepare(target)
        self.system_call(origin.rename, place)
        for folder in dict.fromkeys((place.parent, origin.parent)):
            sync_folder(folder, self.system_call)

    def _remove_tree(self, path: str) -> None:
        from shutil import rmtree

        if self._find(path) is not None:
            self.system_call(rmtree, self.locate(path))

    def _sweep(self, path: str) -> int:
        orphans = [file for file in self._walk(path) if is_temporary(file)]
        for orphan in orphans:
            self.system_call(self._root.joinpath(orphan).unlink)
        return len(orphans)


class MemoryStorage:
    """The same tree in memory; what was written can be read until the storage is let go."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._folders: set[str] = set()

    def locate(self, path: str) -> str:
        """Return the path, marked as one in memory."""
        return "memory:" + "/".join(_parts(path))

    async def write_atomic(self, path: str, chunks: Iterable[bytes]) -> None:
        """Replace a file once all its chunks are there."""
        content: list[bytes] = []
        for chunk in chunks:
            content.append(chunk)
            await checkpoint()
        self._make_room(path)
        if path in self._folders:
            raise StorageError(f"cannot write {self.locate(path)}: it is a folder")
        self._files[path] = b"".join(content)

    async def read(self, path: str) -> bytes:
        """Return the content of a file."""
        await self._enter(path)
        if path not in self._files:
            raise StorageError(f"cannot read {self.locate(path)}: there is no such file")
        return self._files[path]

    async def exists(self, path: str) -> bool:
        """Whether there is a file or a folder."""
        await self._enter(path)
        return path in self._files or path in self._folders

    async def list_files(self, path: str) -> list[str]:
        """Return the paths of all files in a folder and below, sorted."""
        await self._enter(path)
        return sorted(file for file in self._files if file.startswith(f"{path}/"))

    async def make_dir(self, path: str) -> bool:
        """Make a folder; False if something stands there already."""
        await self._enter(path)
        self._make_room(path)
        taken = path in self._files or path in self._folders
        if not taken:
            self._folders.add(path)
        return not taken

    async def move(self, source: str, target: str) -> None:
        """Rename a folder."""
        await self._enter(source)
        if source not in self._folders:
            raise StorageError(f"cannot move {self.locate(source)}: there is no such folder")
        self._make_room(target)
        size = len(source)
        inside = f"{source}/"
        for path in [path for path in self._files if path.startswith(inside)]:
            self._files[target + path[size:]] = self._files.pop(path)
        for path in [path for path in self._folders if f"{path}/".startswith(inside)]:
            self._folders.remove(path)
            self._folders.add(target + path[size:])

    async def remove_tree(self, path: str) -> None:
        """Remove a folder and everything in it."""
        await self._enter(path)
        inside = f"{path}/"
        self._files = {k: v for k, v in self._files.items() if not k.startswith(inside)}
        self._folders = {k for k in self._folders if not f"{k}/".startswith(inside)}

    async def sweep(self, path: str) -> int:
        """Find nothing to remove: what is in memory has no dead writers."""
        await self._enter(path)
        return 0

    async def _enter(self, path: str) -> None:
        _parts(path)
        await checkpoint()

    def _make_room(self, path: str) -> None:
        """Make the folders above a path."""
        parts = _parts(path)
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder in self._files:
                raise StorageError(f"cannot write {self.locate(path)}: {folder} is a file")
            self._folders.add(folder)


def _parts(path: str) -> list[str]:
    parts = path.split("/")
    for part in parts:
        if not _SAFE_PART.fullmatch(part) or part in {".", ".."}:
            raise StorageError(
                f"{path[:200]!r} is not a path below the results root: use parts of 1 to 200 "
                "letters, digits, '_', '-' and '.', with '/' between them"
            )
    return parts


def _do_all(steps: Iterable[Callable[[], None]]) -> None:
    for step in steps:
        step()


def _raise(error: OSError) -> NoReturn:
    raise error

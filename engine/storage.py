"""Where results are kept: the `Storage` protocol, on disk and in memory.

Paths are relative, with ``/`` between their parts, and every part comes from a small allow-list; so
nothing is read or written outside a storage's root.
"""

from __future__ import annotations

import os
from collections import UserDict
from collections.abc import Callable, Iterable
from typing import ParamSpec, Protocol, TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import checkpoint

from admf.engine.errors import MissingFileError, StorageError
from admf.engine.journal import Journal, MemoryJournal
from admf.engine.local_folder import LocalFolder, path_parts

__all__ = ["LocalStorage", "MemoryStorage", "Storage"]

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_WRITERS = 8
"""Files that one storage writes at the same time; bounds threads, descriptors and buffers."""


class Storage(Protocol):
    """What results need of a file system.

    Every method may raise `StorageError`, whose message names the path, the reason and the remedy.
    """

    def locate(self, path: str) -> str:
        """Return where a path is, for people: a full path or the like."""
        ...

    async def write_atomic(self, path: str, chunks: Iterable[bytes]) -> None:
        """Replace a file as a whole: whatever happens, it is the old one or the new one.

        Missing folders are made. The event loop runs meanwhile, and the chunks may be made in
        another thread. A write that is cancelled changes nothing from then on.
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

    async def remove(self, path: str) -> None:
        """Remove a file, if there is one."""
        ...

    async def remove_tree(self, path: str) -> None:
        """Remove a folder and everything in it."""
        ...

    async def sweep(self, path: str) -> int:
        """Remove what dead writers left in a folder and below; return how many files that were."""
        ...

    def journal(self, path: str) -> Journal:
        """Return a file to append to; it is made, empty, when something is first appended.

        Its calls block, so what is appended at once is to be small.
        """
        ...


class LocalStorage:
    """A folder of the local file system.

    Blocking calls run in threads. A thread whose caller was cancelled is left behind, and publishes
    nothing. Symbolic links below the root are refused, never followed.

    Args:
        root: The folder; made when first written to. It may itself be reached through links.

    Attributes:
        folder: The same folder, for who may block.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.folder = LocalFolder(root, self.system_call)
        self._writers = CapacityLimiter(MAX_WRITERS)
        self._threads = CapacityLimiter(2 * MAX_WRITERS)

    def system_call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the operating system; the one place for a test double to step in."""
        return function(*args, **kwargs)

    def locate(self, path: str) -> str:
        """Return the absolute path."""
        return str(self.folder.locate(path))

    async def write_atomic(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write a temporary file in the same folder, fsync, rename, fsync the folder."""
        async with self._writers:
            draft = self.folder.draft(path)
            try:
                await self._run(self.folder.write_draft, path, draft, chunks)
            except BaseException:
                draft.abandon()
                raise

    async def read(self, path: str) -> bytes:
        """Return the content of a regular file."""
        return await self._run(self.folder.read, path)

    async def exists(self, path: str) -> bool:
        """Whether there is a file or a folder."""
        return await self._run(self.folder.exists, path)

    async def list_files(self, path: str) -> list[str]:
        """Return the paths of all files in a folder and below, sorted, without temporary ones."""
        path_parts(path)
        return await self._run(self.folder.list_files, path)

    async def make_dir(self, path: str) -> bool:
        """Make a folder; mkdir decides between several callers, also of other processes."""
        return await self._finish(self.folder.make_dir, path)

    async def move(self, source: str, target: str) -> None:
        """Rename a folder and fsync the folders around it."""
        await self._finish(self.folder.move, source, target)

    async def remove(self, path: str) -> None:
        """Remove a file, if there is one."""
        await self._finish(self.folder.remove, path)

    async def remove_tree(self, path: str) -> None:
        """Remove a folder and everything in it; links in it are removed, not followed."""
        await self._finish(self.folder.remove_tree, path)

    async def sweep(self, path: str) -> int:
        """Remove the temporary files in a folder and below."""
        path_parts(path)
        return await self._finish(self.folder.sweep, path)

    def journal(self, path: str) -> Journal:
        """Return a file to append to."""
        return self.folder.journal(path)

    async def _run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run in a thread, which is left behind if the caller is cancelled."""
        return await to_thread.run_sync(
            function, *args, limiter=self._threads, abandon_on_cancel=True
        )

    async def _finish(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run in a thread that outlasts the cancellation of a scope."""
        return await to_thread.run_sync(function, *args, limiter=self._threads)


class MemoryStorage:
    """The same tree in memory; what was written can be read until the storage is let go."""

    def __init__(self) -> None:
        self._files = _Files()
        self._folders: set[str] = set()

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return self._files.size_bytes

    def peek(self, path: str) -> bytes | None:
        """Return the content of a file at once; None if there is none."""
        content = self._files.get(path)
        return None if content is None else bytes(content)

    def peek_files(self, path: str = "") -> list[str]:
        """Return at once the paths of the files at a path and below; the empty path is the root."""
        if not path:
            return list(self._files)
        return [file for file in self._files if f"{file}/".startswith(f"{path}/")]

    def has_folder(self, path: str) -> bool:
        """Whether there is a folder, answered at once."""
        return path in self._folders

    def drop_file(self, path: str, content: bytes | None) -> bool:
        """Remove a file at once if this very object is its content; return whether it was."""
        found = content is not None and self._files.get(path) is content
        if found:
            del self._files[path]
        return found

    def drop_folder(self, path: str = "") -> None:
        """Remove a folder and everything in it at once; the empty path is the root."""
        inside = f"{path}/" if path else ""
        for file in [file for file in self._files if file.startswith(inside)]:
            del self._files[file]
        self._folders = {k for k in self._folders if not f"{k}/".startswith(inside)}

    def locate(self, path: str) -> str:
        """Return the path, marked as one in memory."""
        return "memory:" + "/".join(path_parts(path))

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
            raise MissingFileError(f"cannot read {self.locate(path)}: there is no such file")
        return bytes(self._files[path])

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

    async def remove(self, path: str) -> None:
        """Remove a file, if there is one."""
        await self._enter(path)
        self._files.pop(path, None)

    async def remove_tree(self, path: str) -> None:
        """Remove a folder and everything in it."""
        await self._enter(path)
        self.drop_folder(path)

    async def sweep(self, path: str) -> int:
        """Find nothing to remove: what is in memory has no dead writers."""
        await self._enter(path)
        return 0

    def journal(self, path: str) -> Journal:
        """Return a file to append to."""
        self._make_room(path)
        if path in self._folders:
            raise StorageError(f"cannot append to {self.locate(path)}: it is a folder")
        return MemoryJournal(path, self._files)

    async def _enter(self, path: str) -> None:
        path_parts(path)
        await checkpoint()

    def _make_room(self, path: str) -> None:
        """Make the folders above a path."""
        parts = path_parts(path)
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder in self._files:
                raise StorageError(f"cannot write {self.locate(path)}: {folder} is a file")
            self._folders.add(folder)


class _Files(UserDict[str, bytes | bytearray]):
    """Contents by path, and their size; those of journals grow where they stand."""

    def __init__(self) -> None:
        super().__init__()
        self._whole_bytes = 0
        self._growing: dict[str, bytearray] = {}

    @property
    def size_bytes(self) -> int:
        return self._whole_bytes + sum(map(len, self._growing.values()))

    def __setitem__(self, path: str, content: bytes | bytearray) -> None:
        self._uncount(path)
        super().__setitem__(path, content)
        if isinstance(content, bytearray):
            self._growing[path] = content
        else:
            self._whole_bytes += len(content)

    def __delitem__(self, path: str) -> None:
        self._uncount(path)
        super().__delitem__(path)

    def _uncount(self, path: str) -> None:
        if self._growing.pop(path, None) is None:
            self._whole_bytes -= len(self.get(path, b""))

"""Results that stay in memory as long as there is room, and then go to disk.

Memory stands in front of the disk: a file that is in both is what memory says. Files move one way,
and leave memory once they are on disk, so who looks in front first always finds them. What is on
disk is truthful at every moment: a commit record goes there after all that is in its folder.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import accumulate

import anyio
from anyio.lowlevel import checkpoint

from admf.engine.errors import StorageError
from admf.engine.journal import Journal
from admf.engine.local_folder import path_parts
from admf.engine.result_names import COMMIT_FILE
from admf.engine.storage import MemoryStorage, Storage

__all__ = ["TieredStorage"]


class TieredStorage:
    """A storage whose files are in memory until they are told to go to the one behind it.

    Folders are made on the disk alone, which decides between processes. That a path is a file in
    memory and a folder on disk, or the other way round, comes to light when the file goes to disk.

    Args:
        disk: The storage behind.
        on_disk: Whether a file is to go there at once; asked at each write.
    """

    def __init__(self, disk: Storage, on_disk: Callable[[], bool]) -> None:
        self._disk = disk
        self._on_disk = on_disk
        self._front = MemoryStorage()
        self._writes = 0
        self._turns: dict[str, _Turn] = {}
        self._moving = anyio.Lock(fast_acquire=True)

    @property
    def held_bytes(self) -> int:
        """Bytes of the files in memory."""
        return self._front.size_bytes

    async def holds(self, path: str) -> bool:
        """Whether a file of a folder is in memory."""
        path_parts(path)
        await checkpoint()
        return self._is_held(path)

    async def saved(self, path: str) -> bool:
        """Whether a file of a folder is on disk."""
        path_parts(path)
        return bool(await self._disk.list_files(path))

    async def spill(self, path: str = "") -> int:
        """Move what memory holds at a path and below to disk; the empty path is the root.

        Commit records go last, the deepest first, and one that is asked for takes along all that is
        in its folder. What is written meanwhile goes too. If it fails or is cancelled, the files
        that have not arrived are still in memory.

        Returns:
            How many files were moved.
        """
        if path:
            path_parts(path)
        if _is_commit_record(path):
            path = _folder_of(path)
        await checkpoint()
        if not self._front.peek_files(path):  # so there is nothing under way either
            return 0
        async with self._moving:
            return await self._spill(path)

    async def drop(self, path: str) -> None:
        """Forget what memory holds of a folder; what is on disk stays."""
        path_parts(path)
        async with self._moving:
            await checkpoint()
            self._front.drop_folder(path)

    def locate(self, path: str) -> str:
        """Return where a path is on disk, or will be."""
        return self._disk.locate(path)

    async def write_atomic(self, path: str, chunks: Iterable[bytes]) -> None:
        """Replace a file as a whole, in memory or on disk.

        A commit record that goes to disk takes along what memory holds of its folder.
        """
        if self._on_disk():
            await self._write_to_disk(path, chunks)
        else:
            await self._front.write_atomic(path, chunks)
            self._writes += 1

    async def read(self, path: str) -> bytes:
        """Return the content of a file."""
        content = self._front.peek(path)
        if content is None:
            return await self._disk.read(path)
        await checkpoint()
        return content

    async def exists(self, path: str) -> bool:
        """Whether there is a file or a folder; a folder of no files, on disk."""
        return await self.holds(path) or await self._disk.exists(path)

    async def list_files(self, path: str) -> list[str]:
        """Return the paths of all files in a folder and below, sorted, without temporary ones."""
        files = await self._front.list_files(path)
        return sorted({*files, *await self._disk.list_files(path)})

    async def make_dir(self, path: str) -> bool:
        """Make a folder on disk; a folder that is in memory alone does not count as there."""
        self._refuse_file_above(path)
        if self._front.peek(path) is None:
            return await self._disk.make_dir(path)
        await checkpoint()
        return False

    async def move(self, source: str, target: str) -> None:
        """Rename a folder in one step: what memory holds of it goes to disk first."""
        path_parts(source)
        self._refuse_file_above(target)
        if self._front.peek_files(target):
            raise StorageError(f"cannot move {self.locate(source)}: {target} is there")
        async with self._moving:
            await self._spill(source)
            await self._disk.move(source, target)

    async def remove(self, path: str) -> None:
        """Remove a file, if there is one."""
        async with self._turn(path):
            held = self._front.peek(path)
            await self._disk.remove(path)
            self._front.drop_file(path, held)

    async def remove_tree(self, path: str) -> None:
        """Remove a folder and everything in it."""
        async with self._moving:
            await self._disk.remove_tree(path)
            self._front.drop_folder(path)

    async def sweep(self, path: str) -> int:
        """Remove what dead writers left on disk, once none of this storage is moving files."""
        async with self._moving:
            return await self._disk.sweep(path)

    def journal(self, path: str) -> Journal:
        """Return a file on disk to append to.

        Raises:
            StorageError: Memory holds a file there, or one above or below.
        """
        self._refuse_file_above(path)
        if self._is_held(path):
            raise StorageError(f"cannot append to {self.locate(path)}: it is held in memory")
        return self._disk.journal(path)

    async def _write_to_disk(self, path: str, chunks: Iterable[bytes]) -> None:
        if _is_commit_record(path):
            await self.spill(_folder_of(path))
        async with self._turn(path):
            self._refuse_file_above(path)
            if self._front.peek(path) is None and self._is_held(path):
                raise StorageError(f"cannot write {self.locate(path)}: it is a folder")
            held = self._front.peek(path)
            await self._disk.write_atomic(path, chunks)
            self._front.drop_file(path, held)

    async def _spill(self, path: str) -> int:
        """Move files until none is left; the caller sees to it that nobody else moves any."""
        moved = 0
        while files := self._front.peek_files(path):
            moved += await self._spill_these(files)
        self._front.drop_folder(path)  # empty, and never to be asked for again
        return moved

    async def _spill_these(self, files: list[str]) -> int:
        """Move files; after a write no commit record, which may tell of what is not among them."""
        moved = 0
        writes = self._writes
        for file in sorted(files, key=_spill_rank):
            async with self._turn(file):
                if _is_commit_record(file) and writes != self._writes:
                    break
                moved += await self._spill_file(file)
        return moved

    async def _spill_file(self, file: str) -> bool:
        """Move a file; one that was replaced while it was on its way stays in memory."""
        held = self._front.peek(file)
        if held is None:  # removed, or written to disk, before it was its turn
            return False
        await self._disk.write_atomic(file, [held])
        return self._front.drop_file(file, held)

    def _is_held(self, path: str) -> bool:
        """Whether memory holds a file at a path or below."""
        if not self._front.has_folder(path):  # the quick answer, for most
            return self._front.peek(path) is not None
        return bool(self._front.peek_files(path))

    def _refuse_file_above(self, path: str) -> None:
        *folders, _ = accumulate(path_parts(path), "{}/{}".format)
        for folder in folders:
            if self._front.peek(folder) is not None:
                raise StorageError(f"cannot write {self.locate(path)}: {folder} is a file")

    @asynccontextmanager
    async def _turn(self, path: str) -> AsyncGenerator[None]:
        """Change one file on disk after the other, so that none undoes a later one."""
        turn = self._turns.setdefault(path, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[path]


class _Turn:
    """A lock of those who change one file on disk; it goes with the last of them."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = anyio.Lock(fast_acquire=True)
        self.users = 0


def _is_commit_record(path: str) -> bool:
    return path.rpartition("/")[2] == COMMIT_FILE


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def _spill_rank(path: str) -> tuple[bool, int, str]:
    """Commit records last and the deepest first; other files the other way round.

    So ``run.json``, which everything hangs on, is the first.
    """
    is_commit_record = _is_commit_record(path)
    depth = path.count("/")
    return is_commit_record, -depth if is_commit_record else depth, path

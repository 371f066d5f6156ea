"""Files that grow: what does not fit into memory goes to their end, and is read back later."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from admf.engine.files import SystemCall, storage_error

__all__ = ["FileJournal", "Journal", "MemoryJournal"]

_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_ANEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK
_AGAIN = os.O_WRONLY | _NO_LINK
_READ = os.O_RDONLY | _NO_LINK


class Journal(Protocol):
    """A file that is written at its end and read anywhere; every method may raise `StorageError`.

    The calls block for as long as the operating system takes to copy the data; nothing waits for
    the disk but `sync`.
    """

    @property
    def size(self) -> int:
        """Bytes appended so far."""
        ...

    def append(self, data: bytes) -> None:
        """Add to the end."""
        ...

    def read(self, start: int, count: int) -> bytes:
        """Return up to ``count`` bytes from a place on."""
        ...

    def sync(self) -> None:
        """Make the content durable."""
        ...

    def discard(self) -> None:
        """Remove the file, if it was made; idempotent."""
        ...


class FileJournal:
    """A journal on disk; the file is made by the first `append`, in place of what stood there.

    It is open only while a call lasts, so that thousands of journals need no descriptors.

    Args:
        place: Where it goes.
        prepare: Makes the folders above it.
        call: How to reach the operating system.
    """

    def __init__(self, place: Path, prepare: Callable[[], Path], call: SystemCall) -> None:
        self._place = place
        self._prepare = prepare
        self._call = call
        self._made = False
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes appended so far."""
        return self._size

    def append(self, data: bytes) -> None:
        """Add to the end; of a failed call nothing counts."""
        with self._telling("write"):
            if not self._made:
                self._prepare()
                self._remove()  # a hard link to it keeps its content
            with self._opened(_AGAIN if self._made else _ANEW) as file:
                self._made = True
                self._call(os.lseek, file, self._size, os.SEEK_SET)
                rest = memoryview(data)
                while rest:
                    rest = rest[self._call(os.write, file, rest) :]
            self._size += len(data)

    def read(self, start: int, count: int) -> bytes:
        """Return up to ``count`` bytes from a place on."""
        count = min(count, self._size - start)
        if count <= 0:
            return b""
        with self._telling("read"), self._opened(_READ) as file:
            self._call(os.lseek, file, start, os.SEEK_SET)
            return self._call(os.read, file, count)

    def sync(self) -> None:
        """Make the content durable, without what a failed `append` left behind it."""
        if self._made:
            with self._telling("write"), self._opened(_AGAIN) as file:
                self._call(os.ftruncate, file, self._size)
                self._call(os.fsync, file)

    def discard(self) -> None:
        """Remove the file, if it was made; idempotent."""
        if self._made:
            with self._telling("remove"):
                self._remove()
            self._made = False
            self._size = 0

    def _remove(self) -> None:
        self._call(self._place.unlink, missing_ok=True)

    @contextmanager
    def _opened(self, flags: int) -> Generator[int]:
        file = self._call(os.open, self._place, flags, 0o666)
        try:
            yield file
        finally:
            self._call(os.close, file)

    @contextmanager
    def _telling(self, task: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(task, str(self._place), error) from error


class MemoryJournal:
    """A journal in memory.

    Args:
        path: Its key among the files.
        files: Where its content stands, from the first `append` on.
    """

    def __init__(self, path: str, files: MutableMapping[str, bytes | bytearray]) -> None:
        self._path = path
        self._files = files
        self._content = bytearray()

    @property
    def size(self) -> int:
        """Bytes appended so far."""
        return len(self._content)

    def append(self, data: bytes) -> None:
        """Add to the end."""
        self._content += data
        self._files[self._path] = self._content

    def read(self, start: int, count: int) -> bytes:
        """Return up to ``count`` bytes from a place on."""
        return bytes(self._content[start : start + count])

    def sync(self) -> None:
        """Do nothing: memory is as durable as it gets."""

    def discard(self) -> None:
        """Let go of the content; idempotent."""
        if self._files.get(self._path) is self._content:
            del self._files[self._path]
        self._content = bytearray()

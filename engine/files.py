"""Files as `admf.engine.storage.LocalStorage` needs them: whole or absent, never through a link.

Nothing here is async; all of it runs in worker threads. Every call to the operating system passes
through a `SystemCall`, so that a test can make any single one of them fail.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from admf.engine.errors import MissingFileError, StorageError

__all__ = [
    "TEMP_SUFFIX",
    "Draft",
    "SystemCall",
    "is_temporary",
    "lstat",
    "make_folder",
    "read_file",
    "storage_error",
    "sync_folder",
    "temporary_name",
]

P = ParamSpec("P")
T = TypeVar("T")

TEMP_SUFFIX = ".tmp"


_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _BINARY
_READ = os.O_RDONLY | _NO_LINK | _BINARY
_FOLDER = getattr(os, "O_DIRECTORY", None)
_REMEDIES = {
    errno.ENOSPC: "free some space or choose another results root",
    errno.EDQUOT: "the quota is used up: free some space or choose another results root",
    errno.EACCES: "check who owns it and its permissions, or choose another results root",
    errno.EPERM: "check who owns it and its permissions, or choose another results root",
    errno.EROFS: "the file system is read-only: choose another results root",
    errno.EMFILE: "raise the limit of open files (ulimit -n) or run fewer windows at once",
    errno.ENFILE: "the system has too many open files: close some programs",
    errno.EIO: "the device reports a fault: check it before trusting what is on it",
    errno.ENOENT: "check that the path is right and nothing else removes it",
    errno.ENAMETOOLONG: "choose shorter ids or a shorter results root",
}


class SystemCall(Protocol):
    """Calls a function of the operating system; a test double may raise OSError instead."""

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``function(*args, **kwargs)`` returns."""
        ...


def storage_error(task: str, place: str, error: OSError) -> StorageError:
    """Say what could not be done, where, why, and how to mend it."""
    number = error.errno or 0
    kind = MissingFileError if number == errno.ENOENT else StorageError
    reason = f"{error.strerror or error} [{errno.errorcode.get(number, number)}]"
    remedy = _REMEDIES.get(number, "mend the cause and run again")
    return kind(f"cannot {task} {place}: {reason}; {remedy}")


def temporary_name(name: str) -> str:
    """Return the name of a file that is swept if it is left behind."""
    return f".{name}{TEMP_SUFFIX}"


def is_temporary(path: str) -> bool:
    """Whether a path is that of a `Draft` that is not published, or of what else is swept."""
    name = path.rpartition("/")[2]
    return name.startswith(".") and name.endswith(TEMP_SUFFIX)


class Draft:
    """A file in the making: written beside its target, then published by one rename or not at all.

    The methods run in worker threads, one at a time; only `abandon` may come from elsewhere at any
    moment. A draft that fails or is abandoned removes its temporary file and cannot be used again,
    so a failed fsync is never followed by another on the same file.

    Args:
        target: The file to replace.
        call: How to reach the operating system.
        prepare: Makes the folder it is in; not needed if that exists.
    """

    def __init__(
        self, target: Path, call: SystemCall, prepare: Callable[[], object] | None = None
    ) -> None:
        self._target = target
        self._temp = target.with_name(temporary_name(f"{target.name}.{os.urandom(8).hex()}"))
        self._call = call
        self._prepare = prepare
        self._descriptor = -1
        self._lock = threading.Lock()
        self._working = False
        self._over = False

    def open(self) -> None:
        """Create the temporary file."""
        with self._work():
            if self._prepare is not None:
                self._prepare()
            self._descriptor = self._call(os.open, self._temp, _CREATE, 0o666)

    def write(self, data: bytes) -> None:
        """Append to the temporary file."""
        with self._work():
            rest = memoryview(data)
            while rest:
                rest = rest[self._call(os.write, self._descriptor, rest) :]

    def publish(self) -> None:
        """Make the content durable, then give it the target's name."""
        with self._work():
            self._call(os.fsync, self._descriptor)
            self._close()
            with self._lock:  # an abandoned draft must not be renamed, however late its thread is
                self._refuse_if_over()
                self._call(self._temp.replace, self._target)
            sync_folder(self._target.parent, self._call)

    def abandon(self) -> None:
        """See to it that nothing is published from now on, and the temporary file goes.

        Waits for a rename that is under way. A thread that is still at work cleans up when it ends.
        """
        with self._lock:
            idle = not (self._working or self._over)
            self._over = True
        if idle:
            self._discard()

    @contextmanager
    def _work(self) -> Generator[None]:
        with self._lock:
            self._refuse_if_over()
            self._working = True
        failed = True
        try:
            yield
            failed = False
        finally:
            with self._lock:
                self._working = False
                self._over = over = self._over or failed
            if over:
                self._discard()

    def _refuse_if_over(self) -> None:
        if self._over:
            raise StorageError(f"writing {self._target} was abandoned")

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._call(os.close, descriptor)

    def _discard(self) -> None:
        with suppress(OSError):
            self._close()
        with suppress(OSError):
            self._call(self._temp.unlink)


def sync_folder(folder: Path, call: SystemCall) -> None:
    """Make the entries of a folder durable, where the system can (Windows does so by itself)."""
    if _FOLDER is None:
        return
    descriptor = call(os.open, folder, os.O_RDONLY | _FOLDER)
    try:
        call(os.fsync, descriptor)
    finally:
        call(os.close, descriptor)


def lstat(path: Path, call: SystemCall) -> os.stat_result | None:
    """Return what stands at a path, None if nothing does.

    Raises:
        StorageError: It is a symbolic link.
    """
    try:
        found = call(path.lstat)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        raise StorageError(
            f"{path} is a symbolic link, and none is followed below the results root: "
            "replace it by a real file or folder"
        )
    return found


def make_folder(path: Path, call: SystemCall) -> bool:
    """Make one folder durable in its parent; return False if something stands there already."""
    try:
        call(path.mkdir)
    except FileExistsError:
        return False
    sync_folder(path.parent, call)
    return True


def read_file(path: Path, call: SystemCall) -> bytes:
    """Return the content of a regular file."""
    descriptor = call(os.open, path, _READ)
    with os.fdopen(descriptor, "rb") as file:
        return call(file.read)

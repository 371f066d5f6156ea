"""Columns on disk that look like arrays, for data that memory is too small for."""

from __future__ import annotations

import mmap
import tempfile
import threading
from typing import Any, Protocol, TypeAlias
from weakref import WeakSet

import numpy as np
from numpy.typing import DTypeLike, NDArray

from admf.engine.errors import DataError

__all__ = ["Column", "MemoryColumn", "Scratch", "ScratchColumn"]

Array: TypeAlias = NDArray[Any]

_DROP = getattr(mmap, "MADV_DONTNEED", None)


class Scratch:
    """Columns in nameless temporary files, each of which is gone with the last array that shows it.

    An array shows the file as if it were in memory. The system reads what is looked at, and counts
    it as memory of the process until `drop` is called, or for good where it has no such call. May
    be used from several threads.
    """

    def __init__(self) -> None:
        self._maps: WeakSet[mmap.mmap] = WeakSet()
        self._lock = threading.Lock()

    def column(self, dtype: DTypeLike) -> ScratchColumn:
        """Return a new column to be written."""
        return ScratchColumn(self, np.dtype(dtype))

    def adopt(self, content: mmap.mmap) -> None:
        """Look after a file that somebody else has mapped."""
        with self._lock:
            self._maps.add(content)

    @property
    def in_use(self) -> bool:
        """Whether there is any array."""
        with self._lock:
            return len(self._maps) > 0

    def drop(self) -> None:
        """Let go of the memory of all arrays; what somebody looks at later is read once more."""
        if _DROP is None:
            return
        with self._lock:
            for content in self._maps:
                content.madvise(_DROP)


class Column(Protocol):
    """A column that is written from its beginning to its end, then shown as an array."""

    def append(self, values: Array) -> None:
        """Write further values."""
        ...

    def array(self) -> Array:
        """Return what was written, (n,), read-only; nothing can be written any more."""
        ...

    def close(self) -> None:
        """Write nothing any more; arrays stay as they are."""
        ...


class MemoryColumn:
    """A column in memory."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._parts: list[Array] = []

    def append(self, values: Array) -> None:
        """Take further values, which must not change any more."""
        self._parts.append(np.asarray(values, dtype=self._dtype))

    def array(self) -> Array:
        """Return all values, (n,), read-only."""
        if len(self._parts) != 1:
            self._parts = [np.concatenate([np.empty(0, dtype=self._dtype), *self._parts])]
        found = self._parts[0].view()
        found.flags.writeable = False
        return found

    def close(self) -> None:
        """Let go of the values; arrays stay as they are."""
        self._parts = []


class ScratchColumn:
    """A column that is written from its beginning to its end, then shown as an array.

    Args:
        scratch: Looks after it.
        dtype: Of its values.
    """

    def __init__(self, scratch: Scratch, dtype: np.dtype[Any]) -> None:
        self._scratch = scratch
        self._dtype = dtype
        self._file = tempfile.TemporaryFile(prefix="admf-")  # noqa: SIM115 - see `close`
        self._rows = 0

    def append(self, values: Array) -> None:
        """Write further values.

        Raises:
            DataError: There is no room for them.
        """
        try:
            self._file.write(np.ascontiguousarray(values, dtype=self._dtype).data)
        except OSError as error:
            raise _no_room(error) from error
        self._rows += len(values)

    def array(self) -> Array:
        """Return what was written, (n,), read-only; nothing can be written any more.

        Raises:
            DataError: There is no room for it.
        """
        try:
            with self._file as file:
                file.flush()
                if not self._rows:  # and nothing that could be mapped
                    return np.frombuffer(b"", dtype=self._dtype)
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise _no_room(error) from error
        self._scratch.adopt(content)
        return np.frombuffer(content, dtype=self._dtype)

    def close(self) -> None:
        """Let go of the file, unless an array shows it."""
        self._file.close()


def _no_room(error: OSError) -> DataError:
    return DataError(
        f"data that are larger than memory should hold go to {tempfile.gettempdir()}, and that "
        f"failed: {error.strerror}; make room there, or name another folder in TMPDIR"
    )

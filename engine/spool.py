"""Records that are written once and read in order, in memory as long as they are few."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator

__all__ = ["Spool"]

_LENGTH = struct.Struct("<I")


class Spool:
    """Keeps records in the order in which they came; beyond a bound, in a nameless temporary file.

    What it holds is gone when it is closed, or when the process ends however it ends.

    Args:
        max_bytes: What is kept in memory at the most.
    """

    def __init__(self, max_bytes: int = 1 << 16) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=max_bytes)  # noqa: SIM115 - see close
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, record: bytes) -> None:
        """Add a record behind the others."""
        self._file.seek(0, 2)
        self._file.write(_LENGTH.pack(len(record)) + record)
        self._length += 1

    def __iter__(self) -> Iterator[bytes]:
        """Yield all records there are; records may be added, and other readers go on, meanwhile."""
        place = 0
        for _ in range(self._length):
            self._file.seek(place)
            size: int = _LENGTH.unpack(self._file.read(_LENGTH.size))[0]
            yield self._file.read(size)
            place += _LENGTH.size + size

    def close(self) -> None:
        """Let go of the records."""
        self._file.close()

"""Frames: payloads one behind the other in a file, which a crash can cut but never falsify.

::

    file      8 bytes ``ADMFFRM1``, frames, and once the writer has finished, the end mark
    frame     u32 length of what follows the checksum
              u32 CRC-32 of those four bytes and of what follows the checksum
              the payload, compressed with zstd
    end mark  a frame of length 0, without a payload

Numbers are little-endian. Whatever is cut off or flipped, what is read is a beginning of what was
written.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import TypeAlias

import zstandard

from admf.engine.errors import StateError, StorageError, TornFileError
from admf.engine.journal import Journal

__all__ = ["MAX_PAYLOAD_BYTES", "FrameReader", "FrameWriter", "Read", "read_frame"]

Read: TypeAlias = Callable[[int, int], bytes]
"""Returns up to so many bytes from a place on, as `Journal.read` does; none beyond the end."""

MAX_PAYLOAD_BYTES = 1 << 24
"""Of one frame; bounds what a reader of a damaged file takes into memory."""

_MAGIC = b"ADMFFRM1"
_HEAD = struct.Struct("<II")
_LENGTH = struct.Struct("<I")
_LEVEL = 1  # 2 and 3 take up to twice the time and save nothing on numbers and records
_MAX_PACKED_BYTES = MAX_PAYLOAD_BYTES + MAX_PAYLOAD_BYTES // 256 + 64  # zstd's worst case


def _head(packed: bytes) -> bytes:
    return _HEAD.pack(len(packed), _checksum(packed))


def _checksum(packed: bytes) -> int:
    return zlib.crc32(packed, zlib.crc32(_LENGTH.pack(len(packed))))


_END_MARK = _head(b"")


class FrameWriter:
    """Writes a file of frames.

    Args:
        journal: The file; nobody else may write to it.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._ended = False

    def append(self, *payloads: bytes) -> tuple[int, ...]:
        """Add frames, all of them or none.

        Args:
            payloads: Up to `MAX_PAYLOAD_BYTES` each.

        Returns:
            The place at which each frame begins, for `read_frame`.

        Raises:
            StorageError: They cannot be written, or one is too large.
            StateError: The file has its end mark.
        """
        if self._ended:
            raise StateError("a file of frames that has its end mark takes no more frames")
        return self._write([_frame(payload) for payload in payloads])

    def end(self) -> None:
        """Add the end mark, which tells that nothing is missing; idempotent.

        Raises:
            StorageError: It cannot be written.
        """
        if not self._ended:
            self._write([_END_MARK])
            self._ended = True

    def _write(self, frames: list[bytes]) -> tuple[int, ...]:
        size = self._journal.size
        begin = b"" if size else _MAGIC
        ends = accumulate(map(len, frames), initial=size + len(begin))
        *places, _ = ends
        self._journal.append(b"".join([begin, *frames]))
        return tuple(places)


class FrameReader:
    """Yields the payloads of a file of frames, one at a time, up to the first damage.

    Args:
        read: Returns the content.
        size: Bytes to read; none beyond them are looked at.

    Attributes:
        damage: After the reading, what is wrong and where; empty if nothing is.
        ended: After the reading, whether the end mark was there. Where it is not, the writer had
            not finished, or the file was cut between two frames.
    """

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size
        self.damage = ""
        self.ended = False

    @property
    def whole(self) -> bool:
        """After the reading, whether that was all that was ever written."""
        return self.ended and not self.damage

    def __iter__(self) -> Iterator[bytes]:
        """Yield the payloads from the first on; each call begins anew.

        Raises:
            StorageError: The file cannot be read.
        """
        self.damage, self.ended = "", False
        try:
            yield from self._payloads()
        except TornFileError as error:
            self.damage = str(error)

    def _payloads(self) -> Iterator[bytes]:
        if self._size and self._bounded(0, len(_MAGIC)) != _MAGIC:
            raise TornFileError("it does not begin as a file of frames does")
        place = len(_MAGIC)
        while place < self._size and not self.ended:
            packed = _packed(self._bounded, place)
            if packed:
                yield _unpacked(packed, place)
            self.ended = not packed
            place += _HEAD.size + len(packed)
        if self.ended and place < self._size:
            raise TornFileError(f"something follows the end mark, from byte {place} on")

    def _bounded(self, start: int, count: int) -> bytes:
        return _all_of(self._read, start, min(count, self._size - start))


def read_frame(read: Read, place: int) -> bytes:
    """Return the payload of one frame.

    Args:
        read: Returns the content of the file.
        place: Where the frame begins, as `FrameWriter.append` told.

    Raises:
        TornFileError: It is not there as it was written.
        StorageError: It cannot be read.
    """
    return _unpacked(_packed(read, place), place)


def _frame(payload: bytes) -> bytes:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise StorageError(
            f"a frame of {len(payload):,} bytes is too large: "
            f"split it into parts of up to {MAX_PAYLOAD_BYTES:,}"
        )
    # Made anew each time: a compressor that was used holds on to more memory than its input.
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(payload)
    return _head(packed) + packed


def _packed(read: Read, place: int) -> bytes:
    """Return the compressed payload of a frame; nothing if it is the end mark."""
    head = _all_of(read, place, _HEAD.size)
    if len(head) < _HEAD.size:
        raise TornFileError(f"the frame at byte {place} is cut")
    length, checksum = _HEAD.unpack(head)
    if length > _MAX_PACKED_BYTES:
        raise TornFileError(f"the frame at byte {place} has an impossible length")
    packed = _all_of(read, place + _HEAD.size, length)
    if len(packed) < length:
        raise TornFileError(f"the frame at byte {place} is cut, or its length was changed")
    if _checksum(packed) != checksum:
        raise TornFileError(f"the frame at byte {place} was changed: its checksum does not match")
    return packed


def _unpacked(packed: bytes, place: int) -> bytes:
    try:
        content_size = zstandard.get_frame_parameters(packed).content_size
        if content_size <= MAX_PAYLOAD_BYTES:  # where it is not told, it is 2**64 - 1
            unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_PAYLOAD_BYTES)
            return unpacker.decompress(packed, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise TornFileError(f"the frame at byte {place} cannot be unpacked: {error}") from error
    raise TornFileError(f"the frame at byte {place} would unpack to more than a frame may hold")


def _all_of(read: Read, start: int, count: int) -> bytes:
    """Read so many bytes, or as many as there are."""
    parts: list[bytes] = []
    while count > 0 and (part := read(start, count)):
        parts.append(part)
        start += len(part)
        count -= len(part)
    return b"".join(parts)

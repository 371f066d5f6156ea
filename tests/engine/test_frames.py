from __future__ import annotations

import errno
import os
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.errors import StateError, StorageError, TornFileError
from admf.engine.frames import MAX_PAYLOAD_BYTES, FrameReader, FrameWriter, read_frame
from admf.engine.journal import MemoryJournal
from admf.engine.local_folder import LocalFolder

PAYLOADS = [b"", b"one", b"two" * 100, bytes(range(256)) * 3, b"last"]


def written(payloads: list[bytes], *, end: bool = True) -> bytes:
    journal = MemoryJournal("frames", {})
    writer = FrameWriter(journal)
    for payload in payloads:
        writer.append(payload)
    if end:
        writer.end()
    return journal.read(0, journal.size)


def reader_of(content: bytes) -> FrameReader:
    return FrameReader(lambda start, count: content[start : start + count], len(content))


def handmade(packed: bytes) -> bytes:
    length = struct.pack("<I", len(packed))
    return b"ADMFFRM1" + length + struct.pack("<I", zlib.crc32(length + packed)) + packed


@given(payloads=st.lists(st.binary(max_size=300), max_size=10), portion=st.integers(1, 50))
def test_payloads_come_back_in_order_from_a_file_that_reads_in_portions(payloads, portion) -> None:
    content = written(payloads)
    reader = FrameReader(
        lambda start, count: content[start : start + min(count, portion)], len(content)
    )
    assert list(reader) == payloads
    assert list(reader) == payloads
    assert reader.whole


def test_the_format_is_the_one_described() -> None:
    content = written([b"payload"])
    length, checksum = struct.unpack_from("<II", content, 8)
    packed = content[16 : 16 + length]
    assert content[:8] == b"ADMFFRM1"
    assert checksum == zlib.crc32(content[8:12] + packed)
    assert zstandard.ZstdDecompressor().decompress(packed) == b"payload"
    assert content[16 + length :] == bytes(4) + struct.pack("<I", zlib.crc32(bytes(4)))


def test_the_same_payloads_make_the_same_bytes_one_by_one_and_together() -> None:
    journal = MemoryJournal("frames", {})
    writer = FrameWriter(journal)
    places = writer.append(*PAYLOADS)
    writer.end()
    writer.end()
    content = journal.read(0, journal.size)
    assert content == written(PAYLOADS)
    assert [read_frame(journal.read, place) for place in places] == PAYLOADS


def test_a_file_with_its_end_mark_takes_no_more() -> None:
    writer = FrameWriter(MemoryJournal("frames", {}))
    writer.end()
    with pytest.raises(StateError, match="end mark"):
        writer.append(b"more")


@pytest.mark.parametrize("end", [True, False])
def test_a_truncation_anywhere_leaves_a_beginning_and_is_told(end: bool) -> None:
    content = written(PAYLOADS, end=end)
    seen = set()
    for size in range(len(content)):
        reader = reader_of(content[:size])
        found = list(reader)
        assert found == PAYLOADS[: len(found)]
        assert not reader.whole
        seen.add(len(found))
        at_frame = content[:size] in {written(PAYLOADS[:n], end=False) for n in range(1, 6)}
        assert bool(reader.damage) is not (at_frame or size in {0, 8})
    assert seen == set(range(len(PAYLOADS) + end))


def test_the_size_is_a_bound_even_if_more_can_be_read() -> None:
    content = written(PAYLOADS)
    reader = FrameReader(lambda start, count: content[start : start + count], len(content) - 9)
    assert list(reader) == PAYLOADS[:-1]
    assert "cut" in reader.damage


def test_flipped_bits_leave_a_beginning_and_are_told() -> None:
    content = written(PAYLOADS)
    dice = random.Random(4)
    for _ in range(200):
        flipped = bytearray(content)
        for _ in range(dice.choice([1, 1, 2, 5])):
            flipped[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        if flipped == content:
            continue
        reader = reader_of(bytes(flipped))
        found = list(reader)
        assert found == PAYLOADS[: len(found)]
        assert reader.damage


@pytest.mark.parametrize(
    ("tail", "damage"),
    [
        (b"", ""),
        (bytes(64), "was changed"),
        (b"\xff\xff\xff\xff" + bytes(100), "impossible length"),
        (b"\x00\x00\x00\x02" + bytes(100), "impossible length"),
        (b"\x00\x00\x80\x00" + bytes(100), "cut"),
        (b"\x01", "cut"),
    ],
)
def test_an_odd_tail_is_told_and_no_gigabytes_are_asked_for(tail: bytes, damage: str) -> None:
    content = written(PAYLOADS, end=False) + tail
    asked: list[int] = []

    def read(start: int, count: int) -> bytes:
        asked.append(count)
        return content[start : start + count]

    reader = FrameReader(read, len(content))
    assert list(reader) == PAYLOADS
    assert damage in reader.damage
    assert bool(damage) is bool(reader.damage)
    assert max(asked) <= len(content)


def test_what_follows_the_end_mark_is_told() -> None:
    reader = reader_of(written(PAYLOADS) + b"x")
    assert list(reader) == PAYLOADS
    assert "follows the end mark" in reader.damage


@pytest.mark.parametrize("content", [b"x", b"ADMFFRM", b"{}" * 100, b"ADMFFRM2" + bytes(8)])
def test_a_foreign_file_has_no_payloads(content: bytes) -> None:
    reader = reader_of(content)
    assert list(reader) == []
    assert "does not begin" in reader.damage


def bomb() -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(bytes(1 << 28))


def bomb_of_unknown_size() -> bytes:
    packer = zstandard.ZstdCompressor(write_content_size=False)
    return packer.compress(bytes(MAX_PAYLOAD_BYTES + 1))


def lying_bomb() -> bytes:
    """A frame whose header tells a smaller size than it has."""
    packed = bytearray(zstandard.ZstdCompressor().compress(bytes(1 << 25)))
    size = struct.pack("<I", 1 << 25)
    place = packed.index(size)
    packed[place : place + 4] = struct.pack("<I", 1 << 20)
    return bytes(packed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"no zstd at all",
        lambda: zstandard.ZstdCompressor().compress(b"one") * 2,
        lambda: zstandard.ZstdCompressor().compress(b"one")[:-1],
        bomb,
        bomb_of_unknown_size,
        lying_bomb,
    ],
)
def test_a_frame_made_by_someone_else_is_refused_in_bounded_memory(
    make: Callable[[], bytes],
) -> None:
    content = handmade(make())
    reader = reader_of(content)
    tracemalloc.start()
    try:
        assert list(reader) == []
        assert tracemalloc.get_traced_memory()[1] < 2 * MAX_PAYLOAD_BYTES
    finally:
        tracemalloc.stop()
    assert "unpack" in reader.damage


def test_the_largest_payload_is_one_that_can_be_read() -> None:
    journal = MemoryJournal("frames", {})
    writer = FrameWriter(journal)
    payload = random.Random(1).randbytes(MAX_PAYLOAD_BYTES)
    (place,) = writer.append(payload)
    assert read_frame(journal.read, place) == payload
    size = journal.size
    with pytest.raises(StorageError, match="too large"):
        writer.append(b"small", payload + b"x")
    assert journal.size == size


def test_a_place_without_a_frame_is_told() -> None:
    journal = MemoryJournal("frames", {})
    writer = FrameWriter(journal)
    (place,) = writer.append(b"one")
    writer.end()
    for wrong in (0, place + 1, journal.size - 8, journal.size, journal.size + 100):
        with pytest.raises(TornFileError):
            read_frame(journal.read, wrong)


class FailingFolder(LocalFolder):
    """A folder in which some calls fail."""

    def __init__(self, root, failing: str) -> None:
        super().__init__(root, self.call)
        self.failing = failing

    def call(self, function, /, *args, **kwargs):
        if function.__name__ == self.failing:
            if self.failing == "write":  # leave a torn frame behind
                os.write(args[0], args[1][: len(args[1]) // 2])
            raise OSError(errno.ENOSPC, "no space left")
        return function(*args, **kwargs)


def test_a_frame_that_could_not_be_written_is_written_whole_the_next_time(tmp_path) -> None:
    folder = FailingFolder(tmp_path, "write")
    journal = folder.journal("frames")
    writer = FrameWriter(journal)
    for payload in PAYLOADS:
        folder.failing = "write"
        with pytest.raises(StorageError):
            writer.append(payload)
        folder.failing = ""
        writer.append(payload)
    folder.failing = "write"
    with pytest.raises(StorageError):
        writer.end()
    folder.failing = ""
    writer.end()
    assert (tmp_path / "frames").read_bytes() == written(PAYLOADS)


def test_a_file_that_cannot_be_read_is_no_damage(tmp_path) -> None:
    folder = FailingFolder(tmp_path, "")
    journal = folder.journal("frames")
    FrameWriter(journal).append(b"one")
    folder.failing = "read"
    reader = FrameReader(journal.read, journal.size)
    with pytest.raises(StorageError, match="cannot read"):
        list(reader)
    assert not reader.damage
    journal.discard()

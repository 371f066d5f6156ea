from __future__ import annotations

import errno
import math
import sys
from collections.abc import Iterator
from contextlib import suppress

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.errors import StorageError, TornFileError
from admf.engine.frames import FrameReader
from admf.engine.journal import Journal, MemoryJournal
from admf.engine.local_folder import LocalFolder
from admf.engine.overflow import OverflowFile, RecordList


class Row(msgspec.Struct, frozen=True, kw_only=True):
    number: float
    name: str | None = msgspec.field(default=None, name="label")


class LongRow(Row, frozen=True, kw_only=True):
    more: str = "more"


class Files:
    """An overflow into memory."""

    def __init__(self, *, active: bool = True) -> None:
        self.active = active
        self.files: dict[str, bytes | bytearray] = {}
        self.journals: list[str] = []

    def journal(self, name: str) -> Journal:
        self.journals.append(name)
        return MemoryJournal(name, self.files)


class FailingFolder(LocalFolder):
    """A folder in which the calls of one name fail."""

    def __init__(self, root) -> None:
        super().__init__(root, self.call)
        self.failing = ""
        self.active = True

    def call(self, function, /, *args, **kwargs):
        if function.__name__ == self.failing:
            raise OSError(errno.EIO, "broken")
        return function(*args, **kwargs)


def numbers(records: RecordList[Row]) -> list[float]:
    return [row.number for row in records]


@given(
    steps=st.lists(st.integers(0, 9) | st.booleans(), max_size=30),
    held=st.integers(1, 5),
    limit=st.none() | st.integers(1, 8),
)
def test_records_are_there_once_and_in_order_whenever_the_overflow_is_active(
    steps: list[int | bool], held: int, limit: int | None
) -> None:
    overflow = Files(active=False)
    records = RecordList(Row, held, limit=limit, file=OverflowFile(overflow, "rows"))
    added: list[Row] = []
    earlier: list[tuple[Iterator[Row], list[Row]]] = []
    for step in steps:
        if isinstance(step, bool):
            overflow.active = step
            earlier.append((iter(records), added[-limit:] if limit else list(added)))
            continue
        rows = [Row(number=float(len(added) + n), name=f"row {n}") for n in range(step)]
        if step == 1:
            records.append(rows[0])
        else:
            records.extend(rows)
        added += rows
        if overflow.active and limit is None:
            assert records.size_bytes() <= held * 150
    kept = added[-limit:] if limit else added
    assert list(records) == kept
    assert list(records) == kept
    for iterator, there_were in earlier:
        assert list(iterator) == there_were
    assert not (limit and overflow.files)


def test_numbers_come_back_as_what_they_were() -> None:
    values = [1, 1.0, True, math.inf, -0.0, 5e-324, 2**63 - 1, np.float64(0.1), np.int64(7)]
    overflow = Files()
    records = RecordList(Row, 1, file=OverflowFile(overflow, "rows"))
    records.extend(Row(number=value) for value in [*values, math.nan, 0])
    *found, nan, _ = [row.number for row in records]
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    assert list(map(repr, found)) == list(map(repr, plain))
    assert math.isnan(nan)


def test_what_is_no_plain_value_is_refused_and_stays() -> None:
    records = RecordList(Row, 1, file=OverflowFile(Files(), "rows"))
    records.append(Row(number=1.0))
    with pytest.raises(TypeError, match="object"):
        records.extend([Row(number=object()), Row(number=3.0), Row(number=4.0)])  # type: ignore[arg-type]
    assert [type(number) for number in numbers(records)] == [float, object, float, float]


def test_of_a_subclass_the_fields_of_the_class_are_kept() -> None:
    records = RecordList(Row, 1, file=OverflowFile(Files(), "rows"))
    records.extend([LongRow(number=1.0, name="long"), Row(number=2.0)])
    assert list(records) == [Row(number=1.0, name="long"), Row(number=2.0)]


def test_the_frames_are_the_same_whatever_portions_the_records_came_in() -> None:
    rows = [Row(number=float(number)) for number in range(100)]
    contents = []
    for portion in (1, 3, 100):
        overflow = Files()
        records = RecordList(Row, 8, file=OverflowFile(overflow, "rows"))
        for start in range(0, 100, portion):
            records.extend(rows[start : start + portion])
        contents.append(bytes(overflow.files["rows"]))
    assert contents[0] == contents[1] == contents[2]
    content = contents[0]
    reader = FrameReader(lambda start, count: content[start : start + count], len(content))
    assert len(list(reader)) == 12
    assert not reader.damage


def test_the_journal_is_asked_for_once_and_only_when_needed() -> None:
    overflow = Files()
    file = OverflowFile(overflow, "rows")
    records = RecordList(Row, 2, file=file)
    records.extend([Row(number=1.0), Row(number=2.0)])
    file.discard()
    assert overflow.journals == []
    records.extend([Row(number=number) for number in (3.0, 4.0, 5.0)])
    assert overflow.journals == ["rows"]
    file.discard()
    file.discard()
    assert overflow.files == {}


def test_records_may_share_a_file() -> None:
    file = OverflowFile(Files(), "rows")
    lists = [RecordList(Row, 2, file=file) for _ in range(2)]
    for number in range(20):
        lists[number % 2].append(Row(number=number))
    assert numbers(lists[0]) == list(range(0, 20, 2))
    assert numbers(lists[1]) == list(range(1, 20, 2))


@pytest.mark.parametrize("failing", ["open", "lseek", "write"])
def test_a_failed_write_loses_nothing_and_the_next_goes_on(tmp_path, failing: str) -> None:
    folder = FailingFolder(tmp_path)
    records = RecordList(Row, 2, file=OverflowFile(folder, "rows"))
    failed = set(range(40))
    for number in range(40):
        folder.failing = failing if number in {2, 3, 4, 17, 39} else ""
        with suppress(StorageError):
            records.append(Row(number=number))
            failed.discard(number)
        folder.failing = ""
        assert numbers(records) == list(range(number + 1))
    assert 2 in failed
    assert failed <= {2, 3, 4, 17, 39}


def test_what_cannot_be_read_back_is_an_error_not_a_shorter_list(tmp_path) -> None:
    folder = FailingFolder(tmp_path)
    file = OverflowFile(folder, "rows")
    records = RecordList(Row, 2, file=file)
    records.extend(Row(number=number) for number in range(9))
    folder.failing = "read"
    with pytest.raises(StorageError, match="broken"):
        numbers(records)
    folder.failing = ""
    content = bytearray((tmp_path / "rows").read_bytes())
    content[60] ^= 1
    (tmp_path / "rows").write_bytes(content)
    with pytest.raises(TornFileError, match="'rows' cannot be read back"):
        numbers(records)
    file.discard()
    with pytest.raises(TornFileError, match="'rows' cannot be read back"):
        numbers(records)
    with pytest.raises(TornFileError, match="holds nothing"):
        OverflowFile(folder, "none").read(8)


def test_the_size_is_that_of_the_records_in_memory() -> None:
    overflow = Files(active=False)
    records = RecordList(Row, 10, file=OverflowFile(overflow, "rows"))
    assert records.size_bytes() == 0
    rows = [Row(number=float(number), name="x" * 50) for number in range(1000, 2000)]
    records.extend(rows)
    fields = [value for row in rows for value in (row.number, row.name)]
    assert records.size_bytes() == sum(map(sys.getsizeof, [*rows, *fields]))
    overflow.active = True
    records.append(Row(number=1.0, name="x" * 50))
    assert records.size_bytes() < 3000

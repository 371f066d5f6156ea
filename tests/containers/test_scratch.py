from __future__ import annotations

import errno
import gc
from typing import Any, Self

import numpy as np
import pytest

from admf.containers import scratch as module
from admf.containers.scratch import MemoryColumn, Scratch, ScratchColumn
from admf.engine.errors import DataError


def columns() -> list[MemoryColumn | ScratchColumn]:
    return [MemoryColumn(np.float64), Scratch().column(np.float64)]


@pytest.mark.parametrize("parts", [[], [[]], [[1, 2, 3]], [[1], [], [2, 3]]])
def test_a_column_holds_what_was_written_in_turn(parts: list[list[float]]) -> None:
    for column in columns():
        for part in parts:
            column.append(np.array(part))
        found = column.array()
        column.close()
        assert found.tolist() == [value for part in parts for value in part]
        assert (found.dtype, found.flags.writeable) == (np.float64, False)


def test_values_that_are_dropped_are_read_once_more() -> None:
    scratch = Scratch()
    column = scratch.column(np.int64)
    column.append(np.arange(100_000))
    array = column.array()
    for _ in range(2):
        assert int(array.sum()) == 99_999 * 50_000
        scratch.drop()


def test_a_system_without_that_call_keeps_what_it_has_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_DROP", None)
    scratch = Scratch()
    column = scratch.column(np.int64)
    column.append(np.arange(3))
    array = column.array()
    scratch.drop()
    assert array.tolist() == [0, 1, 2]


def test_a_file_is_gone_with_the_last_array_that_shows_it() -> None:
    scratch = Scratch()
    column = scratch.column(np.int64)
    column.append(np.arange(3))
    part = column.array()[1:]
    assert scratch.in_use
    del part
    gc.collect()
    assert not scratch.in_use


class FullFile:
    def __init__(self, fails: str) -> None:
        self._fails = fails

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, _: Any) -> None:
        self._do("write")

    def flush(self) -> None:
        self._do("flush")

    def _do(self, what: str) -> None:
        if what == self._fails:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("fails", ["write", "flush"])
def test_a_full_disk_is_told_with_where_to_make_room(
    fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.tempfile, "TemporaryFile", lambda **_: FullFile(fails))
    column = Scratch().column(np.int64)

    def write() -> None:
        column.append(np.arange(3))
        column.array()

    with pytest.raises(DataError, match=r"No space left.*TMPDIR"):
        write()

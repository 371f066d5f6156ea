"""A CSV file as its user sees it: which line a record stands on, and why it cannot be read."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import Final

from admf.engine.errors import DataError

__all__ = ["check_is_text", "line_numbers", "unreadable"]

_HEAD_BYTES: Final = 65_536
_GZIP: Final = b"\x1f\x8b"


def check_is_text(path: Path) -> None:
    """Refuse a file that is empty, or that does not begin like text.

    Raises:
        DataError: The file is empty, holds a NUL byte, or is a torn gzip file.
        OSError: The file cannot be read.
    """
    try:
        with _opened(path) as file:
            head = file.read(_HEAD_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is not a complete gzip file: {error}") from error
    if not head.strip():
        raise DataError(
            f"{path}: is empty; write a header timestamp,open,high,low,close,volume "
            "and one line per bar"
        )
    position = head.find(b"\0")
    if position >= 0:
        line = head.count(b"\n", 0, position) + 1
        raise DataError(
            f"{path}:{line}: holds a NUL byte, so it is not text in UTF-8; save it as CSV in "
            "UTF-8, or name it .parquet if that is what it is"
        )


def line_numbers(path: Path, rows: Sequence[int]) -> list[int]:
    """Return the one-based lines on which records begin.

    Args:
        path: A file that polars has read.
        rows: Records, counted from 0 after the header.
    """
    wanted = set(rows)
    lines: dict[int, int] = {}
    for row, (line, _) in enumerate(_records(path), start=-1):
        if row in wanted:
            lines[row] = line
        if len(lines) == len(wanted):
            break
    return [lines.get(row, row + 2) for row in rows]


def unreadable(path: Path, error: Exception) -> DataError:
    """Return the error for a file that polars refused, with the line if it can be found."""
    try:
        records = _records(path)
        width = _width(next(records)[1])
        for line, record in records:
            if (found := _width(record)) > width:
                return DataError(
                    f"{path}:{line}: has {found} values, but the header names {width} columns; "
                    "remove the extra values, or quote those that hold a comma"
                )
    except DataError as fault:
        return fault
    except (csv.Error, EOFError, OSError, StopIteration, zlib.error):
        pass  # the reason that polars gave says more
    reason = str(error).partition("\n")[0]
    return DataError(f"{path}: cannot be read as CSV: {reason}")


def _width(record: str) -> int:
    return len(next(csv.reader(record.splitlines(keepends=True)), ()))


def _records(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the header and each record after it, empty ones too, with the line it begins on."""
    begin, parts, in_quotes, after_header = 1, list[str](), False, False
    for number, line in enumerate(_lines(path), start=1):
        parts.append(line)
        in_quotes ^= line.count('"') % 2 == 1
        if in_quotes:
            continue
        after_header = after_header or bool(line.strip("\r\n"))
        if after_header:
            yield begin, "".join(parts)
        begin, parts = number + 1, []
    if in_quotes:
        raise DataError(f"{path}:{begin}: opens a quote that is never closed; close or remove it")


def _lines(path: Path) -> Iterator[str]:
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError:
                message = f"{path}:{number}: is not text in UTF-8; save the file as UTF-8"
                raise DataError(message) from None


def _opened(path: Path) -> BufferedIOBase:
    with path.open("rb") as file:
        is_gzip = file.read(len(_GZIP)) == _GZIP
    return gzip.GzipFile(path) if is_gzip else path.open("rb")

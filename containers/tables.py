"""Bars as they stand in a CSV file, a Parquet file or a data frame, before they are checked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from admf.containers.csv_files import check_is_text, line_numbers, unreadable
from admf.engine.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Table",
    "bar_columns",
    "file_tables",
    "frame_tables",
    "is_parquet",
    "listed",
    "rows_in",
    "time_column",
    "without_blank_rows",
]

Places: TypeAlias = Callable[[Sequence[int]], list[str]]

_TIME_COLUMNS: Final = ("timestamp", "datetime", "date", "time")
_REQUIRED: Final = ("open", "high", "low", "close")
_OPTIONAL: Final = ("volume", "symbol")
_LISTED: Final = 20


class Table(NamedTuple):
    """Unchecked bars of one symbol.

    Args:
        source: Name of the file or frame, for messages.
        frame: Columns ``row`` (position in the source, from 0), the time column, ``open``,
            ``high``, ``low``, ``close``, and ``volume`` where the source has it.
        time: Name of the time column.
        places: Says where rows of the source stand, e.g. ``GOOG.csv:17``.
        ends: First and last time of the source, if the table is a piece of it.
    """

    source: str
    frame: pl.DataFrame
    time: str
    places: Places
    ends: pl.Series | None = None


def file_tables(path: Path, symbols: Sequence[str]) -> dict[str, Table]:
    """Read the bars of some symbols from one file: Parquet by its name, else CSV (also gzipped).

    Column names are taken in any case; other columns are ignored. A file without a ``symbol``
    column belongs to the one symbol that is asked for.

    Raises:
        DataError: The file cannot be read, lacks a column, or lacks a symbol.
    """
    import polars as pl

    try:
        if is_parquet(path):
            return _tables(pl.scan_parquet(path), str(path), symbols, partial(rows_in, str(path)))
        check_is_text(path)
        text = pl.scan_csv(path, infer_schema=False)
        return _tables(text, str(path), symbols, partial(_lines_in, path))
    except (pl.exceptions.PolarsError, OSError) as error:
        if is_parquet(path):
            raise DataError(f"{path}: cannot be read: {_first_line(error)}") from error
        raise unreadable(path, error) from error


def frame_tables(frame: object, symbol: str) -> dict[str, Table]:
    """Read the bars of a symbol from a polars, pandas or pyarrow table.

    A pandas frame may carry its times as a ``DatetimeIndex``.

    Raises:
        DataError: It is not such a table, lacks a column, or pyarrow is missing.
    """
    import polars as pl

    source = f"frame of {symbol}"
    try:
        return _tables(_lazy(frame, source), source, (symbol,), partial(rows_in, source))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{source}: cannot be read: {_first_line(error)}") from error


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its name."""
    return path.suffix.lower() in {".parquet", ".pq"}


def listed(names: Iterable[str]) -> str:
    """Return names as text for a message, cut after the first twenty."""
    each = list(names)
    more = f" and {len(each) - _LISTED} more" if len(each) > _LISTED else ""
    return ", ".join(each[:_LISTED]) + more


def _tables(
    source_frame: pl.LazyFrame, source: str, symbols: Sequence[str], places: Places
) -> dict[str, Table]:
    import polars as pl

    columns = bar_columns(source_frame.collect_schema().names(), source)
    time = time_column(columns)
    rows = source_frame.select(pl.col(old).alias(new) for new, old in columns.items())
    rows = rows.with_row_index("row")
    if "symbol" in columns:
        frames = _by_symbol(rows, source, symbols)
    elif len(symbols) == 1:
        frames = {symbols[0]: without_blank_rows(rows).collect()}
    else:
        raise DataError(
            f"{source}: has no column 'symbol', which it needs to hold {listed(symbols)}; "
            "add the column, or give a folder with one file per symbol"
        )
    for symbol, frame in frames.items():
        if frame.is_empty():
            raise DataError(f"{source}: has no bars of {symbol}; write one row per bar")
    return {symbol: Table(source, frame, time, places) for symbol, frame in frames.items()}


def _by_symbol(rows: pl.LazyFrame, source: str, symbols: Sequence[str]) -> dict[str, pl.DataFrame]:
    import polars as pl

    rows = rows.with_columns(pl.col("symbol").cast(pl.String).str.strip_chars())
    wanted = rows.filter(pl.col("symbol").is_in(list(symbols))).collect()
    frames = {
        str(key[0]): part for key, part in wanted.partition_by("symbol", as_dict=True).items()
    }
    for symbol in symbols:
        if symbol not in frames:
            known = rows.select(pl.col("symbol").drop_nulls().unique().sort()).collect()["symbol"]
            hint = did_you_mean(symbol, known)
            raise DataError(f"{source}: has no symbol {symbol!r}{hint}; there are {listed(known)}")
    return {symbol: frames[symbol] for symbol in symbols}


def without_blank_rows(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return the rows of a source that hold anything besides their number ``row``."""
    import polars as pl

    return rows.filter(~pl.all_horizontal(pl.exclude("row").is_null()))


def time_column(columns: Iterable[str]) -> str:
    """Return which of the columns of bars has their times."""
    return next(name for name in columns if name in _TIME_COLUMNS)


def bar_columns(names: Sequence[str], source: str) -> dict[str, str]:
    """Return the columns of bars, lower case, with their names in the source.

    Raises:
        DataError: One is missing, or there twice.
    """
    # polars renames the second of two equal columns of a CSV file
    plain = {name: re.sub(r"_duplicated_\d+$", "", name).strip().lower() for name in names}
    count = Counter(plain.values())
    times = [name for name in _TIME_COLUMNS if name in count]
    wanted = (*times[:1], *_REQUIRED, *(name for name in _OPTIONAL if name in count))
    missing = [name for name in wanted if name not in count]
    if not times or missing:
        raise _missing_columns(names, source, missing if times else ["timestamp", *missing])
    if repeated := [name for name in wanted if count[name] > 1]:
        raise DataError(f"{source}: has more than one column {repeated[0]!r}; keep one of them")
    if {"date", "time"} <= count.keys() and times[0] == "date":
        raise DataError(f"{source}: has columns 'date' and 'time'; join them into one 'timestamp'")
    old = {new: name for name, new in plain.items()}
    return {name: old[name] for name in wanted}


def _missing_columns(names: Sequence[str], source: str, missing: Sequence[str]) -> DataError:
    lacks = ", ".join(repr(name) for name in missing)
    if "timestamp" in missing:
        lacks += " (the time may also be called datetime, date or time)"
    there = listed(repr(name) for name in names)
    message = f"{source}: has no column {lacks}; its columns are {there}"
    separator = next((each for each in ";\t|" if each in names[0]), None) if names else None
    if len(names) == 1 and separator:
        message += f"; it seems to be separated by {separator!r}: save it with commas"
    return DataError(message)


def _lazy(frame: Any, source: str) -> pl.LazyFrame:
    import polars as pl

    kinds = {f"{cls.__module__.partition('.')[0]}.{cls.__name__}" for cls in type(frame).__mro__}
    if isinstance(frame, pl.LazyFrame):
        return frame
    if "pandas.DataFrame" in kinds:
        frame = _with_time_column(frame)
    elif not kinds & {"polars.DataFrame", "pyarrow.Table", "pyarrow.RecordBatch"}:
        kind = f"{type(frame).__module__}.{type(frame).__qualname__}"
        raise DataError(f"{source}: is a {kind}, not a polars, pandas or pyarrow table")
    try:
        return pl.LazyFrame(pl.DataFrame(frame, nan_to_null=False))
    except ImportError as error:
        message = f"{source}: needs pyarrow to be read; install it with: pip install 'admf[pandas]'"
        raise DataError(message) from error


def _with_time_column(frame: Any) -> Any:
    has_time = any(str(name).strip().lower() in _TIME_COLUMNS for name in frame.columns)
    if has_time or type(frame.index).__name__ != "DatetimeIndex":
        return frame
    return frame.reset_index(names="timestamp")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def rows_in(source: str, rows: Sequence[int]) -> list[str]:
    """Say where rows of a source stand that has no lines."""
    return [f"{source}, row {row}" for row in rows]


def _lines_in(path: Path, rows: Sequence[int]) -> list[str]:
    return [f"{path}:{line}" for line in line_numbers(path, rows)]

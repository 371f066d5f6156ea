"""Finds the table of each symbol: in a folder, one file, the bundled sample set, or frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

from admf.containers.config import DataConfig
from admf.containers.long_tables import LongTable, long_tables
from admf.containers.tables import Table, file_tables, frame_tables, listed
from admf.engine.errors import ConfigError, DataError, Problem, did_you_mean

__all__ = ["SAMPLE_FILE", "symbol_tables"]

SAMPLE_FILE: Final = "us_stocks_daily.csv.gz"
"""Name of the bundled data set in the folder ``sample`` of this package."""

_SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")


def symbol_tables(
    config: DataConfig, frames: Mapping[str, Any] | None, symbols: Sequence[str]
) -> Iterator[tuple[str, Table | LongTable]]:
    """Yield each symbol with its unchecked bars, in the order that is asked for.

    Args:
        config: Says where the bars come from.
        frames: Symbol -> polars, pandas or pyarrow table, for ``source: frames``.
        symbols: What to find.

    Raises:
        ConfigError: A file is to be read, but no path is given.
        DataError: A file, frame or symbol is missing; the message says what is there.
    """
    if config.source == "frames":
        yield from _of_frames(frames or {}, symbols)
    elif config.source == "sample":
        sample = resources.files("admf.containers") / "sample" / SAMPLE_FILE
        with resources.as_file(sample) as path:
            yield from file_tables(path, symbols).items()
    elif config.path is None:
        message = "source 'file' needs a path: a folder with {symbol}.csv or .parquet, or one file"
        raise ConfigError([Problem(message, field="data.path")])
    else:
        yield from _of_path(Path(config.path), symbols)


def _of_frames(frames: Mapping[str, Any], symbols: Sequence[str]) -> Iterator[tuple[str, Table]]:
    for symbol in symbols:
        if symbol not in frames:
            hint = did_you_mean(symbol, frames)
            known = f"there are {listed(frames)}" if frames else "there are none at all"
            raise DataError(f"no frame of {symbol!r} was handed over{hint}; {known}")
        yield from frame_tables(frames[symbol], symbol).items()


def _of_path(path: Path, symbols: Sequence[str]) -> Iterator[tuple[str, Table | LongTable]]:
    try:
        if path.is_dir():
            for symbol in symbols:
                yield from _of_file(_file_in(path, symbol), (symbol,))
        elif path.exists():
            yield from _of_file(path, symbols)
        else:
            raise _missing(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _of_file(path: Path, symbols: Sequence[str]) -> Iterator[tuple[str, Table | LongTable]]:
    yield from long_tables(path, symbols).items() or file_tables(path, symbols).items()


def _file_in(folder: Path, symbol: str) -> Path:
    if Path(symbol).name != symbol:
        raise DataError(
            f"{folder}: {symbol!r} cannot be the name of a file; put its bars into one file with "
            "a column 'symbol', and give that as the path"
        )
    found = [path for suffix in _SUFFIXES if (path := folder / f"{symbol}{suffix}").is_file()]
    if len(found) > 1:
        names = listed(path.name for path in found)
        raise DataError(f"{folder}: has more than one file of {symbol!r}: {names}; keep one")
    if not found:
        known = sorted({stem for path in folder.iterdir() if (stem := _symbol_of(path))})
        hint = did_you_mean(symbol, known)
        there = f"there are files of {listed(known)}" if known else "it holds no data files"
        names = f"{symbol}.csv, {symbol}.csv.gz or {symbol}.parquet"
        raise DataError(f"{folder}: has no symbol {symbol!r}{hint}, that is, no {names}; {there}")
    return found[0]


def _symbol_of(path: Path) -> str | None:
    suffix = next((each for each in reversed(_SUFFIXES) if path.name.endswith(each)), None)
    return path.name.removesuffix(suffix) if suffix else None


def _missing(path: Path) -> DataError:
    folder = path.parent
    if not folder.is_dir():
        return DataError(f"{path}: does not exist, nor does its folder")
    names = sorted(each.name for each in folder.iterdir() if each.is_dir() or _symbol_of(each))
    there = f"{folder} holds {listed(names)}" if names else f"{folder} holds no data files"
    return DataError(f"{path}: does not exist{did_you_mean(path.name, names)}; {there}")

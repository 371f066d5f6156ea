"""Bars of Parquet files that are too long to be held in memory, read piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from admf.containers.tables import (
    Table,
    bar_columns,
    file_tables,
    is_parquet,
    rows_in,
    time_column,
    without_blank_rows,
)

if TYPE_CHECKING:
    import polars as pl

__all__ = ["LONG_ROWS", "LongTable", "long_tables"]

LONG_ROWS: Final = 1_000_000
"""Rows from which on a file is long; its bars would take 48 MB."""

PIECE_ROWS: Final = 262_144
"""Rows that are read at once: those that polars writes as a group."""


class LongTable(NamedTuple):
    """Unchecked bars of one symbol in a long file.

    Args:
        path: The file.
        symbol: The symbol.
        rows: How many rows the file has, of all symbols.
        columns: Columns of the bars, with their names in the file.
        time: Name of the time column.
    """

    path: Path
    symbol: str
    rows: int
    columns: dict[str, str]
    time: str

    @property
    def source(self) -> str:
        """Name of the file, for messages."""
        return str(self.path)

    @property
    def dtype(self) -> pl.DataType:
        """Type of the times."""
        return self._rows(0, 1).collect_schema()[self.time]

    def ends(self) -> pl.Series:
        """Return the least and the largest time of the symbol; null if it has none."""
        import polars as pl

        times = pl.col(self.time)
        ends = [
            self._rows(start, start + PIECE_ROWS).select(pl.concat_list(times.min(), times.max()))
            for start in range(0, self.rows, PIECE_ROWS)
        ]
        each = pl.concat([it.collect()[self.time].explode() for it in ends])
        return pl.concat([each.sort(nulls_last=True).head(1), each.sort().tail(1)])

    def pieces(self, ends: pl.Series | None) -> Iterator[Table]:
        """Yield the bars piece by piece, leaving out pieces that have none.

        Args:
            ends: What `ends` returns, if that decides what times mean.
        """
        for start in range(0, self.rows, PIECE_ROWS):
            frame = self._rows(start, start + PIECE_ROWS).collect()
            if not frame.is_empty():
                yield Table(self.source, frame, self.time, partial(rows_in, self.source), ends)

    def whole(self) -> Table:
        """Return all bars in memory.

        Raises:
            DataError: The file cannot be read, or lacks the symbol.
        """
        return file_tables(self.path, (self.symbol,))[self.symbol]

    def _rows(self, start: int, stop: int) -> pl.LazyFrame:
        import polars as pl

        part = pl.scan_parquet(self.path).slice(start, stop - start)
        rows = part.select(pl.col(old).alias(new) for new, old in self.columns.items())
        rows = rows.with_row_index("row", offset=start)
        if "symbol" not in self.columns:
            return without_blank_rows(rows)
        return rows.filter(pl.col("symbol").cast(pl.String).str.strip_chars() == self.symbol)


def long_tables(path: Path, symbols: Sequence[str]) -> dict[str, LongTable]:
    """Return the bars of some symbols in a long file; none if the file is anything else.

    A file that has mistakes is not for here either: whoever reads it whole says what is wrong.
    """
    import polars as pl

    if not is_parquet(path):
        return {}
    try:
        rows: int = pl.scan_parquet(path).select(pl.len()).collect().item()
        if rows < LONG_ROWS:
            return {}
        names = pl.scan_parquet(path).collect_schema().names()
    except (pl.exceptions.PolarsError, OSError):
        return {}
    columns = bar_columns(names, str(path))
    if "symbol" not in columns and len(symbols) > 1:
        return {}
    time = time_column(columns)
    return {symbol: LongTable(path, symbol, rows, columns, time) for symbol in symbols}

"""Makes the bundled sample set from the package ``bokeh_sampledata``.

Run it from the root of the repository, with that package installed::

    python -m pip install "bokeh_sampledata==2026.1"
    python tools/make_sample_data.py

Prices before a split are divided by its ratio, volumes multiplied, in decimal arithmetic, so that
what is not adjusted stays as the source has it. The script refuses data whose splits, as the jumps
of close / adjusted close show them, are not those listed here.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import sys
from collections.abc import Iterator
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import NamedTuple

TARGET = Path(__file__).parent.parent / "containers" / "sample" / "us_stocks_daily.csv.gz"
HEADER = ("symbol", "date", "open", "high", "low", "close", "volume")
SPLITS = {
    "AAPL": {"2000-06-21": 2, "2005-02-28": 2},
    "GOOG": {},
    "IBM": {},
    "MSFT": {"2003-02-18": 2},
}
SPLIT_JUMP = Decimal("0.3")


class Row(NamedTuple):
    """One bar of the source; prices as traded, ``adjusted`` for splits and dividends."""

    symbol: str
    date: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int
    adjusted: Decimal


def source_rows() -> list[Row]:
    """Return the bars of the wanted symbols, sorted by symbol and date."""
    packed = resources.files("bokeh_sampledata").joinpath("_data", "stocks.csv.gz").read_bytes()
    records = csv.reader(io.StringIO(gzip.decompress(packed).decode()))
    next(records)
    rows = [
        Row(symbol, date, *map(Decimal, prices), int(volume), Decimal(adjusted))
        for symbol, date, *prices, volume, adjusted in records
        if symbol in SPLITS
    ]
    return sorted(rows, key=lambda row: (row.symbol, row.date))


def jumps(rows: list[Row]) -> dict[str, set[str]]:
    """Return the dates on which close / adjusted close fell as only a split lets it fall."""
    found: dict[str, set[str]] = {symbol: set() for symbol in SPLITS}
    for before, row in itertools.pairwise(rows):
        ratio = (row.close / row.adjusted) / (before.close / before.adjusted)
        if row.symbol == before.symbol and abs(ratio - 1) > SPLIT_JUMP:
            found[row.symbol].add(row.date)
    return found


def adjusted_records(rows: list[Row]) -> Iterator[tuple[str, ...]]:
    """Yield the records of the sample file."""
    for row in rows:
        factor = 1
        for date, ratio in SPLITS[row.symbol].items():
            factor *= ratio if row.date < date else 1
        prices = (row.open, row.high, row.low, row.close)
        texts = (format((price / factor).normalize(), "f") for price in prices)
        yield (row.symbol, row.date, *texts, str(row.volume * factor))


def main() -> None:
    """Write the sample file."""
    rows = source_rows()
    if (found := jumps(rows)) != {symbol: set(dates) for symbol, dates in SPLITS.items()}:
        raise SystemExit(f"splits of the source differ from those listed: {found}")
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([HEADER, *adjusted_records(rows)])
    TARGET.write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0))
    sys.stdout.write(f"{len(rows)} bars, {TARGET.stat().st_size} bytes: {TARGET}\n")


if __name__ == "__main__":
    main()

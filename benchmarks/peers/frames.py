"""The bars of the speed benchmark as admf takes them; run as a script, it writes a Parquet file."""

from __future__ import annotations

import sys

import numpy as np
import polars as pl
from walk import START_S, closes, ohlc


def frame(close: np.ndarray) -> pl.DataFrame:
    prices = dict(zip(("open", "high", "low", "close"), ohlc(close), strict=True))
    times = START_S + 60 * np.arange(len(close))
    return pl.DataFrame({"timestamp": times, **prices, "volume": np.ones(len(close))})


if __name__ == "__main__":
    frame(closes(int(sys.argv[1]))).write_parquet(sys.argv[2])

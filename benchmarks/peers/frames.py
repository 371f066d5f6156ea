"""The bars of the speed benchmark as admf takes them; run as a script, it writes a Parquet file."""

from __future__ import annotations

import sys

import numpy as np
import polars as pl
from walk import START_S, closes, opens


def frame(close: np.ndarray) -> pl.DataFrame:
    first = opens(close)
    return pl.DataFrame(
        {
            "timestamp": START_S + 60 * np.arange(len(close)),
            "open": first,
            "high": np.maximum(first, close),
            "low": np.minimum(first, close),
            "close": close,
            "volume": np.ones(len(close)),
        }
    )


if __name__ == "__main__":
    frame(closes(int(sys.argv[1]))).write_parquet(sys.argv[2])

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from admf.containers.catalog import DataCatalog, UserModules
from admf.containers.config import DataConfig
from admf.engine.errors import DataError

FRAME = pl.DataFrame(
    {"date": ["2024-01-01", "2024-01-02"], "open": [1, 2], "high": [2, 3], "low": [1, 2]}
).with_columns(close=pl.col("open"))


def config(*symbols: str) -> DataConfig:
    return DataConfig(source="frames", symbols=symbols)


def test_a_data_set_is_loaded_once() -> None:
    catalog = DataCatalog({"A": FRAME, "B": FRAME})
    store = catalog.load(config("A"))
    assert catalog.load(config("A")) is store
    assert catalog.load(config("A", "B")) is not store
    assert store.market_data.symbols == ("A",)


def test_a_benchmark_is_loaded_beside_the_traded_symbols() -> None:
    catalog = DataCatalog({"A": FRAME, "SPY": FRAME})
    assert catalog.load(config("A"), "SPY").market_data.extra_symbols == ("SPY",)
    assert catalog.load(config("A"), "A").market_data.extra_symbols == ()
    assert catalog.load(config("A")).market_data.extra_symbols == ()


def test_frames_that_were_not_handed_over_are_missed_by_name() -> None:
    with pytest.raises(DataError, match="no frame of 'B'"):
        DataCatalog({"A": FRAME}).load(config("B"))


def test_user_modules_know_their_folder() -> None:
    assert UserModules().folder is None
    assert UserModules(Path("studies")).folder == Path("studies")

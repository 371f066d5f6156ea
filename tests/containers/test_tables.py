from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from admf.containers.tables import file_tables, frame_tables, listed
from admf.engine.errors import DataError

ROW = {"timestamp": "2021-01-04", "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5}


def columns_of(names: list[str], tmp_path: Path) -> list[str]:
    file = tmp_path / "A.csv"
    file.write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    return file_tables(file, ["A"])["A"].frame.columns


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("timestamp open high low close volume", "timestamp open high low close volume"),
        ("DATE OPEN HIGH LOW CLOSE", "date open high low close"),
        ("Close Low High Open Datetime", "datetime open high low close"),
        ("time open high low close", "time open high low close"),
        ("timestamp date time open high low close", "timestamp open high low close"),
        ("date open high low close adj_close volume x", "date open high low close volume"),
    ],
)
def test_columns_are_found_in_any_case_and_order(tmp_path: Path, names: str, expected: str) -> None:
    assert columns_of(names.split(), tmp_path) == ["row", *expected.split()]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("date open high low", "A.csv: has no column 'close'; its columns are 'date', 'open'"),
        ("date High", "has no column 'open', 'low', 'close'"),
        ("open high low close",
         "has no column 'timestamp' (the time may also be called datetime, date or time)"),
        ("date open high low close Close", "has more than one column 'close'; keep one of them"),
        ("date open high low close close", "has more than one column 'close'; keep one of them"),
        ("date time open high low close", "has columns 'date' and 'time'; join them into one"),
    ],
)  # fmt: skip
def test_missing_and_repeated_columns_are_named(tmp_path: Path, names: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        columns_of(names.split(), tmp_path)
    assert message in str(caught.value)


def test_a_file_of_several_symbols_is_split_in_the_order_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    file.write_text(
        "symbol,timestamp,open,high,low,close\n"
        "A,2021-01-04,1,1,1,1\nB,2021-01-04,2,2,2,2\n B ,2021-01-05,3,3,3,3\nC,x,y,z,,\n"
        "A,2021-01-05,4,4,4,4\n"
    )
    tables = file_tables(file, ["B", "A"])
    assert list(tables) == ["B", "A"]
    assert tables["B"].frame["row"].to_list() == [1, 2]
    assert tables["A"].frame["open"].to_list() == ["1", "4"]
    assert tables["A"].places([0, 4]) == [f"{file}:2", f"{file}:6"]


def test_an_unknown_symbol_of_a_file_names_those_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "all.parquet"
    pl.DataFrame([{"symbol": name, **ROW} for name in ("MSFT", "GOOG")]).write_parquet(file)
    with pytest.raises(DataError) as caught:
        file_tables(file, ["GOOG", "MFST"])
    assert str(caught.value) == (
        f"{file}: has no symbol 'MFST' (did you mean 'MSFT'?); there are GOOG, MSFT"
    )


def test_a_file_of_several_symbols_needs_a_symbol_column(tmp_path: Path) -> None:
    file = tmp_path / "one.parquet"
    pl.DataFrame([ROW]).write_parquet(file)
    with pytest.raises(DataError, match="has no column 'symbol', which it needs to hold A, B"):
        file_tables(file, ["A", "B"])


@pytest.mark.parametrize("content", [b"", b"garbage", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_a_broken_parquet_file_is_said_so(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "A.parquet"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"A\.parquet: cannot be read: parquet"):
        file_tables(file, ["A"])


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame([ROW]),
        pl.LazyFrame([ROW]),
        pd.DataFrame([ROW]),
        pd.DataFrame([ROW]).set_index(pd.DatetimeIndex(["2021-01-04"])).drop(columns="timestamp"),
        pd.DataFrame([ROW]).set_index(pd.DatetimeIndex(["2021-01-04"], name="Date")),
        pa.Table.from_pylist([ROW]),
        pa.RecordBatch.from_pylist([ROW]),
    ],
    ids=["polars", "lazy", "pandas", "index", "index-and-column", "table", "batch"],
)
def test_frames_of_all_libraries_are_taken(frame: Any) -> None:
    table = frame_tables(frame, "A")["A"]
    assert table.source == "frame of A"
    assert table.time == "timestamp"
    assert str(table.frame["timestamp"][0])[:10] == "2021-01-04"
    assert table.frame["close"].to_list() == [1.5]


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (7, "builtins.int"),
        ({"open": [1]}, "builtins.dict"),
        (pd.Series([1.0]), "pandas.Series"),
        (pa.array([1.0]), "pyarrow.lib.DoubleArray"),
    ],
)
def test_other_things_are_no_frames(frame: Any, kind: str) -> None:
    with pytest.raises(DataError) as caught:
        frame_tables(frame, "A")
    assert str(caught.value) == (f"frame of A: is a {kind}, not a polars, pandas or pyarrow table")


def test_a_lazy_frame_that_fails_is_a_data_error(tmp_path: Path) -> None:
    lazy = pl.LazyFrame([ROW]).with_columns(pl.col("nowhere"))
    with pytest.raises(DataError, match=r"frame of A: cannot be read: .*nowhere"):
        frame_tables(lazy, "A")


def test_pandas_text_without_pyarrow_names_the_extra() -> None:
    program = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import pandas as pd
from admf.containers.tables import frame_tables
from admf.engine.errors import DataError
row = {"timestamp": ["2021-01-04"], "open": [1.0], "high": [1.0], "low": [1.0], "close": [1.0]}
try:
    frame_tables(pd.DataFrame(row), "A")
except DataError as error:
    print(error)
"""
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    assert ran.stdout.strip() == (
        "frame of A: needs pyarrow to be read; install it with: pip install 'admf[pandas]'"
    )


def test_long_lists_are_cut() -> None:
    assert listed("abc") == "a, b, c"
    assert listed(str(n) for n in range(25)).endswith("18, 19 and 5 more")

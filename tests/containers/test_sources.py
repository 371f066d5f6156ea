from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from admf.containers.config import DataConfig
from admf.containers.sources import symbol_tables
from admf.engine.errors import ConfigError, DataError

ROW = {"timestamp": "2021-01-04", "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5}


def put(folder: Path, *names: str) -> Path:
    for name in names:
        frame = pl.DataFrame([ROW])
        file = folder / name
        if name.endswith(".csv"):
            frame.write_csv(file)
        elif name.endswith(".csv.gz"):
            frame.write_csv(file, compression="gzip")
        else:
            frame.write_parquet(file)
    return folder


def find(path: Path | str, *symbols: str) -> list[tuple[str, str]]:
    config = DataConfig(path=str(path), symbols=symbols)
    return [(name, table.source) for name, table in symbol_tables(config, None, symbols)]


def message_of(path: Path, *symbols: str) -> str:
    with pytest.raises(DataError) as caught:
        find(path, *symbols)
    return str(caught.value).replace(str(path), "data")


def test_each_symbol_of_a_folder_has_its_file(tmp_path: Path) -> None:
    put(tmp_path, "A.csv", "B.parquet", "C.csv.gz", "notes.txt")
    assert find(tmp_path, "C", "A", "B") == [
        ("C", f"{tmp_path}/C.csv.gz"),
        ("A", f"{tmp_path}/A.csv"),
        ("B", f"{tmp_path}/B.parquet"),
    ]


def test_one_file_is_that_of_the_one_symbol(tmp_path: Path) -> None:
    put(tmp_path, "whatever.csv")
    assert find(tmp_path / "whatever.csv", "A") == [("A", f"{tmp_path}/whatever.csv")]


def test_an_unknown_symbol_of_a_folder_names_its_files(tmp_path: Path) -> None:
    put(tmp_path, "GOOG.csv", "MSFT.parquet", "IBM.csv.gz", "README.md")
    assert message_of(tmp_path, "GOOGL") == (
        "data: has no symbol 'GOOGL' (did you mean 'GOOG'?), that is, no GOOGL.csv, GOOGL.csv.gz "
        "or GOOGL.parquet; there are files of GOOG, IBM, MSFT"
    )


def test_an_empty_folder_is_said_so(tmp_path: Path) -> None:
    assert message_of(tmp_path, "A").endswith("; it holds no data files")


def test_two_files_of_one_symbol_are_ambiguous(tmp_path: Path) -> None:
    put(tmp_path, "A.csv", "A.parquet")
    assert message_of(tmp_path, "A") == (
        "data: has more than one file of 'A': A.csv, A.parquet; keep one"
    )


@pytest.mark.parametrize("symbol", ["../A", "BTC/USD", "..", "/etc/passwd"])
def test_a_symbol_never_leads_out_of_its_folder(tmp_path: Path, symbol: str) -> None:
    put(tmp_path, "A.csv")
    folder = tmp_path / "data"
    folder.mkdir()
    message = message_of(folder, symbol)
    assert message.startswith((f"data: {symbol!r} cannot be the name", "data: has no symbol"))


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    put(tmp_path, "GOOG.csv", "MSFT.csv", "x.txt")
    (tmp_path / "more").mkdir()
    with pytest.raises(DataError) as caught:
        find(tmp_path / "GOGO.csv", "GOOG")
    assert str(caught.value) == (
        f"{tmp_path}/GOGO.csv: does not exist (did you mean 'GOOG.csv'?); "
        f"{tmp_path} holds GOOG.csv, MSFT.csv, more"
    )


def test_a_missing_file_in_an_empty_folder_is_said_so(tmp_path: Path) -> None:
    assert message_of(tmp_path / "x.csv", "A") == (
        f"data: does not exist; {tmp_path} holds no data files"
    )


def test_a_missing_folder_is_said_so(tmp_path: Path) -> None:
    assert message_of(tmp_path / "no" / "x.csv", "A") == (
        "data: does not exist, nor does its folder"
    )


def test_a_path_with_a_nul_byte_does_not_exist(tmp_path: Path) -> None:
    assert "does not exist" in message_of(tmp_path / "a\0b.csv", "A")


def test_a_path_that_cannot_be_looked_at_is_said_so(tmp_path: Path) -> None:
    assert message_of(tmp_path / ("x" * 300), "A") == "data: cannot be read: File name too long"


def test_a_file_source_needs_a_path() -> None:
    with pytest.raises(ConfigError, match=r"data\.path: source 'file' needs a path"):
        list(symbol_tables(DataConfig(symbols=("A",)), None, ["A"]))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (None, "no frame of 'A' was handed over; there are none at all"),
        ({"B": pl.DataFrame(), "C": pl.DataFrame()},
         "no frame of 'A' was handed over; there are B, C"),
        ({"AA": pl.DataFrame()},
         r"no frame of 'A' was handed over \(did you mean 'AA'\?\); there are AA"),
    ],
)  # fmt: skip
def test_a_missing_frame_names_those_that_are_there(
    frames: dict[str, pl.DataFrame] | None, message: str
) -> None:
    config = DataConfig(source="frames", symbols=("A",))
    with pytest.raises(DataError, match=message):
        list(symbol_tables(config, frames, ["A"]))

"""Bad rows, as a user meets them: each test writes a file and reads the message."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from admf.containers.config import DataConfig
from admf.containers.market_data import MarketData
from admf.containers.readers import load_market_data
from admf.engine.errors import DataError

HEADER = "timestamp,open,high,low,close,volume"
GOOD = [
    "2021-01-04,10,12,9,11,100",
    "2021-01-05,11,13,10,12,100",
    "2021-01-06,12,14,11,13,100",
    "2021-01-07,13,15,12,14,100",
]


def load(path: Path) -> MarketData:
    return load_market_data(DataConfig(path=str(path), symbols=("A",)))


def write(path: Path, lines: list[str]) -> Path:
    file = path / "A.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def message_of(path: Path, lines: list[str]) -> str:
    file = write(path, [HEADER, *lines])
    with pytest.raises(DataError) as caught:
        load(file)
    assert caught.value.exit_code == 4
    return str(caught.value).replace(f"{file}", "A.csv")


def with_cell(row: int, column: int, value: str) -> list[str]:
    cells = GOOD[row].split(",")
    cells[column] = value
    return [*GOOD[:row], ",".join(cells), *GOOD[row + 1 :]]


@pytest.mark.parametrize("column", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("abc", "'abc' is not a number; write it like 1234.5"),
        ('"1,234.5"', "'1,234.5' is not a number; write it like 1234.5"),
        ("NaN", "is NaN; write a number, or remove the row"),
        ("inf", "'inf' is infinite; write a number, or remove the row"),
        ("-Infinity", "'-Infinity' is infinite; write a number, or remove the row"),
        ("1e999", "'1e999' is infinite; write a number, or remove the row"),
        ("", "is empty; write a number, or remove the row"),
        ("  ", "is empty; write a number, or remove the row"),
        ("0", "0 is zero, but a price must be above zero; correct it, or remove the row"),
        ("-3.5", "-3.5 is negative; correct it, or remove the row"),
        ("x" * 99, f"'{'x' * 39}... is not a number; write it like 1234.5"),
    ],
)
def test_a_bad_price_is_named_with_line_column_and_value(
    tmp_path: Path, column: int, value: str, message: str
) -> None:
    name = HEADER.split(",")[column]
    assert message_of(tmp_path, with_cell(2, column, value)) == f"A.csv:4: {name}: {message}"


@pytest.mark.parametrize("value", ["abc", "NaN", "inf", "", "-1"])
def test_a_bad_volume_is_named(tmp_path: Path, value: str) -> None:
    assert message_of(tmp_path, with_cell(0, 5, value)).startswith("A.csv:2: volume: ")


def test_a_volume_of_zero_is_fine(tmp_path: Path) -> None:
    data = load(write(tmp_path, [HEADER, *with_cell(1, 5, "0")]))
    assert data.bars("A").volume.tolist() == [100, 0, 100, 100]


def test_high_below_low_is_named_once(tmp_path: Path) -> None:
    assert message_of(tmp_path, with_cell(1, 2, "9.5")) == (
        "A.csv:3: high: 9.5 is below low 10.0; correct the bar, or check which column is which"
    )


@pytest.mark.parametrize(
    ("column", "value", "name"), [(1, "9.99", "open"), (4, "13.01", "close"), (4, "9.99", "close")]
)
def test_a_price_outside_the_range_of_its_bar_is_named(
    tmp_path: Path, column: int, value: str, name: str
) -> None:
    assert message_of(tmp_path, with_cell(1, column, value)) == (
        f"A.csv:3: {name}: {value} lies outside the bar's range, 10.0 to 13.0; correct the bar"
    )


def test_rounding_may_carry_a_price_a_trifle_out_of_the_range(tmp_path: Path) -> None:
    rows = with_cell(1, 4, "13.000000001")
    assert load(write(tmp_path, [HEADER, *rows])).bars("A").close[1] == 13.000000001


def test_a_time_that_comes_twice_is_named(tmp_path: Path) -> None:
    assert message_of(tmp_path, [*GOOD, GOOD[-1]]) == (
        "A.csv:6: timestamp: 2021-01-07 comes twice; keep one bar per symbol and time"
    )


def test_the_same_instant_with_two_offsets_comes_twice(tmp_path: Path) -> None:
    prices = "10,12,9,11,100"
    rows = [f"2021-01-04T12:00Z,{prices}", f"2021-01-04T13:00+01:00,{prices}"]
    assert "A.csv:3: timestamp: 2021-01-04T13:00+01:00 comes twice" in message_of(tmp_path, rows)


def test_times_that_step_back_are_named(tmp_path: Path) -> None:
    assert message_of(tmp_path, [GOOD[0], GOOD[2], GOOD[1], GOOD[3]]) == (
        "A.csv:4: timestamp: 2021-01-05 comes after 2021-01-06; sort the rows by time, oldest first"
    )


def test_times_with_and_without_offset_are_named(tmp_path: Path) -> None:
    message = message_of(tmp_path, with_cell(3, 0, "2021-01-07T00:00:00Z"))
    assert message == (
        "A.csv:5: timestamp: '2021-01-04' has no UTC offset, yet '2021-01-07T00:00:00Z' has one; "
        "write all times with an offset or none"
    )


def test_the_column_of_times_is_called_as_in_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, [HEADER.replace("timestamp", "Date"), *with_cell(1, 0, "never")])
    with pytest.raises(DataError, match=r"A\.csv:3: date: 'never' is not a time"):
        load(file)


def test_several_bad_rows_are_reported_together_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = ["2021-01-03,x,12,9,11,1", "2021-01-02,10,12,9,0,-1", "2021-01-05,10,8,9,9,1"]
    assert [line.split(": ")[:2] for line in message_of(tmp_path, rows).splitlines()] == [
        ["A.csv:2", "open"],
        ["A.csv:3", "timestamp"],
        ["A.csv:3", "close"],
        ["A.csv:3", "volume"],
        ["A.csv:4", "high"],
    ]


def test_beyond_five_faults_the_rest_is_counted(tmp_path: Path) -> None:
    rows = [f"2021-01-{day:02},1,1,1,bad,1" for day in range(1, 31)]
    lines = message_of(tmp_path, rows).splitlines()
    assert [line.partition(": ")[0] for line in lines[:5]] == [f"A.csv:{n}" for n in range(2, 7)]
    assert lines[5:] == ["and 25 more like these in A.csv"]


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    lines = ["", HEADER + ",note", GOOD[0] + ',"two', 'lines"', "", GOOD[1] + ",", GOOD[2] + "x,"]
    file = write(tmp_path, lines)
    with pytest.raises(DataError, match=r"A\.csv:7: volume: '100x' is not a number"):
        load(file)


def test_rows_of_a_parquet_file_are_counted_from_zero(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"date": ["2021-01-04", "2021-01-05"], "open": [1.0, 1.0], "high": [1.0, None],
         "low": [1.0, 1.0], "close": [1.0, float("nan")]}
    )  # fmt: skip
    file = tmp_path / "A.parquet"
    frame.write_parquet(file)
    with pytest.raises(DataError) as caught:
        load(file)
    assert str(caught.value) == (
        f"{file}, row 1: high: is empty; write a number, or remove the row\n"
        f"{file}, row 1: close: is NaN; write a number, or remove the row"
    )


def test_a_column_that_cannot_hold_numbers_is_a_fault() -> None:
    frame = pl.DataFrame(
        {"date": ["2021-01-04"], "open": [True], "high": [1], "low": [1], "close": [1]}
    )
    with pytest.raises(DataError, match="frame of A, row 0: open: True is not a number"):
        load_market_data(DataConfig(source="frames", symbols=("A",)), frames={"A": frame})

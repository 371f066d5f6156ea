from __future__ import annotations

import gzip
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from admf.containers.config import DataConfig
from admf.containers.csv_files import line_numbers
from admf.containers.readers import load_market_data
from admf.engine.errors import DataError

HEADER = b"timestamp,open,high,low,close,volume\n"
BAR = b"2021-01-04,10,12,9,11,100\n"


def message_of(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_market_data(DataConfig(path=str(file), symbols=("A",)))
    return str(caught.value).replace(str(file), file.name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "A.csv: is empty; write a header timestamp,open,high,low,close,volume"),
        (b"\n \n", "A.csv: is empty; write a header"),
        (HEADER, "A.csv: has no bars of A; write one row per bar"),
        (HEADER + b"\n\n", "A.csv: has no bars of A; write one row per bar"),
        (b"\x00\x01\x02\xff" * 9, "A.csv:1: holds a NUL byte, so it is not text in UTF-8"),
        (HEADER + BAR + b"2021-01-05,1\x000,1,1,1,1\n", "A.csv:3: holds a NUL byte"),
        ((HEADER + BAR).decode().encode("utf-16"), "A.csv:1: holds a NUL byte"),
        (HEADER + BAR + b"2021-01-05,\xff,1,1,1,1\n", "A.csv:3: is not text in UTF-8"),
        (HEADER + BAR + b"2021-01-05,1,1,1,1,1,000\n",
         "A.csv:3: has 7 values, but the header names 6 columns; remove the extra values"),
        (HEADER + BAR + b'2021-01-05,"1,1,1,1,1\n' + BAR,
         "A.csv:3: opens a quote that is never closed"),
        (HEADER + b'"2021"-01-05,1,1,1,1,1\n', "A.csv: cannot be read as CSV: "),
        (HEADER.replace(b",", b";") + BAR.replace(b",", b";"),
         "it seems to be separated by ';': save it with commas"),
        (b"\x1f\x8b\x08\x00torn", "A.csv: is not a complete gzip file"),
        (b"PK\x03\x04zip", "A.csv: has no column 'timestamp', 'open', 'high', 'low', 'close'"),
    ],
)  # fmt: skip
def test_what_is_no_csv_file_is_said_so(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in message_of(tmp_path / "A.csv", content)


def test_a_gzip_file_that_breaks_off_late_is_said_so(tmp_path: Path) -> None:
    days = (f"{day}" for day in range(20_000, 60_000))
    rows = "".join(f"{day * 86_400},1.{day},2,1,1.5,{day}\n" for day in map(int, days))
    packed = gzip.compress(HEADER + rows.encode())
    message = message_of(tmp_path / "A.csv.gz", packed[:-1000])
    assert message.startswith("A.csv.gz: cannot be read as CSV: ")


def test_a_nul_byte_far_down_is_a_bad_value(tmp_path: Path) -> None:
    rows = b"".join(b"%d,1,2,1,1.5,9\n" % (day * 86_400) for day in range(10_000, 15_000))
    message = message_of(tmp_path / "A.csv", HEADER + rows + b"1300000000,1,\x002,1,1,1\n")
    assert message.startswith("A.csv:5002: high: '\\x002' is not a number")


def test_windows_line_ends_byte_order_marks_and_spaces_are_read(tmp_path: Path) -> None:
    file = tmp_path / "A.csv"
    content = b"\xef\xbb\xbf Timestamp , Open,HIGH,low,Close\r\n2021-01-04, 10,12 ,9,11\r\n"
    file.write_bytes(content)
    data = load_market_data(DataConfig(path=str(file), symbols=("A",)))
    assert [bar.high for bar in data.block(0, 1)] == [12.0]


def test_line_numbers_of_records_polars_cuts_otherwise_are_near(tmp_path: Path) -> None:
    file = tmp_path / "A.csv"
    file.write_text("a,b\n1,2\n")
    assert line_numbers(file, [0, 5]) == [2, 7]


CELLS = st.sampled_from(
    [b"2020-01-01", b"2020-01-02T00:00Z", b"1", b"2", b"nan", b"-inf", b"", b" ", b'"', b"\xff",
     b"1609459200", b"9" * 20, b"1e3", b"\r", b",", b"\x00", b"0", b"-1", b"20200101", b"1e400",
     b"9223372036854775807", b"2500-01-01", b"0001-01-01", b"2021-03-14 02:30"]
)  # fmt: skip
LINES = st.lists(st.lists(CELLS, max_size=7).map(b",".join), max_size=6).map(b"\n".join)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.one_of(
        st.binary(max_size=200),
        LINES.map(HEADER.__add__),
        st.binary(max_size=60).map(HEADER.__add__),
        st.binary(max_size=60).map(b"\x1f\x8b".__add__),
        st.binary(max_size=60).map(b"PAR1".__add__),
    ),
    name=st.sampled_from(["A.csv", "A.parquet"]),
    timezone=st.sampled_from([None, "America/New_York"]),
)
def test_any_bytes_are_read_or_refused_as_data(
    tmp_path: Path, content: bytes, name: str, timezone: str | None
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with suppress(DataError):
        data = load_market_data(DataConfig(path=str(file), symbols=("A",), timezone=timezone))
        assert data.steps > 0

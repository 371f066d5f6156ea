from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.containers.times import DAY_NS, iso_utc, iso_utc_list

OCTOBER_29_2004 = 1_099_008_000 * 1_000_000_000


@pytest.mark.parametrize(
    ("ts", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (OCTOBER_29_2004, "2004-10-29T00:00:00Z"),
        (OCTOBER_29_2004 + 52_200_000_000_000, "2004-10-29T14:30:00Z"),
        (OCTOBER_29_2004 + 250_000_000, "2004-10-29T00:00:00.250Z"),
        (OCTOBER_29_2004 + 250_000, "2004-10-29T00:00:00.000250Z"),
        (OCTOBER_29_2004 + 1, "2004-10-29T00:00:00.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (951_782_400 * 1_000_000_000, "2000-02-29T00:00:00Z"),
    ],
)
def test_a_time_is_written_with_as_few_decimals_as_it_needs(ts: int, text: str) -> None:
    assert iso_utc(ts) == text


def test_a_list_mixes_precisions_in_place() -> None:
    ts = np.array([5, DAY_NS, 1_500, 2_000_000], dtype=np.int64)
    assert iso_utc_list(ts) == [
        "1970-01-01T00:00:00.000000005Z",
        "1970-01-02T00:00:00Z",
        "1970-01-01T00:00:00.000001500Z",
        "1970-01-01T00:00:00.002Z",
    ]


def test_no_times_give_no_texts() -> None:
    assert iso_utc_list(np.array([], dtype=np.int64)) == []


@given(st.lists(st.integers(-(2**62), 2**62), max_size=20))
def test_text_read_back_is_the_same_instant(values: list[int]) -> None:
    texts = iso_utc_list(np.array(values, dtype=np.int64))
    assert texts == [iso_utc(value) for value in values]
    for text, value in zip(texts, values, strict=True):
        assert text.endswith("Z")
        assert int(np.datetime64(text[:-1], "ns").astype(np.int64)) == value
        read = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
        assert int(read.timestamp()) == value // 1_000_000_000

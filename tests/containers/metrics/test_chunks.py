from __future__ import annotations

from itertools import accumulate, groupby

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.metrics.chunks import (
    CHUNK,
    ChunkBuffer,
    by_chunk,
    changes,
    run_edges,
    running_sum,
)


@settings(deadline=None)
@given(st.lists(st.integers(1, 3 * CHUNK), min_size=1, max_size=6))
def test_rows_come_out_in_order_and_in_whole_chunks(portions: list[int]) -> None:
    total = sum(portions)
    rows = np.arange(total, dtype=np.float64)
    buffer, out, start = ChunkBuffer(2), [], 0
    for portion in portions:
        part = rows[start : start + portion]
        for first, second in buffer.extend(part, -part):
            assert len(first) % CHUNK == 0
            assert (second == -first).all()
            out.extend(first.tolist())
        start += portion
    rest = buffer.rest()
    assert len(out) == total // CHUNK * CHUNK
    if rest is not None:
        out.extend(rest[0].tolist())
    assert out == rows.tolist()


def test_single_rows_complete_a_chunk() -> None:
    buffer = ChunkBuffer(1)
    assert buffer.rest() is None
    chunks = [[list(it[0]) for it in buffer.extend(np.full(1, float(row)))] for row in range(CHUNK)]
    assert chunks == [[]] * (CHUNK - 1) + [[list(range(CHUNK))]]
    assert buffer.rest() is None


def test_chunks_are_rows_and_a_short_one_is_a_row() -> None:
    assert by_chunk(np.zeros(3 * CHUNK)).shape == (3, CHUNK)
    assert by_chunk(np.zeros(5)).shape == (1, 5)


def test_sums_go_on_and_changes_are_from_one_value_to_the_next() -> None:
    assert running_sum(1.0, np.array([2.0, 3.0])) == 6.0
    assert changes(np.array([2.0, 3.0, 6.0]), 4.0).tolist() == [0.5, 1.5, 2.0]


def test_chunks_that_were_handed_on_stay_as_they_are() -> None:
    buffer = ChunkBuffer(1)
    kept = [it for row in range(3 * CHUNK) for it in buffer.extend(np.full(1, float(row)))]
    assert [it[0][0] for it in kept] == [0.0, CHUNK, 2 * CHUNK]


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_runs_are_those_of_itertools(values: list[int]) -> None:
    edges = run_edges(np.array(values)).tolist()
    lengths = [len(list(run)) for _, run in groupby(values)]
    assert edges == [0, *accumulate(lengths)]

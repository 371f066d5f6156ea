from __future__ import annotations

import json
import math
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.engine.encoding import CHUNK_RECORDS, CHUNK_VALUES, iter_json
from admf.engine.errors import StorageError


class Trade(msgspec.Struct, frozen=True):
    ts: int
    price: float
    tags: tuple[str, ...] = ()


def encode(body: dict[str, Any]) -> bytes:
    return b"".join(iter_json(body, "result.json"))


def decode(body: dict[str, Any]) -> Any:
    return json.loads(encode(body), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def nulled(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [nulled(item) for item in value]
    if isinstance(value, dict):
        return {key: nulled(item) for key, item in value.items()}
    return value


leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text()
keys = st.text(max_size=3)
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20
)
documents = st.dictionaries(keys, values, max_size=5)
few = settings(max_examples=50, deadline=None)


@few
@given(documents)
def test_any_document_reads_back_with_null_for_what_is_not_finite(body: dict[str, Any]) -> None:
    assert decode(body) == nulled(body)


@few
@given(documents, st.sampled_from([1, 2, 7]))
def test_how_a_document_is_cut_does_not_show(body: dict[str, Any], chunk: int) -> None:
    whole = encode(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("admf.engine.encoding.CHUNK_VALUES", chunk)
        patch.setattr("admf.engine.encoding.CHUNK_RECORDS", chunk)
        assert encode(body) == whole


def test_keys_keep_their_order_and_the_text_is_one_line() -> None:
    text = encode({"schema_version": 1, "z": 2, "a": {"y": 1, "b": 2}})
    assert text == b'{"schema_version":1,"z":2,"a":{"y":1,"b":2}}\n'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([1.5, np.nan, np.inf, -np.inf]), [1.5, None, None, None]),
        (np.array([[1.0, np.nan], [2.0, 3.0]]), [[1.0, None], [2.0, 3.0]]),
        (np.array([2**62, -1]), [2**62, -1]),
        (np.array([True, False]), [True, False]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([]), []),
        (np.zeros((0, 3)), []),
        (np.zeros((2, 0)), [[], []]),
        (np.array(1.5), 1.5),
        (np.float64("nan"), None),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (Trade(1, math.nan, ("x",)), {"ts": 1, "price": None, "tags": ["x"]}),
        ([Trade(1, 2.0)], [{"ts": 1, "price": 2.0, "tags": []}]),
        ((1, (2.0, math.inf)), [1, [2.0, None]]),
        (MappingProxyType({"a": math.nan}), {"a": None}),
        (iter([1, math.nan]), [1, None]),
        (iter([]), []),
        ({}, {}),
        ({1: "int key"}, {"1": "int key"}),
        ({'quo"te\n': 1}, {'quo"te\n': 1}),
    ],
)
def test_values_as_they_stand_in_results(value: object, expected: object) -> None:
    assert decode({"value": value}) == {"value": expected}


@pytest.mark.parametrize("depth", [1, 4])
def test_values_that_are_not_plain_may_lie_deep(depth: int) -> None:
    def nested() -> Any:
        value: Any = {"array": np.array([math.nan]), "items": (Trade(i, 1.0) for i in range(2))}
        for _ in range(depth):
            value = {"lane": [value, MappingProxyType({"x": np.float64(1.0)})]}
        return value

    found = decode(nested())
    for _ in range(depth):
        found, beside = found["lane"]
        assert beside == {"x": 1.0}
    assert found["array"] == [None]
    assert [item["ts"] for item in found["items"]] == [0, 1]


BIG = 100_000
LARGE: dict[str, Any] = {
    "list": [0.5] * BIG,
    "array": np.full(BIG, 0.5),
    "matrix": np.full((BIG // 4, 4), 0.5),
    "structs": [Trade(i, 0.5) for i in range(BIG // 3)],
    "dicts": [{"ts": i, "price": 0.5, "bars": [1, 2]} for i in range(BIG // 4)],
    "mapping": {str(i): 0.5 for i in range(BIG)},
    "lanes": [{"equity": np.full(BIG // 4, 0.5)} for _ in range(4)],
    "by_symbol": {str(i): [0.5] * (BIG // 4) for i in range(4)},
    "wide": [{str(i): 0.5 for i in range(BIG)}],
    "rows": [[0.5] * 30 for _ in range(BIG // 30)],
}


@pytest.mark.parametrize("name", LARGE)
def test_large_values_are_cut_into_chunks_of_bounded_size(name: str) -> None:
    chunks = list(iter_json({name: LARGE[name]}, "result.json"))
    values = [chunk.count(b",") for chunk in chunks]
    assert sum(values) >= BIG * 0.9
    assert max(values) <= 2 * CHUNK_VALUES
    assert json.loads(b"".join(chunks)).keys() == {name}


def test_small_parts_are_joined_so_that_chunks_are_few() -> None:
    body = {str(i): {"equity": np.zeros(10), "trades": [1, 2, 3]} for i in range(500)}
    assert len(list(iter_json(body, "result.json"))) == 1


def test_an_iterator_is_read_as_the_document_is_written() -> None:
    drawn = 0

    def trades() -> Iterator[Trade]:
        nonlocal drawn
        for drawn in range(1, 50 * CHUNK_RECORDS + 1):
            yield Trade(drawn, 1.0)

    chunks = iter_json({"trades": trades()}, "result.json")
    next(chunks)
    assert drawn <= CHUNK_VALUES
    for _ in chunks:
        pass
    assert drawn == 50 * CHUNK_RECORDS


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "objects of type object are not supported"),
        ([1, {"deep": object()}], "objects of type object are not supported"),
        ("\ud800", "surrogates not allowed"),
        ({(1, 2): 3}, "no JSON form"),
        ({3, 1}, "sort it into a list"),
        ([frozenset("ab")], "sort it into a list"),
    ],
)
def test_a_value_without_json_form_names_the_document_and_the_reason(
    value: object, reason: str
) -> None:
    with pytest.raises(StorageError, match=f"^cannot write result.json: .*{reason}"):
        encode({"value": value})


def test_an_error_of_an_iterator_passes_through_unchanged() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        encode({"items": broken()})

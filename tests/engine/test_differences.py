from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.differences import Difference, briefly, differences, shown

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({"a": 1}, {"a": 1.0}, [("a", 1, 1.0)]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 4}}, [("a.b", 1, 3), ("a.c", 2, 4)]),
        ({"a": 1}, {"b": 1}, [("a", 1, msgspec.UNSET), ("b", msgspec.UNSET, 1)]),
        ({"a": {"b": 1}}, {"a": None}, [("a", {"b": 1}, None)]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
        ([1, 2, 3], [1, 5, 6], [("[1]", 2, 5)]),
        ([1], [1, 2], [("", [1], [1, 2])]),
        ({"a": [{"x": 1}]}, {"a": [{"x": 2}, 3]}, [
            ("a[0].x", 1, 2),
            ("a", [{"x": 1}], [{"x": 2}, 3]),
        ]),
    ],
)  # fmt: skip
def test_members_that_differ_are_told(before: Any, now: Any, expected: list[Any]) -> None:
    assert list(differences(before, now)) == expected


def test_lists_may_be_told_as_a_whole() -> None:
    found = list(differences({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "top", into_lists=False))
    assert found == [Difference("top.a.b", [1, 2], [1, 3])]


@given(PLAIN, PLAIN)
def test_only_values_that_are_written_differently_have_some(before: Any, now: Any) -> None:
    def written(value: Any) -> bytes:
        return msgspec.json.encode(value, order="deterministic")

    for into_lists in (True, False):
        found = list(differences(before, now, into_lists=into_lists))
        assert bool(found) == (written(before) != written(now))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (msgspec.UNSET, "nothing"),
        (None, "null"),
        ("a", '"a"'),
        ([1, 2], "[1,2]"),
        ("a" * 58, f'"{"a" * 58}"'),
        ("a" * 59, f'"{"a" * 56}...'),
    ],
)
def test_a_value_is_shown_on_a_line(value: Any, expected: str) -> None:
    assert shown(value) == expected


def test_of_a_list_its_length_may_be_enough() -> None:
    assert briefly([1.5] * 1000) == "1,000 entries"
    assert briefly({"a": 1}) == '{"a":1}'

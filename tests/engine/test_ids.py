from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.errors import ConfigError, UnsafeIdError
from admf.engine.ids import MAX_ID_LENGTH, UniqueIds, check_id, check_id_path

SAFE = [
    "a",
    "portfolio_001",
    "wf-012",
    "GOOG.L",
    "a..b",
    "0",
    "_",
    "-x",
    "console",
    "com10",
    "x" * 100,
]
UNSAFE = [
    ("", "is empty"),
    ("x" * 101, "has 101 characters"),
    ("x" * 300, "has 300 characters"),
    (".", "dot"),
    ("..", "dot"),
    (".hidden", "dot"),
    ("trailing.", "dot"),
    ("/etc/passwd", "contains '/'"),
    ("../up", "contains '/'"),
    ("a\\b", r"contains '\\\\'"),
    ("a\0b", r"contains '\\x00'"),
    ("a b", "contains ' '"),
    ("a\n", r"contains '\\n'"),
    ("C:", "contains ':'"),
    ("a\u0301", "contains"),
    ("é", "contains 'é'"),
    ("\u0661", "contains"),
    ("con", "device"),
    ("NUL", "device"),
    ("Com1", "device"),
    ("lpt9.json", "device"),
    ("aux.tar.gz", "device"),
]


@pytest.mark.parametrize("value", SAFE)
def test_safe_ids_come_back_unchanged(value: str) -> None:
    assert check_id(value, "container id") == value


@pytest.mark.parametrize(("value", "fault"), UNSAFE)
def test_unsafe_ids_are_refused_with_the_fault_and_the_rule(value: str, fault: str) -> None:
    with pytest.raises(UnsafeIdError, match=fault) as caught:
        check_id(value, "container id")
    message = str(caught.value)
    assert message.startswith("container id ")
    assert "use 1 to 100 of the letters" in message
    assert len(message) < 300
    assert isinstance(caught.value, ConfigError)


@given(st.text(max_size=120))
def test_whatever_passes_is_one_plain_part_of_a_path(value: str) -> None:
    try:
        check_id(value, "id")
    except UnsafeIdError:
        return
    assert Path("/root", value).relative_to("/root").parts == (value,)
    assert len(value.encode()) <= MAX_ID_LENGTH
    assert re.fullmatch(r"[ -~]+", value)


@pytest.mark.parametrize("value", ["wf_012", "mc_003/wf_012", "a/b/c"])
def test_nested_ids_are_checked_part_by_part(value: str) -> None:
    assert check_id_path(value, "window_id") == value


@pytest.mark.parametrize("value", ["/abs", "a//b", "a/", "a/../b", "a/./b", "a/con", "a/b\0", ""])
def test_one_unsafe_part_spoils_a_nested_id(value: str) -> None:
    with pytest.raises(UnsafeIdError, match="window_id"):
        check_id_path(value, "window_id")


def test_ids_that_differ_only_by_case_are_refused() -> None:
    ids = UniqueIds("container id")
    ids.add("portfolio")
    with pytest.raises(UnsafeIdError, match="'Portfolio' differs from 'portfolio' only by case"):
        ids.add("Portfolio")


def test_the_same_id_may_be_added_again() -> None:
    ids = UniqueIds("container id")
    ids.add("a")
    ids.add("a")
    ids.add("b")

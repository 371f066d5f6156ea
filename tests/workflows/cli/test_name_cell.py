from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.measure import Measurement

from admf.workflows.cli.name_cell import NameCell


def _lines(text: str, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(NameCell(text), overflow="fold")
    return captured.get().splitlines()


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("", 9, [""]),
        ("walk", 9, ["walk"]),
        ("search/train/portfolio_001", 26, ["search/train/portfolio_001"]),
        ("search/train/portfolio_001", 25, ["search/train/portfolio_", "001"]),
        ("search/train/portfolio_001", 14, ["search/train/", "portfolio_001"]),
        ("2024-01-02 15:30:00Z", 12, ["2024-01-02", "15:30:00Z"]),
        ("2024-01-02 15:30:00Z", 10, ["2024-01-02", "15:30:00Z"]),
        ("longish", 4, ["long", "ish"]),
    ],
)
def test_names_go_on_after_their_parts(text: str, width: int, lines: list[str]) -> None:
    assert _lines(text, width) == lines


@given(st.text("ab/_", min_size=1, max_size=30), st.integers(1, 40))
def test_nothing_is_lost_and_no_line_is_too_wide(text: str, width: int) -> None:
    lines = _lines(text, width)
    assert "".join(lines) == text
    assert max(map(len, lines)) <= width


def test_its_longest_part_is_the_least_it_needs() -> None:
    console = Console(file=io.StringIO())
    assert Measurement.get(console, console.options, NameCell("ab/portfolio_1")) == (10, 14)
    assert Measurement.get(console, console.options, NameCell("")) == (0, 0)

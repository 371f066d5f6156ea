"""Tables and text for people, laid out for the terminal at hand."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from admf.containers.metrics.catalogue import METRICS, Unit

if TYPE_CHECKING:
    from rich.console import JustifyMethod, RenderableType

__all__ = [
    "MOST_ROWS",
    "fact_rows",
    "figure",
    "grid",
    "metric_label",
    "metric_of",
    "metric_text",
    "moment_text",
    "narrow_label",
    "path_text",
    "point_text",
    "rendered",
    "rows_and_rest",
    "span_text",
    "table",
    "titled",
]

MOST_ROWS = 20
"""Rows of a table whose length depends on the data."""

_WIDTH_OF_FILES = 200
"""Standard output that is not a terminal has room: long lines are better for grep than wrapped."""

_SPELLINGS = MappingProxyType({"cagr": "CAGR", "sharpe": "Sharpe", "sqn": "SQN"})
_UNITS: Mapping[str, Unit] = MappingProxyType({metric.name: metric.unit for metric in METRICS})


def rendered(*parts: RenderableType) -> str:
    """Return parts as they are to stand on standard output, in colour on a terminal."""
    width = None if sys.stdout.isatty() else _WIDTH_OF_FILES
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def table(*columns: str, right: tuple[str, ...] = (), gap: int = 2) -> Table:
    """Return a table without lines; those in ``right`` hold numbers and are not wrapped."""
    made = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for column in columns:
        is_number = column in right
        justify: JustifyMethod = "right" if is_number else "left"
        made.add_column(column, justify=justify, overflow="fold", no_wrap=is_number)
    return made


def grid(pairs: int) -> Table:
    """Return a table of labels and figures side by side, without a header."""
    made = Table.grid(padding=(0, 2, 0, 0))
    for number in range(pairs):
        made.add_column(style="dim")
        made.add_column(justify="right", min_width=9)
        if number < pairs - 1:
            made.add_column()
    return made


def fact_rows(*, right: bool = False) -> Table:
    """Return a table of labels and what is said of them, without a header."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(justify="right" if right else "left", overflow="fold")
    return made


def titled(title: str, rows: Table, count: int) -> Iterator[RenderableType]:
    """Yield a table with a title; see `rows_and_rest`."""
    yield Text("")
    yield Text(title, "bold")
    yield from rows_and_rest(rows, count)


def rows_and_rest(rows: Table, count: int) -> Iterator[RenderableType]:
    """Yield a table, and how many of ``count`` rows are left out as they are beyond `MOST_ROWS`."""
    yield rows
    if count > MOST_ROWS:
        yield Text(f"and {count - MOST_ROWS:,} more")


def figure(metrics: Mapping[str, float | None], name: str) -> tuple[str, str]:
    """Return the label and the value of a metric."""
    return metric_label(name), metric_of(name, metrics.get(name))


def metric_of(name: str, value: float | None) -> str:
    """Return the value of a metric for people, by its name."""
    return metric_text(value, _UNITS.get(name, "ratio"))


def metric_label(name: str) -> str:
    """Return a metric's name for people: ``Sharpe ratio``."""
    label = " ".join(_SPELLINGS.get(word, word) for word in name.split("_"))
    return label[:1].upper() + label[1:]


def narrow_label(name: str, *below: str) -> str:
    """Return a metric's name for the head of a narrow column, over several lines."""
    return "\n".join((*metric_label(name).rsplit(" ", 1), *below))


def metric_text(value: float | None, unit: Unit) -> str:
    """Return a metric for people, rounded; ``-`` where it is not defined."""
    if value is None:
        return "-"
    if unit in {"fraction", "probability"}:
        return f"{100 * value:,.2f} %"
    if unit in {"bars", "count"}:
        return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
    return f"{value:,.2f}"


def moment_text(iso: str) -> str:
    """Return a time for people: the date alone if it is midnight."""
    return iso.removesuffix("T00:00:00Z")


def span_text(span: Mapping[str, str]) -> str:
    """Return a range of times, from ``start`` to ``end``, for people."""
    return f"{moment_text(span['start'])} to {moment_text(span['end'])}"


def point_text(parameters: Mapping[str, Any]) -> str:
    """Return a parameter set for people."""
    return " ".join(f"{name}={value}" for name, value in parameters.items())


def path_text(path: str) -> str:
    """Return an absolute path as seen from the current folder, if it lies below it."""
    place, here = Path(path), Path.cwd()
    return str(place.relative_to(here)) if place.is_relative_to(here) else path

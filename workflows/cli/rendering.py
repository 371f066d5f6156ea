"""Tables and text for people, laid out for the terminal at hand."""

from __future__ import annotations

import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from admf.containers.metrics.catalogue import Unit

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["grid", "metric_label", "metric_text", "moment_text", "path_text", "rendered", "table"]

_WIDTH_OF_FILES = 200
"""Standard output that is not a terminal has room: long lines are better for grep than wrapped."""

_SPELLINGS = MappingProxyType({"cagr": "CAGR", "sharpe": "Sharpe", "sqn": "SQN"})


def rendered(*parts: RenderableType) -> str:
    """Return parts as they are to stand on standard output, in colour on a terminal."""
    width = None if sys.stdout.isatty() else _WIDTH_OF_FILES
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def table(*columns: str, right: tuple[str, ...] = (), gap: int = 2) -> Table:
    """Return a table without lines; the columns named in ``right`` are aligned to the right."""
    made = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
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


def metric_label(name: str) -> str:
    """Return a metric's name for people: ``Sharpe ratio``."""
    label = " ".join(_SPELLINGS.get(word, word) for word in name.split("_"))
    return label[:1].upper() + label[1:]


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


def path_text(path: str) -> str:
    """Return an absolute path as seen from the current folder, if it lies below it."""
    place, here = Path(path), Path.cwd()
    return str(place.relative_to(here)) if place.is_relative_to(here) else path

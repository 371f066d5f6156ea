"""Names and paths in narrow columns of tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.measure import Measurement
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = ["NameCell"]

_PIECES = re.compile(r"[^/_ ]*[/_ ]?")


class NameCell:
    """A name or a path; where it has no room, it goes on in the next line, after ``/`` or ``_``.

    Args:
        text: The name.
    """

    def __init__(self, text: str) -> None:
        self._pieces = [it for it in _PIECES.findall(text) if it]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Return its lines."""
        yield Text("\n".join(self._lines(options.max_width)))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return how much room it needs, and how much it would take."""
        widths = [cell_len(it) for it in self._pieces]
        return Measurement(max(widths, default=0), sum(widths))

    def _lines(self, width: int) -> Iterator[str]:
        line = ""
        for piece in self._pieces:
            if line and cell_len(line) + cell_len(piece.rstrip()) > width:
                yield line.rstrip()
                line = ""
            line += piece
        yield line

"""``admf results show``: the results of a run, checked and shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from rich.text import Text

from admf.workflows.cli.details import portfolio_details
from admf.workflows.cli.rendering import rendered
from admf.workflows.cli.stored import StoredRun, read_run
from admf.workflows.cli.streams import write_json, write_out
from admf.workflows.cli.summary import head, portfolio_rows

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["show"]

_MOST_PORTFOLIOS = 10


def show(directory: Path, /, *, json: bool = False) -> None:
    """Check that a run's result files are whole, and show what is in them.

    Args:
        directory: The folder of the run.
        json: Write a JSON document to standard output instead of tables.
    """
    run = anyio.run(read_run, directory)
    if json:
        write_json(run)
    else:
        write_out(rendered(*_shown(run)))


def _shown(run: StoredRun) -> Iterator[RenderableType]:
    yield head(run.run.run_id, run.run.status)
    for window in run.windows:
        if len(window.portfolios) > 1:
            yield from portfolio_rows(window.path, window.portfolios)
        for portfolio in window.portfolios[:_MOST_PORTFOLIOS]:
            yield from portfolio_details(window.path, portfolio)
        for error in window.summary.errors:
            yield Text(error, "red")
    if not run.windows:
        yield Text("it ended before a window was complete, so there is nothing to show")
    yield Text("")
    yield Text(f"every file in {run.path} is as it was written")

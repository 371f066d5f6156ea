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
from admf.workflows.cli.summary import head, phase_section

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
    for name, phase in run.phases.items():
        own = [it for window in run.windows if window.path == name for it in window.portfolios]
        yield from phase_section(phase, own[:_MOST_PORTFOLIOS], portfolio_details)
    if not run.phases:
        yield Text("it ended before a phase was over, so there is nothing to show")
    yield Text("")
    yield Text(f"every file in {run.path} is as it was written")

"""``admf rerun``: a single portfolio once more, compared with its file byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from admf.workflows.cli.exits import ExitCode
from admf.workflows.cli.rendering import fact_rows, figure, rendered, table
from admf.workflows.cli.streams import foreign_code, say, write_json, write_out
from admf.workflows.rerun import Rerun
from admf.workflows.rerun import rerun as rerun_container

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["rerun"]

_UNEXPLAINED = (
    "the data, the versions and the file of its strategy are what they were, so look at modules "
    "that the strategy imports, and at chance in it that is not from ctx.rng"
)
_METRICS = ("total_return", "sharpe_ratio", "max_drawdown", "trade_count")


def rerun(container: Path, /, *, json: bool = False) -> int:
    """Run a single portfolio of a run once more, and check that the bytes are the same.

    Args:
        container: Its file, e.g. results/goog/search/wf_001/portfolio_007; what is around its name,
            containers/ and _results.json, may be left out.
        json: Write the outcome as a JSON document to standard output.
    """
    with foreign_code():
        found = rerun_container(container)
    for change in found.changes:
        say("note", f"not as it was then: {change}")
    if json:
        write_json(found)
    else:
        write_out(rendered(*_shown(found)))
    if not found.same:
        why = "" if found.changes else f"; {_UNEXPLAINED}"
        say("error", f"{found.container} does not give the same bytes{why}")
    return ExitCode.OK if found.same else ExitCode.SOME_FAILED


def _shown(found: Rerun) -> Iterator[RenderableType]:
    outcome = "the same to the byte" if found.same else "not the same"
    yield Text.assemble((found.container, "bold"), f"  {outcome}")
    yield Text("")
    yield from _metrics(found) if found.same else _differences(found)


def _metrics(found: Rerun) -> Iterator[RenderableType]:
    rows = fact_rows(right=True)
    for name in _METRICS:
        rows.add_row(*figure(found.metrics, name))
    yield rows
    if found.error is not None:
        yield Text(f"it fails as it did: {found.error}")


def _differences(found: Rerun) -> Iterator[RenderableType]:
    rows = table("Field", "In its file", "Now")
    for it in found.differences:
        rows.add_row(it.path, it.stored, it.now)
    yield rows
    if found.more:
        yield Text(f"and {found.more:,} more")

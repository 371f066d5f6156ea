"""``admf results ls``: the runs of a folder, or what there is in one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from rich.text import Text

from admf.workflows.cli.frame_tables import (
    common_text,
    own_parameters,
    parameter_columns,
    place_text,
    plain_rows,
    shared,
)
from admf.workflows.cli.name_cell import NameCell
from admf.workflows.cli.place import Place, open_place
from admf.workflows.cli.query_options import Limit
from admf.workflows.cli.rendering import metric_of, narrow_label, rendered, table
from admf.workflows.cli.run_list import ListedRun, runs_in
from admf.workflows.cli.run_state import state_of_unfinished
from admf.workflows.cli.streams import say, write_json, write_out
from admf.workflows.results.run_folder import find_run

if TYPE_CHECKING:
    import polars as pl
    from rich.console import RenderableType

__all__ = ["ListedPhase", "ListedWindow", "Listing", "ls"]

_COLUMNS = ("total_return", "sharpe_ratio", "trade_count")


class ListedPhase(msgspec.Struct, frozen=True):
    """A phase of a run.

    Args:
        name: Its name.
        status: How it ended.
        sequence: Name of its sequence.
        saved: Whether it is over and its results are files.
        windows: How many are complete.
        portfolios: How many left results in them.
    """

    name: str
    status: str
    sequence: str
    saved: bool
    windows: int
    portfolios: int


class ListedWindow(msgspec.Struct, frozen=True):
    """A complete window of a phase."""

    name: str
    status: str
    portfolios: int
    failed: int


class Listing(msgspec.Struct, frozen=True):
    """What ``ls --json`` writes.

    Args:
        path: What is listed.
        kind: What is in it.
        total: How many there are.
        rows: The first of them.
    """

    path: str
    kind: Literal["runs", "phases", "windows", "portfolios"]
    total: int
    rows: Sequence[ListedRun | ListedPhase | ListedWindow | dict[str, Any]]


def ls(directory: Path = Path("results"), /, *, limit: Limit = 20, json: bool = False) -> None:
    """List the runs in a folder; or the phases of a run, the windows of a phase, its portfolios.

    Args:
        directory: A folder of runs, the folder of a run, or one in it; "results" if not given.
        limit: List no more than this; 20 if not given.
        json: Write a JSON document to standard output instead of a table.
    """
    if find_run(directory) is None:
        runs = runs_in(directory)
        nothing = f"there are no runs in {directory}"
        found = Listing(str(directory), "runs", len(runs), runs[:limit])
        shown = _runs(runs[:limit])
    else:
        place = open_place(directory)
        nothing = place.emptiness
        if place.run.status == "running":
            say("note", f"the run has not ended, it is {state_of_unfinished(place.run.path)}")
        found, shown = _inside(place, limit)
    if json:
        write_json(found)
    elif not found.total:
        say("note", nothing)
    else:
        write_out(rendered(*shown, *_rest(found)))


def _rest(found: Listing) -> Iterator[RenderableType]:
    left = found.total - len(found.rows)
    if left:
        yield Text(f"and {left:,} more: see -n")


def _inside(place: Place, limit: int) -> tuple[Listing, Iterator[RenderableType]]:
    if not place.phase:
        phases = _phases(place)
        listing = Listing(place.path, "phases", len(phases), phases[:limit])
        return listing, _phase_rows(place, phases[:limit])
    windows = _windows(place)
    if len(windows) > 1:
        listing = Listing(place.path, "windows", len(windows), windows[:limit])
        return listing, _window_rows(windows[:limit])
    frame = place.metrics()
    rows = frame.head(limit)
    listing = Listing(place.path, "portfolios", frame.height, plain_rows(rows))
    return listing, _portfolio_rows(rows)


def _phases(place: Place) -> list[ListedPhase]:
    counts = _counts(place, "phase")
    return [
        ListedPhase(it.name, it.status, it.sequence, it.saved, len(it.windows), count)
        for it in place.phases
        for count, _ in [counts.get(it.name, (0, 0))]
    ]


def _windows(place: Place) -> list[ListedWindow]:
    counts = _counts(place, "window")
    return [
        ListedWindow(name, window.status, *counts.get(name, (0, 0)))
        for name, window in place.windows.items()
    ]


def _counts(place: Place, column: str) -> dict[str, tuple[int, int]]:
    """Return portfolios, and those that failed, by phase or window."""
    import polars as pl

    failed = (pl.col("status") == "failed").sum().alias("failed")
    counted = place.metrics().group_by(column).agg(pl.len(), failed)
    return {name: (count, bad) for name, count, bad in counted.rows()}


def _runs(runs: Sequence[ListedRun]) -> Iterator[RenderableType]:
    right = ("Started", "Portfolios", "Size")
    rows = table("Run", "Status", "Workflow", *right, right=right, gap=1)
    for run in runs:
        started = run.started_at[:16].replace("T", " ")
        status = run.note.partition(": ")[0].partition(",")[0]
        shown = status if run.status == "running" else run.status
        figures = (started, f"{run.portfolios:,}", _size(run.size_bytes))
        rows.add_row(NameCell(run.path), shown, NameCell(run.workflow), *figures)
    yield rows
    for run in runs:
        if run.note:
            yield Text(f"{run.path}: {run.note}")


def _phase_rows(place: Place, phases: Sequence[ListedPhase]) -> Iterator[RenderableType]:
    yield Text.assemble((place.run.run_id, "bold"), f"  {place.run.status}, {place.run.workflow}")
    right = ("Windows", "Portfolios")
    rows = table("Phase", "Status", "Sequence", *right, right=right)
    for it in phases:
        counts = [
            f"{count:,}" if count or it.saved else "-" for count in (it.windows, it.portfolios)
        ]
        rows.add_row(NameCell(it.name), it.status, it.sequence, *counts)
    yield rows
    lost = [it.name for it in phases if it.status == "completed" and not it.saved]
    if lost:
        yield Text(f"results kept in memory alone, and gone: {', '.join(lost)}")


def _window_rows(windows: Sequence[ListedWindow]) -> Iterator[RenderableType]:
    right = ("Portfolios", "Failed")
    rows = table("Window", "Status", *right, right=right)
    for it in windows:
        rows.add_row(NameCell(it.name), it.status, f"{it.portfolios:,}", f"{it.failed:,}")
    yield rows


def _portfolio_rows(frame: pl.DataFrame) -> Iterator[RenderableType]:
    rows, parameters = frame.rows(named=True), parameter_columns(frame)
    common = shared(rows, parameters)
    right = tuple(map(narrow_label, _COLUMNS))
    made = table("Portfolio", "Status", "Parameters", *right, right=right)
    for row in rows:
        values = [metric_of(name, row[name]) for name in _COLUMNS]
        own = own_parameters(row, parameters, common)
        made.add_row(NameCell(place_text(row, common)), row["status"], own, *values)
    yield from common_text(common, parameters)
    yield made


def _size(size_bytes: int) -> str:
    """Return a number of bytes for people."""
    size, units = float(size_bytes), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:,.0f} B" if units[0] == "B" else f"{size:,.1f} {units[0]}"

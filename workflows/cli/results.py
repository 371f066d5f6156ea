"""``admf results show``: the results of a run, or of a part of one, checked and shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import msgspec
from rich.text import Text

from admf.engine.errors import MissingFileError, TornFileError
from admf.workflows.cli.details import portfolio_details
from admf.workflows.cli.phase_record import PortfolioRecord
from admf.workflows.cli.place import Place, open_place
from admf.workflows.cli.rendering import rendered
from admf.workflows.cli.stored import StoredRun, read_run
from admf.workflows.cli.streams import write_json, write_out
from admf.workflows.cli.summary import head, phase_section
from admf.workflows.results import ContainerView, WindowView
from admf.workflows.results.run_folder import find_run

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["ShownWindow", "show"]

_MOST_PORTFOLIOS = 10


class ShownWindow(msgspec.Struct, frozen=True):
    """A window as ``show --json`` writes it.

    Args:
        phase: Its phase.
        window: Its id; empty if the phase has no other.
        status: How it ended.
        portfolios: The files of its portfolios.
        lost: Why portfolios left no file, by their id.
    """

    phase: str
    window: str
    status: str
    portfolios: list[PortfolioRecord]
    lost: dict[str, str]


def show(directory: Path, /, *, json: bool = False) -> None:
    """Check that result files are whole, and show what is in them.

    Args:
        directory: The folder of a run, of a phase or a window in it, or a portfolio.
        json: Write a JSON document to standard output instead of tables.
    """
    place = None if find_run(directory) is None else open_place(directory)
    if place is not None and (place.window or place.container):
        _show_windows(place, json=json)
        return
    folder = directory if place is None or not place.name else place.run.path
    run = anyio.run(read_run, folder)
    if place is not None and place.name:
        run = _only(run, {it.name for it in place.phases})
    if json:
        write_json(run)
    else:
        write_out(rendered(*_shown(run)))


def _only(run: StoredRun, phases: set[str]) -> StoredRun:
    windows = tuple(it for name in phases for it in run.windows_of(name))
    kept = {name: it for name, it in run.phases.items() if name in phases}
    return msgspec.structs.replace(
        run, phases=kept, windows=tuple(it for it in run.windows if it in windows)
    )


def _shown(run: StoredRun) -> Iterator[RenderableType]:
    yield head(run.run.run_id, run.run.status)
    for name, phase in run.phases.items():
        own = [it for window in run.windows if window.path == name for it in window.portfolios]
        yield from phase_section(phase, own[:_MOST_PORTFOLIOS], portfolio_details)
    if not run.phases:
        yield Text("it ended before a phase was over, so there is nothing to show")
    yield Text("")
    yield Text(f"every file in {run.path} is as it was written")


def _show_windows(place: Place, *, json: bool) -> None:
    views = [it for window in place.windows.values() for it in window.containers.values()]
    if place.container:
        views = [place.portfolio]
    if json:
        write_json([_window(it, views) for it in place.windows.values()])
    else:
        write_out(rendered(head(place.run.run_id, place.run.status), *_portfolios(views)))


def _window(window: WindowView, views: Sequence[ContainerView]) -> ShownWindow:
    own = [it for it in views if it.window.window_id == window.window_id]
    records = [(it, _record(it)) for it in own]
    return ShownWindow(
        window.phase,
        window.window_id,
        window.status,
        [record for _, record in records if record is not None],
        {it.container_id: _loss(it) for it, record in records if record is None},
    )


def _portfolios(views: Sequence[ContainerView]) -> Iterator[RenderableType]:
    for view in views[:_MOST_PORTFOLIOS]:
        window, record = view.window, _record(view)
        name = "/".join(filter(None, (window.phase, window.window_id, view.container_id)))
        if record is not None:
            yield from portfolio_details(name, record)
        else:
            yield Text("")
            yield Text.assemble((name, "bold"), "  ", (_loss(view), "red"))
    if len(views) > _MOST_PORTFOLIOS:
        yield Text("")
        yield Text(f"and {len(views) - _MOST_PORTFOLIOS:,} more, see admf results ls")


def _record(view: ContainerView) -> PortfolioRecord | None:
    """Return a portfolio's file; None if it left none, as it could not be built."""
    try:
        return msgspec.convert(view.document(), PortfolioRecord)
    except MissingFileError:
        return None
    except msgspec.ValidationError as error:
        raise TornFileError(
            f"the file of {view.container_id} is no portfolio's: {error}"
        ) from error


def _loss(view: ContainerView) -> str:
    return view.error or f"it is {view.status}, and left no file"

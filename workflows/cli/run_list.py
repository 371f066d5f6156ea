"""The runs in a folder, and how much there is of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import msgspec

from admf.engine.errors import StorageError
from admf.engine.files import storage_error
from admf.engine.result_names import COMMIT_FILE, CONTAINERS, RUN_FILE, container_of
from admf.workflows.cli.run_state import state_of_unfinished
from admf.workflows.results import open_run
from admf.workflows.results.run_folder import require_folder

__all__ = ["ListedRun", "runs_in"]

_DEEPEST = 3
"""How many folders below a results root a run may lie."""


class ListedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a folder.

    Args:
        path: Its folder, as seen from the one that is listed.
        status: How it ended; ``running`` if it has not, ``damaged`` if it cannot be read.
        note: Whether it is under way or was cut off, or why it cannot be read.
        workflow: Its workflow.
        started_at: When it began, ISO 8601.
        phases: How many it is planned to have.
        windows: How many are complete.
        portfolios: How many left results in them.
        size_bytes: Of all its files.
    """

    path: str
    status: str = "damaged"
    note: str = ""
    workflow: str = ""
    started_at: str = ""
    phases: int = 0
    windows: int = 0
    portfolios: int = 0
    size_bytes: int = 0


def runs_in(root: Path) -> list[ListedRun]:
    """Return the runs in a folder, by their path; one that is damaged does not hide the others.

    Raises:
        StorageError: There is no such folder, or it cannot be read.
    """
    require_folder(root)
    closed: list[OSError] = []
    runs = [_listed(root, folder) for folder in _folders(root, closed)]
    return sorted([*runs, *(_closed(root, error) for error in closed)], key=lambda it: it.path)


def _folders(root: Path, closed: list[OSError]) -> Iterator[Path]:
    """Yield the folders of runs; what is in them is not looked at."""
    for place, names, files in os.walk(root, onerror=closed.append):
        folder = Path(place)
        names.sort()
        is_run = RUN_FILE in files
        if is_run:
            yield folder
        if is_run or len(folder.relative_to(root).parts) == _DEEPEST:
            names.clear()


def _closed(root: Path, error: OSError) -> ListedRun:
    """Return a folder that cannot be looked into, as a run that cannot be read.

    Raises:
        StorageError: It is the root.
    """
    folder = Path(error.filename)
    told = storage_error("list", str(folder), error)
    if folder == root:
        raise told
    return ListedRun(path=folder.relative_to(root).as_posix(), note=str(told))


def _listed(root: Path, folder: Path) -> ListedRun:
    path = folder.relative_to(root).as_posix()
    windows = portfolios = size = 0
    try:
        windows, portfolios, size = _usage(folder)
        run = open_run(folder)
        note = str(state_of_unfinished(folder)) if run.status == "running" else ""
    except StorageError as error:
        return ListedRun(path=path, note=str(error), size_bytes=size)
    except OSError as error:
        return ListedRun(path=path, note=str(storage_error("read", str(folder), error)))
    return ListedRun(
        path=path,
        status=run.status,
        note=note,
        workflow=run.workflow,
        started_at=run.started_at,
        phases=len(run.phases),
        windows=windows,
        portfolios=portfolios,
        size_bytes=size,
    )


def _usage(folder: Path) -> tuple[int, int, int]:
    """Return complete windows, portfolios in them, and the bytes of all files."""
    size, complete = 0, set[str]()
    portfolios: dict[str, int] = {}
    for place, _, files in os.walk(folder, onerror=_raise):
        size += sum(Path(place, name).lstat().st_size for name in files)
        window, _, last = place.rpartition(os.sep)
        if last == CONTAINERS:
            portfolios[window] = sum(container_of(name) is not None for name in files)
        elif COMMIT_FILE in files:
            complete.add(place)
    found = [count for window, count in portfolios.items() if window in complete]
    return len(found), sum(found), size


def _raise(error: OSError) -> NoReturn:
    raise error

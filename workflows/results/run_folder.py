"""Which folders are those of runs."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from admf.engine.errors import StorageError, did_you_mean
from admf.engine.files import storage_error
from admf.engine.result_names import RUN_FILE

__all__ = ["find_run", "require_folder", "require_run"]


def require_run(folder: Path) -> None:
    """Raise if a folder is not that of a run.

    Raises:
        StorageError: It is not, or that cannot be seen.
    """
    if not _is_run(folder):
        require_folder(folder)
        raise StorageError(_no_run(folder))


def require_folder(folder: Path) -> None:
    """Raise if there is no folder of a name.

    Raises:
        StorageError: There is none, or that cannot be seen.
    """
    mode = _mode(folder)
    if not mode:
        near = did_you_mean(folder.name, _folders(folder.parent))
        raise StorageError(f"{folder}: there is no such folder{near}")
    if not stat.S_ISDIR(mode):
        raise StorageError(f"{folder} is a file, and not a folder")


def find_run(path: Path) -> Path | None:
    """Return the folder of the run that a path lies in; None if there is none to be seen."""
    place = Path(os.path.abspath(path))  # noqa: PTH100 - links are for the storage to judge
    for folder in (place, *place.parents):
        with suppress(StorageError):
            if _is_run(folder):
                return folder
    return None


def _is_run(folder: Path) -> bool:
    return stat.S_ISREG(_mode(folder / RUN_FILE))


def _mode(path: Path) -> int:
    """Return what a path is; 0 if there is nothing.

    Raises:
        StorageError: That cannot be seen, as of a folder that may not be looked into.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return 0
    except OSError as error:
        raise storage_error("read", str(path), error) from error


def _no_run(folder: Path) -> str:
    run = find_run(folder)
    if run is not None:
        return f"{folder} is a part of the run in {run}: open that"
    runs = [it for it in _folders(folder) if find_run(folder / it)]
    there = f"; the runs in it are {', '.join(runs)}" if runs else ""
    return f"{folder} is not the folder of a run: it has no {RUN_FILE}{there}"


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, which need not exist."""
    with suppress(OSError, ValueError):
        return sorted(it.name for it in folder.iterdir() if it.is_dir())
    return []

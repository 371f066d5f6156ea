"""Runs as they lie on disk, whichever process ran them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from admf.engine.result_names import RUN_FILE
from admf.workflows.results import RunResults, open_run
from admf.workflows.service.problems import HttpError
from admf.workflows.service.service import RunService
from admf.workflows.service.views import HttpStatus

__all__ = ["opened", "status_of"]


def opened(service: RunService, run_id: str) -> RunResults:
    """Return the results of a run.

    Raises:
        HttpError: It has left none.
        StorageError: They cannot be read.
    """
    folder = service.results_root / run_id
    is_there = not folder.is_symlink() and (folder / RUN_FILE).is_file()
    if not is_there:
        raise HttpError(404, "there is no such run, or it has left no files")
    return open_run(folder)


_STATUS: Mapping[str, HttpStatus] = MappingProxyType(
    {"completed": "completed", "failed": "failed", "cancelled": "cancelled"}
)


def status_of(results: RunResults) -> HttpStatus:
    """Return how a run of an earlier process is."""
    return _STATUS.get(results.status, "interrupted")

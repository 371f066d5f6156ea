"""Reads back what a run wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from admf.containers.config import LaneConfig
from admf.containers.metrics.history import Trade
from admf.containers.portfolio import OpenPosition
from admf.engine.container import Status
from admf.engine.documents import read_document
from admf.engine.errors import StorageError, TornFileError, did_you_mean
from admf.engine.results import COMMIT_FILE, RUN_FILE, verify_window
from admf.engine.storage import LocalStorage, Storage
from admf.engine.summary import WindowSummary
from admf.engine.window import ResultsStorage
from admf.workflows.outcome import PhaseResult

__all__ = [
    "DataRecord",
    "PhaseRecord",
    "PortfolioRecord",
    "RunRecord",
    "StoredRun",
    "StoredWindow",
    "portfolios_of",
    "read_run",
]

_CONTAINERS = "/containers/"


class DataRecord(msgspec.Struct, frozen=True):
    """The market data that a portfolio saw."""

    symbols: tuple[str, ...]
    timeframe: str | None
    start: str
    end: str
    bars: int


class PortfolioRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The result file of a portfolio, without its equity curve."""

    container_id: str
    window_id: str
    status: Status
    error: str | None
    lane: LaneConfig
    data: DataRecord
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    rejects: Mapping[str, int]
    open_positions: tuple[OpenPosition, ...]
    trades: tuple[Trade, ...]


class PhaseRecord(msgspec.Struct, frozen=True):
    """Where a phase's results were to go."""

    results_storage: ResultsStorage


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The part of ``run.json`` that is shown.

    Args:
        status: How the run ended; ``running`` if it is under way, or was killed.
        results: Whether each phase that ran succeeded.
        phases: All phases.
    """

    run_id: str
    status: str
    workflow: str
    started_at: str
    finished_at: str | None
    results: Mapping[str, bool]
    phases: Mapping[str, PhaseRecord]


class StoredWindow(msgspec.Struct, frozen=True):
    """An execution window: its folder below the run's, its commit record and its portfolios."""

    path: str
    summary: WindowSummary
    portfolios: tuple[PortfolioRecord, ...]


class StoredRun(msgspec.Struct, frozen=True):
    """A run whose files are all as they were written."""

    path: str
    run: RunRecord
    windows: tuple[StoredWindow, ...]


async def read_run(folder: Path) -> StoredRun:
    """Read a run's folder, and compare every file with the commit record of its window.

    Raises:
        StorageError: It is not the folder of a run, or the run has not ended.
        TornFileError: Files are missing, or are not as they were written.
    """
    storage = LocalStorage(folder)
    if not await storage.exists(RUN_FILE):
        raise StorageError(_no_run(folder))
    run = await read_document(storage, RUN_FILE, RunRecord)
    if run.status == "running":
        raise StorageError(f"the run in {folder} has not ended: it is under way, or was killed")
    phases = [name for name in run.results if run.phases[name].results_storage == "disk"]
    paths = [path for name in phases for path in await _windows(storage, name, run.status)]
    damage = [line for path in paths for line in await _damage(storage, path)]
    if damage:
        raise TornFileError("\n".join([f"results in {folder} are not whole:", *damage]))
    windows = [await _read_window(storage, path) for path in paths]
    return StoredRun(str(folder), run, tuple(windows))


async def portfolios_of(phase: PhaseResult) -> list[PortfolioRecord]:
    """Return the portfolios of a phase that has just run, from its files or from memory.

    Raises:
        StorageError: A file cannot be read.
    """
    if phase.results_path is None:
        documents = (phase.phase_results or {}).values()
        found = [document for document in documents if document.get("role") == "portfolio"]
        return [msgspec.convert(document, PortfolioRecord) for document in found]
    folder = Path(phase.results_path)
    storage = LocalStorage(folder.parent)
    paths = await _windows(storage, folder.name, "cancelled")
    windows = [await _read_window(storage, path) for path in paths]
    return [portfolio for window in windows for portfolio in window.portfolios]


async def _windows(storage: Storage, phase: str, status: str) -> list[str]:
    """Return the folders of a phase's windows, also of those that should be there but are not.

    Args:
        storage: The run's folder.
        phase: Name of the phase.
        status: How the run ended; only one that was cancelled may have a phase without windows.
    """
    files = await storage.list_files(phase)
    commits = {file.rpartition("/")[0] for file in files if file.endswith(f"/{COMMIT_FILE}")}
    begun = {file.partition(_CONTAINERS)[0] for file in files if _CONTAINERS in file}
    return sorted(commits | begun) or ([] if status == "cancelled" else [phase])


async def _damage(storage: Storage, path: str) -> list[str]:
    check = await verify_window(storage, path)
    lines = [f"{path}/{name} is missing" for name in check.missing]
    lines += [f"{path}/{name} is cut, or was changed" for name in check.torn]
    if not lines and not check.committed:
        lines.append(f"{path} has no {COMMIT_FILE}: its window was cut off before it was complete")
    return lines


async def _read_window(storage: Storage, path: str) -> StoredWindow:
    summary = await read_document(storage, f"{path}/{COMMIT_FILE}", WindowSummary)
    portfolios = [
        await read_document(
            storage, f"{path}{_CONTAINERS}{container.id}_results.json", PortfolioRecord
        )
        for container in summary.containers
        if container.role == "portfolio"
    ]
    return StoredWindow(path, summary, tuple(portfolios))


def _no_run(folder: Path) -> str:
    if not folder.is_dir():
        near = did_you_mean(folder.name, _runs(folder.parent))
        return f"{folder}: there is no such folder{near}"
    runs = _runs(folder)
    there = f"; the runs in it are {', '.join(runs)}" if runs else ""
    return f"{folder} is not the folder of a run: it has no {RUN_FILE}{there}"


def _runs(folder: Path) -> list[str]:
    """Return the names of the runs' folders in a folder, which need not exist."""
    return sorted(file.parent.name for file in folder.glob(f"*/{RUN_FILE}"))

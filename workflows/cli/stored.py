"""Reads back what a run wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from admf.engine.documents import read_document
from admf.engine.errors import StorageError, TornFileError
from admf.engine.local_folder import LocalFolder
from admf.engine.result_names import COMMIT_FILE, RUN_FILE
from admf.engine.storage import LocalStorage, Storage
from admf.engine.summary import WindowSummary
from admf.engine.tree_check import Finding, TreeCheck, verify_tree
from admf.workflows.cli.phase_files import StoredFiles
from admf.workflows.cli.phase_record import (
    PhaseHead,
    PhaseRecord,
    PhaseStatus,
    PortfolioRecord,
    read_phase,
    read_portfolios,
)
from admf.workflows.cli.run_state import how_to_go_on
from admf.workflows.results.records import PhaseConfig
from admf.workflows.results.run_folder import require_run

__all__ = [
    "RunRecord",
    "StoredRun",
    "StoredWindow",
    "finding_text",
    "read_run",
]


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The part of ``run.json`` that is shown.

    Args:
        status: How the run ended; ``running`` if it is under way, or was killed.
        results: Whether each phase that is over succeeded.
        skipped: Why phases did not run.
        errors: What went wrong in phases.
        saved: The phases that are over and whose results are files; None in a record of a version
            that did not tell.
        phases: All phases.
    """

    run_id: str
    status: str
    workflow: str
    started_at: str
    finished_at: str | None
    results: Mapping[str, bool]
    skipped: Mapping[str, str] = {}
    errors: Mapping[str, tuple[str, ...]] = {}
    saved: tuple[str, ...] | None = None
    phases: Mapping[str, PhaseConfig]

    @property
    def is_over(self) -> bool:
        """Whether the run ended."""
        return self.status != "running"

    @property
    def kept(self) -> tuple[str, ...]:
        """The phases that ran and whose results are files."""
        ran = [name for name in self.results if name not in self.skipped]
        if self.saved is not None:
            return tuple(name for name in ran if name in self.saved)
        return tuple(it for it in ran if self.phases[it].settings.results_storage == "disk")

    def must_have_record(self, phase: str) -> bool:
        """Whether a record must cover all of a phase."""
        is_whole = phase in self.kept and self.results[phase]
        return is_whole and self.phases[phase].has_record


class StoredWindow(msgspec.Struct, frozen=True):
    """A window or a sequence that is complete: its folder below the run's, and its commit record.

    Args:
        portfolios: Its portfolios, if it is all of its phase.
    """

    path: str
    summary: WindowSummary
    portfolios: tuple[PortfolioRecord, ...]


class StoredRun(msgspec.Struct, frozen=True):
    """A run whose files are all as they were written."""

    path: str
    run: RunRecord
    phases: Mapping[str, PhaseRecord]
    windows: tuple[StoredWindow, ...]

    def windows_of(self, phase: str) -> list[StoredWindow]:
        """Return the windows of a phase; the first is its own, if that is complete."""
        below = f"{phase}/"
        return [it for it in self.windows if it.path == phase or it.path.startswith(below)]


async def read_run(folder: Path) -> StoredRun:
    """Read a run's folder, and compare every file with the commit record of its window.

    Raises:
        StorageError: It is not the folder of a run, or the run has not ended.
        TornFileError: Files are missing, or are not as they were written.
    """
    storage = LocalStorage(folder)
    require_run(folder)
    run = await read_document(storage, RUN_FILE, RunRecord)
    if not run.is_over:
        raise StorageError(
            f"the run in {folder} has not ended: it is under way, or was killed; "
            f"`admf verify {folder}` tells what is complete, "
            f"{how_to_go_on(folder, run.workflow)} goes on with it"
        )
    check = _require_whole(folder, run)
    paths = [path for root in check.roots.values() for path in root.committed]
    windows = [await _read_window(storage, path, run.kept) for path in paths]
    stored = StoredRun(str(folder), run, {}, tuple(windows))
    heads = {name: _head(stored, name) for name in run.results}
    phases = {
        name: await read_phase(head, StoredFiles(storage, name)) for name, head in heads.items()
    }
    return msgspec.structs.replace(stored, phases=phases)


def _require_whole(folder: Path, run: RunRecord) -> TreeCheck:
    """Return what is known of the files of a run that is over.

    Raises:
        TornFileError: Files are missing, or are not as they were written.
    """
    roots = {name: run.must_have_record(name) for name in run.kept}
    check = verify_tree(LocalFolder(folder), roots, beside=[RUN_FILE])
    wrong = [it for it in check.findings if it.is_damage or it.kind == "unfinished"]
    if wrong:
        lines = [f"results in {folder} are not whole:", *map(finding_text, wrong)]
        raise TornFileError("\n".join(lines))
    return check


def finding_text(finding: Finding) -> str:
    """Return for people what is wrong with a path."""
    path = finding.path
    folder = path.removesuffix(f"/{COMMIT_FILE}")
    if finding.kind == "missing" and folder != path:
        return f"{folder} has no {COMMIT_FILE}, and had one when it was complete"
    return {
        "torn": f"{path} is cut, or was changed",
        "missing": f"{path} is missing",
        "unreadable": finding.reason,
        "ambiguous": f"{path} could be read in place of the file that a commit record lists",
        "link": f"{path} is a symbolic link, and none is followed",
        "unfinished": f"{path} has no {COMMIT_FILE}: it is not complete",
        "foreign": f"{path} is in no commit record",
        "temporary": f"{path} is a temporary file that a process left, or is writing",
    }[finding.kind]


async def _read_window(storage: Storage, path: str, phases: tuple[str, ...]) -> StoredWindow:
    summary = await read_document(storage, f"{path}/{COMMIT_FILE}", WindowSummary)
    portfolios = await read_portfolios(StoredFiles(storage, path)) if path in phases else ()
    return StoredWindow(path, summary, portfolios)


def _head(stored: StoredRun, name: str) -> PhaseHead:
    run = stored.run
    return PhaseHead(
        name=name,
        status=_status(run, name),
        objectives=run.phases[name].objectives,
        skipped=run.skipped.get(name, ""),
        errors=run.errors.get(name) or _errors(stored.windows_of(name)),
        is_kept=name in run.kept,
    )


def _status(run: RunRecord, name: str) -> PhaseStatus:
    if name in run.skipped:
        return "skipped"
    if run.results[name]:
        return "completed"
    return "cancelled" if run.status == "cancelled" else "failed"


def _errors(windows: list[StoredWindow]) -> tuple[str, ...]:
    """Return what went wrong in windows, each error once."""
    summaries = [window.summary for window in windows]
    found = [
        error
        for it in summaries
        for error in (*it.errors, *(c.error for c in it.containers))
        if error
    ]
    return tuple(dict.fromkeys(found))

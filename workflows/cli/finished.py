"""Reads what a run that has just ended left, on disk or in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from admf.engine.storage import LocalStorage
from admf.sequences.config import ObjectiveConfig
from admf.workflows.cli.phase_files import HeldFiles, PhaseFiles, StoredFiles
from admf.workflows.cli.phase_record import (
    PhaseHead,
    PhaseRecord,
    PhaseStatus,
    PortfolioRecord,
    read_phase,
    read_portfolios,
)
from admf.workflows.outcome import PhaseResult, RunResult

__all__ = ["Finished", "Objectives", "read_finished"]

Objectives: TypeAlias = Mapping[str, tuple[ObjectiveConfig, ...]]
"""Of each phase by its name."""

Finished: TypeAlias = tuple[PhaseRecord, tuple[PortfolioRecord, ...]]
"""A phase, and its portfolio if it had no other one."""


async def read_finished(result: RunResult, objectives: Objectives) -> list[Finished]:
    """Return the phases of a run.

    Args:
        result: How it ended.
        objectives: What its phases searched for, as far as that is known.

    Raises:
        StorageError: A file cannot be read.
    """
    found: list[Finished] = []
    for name, phase in result.phases.items():
        shown = PhaseHead(
            name=name,
            status=_status(result, phase),
            objectives=objectives.get(name.rpartition("/")[2], ()),  # those of later iterations too
            skipped=phase.skipped,
            errors=phase.errors,
        )
        files = _files(phase)
        record = await read_phase(shown, files)
        alone = len(record.lanes) == 1
        found.append((record, await read_portfolios(files) if alone else ()))
    return found


def _files(phase: PhaseResult) -> PhaseFiles:
    if phase.results_path is not None:
        folder = Path(phase.results_path)
        return StoredFiles(LocalStorage(folder.parent), folder.name)
    return HeldFiles({} if phase.phase_results is None else phase.phase_results.files)


def _status(result: RunResult, phase: PhaseResult) -> PhaseStatus:
    if phase.skipped:
        return "skipped"
    if phase.success:
        return "completed"
    return "cancelled" if result.status == "cancelled" else "failed"

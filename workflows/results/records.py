"""What is decoded of a run's files: ``run.json``, commit records and reports of windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from admf.engine.container import Status
from admf.engine.documents import FileRecord
from admf.engine.packing import plain_name
from admf.engine.window_spec import ResultsStorage
from admf.sequences.config import ObjectiveConfig

__all__ = [
    "LIVE",
    "CommitRecord",
    "LaneRow",
    "PhaseConfig",
    "PhaseSettings",
    "RunDocument",
    "Stamp",
    "WindowRows",
]

LIVE = "live"
"""The workflow of a live session, and the sequence of its only phase."""


class PhaseSettings(msgspec.Struct, frozen=True):
    """Of a phase's settings, those that say what its results are."""

    results_storage: ResultsStorage
    objective_function: ObjectiveConfig | tuple[ObjectiveConfig, ...] = ObjectiveConfig()


class PhaseConfig(msgspec.Struct, frozen=True):
    """A phase as it was to run."""

    sequence: str
    settings: PhaseSettings

    @property
    def has_record(self) -> bool:
        """Whether a record covers all of the phase once it is over.

        The windows of a live session stand each for itself, so that old ones may be moved away.
        """
        return self.sequence != LIVE

    @property
    def objectives(self) -> tuple[ObjectiveConfig, ...]:
        """The objectives, the leading one first."""
        found = self.settings.objective_function
        return found if isinstance(found, tuple) else (found,)

    @property
    def objective(self) -> ObjectiveConfig:
        """The leading objective."""
        return self.objectives[0]


class RunDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The part of ``run.json`` that results are read with.

    Args:
        run_id: Names the run.
        status: How it ended; ``running`` if it is under way, or was killed.
        workflow: Its workflow.
        started_at: When it began, ISO 8601.
        finished_at: When it ended; None while it has not.
        seed: What its random numbers come from.
        versions: What it ran with.
        data: The market data of each phase.
        results: Whether each phase that is over succeeded.
        saved: The phases that are over and whose results are files.
        skipped: Why phases did not run.
        errors: What went wrong in phases.
        experiment: The experiment as it was written.
        overrides: What was set on top of it, ``a.b=value`` each.
        phases: All phases, in the order in which they were planned.
    """

    run_id: str
    status: str
    workflow: str
    started_at: str
    finished_at: str | None
    seed: int
    versions: Mapping[str, str]
    data: Mapping[str, Mapping[str, Any]]
    results: Mapping[str, bool]
    saved: tuple[str, ...] = ()
    skipped: Mapping[str, str] = {}
    errors: Mapping[str, tuple[str, ...]] = {}
    experiment: Mapping[str, Any]
    overrides: tuple[str, ...] = ()
    phases: Mapping[str, PhaseConfig]


class LaneRow(msgspec.Struct, frozen=True):
    """A portfolio as it stands in the ``aggregate_results.json`` of its window.

    Args:
        container_id: Its id.
        status: ``completed``, ``failed``, ``cancelled`` or ``pruned``.
        error: Why it failed; None if it did not.
        parameters: Parameters of the strategy, and the settings of the parameter space.
        metrics: By name; empty if the lane could not be built.
    """

    container_id: str
    status: str
    error: str | None = None
    parameters: dict[str, Any] = {}
    metrics: dict[str, float | None] = {}


class WindowRows(msgspec.Struct, frozen=True):
    """The part of a window's ``aggregate_results.json`` that is about its portfolios."""

    portfolios: tuple[LaneRow, ...] = ()


class _Report(msgspec.Struct, frozen=True):
    sequence: str = ""


class CommitRecord(msgspec.Struct, frozen=True):
    """The part of a ``phase_summary.json`` that results are read with.

    Args:
        status: How the window ended.
        report: Names the sequence, if it is the record of one.
        files: The files of its folder, by their path in it.
        windows: The commit records below its folder, if it is that of a sequence.
    """

    status: Status
    report: _Report
    files: tuple[FileRecord, ...]
    windows: tuple[FileRecord, ...] = ()

    @property
    def is_window(self) -> bool:
        """Whether it is a window's, and not a sequence's."""
        return not self.report.sequence

    def file(self, name: str) -> FileRecord | None:
        """Return a file by its name without the suffix of a compression; None if there is none."""
        return next((it for it in self.files if plain_name(it.path) == name), None)


class Stamp(msgspec.Struct, frozen=True):
    """What all of a run's files hang on: SHA-256 of ``run.json``, and of each phase's record.

    A phase without files has an empty one.
    """

    run: str
    phases: Mapping[str, str]

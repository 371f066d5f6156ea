"""``run.json``: all that is needed to run an experiment again, and what became of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from admf.containers.market_data import MarketData
from admf.containers.times import iso_utc
from admf.sequences.phase import ResolvedPhase
from admf.workflows.earlier_run import EarlierRun, only_versions
from admf.workflows.nodes import plain
from admf.workflows.outcome import PhaseResult
from admf.workflows.study import Plan

__all__ = ["RunRecord"]


class RunRecord:
    """Collects what ``run.json`` says.

    Args:
        folder: The run's folder.
        plan: What runs first.

    Attributes:
        run_id: The folder, and a fingerprint of experiment and data.
        changes: How the run differs from the one that it went on from.
    """

    def __init__(self, folder: str, plan: Plan) -> None:
        self.run_id = f"{folder}-{_fingerprint(plan.phases, plan.data)}"
        self.changes: tuple[str, ...] = ()
        self._plan = plan
        self._phases: dict[str, ResolvedPhase] = {}
        self._data: dict[str, MarketData] = {}
        self._code: dict[str, str] = {}
        self._versions: dict[str, str] = {}
        self._started_at = ""
        self._before: EarlierRun | None = None
        self.add(plan, "")

    def begin(self) -> None:
        """Take the time."""
        self._started_at = _now()

    def go_on_from(self, earlier: EarlierRun, changes: Sequence[str]) -> None:
        """Be the record of a run that goes on, under the name and the start that it had.

        Args:
            earlier: The run as it was.
            changes: How it differs from what it is now.
        """
        self._started_at = earlier.started_at
        self.changes = (*earlier.changes, *changes)
        if only_versions(changes):
            self.run_id = earlier.run_id
            self._before = earlier

    def add(self, plan: Plan, prefix: str) -> None:
        """Take note of the phases of a further study.

        Args:
            plan: The study.
            prefix: Put before the names of its phases.
        """
        self._code.update(plan.code)
        self._versions.update(plan.versions)
        for phase in plan.phases:
            self._phases[f"{prefix}{phase.name}"] = phase
            self._data[f"{prefix}{phase.name}"] = plan.data[phase.name]

    def body(self, status: str, results: Mapping[str, PhaseResult]) -> dict[str, object]:
        """Return the content of the file.

        Args:
            status: How the run ended, or ``running``.
            results: The phases that are over.
        """
        loaded, before = self._plan.loaded, self._before
        described = {id(data): _describe(data) for data in self._data.values()}
        data = {name: described[id(data)] for name, data in self._data.items()}
        saved = [name for name, it in results.items() if it.results_saved]
        return {
            "run_id": self.run_id,
            "status": status,
            "workflow": loaded.experiment.workflow,
            "max_iterations": loaded.experiment.max_iterations,
            "started_at": self._started_at,
            "finished_at": None if status == "running" else _now(),
            "seed": self._plan.phases[0].settings.seed,
            "versions": self._versions,
            "code": self._code,
            "data": {**({} if before is None else before.data), **data},
            "warnings": [str(warning) for warning in loaded.warnings],
            "results": {name: result.success for name, result in results.items()},
            "saved": saved,
            "errors": {name: it.errors for name, it in results.items() if not it.success},
            "skipped": {name: it.skipped for name, it in results.items() if it.skipped},
            "changes": self.changes,
            "experiment": plain(loaded.root),
            "overrides": loaded.overrides,
            "folder": str(loaded.folder or Path.cwd()),
            "results_dir": loaded.results_dir,
            "phases": {**({} if before is None else before.phases), **self._phases},
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _describe(data: MarketData) -> dict[str, object]:
    return {
        "symbols": data.symbols,
        "extra_symbols": data.extra_symbols,
        "timeframe": data.timeframe,
        "steps": data.steps,
        "start": iso_utc(int(data.ts[0])),
        "end": iso_utc(int(data.ts[-1])),
        "fingerprint": data.fingerprint,
    }


def _fingerprint(phases: Iterable[ResolvedPhase], data: Mapping[str, MarketData]) -> str:
    digest = hashlib.sha256(msgspec.json.encode(list(phases)))
    for market_data in data.values():
        digest.update(market_data.fingerprint.encode())
    return digest.hexdigest()[:8]

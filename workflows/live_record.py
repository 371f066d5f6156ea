"""``run.json`` of a live session, so that its folder can be read like that of any other run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from admf.containers.live_config import LiveConfig
from admf.engine.documents import read_document
from admf.engine.errors import ResultExistsError
from admf.engine.result_names import RUN_FILE
from admf.engine.storage import Storage
from admf.engine.summary import SessionCounts
from admf.sequences.config import ObjectiveConfig
from admf.workflows.loading import LoadedExperiment
from admf.workflows.nodes import plain
from admf.workflows.results.records import LIVE, PhaseConfig, PhaseSettings
from admf.workflows.versions import installed_versions

__all__ = ["SESSION_PHASE", "LiveRecord", "SessionStatus"]

SESSION_PHASE = "session"
"""The phase of a live session, and its folder."""

SessionStatus: TypeAlias = Literal["running", "completed", "failed", "cancelled"]


class _Earlier(msgspec.Struct, frozen=True):
    workflow: str
    started_at: str = ""


class LiveRecord:
    """Says in ``run.json`` what a live session runs, and how it stands.

    Args:
        results_dir: The session's folder.
        config: What it trades.
        loaded: The experiment that this was taken from; None without one.

    Attributes:
        run_id: The folder, and a fingerprint of the settings.
    """

    def __init__(
        self, results_dir: str, config: LiveConfig, loaded: LoadedExperiment | None
    ) -> None:
        digest = hashlib.sha256(msgspec.json.encode(config)).hexdigest()
        self.run_id = f"{results_dir}-{digest[:8]}"
        self._results_dir = results_dir
        self._config = config
        self._loaded = loaded
        self._versions = installed_versions(())
        self._started_at = ""

    def begin(self) -> None:
        """Take the time, unless an earlier session in the folder gave it."""
        self._started_at = self._started_at or _now()

    async def go_on_from(self, storage: Storage, folder: str) -> None:
        """Be the record of a session that goes on, with the start that it had.

        Raises:
            ResultExistsError: The folder is that of another run.
            StorageError: Its record cannot be read, or is damaged.
        """
        earlier = await read_document(storage, f"{folder}/{RUN_FILE}", _Earlier)
        if earlier.workflow != LIVE:
            raise ResultExistsError(
                f"{storage.locate(folder)} holds a run of the workflow {earlier.workflow!r}, which "
                "a live session cannot go on from: choose another results_dir"
            )
        self._started_at = earlier.started_at

    def body(
        self, status: SessionStatus, counts: SessionCounts, errors: tuple[str, ...] = ()
    ) -> Mapping[str, object]:
        """Return the content of the file.

        Args:
            status: How the session ended, or ``running``.
            counts: What it has done.
            errors: What made it fail, the first cause first.
        """
        is_over = status != "running"
        return {
            "run_id": self.run_id,
            "status": status,
            "workflow": LIVE,
            "max_iterations": 1,
            "started_at": self._started_at,
            "finished_at": _now() if is_over else None,
            "seed": self._config.lanes[0].seed,
            "versions": self._versions,
            "code": {},
            "data": {SESSION_PHASE: {"symbols": self._config.symbols}},
            "results": {SESSION_PHASE: status == "completed"} if is_over else {},
            "saved": (SESSION_PHASE,) if is_over else (),
            "errors": {SESSION_PHASE: errors} if errors else {},
            **self._experiment(),
            "results_dir": self._results_dir,
            "phases": {SESSION_PHASE: _PHASE},
            "live": self._config,
            "counts": counts,
        }

    def _experiment(self) -> dict[str, Any]:
        loaded = self._loaded
        folder = None if loaded is None else loaded.folder
        return {
            "experiment": {} if loaded is None else plain(loaded.root),
            "overrides": () if loaded is None else loaded.overrides,
            "folder": os.fspath(folder or Path.cwd()),
        }


_PHASE = PhaseConfig(LIVE, PhaseSettings("disk", ObjectiveConfig()))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")

"""One run of an experiment: its phases in turn, its folder, and how it ended."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version

import anyio
import anyio.lowlevel
import msgspec

from admf.containers.market_data import MarketData
from admf.containers.times import iso_utc
from admf.engine.container import Status
from admf.engine.errors import StorageError
from admf.engine.lifecycle import LifecycleManager
from admf.engine.results import ResultStore
from admf.engine.shielding import finish
from admf.engine.storage import MemoryStorage, Storage
from admf.sequences.phase import PhaseConfig
from admf.sequences.sequencer import Sequencer
from admf.workflows.loading import LoadedExperiment
from admf.workflows.outcome import PhaseResult, Progress, RunResult
from admf.workflows.phase_watch import PhaseWatch

__all__ = ["Run"]

_LIBRARIES = ("admf", "anyio", "msgspec", "numpy", "polars", "TA-Lib")


class Run:
    """An experiment that is ready to run; `Runner.prepare` makes it.

    Args:
        loaded: The experiment.
        phases: Its phases, in order.
        data: The market data of each phase.
        sequencer: Runs the phases.
        lifecycle: Has the windows that the sequencer opens.
        storage: Where the run's folder goes.
        overwrite: Replace results that admf left there.

    Attributes:
        run_id: Names the run: its folder, and a fingerprint of experiment and data.
    """

    def __init__(
        self,
        loaded: LoadedExperiment,
        phases: Sequence[PhaseConfig],
        data: Mapping[str, MarketData],
        *,
        sequencer: Sequencer,
        lifecycle: LifecycleManager,
        storage: Storage,
        overwrite: bool = False,
    ) -> None:
        experiment = loaded.experiment
        self._loaded = loaded
        self._phases = phases
        self._data = data
        self._sequencer = sequencer
        self._lifecycle = lifecycle
        self._storage = storage
        self._overwrite = overwrite
        self._folder = experiment.results_dir or experiment.workflow
        self._results: dict[str, PhaseResult] = {}
        self._store: ResultStore | None = None
        self._memory = MemoryStorage()
        self._scope = anyio.CancelScope()
        self._started_at = ""
        self.run_id = f"{self._folder}-{_fingerprint(phases, data)}"

    def cancel(self) -> None:
        """End the run early: what ran is flushed, and `execute` returns with ``cancelled``."""
        self._scope.cancel()

    def hurry(self) -> None:
        """Have a run that was cancelled end within seconds, even if results are lost by that."""
        self._lifecycle.hurry()

    async def execute(self, on_progress: Callable[[Progress], None] | None = None) -> RunResult:
        """Run the phases, and write their results as each window closes.

        Args:
            on_progress: Called in the event loop as bars are handled.

        Raises:
            ResultExistsError: There are results in the run's folder.
            ConfigError: A phase cannot be put together.
            StorageError: Results cannot be written.
        """
        self._started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        if any(phase.results_storage == "disk" for phase in self._phases):
            self._store = await ResultStore.create(
                self._storage, self._folder, overwrite=self._overwrite
            )
        status: Status = "failed"
        try:
            await self._write_record("running")
            with self._scope:
                for phase in self._phases:
                    await self._run_phase(phase, on_progress)
            status = self._status()
        except anyio.get_cancelled_exc_class():
            status = "cancelled"
            raise
        except ExceptionGroup as group:
            error = _storage_error(group)
            if error is None:
                raise
            raise error from group
        finally:
            await finish(partial(self._write_record, status))
        await anyio.lowlevel.checkpoint_if_cancelled()
        path = None if self._store is None else self._store.location
        return RunResult(status=status, run_id=self.run_id, results_path=path, phases=self._results)

    async def _run_phase(
        self, phase: PhaseConfig, on_progress: Callable[[Progress], None] | None
    ) -> None:
        in_memory = phase.results_storage == "memory" or self._store is None
        store = ResultStore(self._memory, self._folder) if in_memory else self._store
        assert store is not None  # noqa: S101 - one of the two it is
        watch = PhaseWatch(phase, self._data[phase.name], on_progress)
        try:
            await self._sequencer.run(phase, self._loaded.experiment.workflow, store, watch)
        finally:
            kept = self._memory if in_memory else None
            with anyio.CancelScope(shield=True):  # also what a cancelled phase leaves in memory
                self._results[phase.name] = await watch.result(
                    f"{store.path}/{phase.name}", store, kept
                )

    def _status(self) -> Status:
        if self._scope.cancelled_caught:
            return "cancelled"
        return "completed" if all(it.success for it in self._results.values()) else "failed"

    async def _write_record(self, status: str) -> None:
        """Write ``run.json``: all that is needed to run this again, and what became of it."""
        if self._store is None:
            return
        over = status != "running"
        body: dict[str, object] = {
            "run_id": self.run_id,
            "status": status,
            "workflow": self._loaded.experiment.workflow,
            "started_at": self._started_at,
            "finished_at": datetime.now(UTC).isoformat(timespec="milliseconds") if over else None,
            "seed": self._loaded.experiment.seed,
            "versions": _versions(),
            "data": {name: _describe(data) for name, data in self._data.items()},
            "warnings": [str(warning) for warning in self._loaded.warnings],
            "results": {name: result.success for name, result in self._results.items()},
            "experiment": self._loaded.experiment,
            "phases": {phase.name: phase for phase in self._phases},
        }
        await self._store.write_run(body)


def _storage_error(group: ExceptionGroup[Exception]) -> Exception | None:
    """Return the first storage error of a group, which is what there is to mend, if it has one.

    When a disk is full, every file of a window fails for itself.
    """
    error: Exception | None = group.subgroup(StorageError)
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


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


def _fingerprint(phases: Sequence[PhaseConfig], data: Mapping[str, MarketData]) -> str:
    digest = hashlib.sha256(msgspec.json.encode(phases))
    for market_data in data.values():
        digest.update(market_data.fingerprint.encode())
    return digest.hexdigest()[:8]

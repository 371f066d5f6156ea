"""Trades live: an experiment's strategy on bars as they come, window after window."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import anyio
import msgspec

from admf.containers.bar_history import BarHistory
from admf.containers.catalog import UserModules
from admf.containers.live_config import LiveConfig
from admf.containers.market_data import MarketData
from admf.engine.clock import Clock
from admf.engine.errors import AdmfError, ConfigError, Problem
from admf.engine.events import Event, EventRegistry
from admf.engine.failures import describe_all
from admf.engine.intake import IntakeRecord
from admf.engine.lifecycle import LifecycleManager
from admf.engine.lock import RunLock
from admf.engine.registry import Registry
from admf.engine.result_names import COMMIT_FILE, RUN_FILE
from admf.engine.results import ResultStore, WindowResults
from admf.engine.retention import TracingConfig
from admf.engine.roll_rules import Roll
from admf.engine.rolling import OnFailure, RollingSession
from admf.engine.shielding import finish
from admf.engine.sources import Source
from admf.engine.storage import LocalStorage, Storage
from admf.engine.topology import Resources
from admf.engine.verification import verify_window
from admf.engine.window_spec import WindowSpec, numbered
from admf.sequences.lanes import make_lane
from admf.workflows.live_record import SESSION_PHASE, LiveRecord, SessionStatus
from admf.workflows.loading import LoadedExperiment, experiment_from_mapping, load_experiment
from admf.workflows.plugins import installed_plugins, known_events
from admf.workflows.resolution import resolve_phases
from admf.workflows.vocabulary import vocabulary_of

__all__ = ["LiveSession"]

_WINDOWS = "live"
_TRACED = ("POSITION_OPEN", "POSITION_CLOSE", "FILL", "BAR_REFUSED")


class LiveSession(RollingSession):
    """Runs the strategy of an experiment on live bars, in windows that follow each other.

    Use it as ``async with``, or call `aclose` if the host cannot nest. Cash, positions, working
    orders and the strategy itself go on from window to window; each window has a folder of its own,
    ``<results_root>/<results_dir>/session/live/000001``, complete once its commit record is there.
    The folder is that of a run, of the workflow ``live`` and with one phase, ``session``: it can be
    listed, shown, opened and verified, also while the session goes on or after it was killed. No
    other session or run can write there meanwhile.

    Args:
        experiment: An experiment file or mapping, of whose first phase the strategy, portfolio,
            risk, execution and tracing are taken, and of whose data the symbols; or a `LiveConfig`.
        source: Any async iterator of events: `Bar` events for the lanes, others for whoever traces
            them or subscribes.
        results_root: Folder below which the session has its own.
        results_dir: Its folder.
        storage: Where the folder goes, in place of ``results_root``.
        resume: Go on from an earlier session in that folder: windows are numbered on, and lanes go
            on from what the last complete window left: accounts, working orders, peak equity, the
            halt, the targets of columnar strategies. What other strategies know is lost. Windows
            that were cut off before their commit record are removed, since their events were not
            acknowledged.
        overwrite: Replace an earlier session.
        before: Bars before the session, for indicators to begin with.
        events: Event classes of the application, which ``event_tracing`` may then name.
        registry: The plug-ins; those that are installed, if not given.
        tracing: For a `LiveConfig`: what is traced, and how much of it is kept.
        rolls: Rules of which any ends a window.
        options: As for `RollingSession`.

    Attributes:
        resumed_from: The source's position at the last event of the last complete window of the
            earlier session: what comes again up to there is to be left out. None without one.

    Raises:
        ConfigError: The experiment has mistakes, or cannot be traded live.
    """

    def __init__(
        self,
        experiment: LiveConfig | str | os.PathLike[str] | Mapping[str, object],
        source: Source,
        *,
        results_root: str | os.PathLike[str] = "results",
        results_dir: str = "live",
        storage: Storage | None = None,
        resume: bool = False,
        overwrite: bool = False,
        before: MarketData | None = None,
        events: Iterable[type[Event]] = (),
        registry: Registry | None = None,
        tracing: TracingConfig | None = None,
        rolls: Iterable[Roll] = (),
        clock: Clock | None = None,
        on_failure: OnFailure = "end",
        **options: Any,
    ) -> None:
        registry = registry or installed_plugins()
        modules = UserModules()
        loaded = None
        if not isinstance(experiment, LiveConfig):
            loaded = _load(experiment, registry)
            modules = UserModules(loaded.folder)
            experiment, traced = _settings_of(loaded)
            tracing = tracing or traced
        history = BarHistory(experiment.symbols, keep=experiment.history, before=before)
        resources = Resources(history, modules, EventRegistry([*known_events(), *events]))
        self._storage = storage or LocalStorage(results_root)
        self._config = experiment
        self._record = LiveRecord(results_dir, experiment, loaded)
        self._resume = resume
        self._overwrite = overwrite
        self._released: anyio.Event | None = None
        self.resumed_from: object = None
        self._template = WindowSpec(
            workflow_id=results_dir,
            phase_name=SESSION_PHASE,
            window_id=_WINDOWS,
            topology="live",
            config=msgspec.Raw(msgspec.json.encode(experiment)),
            tracing=tracing or TracingConfig(event_tracing=_TRACED),
        )
        super().__init__(
            LifecycleManager(registry=registry, resources=resources),
            ResultStore(self._storage, results_dir),
            self._numbered,
            source,
            rolls=rolls,
            clock=clock,
            on_failure=on_failure,
            **options,
        )

    async def run(self) -> None:
        """Take events until the source ends or the session is closed; see `RollingSession.run`.

        Raises:
            ResultExistsError: The folder is there, and is neither to be continued nor replaced.
            FolderInUseError: Another session or run writes to it, or has taken it over.
        """
        self._refuse_to_run_again()
        self._released = anyio.Event()
        try:
            lock = await self._take_folder()
            try:
                await self._run_recorded(lock)
            finally:
                await lock.release()
        finally:
            self._released.set()

    async def aclose(self, grace: float = 10.0) -> None:
        """See `RollingSession.aclose`; the folder is free for others when it returns."""
        await super().aclose(grace)
        if self._released is not None:
            await self._released.wait()

    async def _take_folder(self) -> RunLock:
        """Have the session's folder, and its lock."""
        storage, folder = self._storage, self._store.path
        lock: RunLock | None = None
        await ResultStore.recover(storage, folder)
        if await storage.exists(folder) and (self._resume or self._overwrite):
            lock = await RunLock.acquire(storage, folder)
        try:
            if lock is None or not await self._goes_on():
                await ResultStore.create(storage, folder, overwrite=lock is not None)
                lock = await RunLock.acquire(storage, folder)
        except BaseException:
            if lock is not None:
                await lock.release()
            raise
        return lock

    async def _goes_on(self) -> bool:
        """Go on from the session that the folder holds, if it holds one and is to be continued."""
        storage, folder = self._storage, self._store.path
        if not (self._resume and await storage.exists(f"{folder}/{RUN_FILE}")):
            return False
        await self._record.go_on_from(storage, folder)
        await ResultStore.open(storage, folder)
        await self._go_on()
        return True

    async def _run_recorded(self, lock: RunLock) -> None:
        status: SessionStatus = "failed"
        errors: tuple[str, ...] = ()
        self._record.begin()
        await self._write_run("running")
        try:
            await self._run_locked(lock)
            status = "completed"
        except anyio.get_cancelled_exc_class():
            status = "cancelled"
            raise
        except Exception as error:
            errors = tuple(describe_all([error]))
            raise
        finally:
            await finish(partial(self._write_run, status, errors))

    async def _run_locked(self, lock: RunLock) -> None:
        """Run as long as the folder is the session's own; without it, nothing is acknowledged."""
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._keep, lock)
            try:
                if not self._stopping:  # as if it was closed in the meantime
                    await super().run()
            except Exception as error:  # noqa: BLE001 - raised outside, as the group would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _keep(self, lock: RunLock) -> None:
        try:
            await lock.keep()
        except AdmfError as error:
            self._withheld = True
            self._end_because_of(error)

    async def _write_run(self, status: SessionStatus, errors: tuple[str, ...] = ()) -> None:
        await self._store.write_run(self._record.body(status, self.counts, errors))

    async def _go_on(self) -> None:
        """Begin where the last complete window of an earlier session ended."""
        folder = f"{self._store.path}/{SESSION_PHASE}/{_WINDOWS}"
        paths = await self._storage.list_files(folder)
        numbers = sorted({int(path.removeprefix(folder).split("/")[1]) for path in paths})
        self._number = max(numbers, default=0)
        for number in reversed(numbers):
            window = f"{folder}/{number:06}"
            if not await self._storage.exists(f"{window}/{COMMIT_FILE}"):
                await self._storage.remove_tree(window)
            elif self.resumed_from is None:
                await self._take_from(window)

    async def _take_from(self, path: str) -> None:
        """Take position and states from a window, if it is complete and did not fail."""
        if not (await verify_window(self._storage, path)).complete:
            return
        results = WindowResults(self._storage, path)
        record = await results.read(COMMIT_FILE, _Window)
        if record.status == "failed" or record.report.intake.last_position is None:
            return
        self._inherits = record.report.intake.left
        self.resumed_from = record.report.intake.last_position

    def _numbered(self, number: int) -> WindowSpec:
        return numbered(self._template, number)


class _Report(msgspec.Struct, frozen=True):
    intake: IntakeRecord


class _Window(msgspec.Struct, frozen=True):
    status: str
    report: _Report


def _load(
    experiment: str | os.PathLike[str] | Mapping[str, object], registry: Registry
) -> LoadedExperiment:
    vocabulary = vocabulary_of(registry, known_events())
    if isinstance(experiment, Mapping):
        return experiment_from_mapping(experiment, (), vocabulary=vocabulary)
    return load_experiment(experiment, (), vocabulary=vocabulary)


def _settings_of(loaded: LoadedExperiment) -> tuple[LiveConfig, TracingConfig]:
    """Return what an experiment says of its first phase, as far as it can be traded live."""
    settings = resolve_phases(loaded, loaded.workflow)[0].settings
    if settings.parameter_space:
        message = "a live session runs one parameter set: name it under strategy.params"
        raise ConfigError([Problem(message, "parameter_space")])
    config = LiveConfig(
        symbols=settings.data.symbols,
        lanes=(make_lane(settings, 1, {}, _WINDOWS),),
        periods_per_year=settings.periods_per_year,
    )
    return config, settings.tracing

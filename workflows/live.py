"""Trades live: an experiment's strategy on bars as they come, window after window."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from admf.containers.bar_history import BarHistory
from admf.containers.catalog import UserModules
from admf.containers.live_config import LiveConfig
from admf.containers.market_data import MarketData
from admf.containers.report import LaneReport
from admf.engine.clock import Clock
from admf.engine.errors import ConfigError, Problem
from admf.engine.events import Event, EventRegistry
from admf.engine.intake import IntakeRecord
from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry
from admf.engine.result_names import AGGREGATE_FILE, COMMIT_FILE, RUN_FILE
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
from admf.workflows.loading import LoadedExperiment, experiment_from_mapping, load_experiment
from admf.workflows.plugins import installed_plugins, known_events
from admf.workflows.resolution import resolve_phases
from admf.workflows.vocabulary import vocabulary_of

__all__ = ["LiveSession"]

_PHASE = "session"
_WINDOWS = "live"
_TRACED = ("POSITION_OPEN", "POSITION_CLOSE", "FILL", "BAR_REFUSED")


class LiveSession(RollingSession):
    """Runs the strategy of an experiment on live bars, in windows that follow each other.

    Use it as ``async with``, or call `aclose` if the host cannot nest. Cash, positions, working
    orders and the strategy itself go on from window to window; each window has a folder of its own,
    ``<results_root>/<results_dir>/session/live/000001``, complete once its commit record is there.

    Args:
        experiment: An experiment file or mapping, of whose first phase the strategy, portfolio,
            risk, execution and tracing are taken, and of whose data the symbols; or a `LiveConfig`.
        source: Any async iterator of events: `Bar` events for the lanes, others for whoever traces
            them or subscribes.
        results_root: Folder below which the session has its own.
        results_dir: Its folder.
        storage: Where the folder goes, in place of ``results_root``.
        resume: Go on from an earlier session in that folder: windows are numbered on, and lanes
            begin with the account that the last complete window left. What only that process knew,
            working orders and the state of strategies, is lost.
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
        if not isinstance(experiment, LiveConfig):
            loaded = _load(experiment, registry)
            modules = UserModules(loaded.folder)
            experiment, traced = _settings_of(loaded)
            tracing = tracing or traced
        history = BarHistory(experiment.symbols, keep=experiment.history, before=before)
        resources = Resources(history, modules, EventRegistry([*known_events(), *events]))
        self._storage = storage or LocalStorage(results_root)
        self._config = experiment
        self._resume = resume
        self._overwrite = overwrite
        self.resumed_from: object = None
        self._template = WindowSpec(
            workflow_id=results_dir,
            phase_name=_PHASE,
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
        """
        await self._prepare()
        status = "failed"
        try:
            await super().run()
            status = "completed"
        finally:
            await finish(partial(self._write_run, status))

    async def _prepare(self) -> None:
        folder = self._store.path
        if self._resume and await self._storage.exists(f"{folder}/{RUN_FILE}"):
            await ResultStore.open(self._storage, folder)
            await self._go_on()
        else:
            await ResultStore.create(self._storage, folder, overwrite=self._overwrite)
        await self._write_run("running")

    async def _write_run(self, status: str) -> None:
        counts = msgspec.structs.asdict(self.counts)
        body = {"workflow": "live", "status": status, "live": self._config, "counts": counts}
        await self._store.write_run(body)

    async def _go_on(self) -> None:
        """Begin where the last complete window of an earlier session ended."""
        folder = f"{self._store.path}/{_PHASE}/{_WINDOWS}"
        paths = await self._storage.list_files(folder)
        numbers = sorted({int(path.removeprefix(folder).split("/")[1]) for path in paths})
        self._number = max(numbers, default=0)
        for number in reversed(numbers):
            if await self._takes_from(f"{folder}/{number:06}"):
                return

    async def _takes_from(self, path: str) -> bool:
        """Take position and accounts from a window, if it is complete and did not fail."""
        if not (await verify_window(self._storage, path)).complete:
            return False
        results = WindowResults(self._storage, path)
        record = await results.read(COMMIT_FILE, _Window)
        if record.status == "failed" or record.report.intake.last_position is None:
            return False
        rows = (await results.read(AGGREGATE_FILE, _Aggregate)).portfolios
        accounts = {row.lane_id: row.account for row in rows}
        lanes = [
            msgspec.structs.replace(lane, carried=accounts.get(lane.lane_id))
            for lane in self._config.lanes
        ]
        config = msgspec.structs.replace(self._config, lanes=tuple(lanes))
        self._template = msgspec.structs.replace(
            self._template, config=msgspec.Raw(msgspec.json.encode(config))
        )
        self.resumed_from = record.report.intake.last_position
        return True

    def _numbered(self, number: int) -> WindowSpec:
        return numbered(self._template, number)


class _Report(msgspec.Struct, frozen=True):
    intake: IntakeRecord


class _Window(msgspec.Struct, frozen=True):
    status: str
    report: _Report


class _Aggregate(msgspec.Struct, frozen=True):
    portfolios: tuple[LaneReport, ...]


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

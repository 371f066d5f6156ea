"""A stretch of the data that a sequence works on, and what it can do there."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, Self, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.containers.config import BacktestConfig, CarriedAccount, LaneConfig
from admf.containers.market_data import MarketData
from admf.containers.metrics.annualisation import Annualisation
from admf.containers.report import LaneReport
from admf.containers.series import SERIES_FILE, LaneSeries, WindowSeries
from admf.containers.times import iso_utc
from admf.engine.errors import ConfigError
from admf.engine.results import WindowResults
from admf.engine.window_spec import WindowSpec
from admf.sequences.lanes import lane_id, make_lane, seeds_of
from admf.sequences.outcome import Outcome, Point
from admf.sequences.phase import ResolvedPhase
from admf.sequences.settings import PhaseSettings
from admf.sequences.splits import StepRange
from admf.sequences.trials import TrialRecord

__all__ = ["Candidate", "Part", "PhaseRun", "Role", "Stretch"]

Role: TypeAlias = Literal["main", "trial", "test", "aside"]
"""Whether portfolios are what a phase is about, try parameter sets, test those found, or only
measure."""


_PLACE_ENDS = 256
"""Keeps numbers of simulations apart from the bytes of a longer place."""

Part: TypeAlias = Callable[["Stretch"], Awaitable[Outcome]]
"""Works on a stretch, as a sequence does."""


class Candidate(msgspec.Struct, frozen=True):
    """A numbered parameter set."""

    number: int
    point: Point
    carried: CarriedAccount | None = None


class PhaseRun(Protocol):
    """What the sequences of a phase share: it runs their windows and keeps the phase's record."""

    @property
    def slots(self) -> int:
        """How many windows run side by side."""
        ...

    def branch(self) -> Self:
        """Return a run of the same phase, for a part of it that runs beside others."""
        ...

    def merge(self, branch: Any) -> None:
        """Take what a branch has kept back for the record."""
        ...

    async def run_window(self, spec: WindowSpec) -> WindowResults:
        """Run a window to its end, and return its files.

        A window that failed as a whole is recorded as that; its files may be missing.
        """
        ...

    async def run_lanes(
        self, spec: WindowSpec, lanes: Sequence[LaneConfig], role: Role
    ) -> list[LaneReport]:
        """Run a window of lanes; return a report for each lane, also for those that failed."""
        ...

    async def run_sequence(self, name: str, stretch: Stretch) -> Outcome:
        """Run a sequence on a stretch."""
        ...

    async def run_part(self, name: str, part: Part, stretch: Stretch) -> Outcome:
        """Run a part of the sequence of a name, which gets a folder as a sequence does."""
        ...

    def series_windows(self, path: str) -> Sequence[str]:
        """Return the windows at a path and below that wrote series and tried nothing, in order."""
        ...

    def results(self, window_id: str) -> WindowResults:
        """Return the files of a window that has run."""
        ...

    def record(self, trial: TrialRecord) -> None:
        """Keep what became of a trial."""
        ...


class Stretch:
    """A part of the data, the parameter sets to try on it, and the means to run windows.

    Args:
        phase: The phase.
        settings: Its settings, as they are here.
        workflow_id: The study.
        path: Path of windows that leads here; empty for the whole phase.
        data: The market data.
        steps: The time steps of the data that belong to the stretch.
        points: The parameter sets to use; None if they are to be searched.
        run: Runs execution windows, and keeps the record.
        options: Fields of `BacktestConfig` that all windows here have in common.
        place: What randomness depends on, besides the seed; phase and path if not given.
    """

    def __init__(
        self,
        phase: ResolvedPhase,
        settings: PhaseSettings,
        *,
        workflow_id: str,
        path: str,
        data: MarketData,
        steps: StepRange,
        points: tuple[Point, ...] | None,
        run: PhaseRun,
        options: Mapping[str, object] | None = None,
        place: str | None = None,
    ) -> None:
        self.phase = phase
        self.settings = settings
        self.workflow_id = workflow_id
        self.path = path
        self.data = data
        self.steps = steps
        self.points = points
        self.run = run
        self.options = options or {}
        self.place = _joined(phase.name, path) if place is None else place

    @property
    def ts(self) -> NDArray[np.int64]:
        """int64 (steps,), the time line of the whole data, ns UTC."""
        return self.data.ts

    @property
    def annualisation(self) -> Annualisation:
        """Which returns ratio metrics are made of."""
        return self.data.annualisation_for(self.settings.periods_per_year)

    @property
    def seeds(self) -> np.random.SeedSequence:
        """Root of the randomness of this place."""
        return seeds_of(self.settings.seed, self.place)

    def simulation_seeds(self, number: int) -> np.random.SeedSequence:
        """Return the root of the randomness of a simulation that this place numbers."""
        key = (*self.simulation_key, number)
        return np.random.SeedSequence(self.settings.seed, spawn_key=key)

    @property
    def simulation_key(self) -> tuple[int, ...]:
        """Spawn key of all simulations here; that of a single one ends in its number."""
        return (*self.seeds.spawn_key, _PLACE_ENDS)

    def child(
        self,
        name: str,
        *,
        steps: StepRange | None = None,
        points: Iterable[Point] | None = None,
        settings: PhaseSettings | None = None,
        options: Mapping[str, object] | None = None,
        drawn_as: str | None = None,
    ) -> Stretch:
        """Return a stretch below this one; what is not given stays as it is here.

        Args:
            name: Its part of the path of windows, e.g. ``wf_012``.
            steps: Its time steps.
            points: The parameter sets to use.
            settings: Its settings.
            options: Fields of `BacktestConfig`, added to those that are set here.
            drawn_as: Its part of the place that randomness depends on, if that is not its name.
        """
        return Stretch(
            self.phase,
            settings or self.settings,
            workflow_id=self.workflow_id,
            path=self.below(name),
            data=self.data,
            steps=steps or self.steps,
            points=self.points if points is None else tuple(points),
            run=self.run,
            options={**self.options, **(options or {})},
            place=_joined(self.place, name if drawn_as is None else drawn_as),
        )

    def beside(self, run: PhaseRun) -> Stretch:
        """Return the same stretch, for a part that runs beside others."""
        found = copy.copy(self)
        found.run = run
        return found

    async def run_sequence(self, name: str) -> Outcome:
        """Run a sequence on this stretch."""
        return await self.run.run_sequence(name, self)

    async def run_lanes(
        self,
        name: str,
        candidates: Sequence[Candidate],
        *,
        role: Role = "main",
        options: Mapping[str, object] | None = None,
    ) -> list[LaneReport]:
        """Run parameter sets side by side in one execution window.

        Args:
            name: Of the window, within this stretch; empty for the stretch's own place.
            candidates: The parameter sets.
            role: What the window is for.
            options: Further fields of the window's `BacktestConfig`.

        Returns:
            A report for each of them, in their order; a trial that a setting refuses is among
            them as a failed one, although it takes part in no window.

        Raises:
            ConfigError: A setting refuses a parameter set that is no trial.
        """
        lanes: list[LaneConfig] = []
        refused: dict[str, LaneReport] = {}
        for candidate in candidates:
            try:
                lanes.append(self._lane(candidate))
            except ConfigError as error:
                if role != "trial":
                    raise
                refused[lane_id(candidate.number)] = _refusal(candidate, error)
        rows: list[LaneReport] = []
        if lanes:
            spec = self.window(name, self._backtest(lanes, options or {}))
            rows = await self.run.run_lanes(spec, lanes, role)
        reports = refused | {row.lane_id: row for row in rows}
        return [reports[lane_id(it.number)] for it in candidates]

    async def series(self, name: str = "") -> tuple[LaneSeries, ...]:
        """Return the marks and trades of the lanes of a window that ran with ``series``.

        A window that failed has none.
        """
        results = self.run.results(self.below(name))
        if not await results.exists(SERIES_FILE):
            return ()
        return (await results.read(SERIES_FILE, WindowSeries)).lanes

    async def write(self, name: str, body: Mapping[str, object]) -> None:
        """Write a file to the folder of this stretch."""
        await self.run.results(self.path).write(name, body)

    def span(self, steps: StepRange) -> dict[str, str]:
        """Return a range of steps as a `DataRange`: its first and last time, ISO 8601."""
        return {
            "start": iso_utc(int(self.ts[steps.start])),
            "end": iso_utc(int(self.ts[steps.stop - 1])),
        }

    def window(self, name: str, config: msgspec.Struct, topology: str | None = None) -> WindowSpec:
        """Return the spec of a window of this stretch.

        Args:
            name: Of the window, within this stretch; empty for the stretch's own place.
            config: Settings of its topology.
            topology: Registered name; that of the phase if not given.
        """
        spec = WindowSpec(
            workflow_id=self.workflow_id,
            phase_name=self.phase.name,
            window_id=self.below(name),
            topology=topology or self.phase.topology,
            config=msgspec.Raw(msgspec.json.encode(config)),
            tracing=self.settings.tracing,
            results_storage=self.settings.results_storage,
            seed=self.settings.seed,
        )
        return msgspec.structs.replace(spec, fingerprint=_fingerprint(spec, config))

    def _lane(self, candidate: Candidate) -> LaneConfig:
        lane = make_lane(self.settings, candidate.number, candidate.point, self.place)
        return msgspec.structs.replace(lane, carried=candidate.carried)

    def _backtest(
        self, lanes: Sequence[LaneConfig], options: Mapping[str, object]
    ) -> BacktestConfig:
        settings, ts, steps = self.settings, self.ts, self.steps
        config = BacktestConfig(
            data=settings.data,
            lanes=tuple(lanes),
            block_size=settings.block_size,
            periods_per_year=settings.periods_per_year,
            benchmark=settings.benchmark,
            start_ts=None if steps.start == 0 else int(ts[steps.start]),
            end_ts=None if steps.stop == len(ts) else int(ts[steps.stop]),
        )
        return msgspec.structs.replace(config, **{**self.options, **options})

    def below(self, name: str) -> str:
        """Return the id of a window of this stretch."""
        return _joined(self.path, name)


_NO_RESULT_DEPENDS_ON = frozenset({"data", "block_size", "dispatch"})
"""Of a window's settings; that the data are the same is for the run to see to."""


def _fingerprint(spec: WindowSpec, config: msgspec.Struct) -> str:
    """Return a digest of all that a window computes its results from, but for the data."""
    settings: dict[str, Any] = msgspec.to_builtins(config)
    kept = {name: value for name, value in settings.items() if name not in _NO_RESULT_DEPENDS_ON}
    content = (spec.phase_name, spec.window_id, spec.topology, spec.tracing, spec.seed, kept)
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()


def _joined(path: str, name: str) -> str:
    return "/".join(filter(None, (path, name)))


def _refusal(candidate: Candidate, error: ConfigError) -> LaneReport:
    return LaneReport(
        container_id="",
        lane_id=lane_id(candidate.number),
        status="failed",
        error=str(error),
        parameters=candidate.point,
    )

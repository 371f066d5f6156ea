"""Runs a phase: its sequence says which windows, the lifecycle manager gives each its life."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import NamedTuple

from anyio import to_thread

from admf.containers.aggregate import AggregateResult
from admf.containers.catalog import DataCatalog
from admf.containers.market_data import MarketData
from admf.engine.registry import Registry, needs_method
from admf.engine.results import ResultStore
from admf.sequences.executor import WindowExecutor, WindowObserver
from admf.sequences.outcome import Outcome, Point
from admf.sequences.phase import ResolvedPhase
from admf.sequences.phase_run import RunOfPhase
from admf.sequences.ranges import steps_of
from admf.sequences.search import space_of
from admf.sequences.sequence import CutsData, sequence_of
from admf.sequences.stretch import Stretch
from admf.sequences.trials import Judge

__all__ = ["PhaseEnd", "Sequencer"]

_check_sequence = needs_method("run", "stretch")


class PhaseEnd(NamedTuple):
    """What a phase has found, and what its portfolios add up to.

    Attributes:
        outcome: What its sequence found.
        metrics: Aggregate metrics of the portfolios that the phase is about.
        tests: Aggregate metrics of the portfolios that tested what was found.
        failed: Portfolios that failed and were no trials of a search.
        trials: Trials of all searches.
        trial_error: Why the first trial that failed did so; empty if none did.
    """

    outcome: Outcome
    metrics: AggregateResult
    tests: AggregateResult
    failed: int
    trials: int
    trial_error: str


class Sequencer:
    """Runs phases.

    Args:
        registry: Holds the sequences.
        executor: Runs the windows.
        catalog: Loads the market data.
    """

    def __init__(self, registry: Registry, executor: WindowExecutor, catalog: DataCatalog) -> None:
        registry.define_group("sequences", _check_sequence)
        self._registry = registry
        self._executor = executor
        self._catalog = catalog
        self._running = 0

    async def prepare(self, phase: ResolvedPhase) -> MarketData:
        """Read the data of a phase, and look whether its windows and parameter sets fit together.

        Raises:
            ConfigError: They do not, or the phase names unknown plug-ins.
            DataError: The data cannot be used, or is too short for a window.
        """
        return await to_thread.run_sync(self._prepare, phase)

    def _prepare(self, phase: ResolvedPhase) -> MarketData:
        data = self._market_data(phase)
        _ = data.fingerprint  # which takes time, and is remembered
        sequence = sequence_of(self._registry, phase.sequence)
        space_of(phase.settings)
        Judge(phase.settings)
        waits = any(name.startswith("data_range") for name in phase.input)
        if isinstance(sequence, CutsData) and not waits:
            sequence.check(phase.settings, data.ts, steps_of(phase.settings, data.ts))
        return data

    async def run(
        self,
        phase: ResolvedPhase,
        workflow_id: str,
        store: ResultStore,
        observer: WindowObserver,
        points: tuple[Point, ...] | None = None,
        *,
        resume: bool = False,
    ) -> PhaseEnd:
        """Run a phase.

        A window that fails is reported like any other; what concerns the whole phase (its settings,
        its data, the storage) is raised.

        Args:
            phase: The phase.
            workflow_id: The study.
            store: Where its results go.
            observer: Is told of each window.
            points: The parameter sets to use, in place of searching the parameter space.
            resume: Take the windows that an earlier run completed as they are.

        Raises:
            ConfigError: The phase names unknown plug-ins, or settings they refuse.
            DataError: The data cannot be used.
            StorageError: Results cannot be written.
        """
        with self._counted():
            data = await to_thread.run_sync(self._market_data, phase)
            run = RunOfPhase(
                phase,
                workflow_id,
                store,
                registry=self._registry,
                executor=self._executor,
                observer=observer,
                resume=resume,
                has_others=lambda: self._running > 1,
            )
            with closing(run):
                stretch = _whole_phase(phase, workflow_id, data, points, run)
                return _end(await run.run_sequence(phase.sequence, stretch), run)

    @contextmanager
    def _counted(self) -> Generator[None]:
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def _market_data(self, phase: ResolvedPhase) -> MarketData:
        return self._catalog.load(phase.settings.data, phase.settings.benchmark).market_data


def _end(outcome: Outcome, run: RunOfPhase) -> PhaseEnd:
    return PhaseEnd(
        outcome=outcome,
        metrics=run.metrics.result(),
        tests=run.tests.result(),
        failed=run.failed,
        trials=run.trials,
        trial_error=run.trial_error,
    )


def _whole_phase(
    phase: ResolvedPhase,
    workflow_id: str,
    data: MarketData,
    points: tuple[Point, ...] | None,
    run: RunOfPhase,
) -> Stretch:
    return Stretch(
        phase,
        phase.settings,
        workflow_id=workflow_id,
        path="",
        data=data,
        steps=steps_of(phase.settings, data.ts),
        points=points,
        run=run,
    )

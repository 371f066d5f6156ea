"""The phases of an experiment, in the order of their dependencies, handing results on."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

import anyio

from admf.containers.market_data import MarketData
from admf.engine.errors import AdmfError, ConfigError, StorageError
from admf.engine.held import HeldStorage
from admf.engine.memory_guard import MemoryGuard
from admf.engine.observing import Observers
from admf.engine.results import ResultStore
from admf.engine.window import ExecutionWindow
from admf.sequences.phase import ResolvedPhase
from admf.sequences.sequencer import PhaseEnd, Sequencer
from admf.workflows.inputs import with_inputs
from admf.workflows.loading import LoadedExperiment
from admf.workflows.outcome import PhaseData, PhaseResult
from admf.workflows.phase_results import found_nothing, namespace_of, phase_data, summary_of
from admf.workflows.phase_watch import PhaseWatch
from admf.workflows.progress import RunProgress
from admf.workflows.references import condition_holds
from admf.workflows.run_watch import watched_phase
from admf.workflows.workflow import Workflow

__all__ = ["Plan", "Study"]


@dataclass(frozen=True, slots=True)
class Plan:
    """An experiment that is ready to run.

    Args:
        loaded: The experiment.
        workflow: Its workflow.
        phases: Its phases in order, every setting decided.
        data: The market data of each phase.
        code: Digests of the user's own code, by the name of the strategy or workflow.
        versions: Of what its results depend on.
    """

    loaded: LoadedExperiment
    workflow: Workflow
    phases: tuple[ResolvedPhase, ...]
    data: Mapping[str, MarketData]
    code: Mapping[str, str]
    versions: Mapping[str, str]


class Study:
    """Runs the phases of one experiment, once; those that do not depend on each other side by side.

    Args:
        plan: The experiment.
        sequencer: Runs a phase.
        store: Where results go that are kept on disk; None if no phase keeps any.
        memory: Looks after phases whose results are in memory as long as there is room.
        folder: Path of the study in the run, for what is kept in memory.
        observers: Are told of each phase that runs.
        prefix: Put before the names of phases when they are reported.
        on_progress: Called as bars are handled.
        on_window: Called with each phase and window before the window starts.
        kept: Phases whose completed windows are taken as an earlier run left them.

    Attributes:
        results: How the phases ended, by name, as far as they have.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        sequencer: Sequencer,
        store: ResultStore | None,
        memory: MemoryGuard,
        folder: str,
        observers: Observers,
        prefix: str = "",
        on_progress: Callable[[RunProgress], None] | None = None,
        on_window: Callable[[str, ExecutionWindow], None] | None = None,
        kept: Container[str] = (),
    ) -> None:
        self.results: dict[str, PhaseResult] = {}
        self._plan = plan
        self._sequencer = sequencer
        self._store = store
        self._guard = memory
        self._memory = HeldStorage()
        self._memory_store = ResultStore(self._memory, folder)
        self._tiered_store = ResultStore(memory.storage, folder)
        self._observers = observers
        self._prefix = prefix
        self._on_progress = on_progress
        self._on_window = on_window
        self._kept = kept
        self._outcomes: dict[str, dict[str, Any]] = {}

    async def run(self) -> None:
        """Run every phase whose dependencies have succeeded; a phase that fails does so alone.

        Raises:
            StorageError: Results cannot be written.
        """
        phases = {phase.name: phase for phase in self._plan.phases}
        sorter = TopologicalSorter({name: it.depends_on for name, it in phases.items()})
        sorter.prepare()

        async def run_and_go_on(phase: ResolvedPhase) -> None:
            await self._run_phase(phase)
            sorter.done(phase.name)
            start_ready()

        def start_ready() -> None:
            for name in sorter.get_ready():
                group.start_soon(run_and_go_on, phases[name], name=f"phase {name}")

        async with anyio.create_task_group() as group:
            start_ready()

    async def _run_phase(self, phase: ResolvedPhase) -> None:
        unmet = self._reason_to_skip(phase)
        if unmet is not None:
            self.results[phase.name] = unmet
            return
        name = f"{self._prefix}{phase.name}"
        with watched_phase(self._observers, name, phase) as over:
            await self._carry_out(phase, name)
            over(self.results[phase.name])

    async def _carry_out(self, phase: ResolvedPhase, name: str) -> None:
        watch = PhaseWatch(
            name,
            self._plan.data[phase.name],
            self._on_progress,
            self._on_window,
        )
        end: PhaseEnd | None = None
        try:
            end = await self._sequence(phase, watch)
        except StorageError:
            raise
        except ConfigError as error:
            watch.errors.setdefault(str(self._plan.loaded.located(error)))
        except AdmfError as error:
            watch.errors.setdefault(str(error))
        finally:
            with anyio.CancelScope(shield=True):  # also what a cancelled phase leaves in memory
                await self._conclude(phase, watch, end)

    def _reason_to_skip(self, phase: ResolvedPhase) -> PhaseResult | None:
        for name in phase.depends_on:
            before = self.results[name]
            if before.skipped or not before.success:
                why = "was skipped" if before.skipped else "failed"
                reason = f"phase {name!r}, which it depends on, {why}"
                return PhaseResult(success=before.success, summary=None, skipped=reason)
        if phase.when is None or condition_holds(phase.when, self._outcomes):
            return None
        return PhaseResult(
            success=True, summary=None, skipped=f"its condition does not hold: {phase.when}"
        )

    async def _sequence(self, phase: ResolvedPhase, watch: PhaseWatch) -> PhaseEnd:
        phase, points = with_inputs(phase, self._outcomes)
        workflow = self._plan.loaded.experiment.workflow
        store = self._store_of(phase)
        resume = phase.name in self._kept
        return await self._sequencer.run(phase, workflow, store, watch, points, resume=resume)

    def _store_of(self, phase: ResolvedPhase) -> ResultStore:
        settings = phase.settings
        if self._store is None or settings.results_storage == "memory":
            return self._memory_store
        if settings.results_storage == "auto" and settings.trace.store == "none":
            return self._tiered_store
        return self._store  # a trace is a file in any case

    async def _conclude(
        self, phase: ResolvedPhase, watch: PhaseWatch, end: PhaseEnd | None
    ) -> None:
        if end is not None and (reason := found_nothing(end)):
            watch.errors.setdefault(reason)
        summary = summary_of(watch, end)
        success = end is not None and _succeeded(end, watch)
        found = namespace_of(end, summary, success=success)
        self._outcomes[phase.name] = found
        data = await self._taken(phase, found.get("aggregate_metrics"), success=success)
        place = f"{self._store_of(phase).location}/{phase.name}"
        self.results[phase.name] = PhaseResult(
            success=success,
            summary=summary,
            errors=tuple(watch.errors),
            results_saved=data is None,
            results_path=place if data is None else None,
            phase_results=data,
            output={key: found.get(key) for key in phase.output},
        )

    async def _taken(
        self, phase: ResolvedPhase, aggregate: Mapping[str, Any] | None, *, success: bool
    ) -> PhaseData | None:
        """Return the results of a phase if they are to stay in memory; None if they are on disk."""
        store = self._store_of(phase)
        folder = f"{store.path}/{phase.name}"
        if store is self._memory_store:
            return await phase_data(self._memory, folder, aggregate)
        if store is not self._tiered_store:
            return None
        tiered = self._guard.storage
        if not success:  # so that it can be resumed
            await tiered.spill(folder)
            return None
        if not await self._guard.keeps(folder):
            return None
        data = await phase_data(tiered, folder, aggregate)
        await tiered.drop(folder)
        return data


def _succeeded(end: PhaseEnd, watch: PhaseWatch) -> bool:
    """Whether every window came to its end, not all portfolios failed, and a search found one."""
    portfolios = end.metrics.portfolio_count + end.tests.portfolio_count
    all_failed = portfolios > 0 and portfolios == end.metrics.failed_count + end.tests.failed_count
    ended = watch.completed == watch.windows > 0
    return ended and not all_failed and not found_nothing(end)

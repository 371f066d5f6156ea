"""From an experiment, wherever it comes from, to a run that is ready to be executed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import anyio
from anyio import to_thread

from admf.containers.catalog import DataCatalog, UserModules
from admf.containers.indicators import indicator_names
from admf.engine.clock import Clock
from admf.engine.lifecycle import LifecycleManager
from admf.engine.memory import MemoryProbe, SystemMemory
from admf.engine.memory_guard import MemoryGuard
from admf.engine.observing import Observers
from admf.engine.pace import Pace
from admf.engine.registry import Registry
from admf.engine.storage import Storage
from admf.engine.topology import Resources
from admf.sequences.executor import InlineExecutor
from admf.sequences.phase import ResolvedPhase
from admf.sequences.sequencer import Sequencer
from admf.workflows.experiment import Experiment
from admf.workflows.loading import LoadedExperiment, experiment_from_mapping, load_experiment
from admf.workflows.plugins import known_events
from admf.workflows.resolution import loaded_from_experiment, resolve_phases
from admf.workflows.run_execution import Existing, RunExecution, RunExecutor
from admf.workflows.study import Plan
from admf.workflows.user_code import code_digests
from admf.workflows.versions import installed_versions
from admf.workflows.vocabulary import vocabulary_of
from admf.workflows.workers import ProcessExecutor

__all__ = ["ExperimentSource", "Preparation"]

T = TypeVar("T")

ExperimentSource: TypeAlias = "str | os.PathLike[str] | Mapping[str, object] | LoadedExperiment"
"""A file, a mapping with the same fields, or an experiment that was loaded before."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """Makes experiments ready to run. What takes long happens in threads, so that the host goes on.

    Args:
        registry: The plug-ins.
        storage: Where the runs' folders go.
        pace: Of the event loop that all runs share.
        clock: Tells how fast runs are.
        frames: Data frames by symbol, for experiments with ``source: frames``.
        memory: Tells how much memory there is; the system, if not given.
        workers: Processes that run windows side by side.
        seconds_here: How long windows run in this process before workers are started.
        observers: Are told of runs, phases, windows and flushes.
        slow_handler_ms: Report handlers that take longer; None times none of them.
        one_by_one: Lets one thread at a time work at what needs the interpreter: each that does so
            holds up the event loop.
    """

    registry: Registry
    storage: Storage
    pace: Pace
    clock: Clock
    frames: Mapping[str, Any] | None
    memory: MemoryProbe | None
    workers: int
    seconds_here: float
    observers: Observers
    slow_handler_ms: float | None
    one_by_one: anyio.CapacityLimiter

    def load(
        self, experiment: ExperimentSource, overrides: Iterable[str], folder: Path | None
    ) -> LoadedExperiment:
        """Read and check an experiment; see `Runner.load`."""
        if isinstance(experiment, LoadedExperiment):
            return experiment
        vocabulary = vocabulary_of(self.registry, known_events())
        if isinstance(experiment, Mapping):
            return experiment_from_mapping(
                experiment, overrides, vocabulary=vocabulary, folder=folder
            )
        return load_experiment(experiment, overrides, vocabulary=vocabulary)

    async def load_in_thread(
        self,
        experiment: ExperimentSource,
        overrides: Iterable[str],
        folder: Path | None,
        *,
        ahead: bool = False,
    ) -> LoadedExperiment:
        """Read and check an experiment.

        Args:
            experiment: The experiment.
            overrides: ``a.b=value`` each.
            folder: See `Runner.load`.
            ahead: Import here what its run will need, which would hold up the event loop later.
        """

        def load() -> LoadedExperiment:
            loaded = self.load(experiment, overrides, folder)
            if ahead:
                for phase in resolve_phases(loaded, loaded.workflow):
                    self.registry.get("topologies", phase.topology)
                indicator_names()  # by TA-Lib, whose import takes most of a second
            return loaded

        return await self._in_thread(load)

    async def prepare(self, loaded: LoadedExperiment, existing: Existing) -> RunExecution:
        """Read the data of an experiment, and return what executes it; see `Runner.prepare`.

        Args:
            loaded: The experiment.
            existing: What to do with results of an earlier run.
        """
        catalog = DataCatalog(self.frames)  # of this run alone: files may change between runs
        memory = MemoryGuard(self.storage, self.memory or await self._in_thread(SystemMemory))
        lifecycle = LifecycleManager(
            registry=self.registry,
            resources=Resources(catalog, UserModules(loaded.folder)),
            memory=memory,
            pace=self.pace,
            observers=self.observers,
            slow_handler_ms=self.slow_handler_ms,
        )
        executor = self._executor(InlineExecutor(lifecycle), catalog, loaded.folder)
        sequencer = Sequencer(self.registry, executor, catalog)

        async def make_plan(following: Experiment) -> Plan:
            further = await self._in_thread(partial(loaded_from_experiment, following, loaded))
            return await self._plan(further, sequencer)

        return RunExecution(
            await self._plan(loaded, sequencer),
            make_plan,
            sequencer=sequencer,
            executor=executor,
            memory=memory,
            storage=self.storage,
            clock=self.clock,
            observers=self.observers,
            existing=existing,
        )

    def _executor(
        self, inline: InlineExecutor, catalog: DataCatalog, modules: Path | None
    ) -> RunExecutor:
        if self.workers == 1:
            return inline
        return ProcessExecutor(
            inline,
            workers=self.workers,
            catalog=catalog,
            modules=modules,
            after=self.seconds_here,
            observers=self.observers,
        )

    async def _plan(self, loaded: LoadedExperiment, sequencer: Sequencer) -> Plan:
        """Decide every setting and read the data, before anything is written anywhere."""
        workflow = loaded.workflow
        phases = await self._in_thread(partial(resolve_phases, loaded, workflow))
        data = {phase.name: await sequencer.prepare(phase) for phase in phases}

        def finish() -> Plan:
            code = self._code(loaded, phases)
            return Plan(loaded, workflow, phases, data, code, installed_versions(phases))

        return await self._in_thread(finish)

    def _code(
        self, loaded: LoadedExperiment, phases: tuple[ResolvedPhase, ...]
    ) -> Mapping[str, str]:
        return code_digests(
            phases,
            loaded.experiment.workflow,
            loaded.workflow,
            registry=self.registry,
            folder=loaded.folder,
        )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self.one_by_one)

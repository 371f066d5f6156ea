"""Runs experiments."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import anyio

from admf.containers.catalog import DataCatalog, UserModules
from admf.engine.lifecycle import LifecycleManager
from admf.engine.memory import MemoryProbe
from admf.engine.memory_guard import MemoryGuard
from admf.engine.registry import Registry
from admf.engine.storage import LocalStorage, Storage
from admf.engine.topology import Resources
from admf.sequences.executor import InlineExecutor
from admf.sequences.phase import ResolvedPhase
from admf.sequences.sequencer import Sequencer
from admf.workflows.experiment import Experiment
from admf.workflows.loading import LoadedExperiment, experiment_from_mapping, load_experiment
from admf.workflows.outcome import Progress, RunResult
from admf.workflows.plugins import installed_plugins, known_events
from admf.workflows.resolution import loaded_from_experiment, resolve_phases
from admf.workflows.run import Existing, Run, RunExecutor
from admf.workflows.study import Plan
from admf.workflows.user_code import code_digests
from admf.workflows.versions import installed_versions
from admf.workflows.vocabulary import Vocabulary, vocabulary_of
from admf.workflows.workers import ProcessExecutor, usable_cores

__all__ = ["ExperimentSource", "Runner", "Workers", "run", "run_async"]

_SECONDS_HERE = 1.0
"""What short studies take in all; to start workers for them would not pay."""

Workers: TypeAlias = "int | Literal['auto']"
"""How many processes run windows side by side."""

ExperimentSource: TypeAlias = "str | os.PathLike[str] | Mapping[str, object] | LoadedExperiment"
"""A file, a mapping with the same fields, or an experiment that was loaded before."""


class Runner:
    """Runs experiments, one after the other or side by side, in the caller's event loop.

    Args:
        results_root: Folder below which each run has its own.
        registry: The plug-ins; those that are installed, if not given.
        overwrite: Replace results of an earlier run that admf left in a run's folder.
        resume: Go on from such results: windows that are complete do not run again.
        allow_changed: Go on even if the experiment, the data or versions have changed since: phases
            that this leaves as they were are continued, the others run again.
        frames: Data frames by symbol, for experiments with ``source: frames``.
        storage: Where the runs' folders go, in place of ``results_root``.
        memory: Tells how much memory there is, for ``results_storage: auto``; by default the system
            does: the limit of the container or service, or else the machine's.
        workers: Processes that run windows side by side, where there are such; ``auto`` takes as
            many as there are cores, once a study has taken a second. With 1, all windows run in the
            caller's process and event loop.

    Raises:
        ValueError: Results are to be replaced and to be continued; or several workers are to use a
            ``registry``, although they see only what is installed.
    """

    def __init__(
        self,
        *,
        results_root: str | os.PathLike[str] = "results",
        registry: Registry | None = None,
        overwrite: bool = False,
        resume: bool = False,
        allow_changed: bool = False,
        frames: Mapping[str, Any] | None = None,
        storage: Storage | None = None,
        memory: MemoryProbe | None = None,
        workers: Workers = 1,
    ) -> None:
        self._workers = _checked_workers(workers, own_plugins=registry is not None)
        self._seconds_here = _SECONDS_HERE if workers == "auto" else 0.0
        self.registry = registry or installed_plugins()
        self._storage = storage or LocalStorage(results_root)
        self._existing: Existing = _existing(
            overwrite=overwrite, resume=resume, allow_changed=allow_changed
        )
        self._catalog = DataCatalog(frames)
        self._memory = memory

    def load(
        self,
        experiment: ExperimentSource,
        overrides: Iterable[str] = (),
        *,
        folder: Path | None = None,
    ) -> LoadedExperiment:
        """Read and check an experiment, and its strategy; nothing is run.

        Args:
            experiment: The experiment.
            overrides: ``a.b=value`` each.
            folder: What relative paths in a mapping are relative to; the current folder if not
                given. Those in a file are relative to its own.

        Raises:
            ConfigError: With every mistake that was found.
        """
        if isinstance(experiment, LoadedExperiment):
            return experiment
        vocabulary = self._vocabulary()
        if isinstance(experiment, Mapping):
            return experiment_from_mapping(
                experiment, overrides, vocabulary=vocabulary, folder=folder
            )
        return load_experiment(experiment, overrides, vocabulary=vocabulary)

    def phases(self, loaded: LoadedExperiment) -> tuple[ResolvedPhase, ...]:
        """Return what an experiment would run, in order, every setting decided.

        Raises:
            ConfigError: The workflow cannot do what the experiment asks for.
        """
        return resolve_phases(loaded, loaded.workflow)

    async def prepare(self, experiment: ExperimentSource) -> Run:
        """Check an experiment and read its data, and return the run, which is yet to be executed.

        Raises:
            ConfigError: The experiment has mistakes.
            DataError: The data cannot be used.
        """
        loaded = self.load(experiment)
        resources = Resources(self._catalog, UserModules(loaded.folder))
        memory = MemoryGuard(self._storage, self._memory)
        lifecycle = LifecycleManager(registry=self.registry, resources=resources, memory=memory)
        executor = self._executor(InlineExecutor(lifecycle), loaded.folder)
        sequencer = Sequencer(self.registry, executor, self._catalog)

        async def make_plan(following: Experiment) -> Plan:
            further = loaded_from_experiment(following, loaded)
            return await self._plan(further, sequencer)

        return Run(
            await self._plan(loaded, sequencer),
            make_plan,
            sequencer=sequencer,
            executor=executor,
            memory=memory,
            storage=self._storage,
            existing=self._existing,
        )

    def _executor(self, inline: InlineExecutor, modules: Path | None) -> RunExecutor:
        if self._workers == 1:
            return inline
        return ProcessExecutor(
            inline,
            workers=self._workers,
            catalog=self._catalog,
            modules=modules,
            after=self._seconds_here,
        )

    async def run(
        self,
        experiment: ExperimentSource,
        *,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> RunResult:
        """Run an experiment to its end.

        Raises:
            ConfigError: The experiment has mistakes.
            DataError: The data cannot be used.
            StorageError: Results cannot be written.
        """
        run = await self.prepare(experiment)
        return await run.execute(on_progress)

    def _vocabulary(self) -> Vocabulary:
        return vocabulary_of(self.registry, known_events())

    async def _plan(self, loaded: LoadedExperiment, sequencer: Sequencer) -> Plan:
        """Decide every setting and read the data, before anything is written anywhere."""
        workflow = loaded.workflow
        phases = resolve_phases(loaded, workflow)
        data = {phase.name: await sequencer.prepare(phase) for phase in phases}
        name = loaded.experiment.workflow
        code = code_digests(phases, name, workflow, registry=self.registry, folder=loaded.folder)
        return Plan(loaded, workflow, phases, data, code, installed_versions(phases))


async def run_async(
    experiment: ExperimentSource,
    *,
    overrides: Iterable[str] = (),
    results_root: str | os.PathLike[str] = "results",
    overwrite: bool = False,
    resume: bool = False,
    allow_changed: bool = False,
    frames: Mapping[str, Any] | None = None,
    workers: Workers = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunResult:
    """Run an experiment in the caller's event loop, as in a notebook.

    Args:
        experiment: A file, or a mapping with the same fields.
        overrides: ``a.b=value`` each, as ``--set`` takes them.
        results_root: Folder below which the run has its own.
        overwrite: Replace results that an earlier run left there.
        resume: Go on from such results; see `Runner`.
        allow_changed: Go on even if something has changed since; see `Runner`.
        frames: Data frames by symbol, for experiments with ``source: frames``.
        workers: Processes that run windows side by side; see `Runner`.
        on_progress: Called as bars are handled.

    Raises:
        ConfigError: The experiment has mistakes; every one is named.
        DataError: The data cannot be used.
        StorageError: Results cannot be written.
    """
    runner = Runner(
        results_root=results_root,
        overwrite=overwrite,
        resume=resume,
        allow_changed=allow_changed,
        frames=frames,
        workers=workers,
    )
    return await runner.run(runner.load(experiment, overrides), on_progress=on_progress)


def run(
    experiment: ExperimentSource,
    *,
    overrides: Iterable[str] = (),
    results_root: str | os.PathLike[str] = "results",
    overwrite: bool = False,
    resume: bool = False,
    allow_changed: bool = False,
    frames: Mapping[str, Any] | None = None,
    workers: Workers = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunResult:
    """Run an experiment and wait for it, as in a script; see `run_async`."""
    return anyio.run(
        partial(
            run_async,
            experiment,
            overrides=overrides,
            results_root=results_root,
            overwrite=overwrite,
            resume=resume,
            allow_changed=allow_changed,
            frames=frames,
            workers=workers,
            on_progress=on_progress,
        )
    )


def _checked_workers(workers: Workers, *, own_plugins: bool) -> int:
    count = usable_cores() if workers == "auto" else workers
    if count < 1:
        raise ValueError(f"workers must be 'auto' or at least 1, got {workers}")
    if count > 1 and own_plugins:
        raise ValueError(
            "several workers see only plug-ins that are installed: leave out registry, and give "
            "yours an entry point; or take workers=1"
        )
    return count


def _existing(*, overwrite: bool, resume: bool, allow_changed: bool) -> Existing:
    if overwrite and (resume or allow_changed):
        raise ValueError("results are either replaced (overwrite) or continued (resume), not both")
    if allow_changed:
        return "resume changed"
    return "overwrite" if overwrite else "resume" if resume else "refuse"

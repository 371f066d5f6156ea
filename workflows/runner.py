"""Runs experiments."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import anyio
import anyio.lowlevel

from admf.engine.clock import Clock, WallClock
from admf.engine.errors import ConfigError, StateError
from admf.engine.memory import MemoryProbe
from admf.engine.observing import Observer, Observers
from admf.engine.pace import Pace
from admf.engine.registry import Registry
from admf.engine.storage import LocalStorage, Storage
from admf.sequences.phase import ResolvedPhase
from admf.workflows.loading import LoadedExperiment
from admf.workflows.outcome import RunResult
from admf.workflows.plugins import installed_plugins
from admf.workflows.preparation import ExperimentSource, Preparation
from admf.workflows.progress import RunProgress
from admf.workflows.resolution import resolve_phases
from admf.workflows.run import Run
from admf.workflows.run_execution import Existing, RunExecution
from admf.workflows.run_queue import RunQueue
from admf.workflows.workers import usable_cores

__all__ = ["Runner", "Workers"]

_SECONDS_HERE = 1.0
"""What short studies take in all; to start workers for them would not pay."""

Workers: TypeAlias = "int | Literal['auto']"
"""How many processes run windows side by side."""


class Runner:
    """Runs experiments, one after the other or side by side, in the caller's event loop.

    `run` runs one and waits for it. `submit` needs a runner that is open, by ``async with`` or by
    `start` and `aclose`, and returns at once. Closing cancels what still runs and waits until its
    results are written; so wait for those that are to come to their end before. Runs share nothing
    but the loop, in which they take turns.

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
        max_runs: Runs that were submitted and are at work at once; others wait for their turn.
        kept_runs: Runs that are over and still stand in `runs`.
        max_block_ms: Longest time that all runs together hold the event loop.
        clock: Tells how fast runs are; the machine's own by default.
        observers: Are told of runs, phases, windows and flushes, and of handlers that fail.
        slow_handler_ms: Report handlers, and calls of strategies, that take longer; None times
            none of them. On worker processes nothing is timed.

    Raises:
        ValueError: ``max_runs`` is less than 1; or results are to be replaced and to be continued;
            or several workers are to use a ``registry``, although they see only what is installed.
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
        max_runs: int = 4,
        kept_runs: int = 100,
        max_block_ms: float = 5.0,
        clock: Clock | None = None,
        observers: Iterable[Observer] = (),
        slow_handler_ms: float | None = None,
    ) -> None:
        if max_runs < 1:
            raise ValueError(f"max_runs must be at least 1, got {max_runs}")
        self.registry = registry or installed_plugins()
        self._existing: Existing = _existing(
            overwrite=overwrite, resume=resume, allow_changed=allow_changed
        )
        self._preparation = Preparation(
            self.registry,
            storage or LocalStorage(results_root),
            Pace(max_block_ms),
            clock or WallClock(),
            frames=frames,
            memory=memory,
            workers=_checked_workers(workers, own_plugins=registry is not None),
            seconds_here=_SECONDS_HERE if workers == "auto" else 0.0,
            observers=Observers(observers),
            slow_handler_ms=slow_handler_ms,
            one_by_one=anyio.CapacityLimiter(1),
        )
        self._queue = RunQueue(max_runs, kept_runs)
        self._numbers = itertools.count(1)
        self._is_open: bool | None = None  # until it was open

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
        return self._preparation.load(experiment, overrides, folder)

    def phases(self, loaded: LoadedExperiment) -> tuple[ResolvedPhase, ...]:
        """Return what an experiment would run, in order, every setting decided.

        Raises:
            ConfigError: The workflow cannot do what the experiment asks for.
        """
        return resolve_phases(loaded, loaded.workflow)

    async def prepare(self, experiment: ExperimentSource) -> RunExecution:
        """Check an experiment and read its data, and return the run, which is yet to be executed.

        Raises:
            ConfigError: The experiment has mistakes.
            DataError: The data cannot be used.
        """
        loaded = await self._preparation.load_in_thread(experiment, (), None)
        return await self._preparation.prepare(loaded, self._existing)

    async def run(
        self,
        experiment: ExperimentSource,
        *,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> RunResult:
        """Run an experiment to its end.

        Raises:
            ConfigError: The experiment has mistakes.
            DataError: The data cannot be used.
            StorageError: Results cannot be written.
        """
        run = await self.prepare(experiment)
        return await run.execute(on_progress)

    # -- a host's runs ------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the runner, for hosts that cannot nest; `aclose` closes it.

        Raises:
            StateError: It is open, or was.
        """
        if self._is_open is not None:
            raise StateError("a runner is opened once; make another one")
        self._is_open = True

    async def aclose(self) -> None:
        """Cancel what still runs, and wait until its results are written.

        Any task may call it, and again: all wait for the end. A cancellation of the caller waits
        for it as well.
        """
        self._is_open = False
        await self._queue.aclose()
        await anyio.lowlevel.checkpoint_if_cancelled()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncGenerator[None]:
        """Open the runner for as long as an ASGI application lives: ``lifespan=runner.lifespan``.

        The lifespan of an application that is mounted in another is not run; its host enters it.
        """
        async with self:
            yield

    async def submit(
        self,
        experiment: ExperimentSource,
        overrides: Iterable[str] = (),
        *,
        folder: Path | None = None,
        overwrite: bool = False,
        resume: bool = False,
        allow_changed: bool = False,
    ) -> Run:
        """Check an experiment, read its data and have it run; return without waiting for its end.

        Runs begin in the order of these calls.

        Args:
            experiment: The experiment.
            overrides: ``a.b=value`` each.
            folder: What relative paths in a mapping are relative to.
            overwrite: As for `Runner`, for this run; with ``resume`` and ``allow_changed`` as well,
                each that is not given is the runner's.
            resume: See ``overwrite``.
            allow_changed: See ``overwrite``.

        Raises:
            ConfigError: The experiment has mistakes.
            DataError: The data cannot be used.
            StateError: The runner is not open.
        """
        self._check_open()
        number = next(self._numbers)
        asked = _existing(overwrite=overwrite, resume=resume, allow_changed=allow_changed)
        existing = self._existing if asked == "refuse" else asked
        load = self._preparation.load_in_thread
        loaded = await load(experiment, tuple(overrides), folder, ahead=True)
        try:
            execution = await self._preparation.prepare(loaded, existing)
        except ConfigError as error:
            raise loaded.located(error) from error
        self._check_open()
        run = Run(execution)
        self._queue.add(number, run)
        return run

    @property
    def is_open(self) -> bool:
        """Whether it takes runs."""
        return bool(self._is_open)

    @property
    def storage(self) -> Storage:
        """Where the runs' folders go."""
        return self._preparation.storage

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs that were submitted, the newest last; of those that are over the latest."""
        return self._queue.runs

    def find(self, run_id: str) -> Run | None:
        """Return the latest run of this id; None if there is none."""
        return next((run for run in reversed(self.runs) if run.run_id == run_id), None)

    def _check_open(self) -> None:
        if not self._is_open:
            is_closed = self._is_open is False
            raise StateError(
                "the runner is closed"
                if is_closed
                else "the runner is not open: use it as 'async with', or call start()"
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

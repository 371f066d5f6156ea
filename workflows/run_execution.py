"""Carries out a run: its studies one after the other, its folder, and how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal, Protocol, TypeAlias

import anyio
import anyio.lowlevel

from admf.engine.clock import Clock
from admf.engine.container import Status
from admf.engine.errors import StorageError
from admf.engine.failures import ungroup
from admf.engine.lock import RunLock
from admf.engine.lock_owner import LockOwner
from admf.engine.memory_guard import MemoryGuard
from admf.engine.observing import Observers
from admf.engine.results import ResultStore
from admf.engine.shielding import finish
from admf.engine.storage import Storage
from admf.engine.window import ExecutionWindow
from admf.sequences.executor import WindowExecutor
from admf.sequences.sequencer import Sequencer
from admf.workflows.earlier_run import (
    EarlierRun,
    only_versions,
    read_earlier_run,
    refuse_changes,
)
from admf.workflows.experiment import Experiment
from admf.workflows.loading import LoadedExperiment
from admf.workflows.outcome import PhaseResult, RunResult
from admf.workflows.progress import ProgressMeter, RunProgress
from admf.workflows.run_record import RunRecord
from admf.workflows.run_watch import watched_run
from admf.workflows.study import Plan, Study
from admf.workflows.workflow import BranchingWorkflow, IteratingWorkflow

__all__ = ["Existing", "MakePlan", "RunExecution", "RunExecutor"]


class RunExecutor(WindowExecutor, Protocol):
    """Runs the windows of a run, and ends with it."""

    async def aclose(self) -> None:
        """Let go of what it runs them with; idempotent."""
        ...


Existing: TypeAlias = Literal["refuse", "overwrite", "resume", "resume changed"]
"""What to do with results in the run's folder: refuse to run, replace them, go on from them if they
are of the same experiment, or go on from as much of them as is."""

MakePlan = Callable[[Experiment], Awaitable[Plan]]
"""Checks an experiment that a workflow made, and reads its data."""


class RunExecution:
    """An experiment that is ready to run; `Runner.prepare` makes it.

    Args:
        plan: The experiment.
        make_plan: Makes plans of the experiments that the workflow goes on with.
        sequencer: Runs the phases.
        executor: Runs the windows of the sequencer.
        memory: Looks after their memory.
        storage: Where the run's folder goes.
        clock: Tells how fast the run is.
        observers: Are told of the run and its phases.
        existing: What to do if there are results in it.

    Attributes:
        run_id: Names the run: its folder, and a fingerprint of experiment and data.
    """

    def __init__(
        self,
        plan: Plan,
        make_plan: MakePlan,
        *,
        sequencer: Sequencer,
        executor: RunExecutor,
        memory: MemoryGuard,
        storage: Storage,
        clock: Clock,
        observers: Observers,
        existing: Existing = "refuse",
    ) -> None:
        self._plan = plan
        self._make_plan = make_plan
        self._sequencer = sequencer
        self._executor = executor
        self._memory = memory
        self._storage = storage
        self._observers = observers
        self._existing: Existing = existing
        self._folder = plan.loaded.results_dir
        self._record = RunRecord(self._folder, plan)
        self._results: dict[str, PhaseResult] = {}
        self._store: ResultStore | None = None
        self._lock: RunLock | None = None
        self._gone: LockOwner | None = None
        self._earlier: EarlierRun | None = None
        self._scope = anyio.CancelScope()
        self._on_window: Callable[[str, ExecutionWindow], None] | None = None
        self._meter = ProgressMeter(clock)
        self._on_progress: Callable[[RunProgress], None] | None = None
        self.run_id = self._record.run_id

    @property
    def loaded(self) -> LoadedExperiment:
        """The experiment."""
        return self._plan.loaded

    @property
    def is_in_this_process(self) -> bool:
        """Whether all its windows run here."""
        return self._executor.slots == 1

    def cancel(self) -> None:
        """End the run early: what ran is flushed, and `execute` returns with ``cancelled``."""
        self._scope.cancel()

    def hurry(self) -> None:
        """Have a run that was cancelled end within seconds, even if results are lost by that."""
        self._executor.hurry()

    async def execute(
        self,
        on_progress: Callable[[RunProgress], None] | None = None,
        on_note: Callable[[str], None] | None = None,
        on_window: Callable[[str, ExecutionWindow], None] | None = None,
    ) -> RunResult:
        """Run the phases, and write their results as each window closes.

        Args:
            on_progress: Called in the event loop as bars are handled.
            on_note: Told what is worth knowing and no mistake.
            on_window: Called with each phase and window of this process before the window starts.

        Raises:
            ResultExistsError: There are results in the run's folder, and they are not to be
                replaced, or are of another experiment.
            FolderInUseError: Another run writes to it.
            StorageError: Results cannot be written.
        """
        if on_progress is not None:
            self._on_progress = partial(self._report, on_progress)
        self._on_window = on_window
        self._record.begin()
        try:
            await self._open_store(self._plan)
            self._tell(on_note)
            workflow = self._plan.loaded.experiment.workflow
            with watched_run(self._observers, self.run_id, workflow) as over:
                result = await self._execute()
                over(result)
        finally:
            await finish(self._executor.aclose)
            await finish(self._unlock)
        await anyio.lowlevel.checkpoint_if_cancelled()
        return result

    async def _execute(self) -> RunResult:
        status: Status = "failed"
        try:
            with self._scope:
                await self._run_locked()
            status = self._status()
        except anyio.get_cancelled_exc_class():
            status = "cancelled"
            raise
        except ExceptionGroup as group:
            error = _storage_error(group) or ungroup(group)
            raise error from group
        finally:
            await finish(partial(self._write_record, status))
        return self.result(status)

    async def _run_locked(self) -> None:
        """Run the workflow; what keeps the run's folder its own runs beside it."""
        async with anyio.create_task_group() as group:
            if self._lock is not None:
                group.start_soon(self._lock.keep)
                if self._may_be_short_of_memory():
                    group.start_soon(self._memory.watch)
            await self._run_workflow()
            group.cancel_scope.cancel()

    async def _run_workflow(self) -> None:
        """Run the phases, again while the workflow says so, and then what branches off."""
        plan, left = self._plan, self._plan.loaded.experiment.max_iterations
        iteration = 1
        await self._run_study(plan, "")
        while iteration < left and (following := self._next(plan, iteration)) is not None:
            iteration += 1
            plan = await self._make_plan(following)
            await self._run_study(plan, f"iteration_{iteration:03}/")
        workflow = plan.workflow
        if isinstance(workflow, BranchingWorkflow):
            branches = workflow.get_branches(self.result("completed"))
            for name, experiment in list(branches.items())[: left - iteration]:
                await self._run_study(await self._make_plan(experiment), f"branch_{name}/")

    def _may_be_short_of_memory(self) -> bool:
        """Whether a phase asks to be looked after, or may turn up that does."""
        kinds = (BranchingWorkflow, IteratingWorkflow)
        asked = any(it.settings.results_storage == "auto" for it in self._plan.phases)
        return asked or isinstance(self._plan.workflow, kinds)

    def _next(self, plan: Plan, iteration: int) -> Experiment | None:
        workflow = plan.workflow
        if not isinstance(workflow, IteratingWorkflow):
            return None
        result = self.result("completed")
        if not workflow.should_continue(result, iteration):
            return None
        return workflow.modify_config_for_next(plan.loaded.experiment, result, iteration)

    async def _run_study(self, plan: Plan, prefix: str) -> None:
        await self._open_store(plan)
        path = f"{self._folder}/{prefix}".rstrip("/")
        store = None if self._store is None else ResultStore(self._storage, path)
        kept = await self._kept(plan, prefix, store)
        self._record.add(plan, prefix)
        await self._write_record("running")
        study = Study(
            plan,
            sequencer=self._sequencer,
            store=store,
            memory=self._memory,
            folder=path,
            observers=self._observers,
            prefix=prefix,
            on_progress=self._on_progress,
            on_window=self._on_window,
            kept=kept,
        )
        try:
            await study.run()
        finally:
            done = {it.name: study.results.get(it.name) for it in plan.phases}
            found = {f"{prefix}{name}": it for name, it in done.items() if it is not None}
            self._results |= found

    async def _kept(self, plan: Plan, prefix: str, store: ResultStore | None) -> frozenset[str]:
        """Return the phases of a study that go on from an earlier run; clear away the others."""
        if self._earlier is None or store is None:
            return frozenset()
        kept = self._earlier.unchanged(plan, prefix)
        names = (*self._earlier.phases_of(prefix), *(phase.name for phase in plan.phases))
        for name in dict.fromkeys(names):
            if name not in kept:
                await store.forget(name)
        return kept

    async def _open_store(self, plan: Plan) -> None:
        """Have the run's folder, once there is a phase that keeps results on disk."""
        on_disk = any(phase.settings.results_storage != "memory" for phase in plan.phases)
        if self._store is not None or not on_disk:
            return
        storage, folder = self._storage, self._folder
        await ResultStore.recover(storage, folder)
        there = await storage.exists(folder)
        if there and self._existing != "refuse":
            self._lock = await RunLock.acquire(storage, folder)
            self._gone = self._lock.taken_over
        if there and self._existing in ("resume", "resume changed"):
            self._store = await self._go_on(plan)
            return
        overwrite = self._existing == "overwrite"
        self._store = await ResultStore.create(storage, folder, overwrite=overwrite)
        self._lock = await RunLock.acquire(storage, folder)

    async def _go_on(self, plan: Plan) -> ResultStore:
        """Look at the run that is to be continued, before anything of it is touched."""
        earlier = await read_earlier_run(self._storage, self._folder)
        changes: list[str] = []
        if earlier is not None:
            changes = earlier.differences(plan)
            if self._existing == "resume":
                refuse_changes(self._storage.locate(self._folder), changes)
            self._record.go_on_from(earlier, changes)
            self.run_id = self._record.run_id
        store = await ResultStore.open(self._storage, self._folder)
        if earlier is not None and not only_versions(changes):
            for study in earlier.further_studies:
                await store.forget(study)
        self._earlier = earlier
        return store

    def _tell(self, on_note: Callable[[str], None] | None) -> None:
        if on_note is None:
            return
        if self._lock is not None and self._gone is not None:
            who = self._gone.describe(self._lock.owner.heartbeat_at_ns)
            on_note(
                f"the run that wrote here before did not end by itself ({who}); its lock is void"
            )
        if self._existing in ("resume", "resume changed") and self._earlier is None:
            on_note("there is nothing to resume, so this run begins anew")

    async def _unlock(self) -> None:
        if self._lock is not None:
            await self._lock.release()

    def _report(self, tell: Callable[[RunProgress], None], progress: RunProgress) -> None:
        tell(self._meter.measured(progress))

    def _status(self) -> Status:
        if self._scope.cancelled_caught:
            return "cancelled"
        return "completed" if all(it.success for it in self._results.values()) else "failed"

    def result(self, status: Status) -> RunResult:
        """Return what there is of results, of a run that ended with this status."""
        in_memory = self._results and not any(it.results_saved for it in self._results.values())
        path = None if self._store is None or in_memory else self._store.location
        return RunResult(
            status=status, run_id=self.run_id, results_path=path, phases=dict(self._results)
        )

    async def _write_record(self, status: str) -> None:
        if self._store is not None:
            await self._store.write_run(self._record.body(status, self._results))


def _storage_error(group: ExceptionGroup[Exception]) -> BaseException | None:
    """Return the first storage error of a group, which is what there is to mend, if it has one.

    When a disk is full, every file of a window fails for itself.
    """
    error: BaseException | None = group.subgroup(StorageError)
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

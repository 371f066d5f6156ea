"""One run of an experiment: its studies one after the other, its folder, and how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import anyio.lowlevel

from admf.engine.container import Status
from admf.engine.errors import StorageError
from admf.engine.failures import ungroup
from admf.engine.lifecycle import LifecycleManager
from admf.engine.results import ResultStore
from admf.engine.shielding import finish
from admf.engine.storage import Storage
from admf.sequences.sequencer import Sequencer
from admf.workflows.experiment import Experiment
from admf.workflows.outcome import PhaseResult, Progress, RunResult
from admf.workflows.run_record import RunRecord
from admf.workflows.study import Plan, Study
from admf.workflows.workflow import BranchingWorkflow, IteratingWorkflow

__all__ = ["MakePlan", "Run"]

MakePlan = Callable[[Experiment], Awaitable[Plan]]
"""Checks an experiment that a workflow made, and reads its data."""


class Run:
    """An experiment that is ready to run; `Runner.prepare` makes it.

    Args:
        plan: The experiment.
        make_plan: Makes plans of the experiments that the workflow goes on with.
        sequencer: Runs the phases.
        lifecycle: Has the windows that the sequencer opens.
        storage: Where the run's folder goes.
        overwrite: Replace results that admf left there.

    Attributes:
        run_id: Names the run: its folder, and a fingerprint of experiment and data.
    """

    def __init__(
        self,
        plan: Plan,
        make_plan: MakePlan,
        *,
        sequencer: Sequencer,
        lifecycle: LifecycleManager,
        storage: Storage,
        overwrite: bool = False,
    ) -> None:
        self._plan = plan
        self._make_plan = make_plan
        self._sequencer = sequencer
        self._lifecycle = lifecycle
        self._storage = storage
        self._overwrite = overwrite
        self._folder = plan.loaded.results_dir
        self._record = RunRecord(self._folder, plan)
        self._results: dict[str, PhaseResult] = {}
        self._store: ResultStore | None = None
        self._scope = anyio.CancelScope()
        self._on_progress: Callable[[Progress], None] | None = None
        self.run_id = self._record.run_id

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
            StorageError: Results cannot be written.
        """
        self._on_progress = on_progress
        self._record.begin()
        await self._open_store(self._plan)
        status: Status = "failed"
        try:
            await self._write_record("running")
            with self._scope:
                await self._run_workflow()
            status = self._status()
        except anyio.get_cancelled_exc_class():
            status = "cancelled"
            raise
        except ExceptionGroup as group:
            error = _storage_error(group) or ungroup(group)
            raise error from group
        finally:
            await finish(partial(self._write_record, status))
        await anyio.lowlevel.checkpoint_if_cancelled()
        return self._result(status)

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
            branches = workflow.get_branches(self._result("completed"))
            for name, experiment in list(branches.items())[: left - iteration]:
                await self._run_study(await self._make_plan(experiment), f"branch_{name}/")

    def _next(self, plan: Plan, iteration: int) -> Experiment | None:
        workflow = plan.workflow
        if not isinstance(workflow, IteratingWorkflow):
            return None
        result = self._result("completed")
        if not workflow.should_continue(result, iteration):
            return None
        return workflow.modify_config_for_next(plan.loaded.experiment, result, iteration)

    async def _run_study(self, plan: Plan, prefix: str) -> None:
        self._record.add(plan, prefix)
        await self._open_store(plan)
        path = f"{self._folder}/{prefix}".rstrip("/")
        study = Study(
            plan,
            sequencer=self._sequencer,
            store=None if self._store is None else ResultStore(self._storage, path),
            folder=path,
            prefix=prefix,
            on_progress=self._on_progress,
        )
        try:
            await study.run()
        finally:
            done = {it.name: study.results.get(it.name) for it in plan.phases}
            found = {f"{prefix}{name}": it for name, it in done.items() if it is not None}
            self._results |= found

    async def _open_store(self, plan: Plan) -> None:
        """Make the run's folder, once there is a phase that keeps results on disk."""
        on_disk = any(phase.settings.results_storage == "disk" for phase in plan.phases)
        if self._store is None and on_disk:
            self._store = await ResultStore.create(
                self._storage, self._folder, overwrite=self._overwrite
            )

    def _status(self) -> Status:
        if self._scope.cancelled_caught:
            return "cancelled"
        return "completed" if all(it.success for it in self._results.values()) else "failed"

    def _result(self, status: Status) -> RunResult:
        path = None if self._store is None else self._store.location
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

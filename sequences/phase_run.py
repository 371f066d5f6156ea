"""The run of one phase: its windows, what they add up to, and the files of the phase itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Self

import msgspec

from admf.containers.aggregate import AggregateMetrics
from admf.containers.config import LaneConfig
from admf.containers.report import LaneReport
from admf.containers.series import SERIES_FILE
from admf.engine.documents import FileRecord
from admf.engine.errors import ConfigError, UserCodeError
from admf.engine.registry import Registry
from admf.engine.result_names import AGGREGATE_FILE
from admf.engine.results import ResultStore, WindowResults
from admf.engine.spool import Spool
from admf.engine.summary import WindowSummary
from admf.engine.window_spec import WindowSpec
from admf.sequences.executor import WindowExecutor, WindowObserver
from admf.sequences.outcome import Outcome
from admf.sequences.phase import ResolvedPhase
from admf.sequences.sequence import sequence_of
from admf.sequences.stretch import Part, Role, Stretch
from admf.sequences.trials import TrialRecord

__all__ = ["RunOfPhase"]

TRIALS_FILE = "trials.json"


class RunOfPhase:
    """Runs the windows of one phase for its sequences, and keeps the record of its trials.

    Parts of a sequence that run side by side each get a `branch`, which keeps back what it has to
    tell the record until it is merged. So the record does not depend on which part is done first.

    Args:
        phase: The phase.
        workflow_id: The study.
        store: Where its results go.
        registry: Holds the sequences.
        executor: Runs the windows.
        observer: Is told of each window.
        resume: Take the windows that an earlier run completed as they are.
        has_others: Whether other phases run beside this one.

    Attributes:
        metrics: Of the portfolios that the phase is about.
        tests: Of the portfolios that tested what was found.
        failed: Portfolios that failed and were no trials of a search, which may well fail.
        trial_error: Why the first trial that failed did so; empty if none did.
        kept_back: What a branch has yet to add to the record; None if this is no branch.
    """

    def __init__(
        self,
        phase: ResolvedPhase,
        workflow_id: str,
        store: ResultStore,
        *,
        registry: Registry,
        executor: WindowExecutor,
        observer: WindowObserver,
        resume: bool = False,
        has_others: Callable[[], bool] = lambda: False,
    ) -> None:
        self.metrics = AggregateMetrics()
        self.tests = AggregateMetrics()
        self.failed = 0
        self.trial_error = ""
        self._phase = phase
        self._workflow_id = workflow_id
        self._store = store
        self._registry = registry
        self._executor = executor
        self._observer = observer
        self._resume = resume
        self._has_others = has_others
        self._trials = Spool()
        self._series = Spool()
        self._open: dict[str, _Folder] = {}
        self.kept_back: list[Callable[[RunOfPhase], None]] | None = None
        self._branch_series: list[str] = []
        self._branches = 0

    @property
    def slots(self) -> int:
        """How many windows run side by side."""
        return self._executor.slots

    def branch(self) -> Self:
        """Return a run of the same phase, for a part of it that runs beside others."""
        branch = copy.copy(self)
        branch.kept_back = []
        branch._branch_series = []
        branch._branches = 0
        self._branches += 1
        return branch

    def merge(self, branch: Self) -> None:
        """Take what a branch has kept back; the branch is over."""
        self._branches -= 1
        for note in branch.kept_back or ():
            note(self)

    def close(self) -> None:
        """Let go of the record."""
        self._trials.close()
        self._series.close()

    async def run_sequence(self, name: str, stretch: Stretch) -> Outcome:
        """Run a sequence, and write what it has found to the folder of its stretch.

        A sequence that hands the stretch on to another leaves the writing to this call's end; one
        that runs its only window there leaves it to the window.
        """
        return await self.run_part(name, sequence_of(self._registry, name).run, stretch)

    async def run_part(self, name: str, part: Part, stretch: Stretch) -> Outcome:
        """Run a part of the sequence of a name, which gets a folder as a sequence does."""
        if stretch.path in self._open:
            return await part(stretch)
        folder = self._open[stretch.path] = _Folder(self._results(stretch.path), self)
        try:
            outcome = await part(stretch)
            if not folder.is_window:
                await self._write(name, stretch, outcome, folder)
                self._tell_above(folder.results, stretch.path)
            return outcome
        finally:
            del self._open[stretch.path]
            folder.windows.close()

    async def run_window(self, spec: WindowSpec) -> WindowResults:
        """Run a window to its end, and return its files; those of a failed one may be missing."""
        return (await self._run_window(spec))[1]

    async def run_lanes(
        self, spec: WindowSpec, lanes: Iterable[LaneConfig], role: Role
    ) -> list[LaneReport]:
        """Run a window of lanes; return a report for each lane, also for those that failed.

        Raises:
            ConfigError: None of the lanes could be built; of trials, that is a failure of each.
        """
        try:
            summary, results = await self._run_window(spec)
        except (ConfigError, UserCodeError) as error:
            if role != "trial":
                raise
            rows = [_without_report(lane, str(error)) for lane in lanes]
        else:
            rows = await _reports(lanes, summary, results)
            if role in ("main", "test") and await results.exists(SERIES_FILE):
                self._note_series(spec.window_id)
        self._count(rows, role)
        return rows

    def series_windows(self, path: str) -> list[str]:
        """Return the windows at a path and below that wrote series and tried nothing, in order."""
        below = f"{path}/" if path else ""
        windows = chain((record.decode() for record in self._series), self._branch_series)
        return [it for it in windows if it == path or it.startswith(below)]

    def results(self, window_id: str) -> WindowResults:
        """Return the files of a window that has run, or of a sequence that runs."""
        folder = self._open.get(window_id)
        return self._results(window_id) if folder is None else folder.results

    def record(self, trial: TrialRecord) -> None:
        """Keep what became of a trial."""
        if self._keeps_back(lambda run: run.record(trial)):
            return
        self.trial_error = self.trial_error or trial.error or ""
        self._trials.append(msgspec.json.encode(trial))

    @property
    def trials(self) -> int:
        """Trials of all searches."""
        return len(self._trials)

    def _keeps_back(self, note: Callable[[RunOfPhase], None]) -> bool:
        """Keep back what is to be added to the record, if this is a branch."""
        if self.kept_back is not None:
            self.kept_back.append(note)
        return self.kept_back is not None

    def _note_series(self, window_id: str) -> None:
        if self._keeps_back(lambda run: run._note_series(window_id)):
            self._branch_series.append(window_id)
        else:
            self._series.append(window_id.encode())

    def _count(self, rows: list[LaneReport], role: Role) -> None:
        if role == "aside":
            return
        if self._keeps_back(lambda run: run._count(rows, role)):
            return
        totals = self.tests if role == "test" else self.metrics
        for row in rows:
            totals.fold(row)
        if role != "trial":
            self.failed += sum(row.status == "failed" for row in rows)

    async def _run_window(self, spec: WindowSpec) -> tuple[WindowSummary, WindowResults]:
        results = self._results(spec.window_id)
        if spec.window_id in self._open:
            self._open[spec.window_id].is_window = True
        summary = await results.kept(spec.fingerprint, WindowSummary) if self._resume else None
        if summary is None:
            if self._resume:
                await self._withdraw(results, spec.window_id)
            summary = await self._executor.run(
                spec, results, self._observer, alone=self._is_alone()
            )
        else:
            self._observer.closed(summary)
        self._tell_above(results, spec.window_id)
        return summary, results

    def _is_alone(self) -> bool:
        """Whether nothing runs beside a window."""
        return self.kept_back is None and not self._branches and not self._has_others()

    async def _withdraw(self, results: WindowResults, path: str) -> None:
        """Remove the records that an earlier run left of a window, and of the folders above it.

        Should this run be killed, none of them tells of files that it has replaced by then.
        """
        await results.withdraw()
        while path:
            path = path.rpartition("/")[0]
            if path in self._open:
                await self._open[path].results.withdraw()

    def _results(self, window_id: str) -> WindowResults:
        compression = self._phase.settings.compression
        return self._store.window(self._phase.name, window_id, compression)

    def _tell_above(self, results: WindowResults, path: str) -> None:
        """Have the folder above that of a window, or of a sequence, tell of it."""
        while path:
            path = path.rpartition("/")[0]
            if path in self._open:
                self._tell(self._open[path], results)
                return

    def _tell(self, folder: _Folder, results: WindowResults) -> None:
        here = folder.run is self  # otherwise it was opened where this run branched off
        if here or not self._keeps_back(lambda run: run._tell(folder, results)):
            folder.add(results)

    async def _write(self, name: str, stretch: Stretch, outcome: Outcome, folder: _Folder) -> None:
        results = folder.results
        body: dict[str, object] = {"sequence": name, **msgspec.structs.asdict(outcome)}
        if not stretch.path:
            body = {
                "aggregate_metrics": self.metrics.result(),
                "out_of_sample_metrics": self.tests.result(),
                "summary": self._figures(),
                **body,
            }
            if len(self._trials):
                await results.write(TRIALS_FILE, {"trials": map(msgspec.Raw, self._trials)})
        await results.write(AGGREGATE_FILE, body)
        summary = msgspec.structs.asdict(self._summary(name, stretch))
        await results.commit(summary, folder.records())

    def _figures(self) -> dict[str, object]:
        """Return the figures that fit on a line; of the best and the mean, tests are left out."""
        main, tests = self.metrics.result(), self.tests.result()
        return {
            "best_sharpe": main.best_sharpe_ratio,
            "avg_return": main.metrics["total_return"].avg,
            "total_trades": main.total_trades + tests.total_trades,
            "containers": main.portfolio_count + tests.portfolio_count,
        }

    def _summary(self, name: str, stretch: Stretch) -> WindowSummary:
        return WindowSummary(
            workflow_id=stretch.workflow_id,
            phase_name=self._phase.name,
            window_id=stretch.path,
            topology=self._phase.topology,
            seed=stretch.settings.seed,
            status="completed",
            containers=(),
            errors=(),
            report={"sequence": name},
        )


class _Folder:
    """The folder of a sequence that runs.

    Attributes:
        results: Its files.
        run: Has opened it.
        windows: The commit records of the windows below it.
        is_window: Whether it is that of the only window, too.
    """

    def __init__(self, results: WindowResults, run: RunOfPhase) -> None:
        self.results = results
        self.run = run
        self.windows = Spool()
        self.is_window = False

    def add(self, window: WindowResults) -> None:
        """Take note of a window below it, if that was committed."""
        record = window.record_below(self.results)
        if record is not None:
            self.windows.append(msgspec.json.encode(record))

    def records(self) -> Iterator[FileRecord]:
        """Return what was noted, in the order of the windows."""
        return (msgspec.json.decode(record, type=FileRecord) for record in self.windows)


class _Rows(msgspec.Struct, frozen=True):
    """The part of a window's ``aggregate_results.json`` that sequences need."""

    portfolios: list[LaneReport]


async def _reports(
    lanes: Iterable[LaneConfig], summary: WindowSummary, results: WindowResults
) -> list[LaneReport]:
    """Return the reports of the lanes of a window that is over, from its files."""
    reports: dict[str, LaneReport] = {}
    if await results.exists(AGGREGATE_FILE):
        rows = (await results.read(AGGREGATE_FILE, _Rows)).portfolios
        reports = {row.lane_id: row for row in rows}
    why = summary.errors[0] if summary.errors else f"its window {summary.status}"
    return [reports.get(lane.lane_id) or _without_report(lane, why) for lane in lanes]


def _without_report(lane: LaneConfig, why: str) -> LaneReport:
    return LaneReport(
        container_id=f"portfolio_{lane.lane_id}",
        lane_id=lane.lane_id,
        status="failed",
        error=why,
        parameters=lane.parameters,
        metrics={},
    )

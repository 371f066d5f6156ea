"""``admf run``: an experiment, from its file to its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import msgspec
from cyclopts import CycloptsError, Parameter

from admf.engine.container import Status
from admf.engine.errors import AdmfError, ConfigError
from admf.workflows.cli.exits import ExitCode
from admf.workflows.cli.finished import Objectives, read_finished
from admf.workflows.cli.logs import configure_logging
from admf.workflows.cli.options import Overrides, WorkerCount
from admf.workflows.cli.progress import progress_report
from admf.workflows.cli.rendering import path_text, rendered
from admf.workflows.cli.signals import escalating_signals
from admf.workflows.cli.streams import foreign_code, say, write_json, write_out
from admf.workflows.cli.summary import head, phase_section, portfolio_summary
from admf.workflows.loading import LoadedExperiment
from admf.workflows.outcome import PhaseResult, RunResult
from admf.workflows.run_execution import RunExecution
from admf.workflows.runner import Runner

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["NoResult", "carry_out", "run"]

_MOST_ERRORS = 5
_STOPPING = (
    "stopping, and writing the results of what ran; interrupt again to hurry, and a third time to "
    "leave at once"
)
_HURRYING = "hurrying; what cannot be written within a second is lost"
_NOT_BEGUN = "interrupted before the run began; nothing was written"


class NoResult(msgspec.Struct, frozen=True):
    """The document of a run that did not come about: as a `RunResult`, with the reason."""

    status: Status
    error: str
    run_id: None = None
    results_path: None = None
    phases: Mapping[str, PhaseResult] = {}


def run(
    file: Path,
    /,
    *,
    overrides: Overrides = (),
    results_root: Annotated[Path, Parameter(show_default=True)] = Path("results"),
    overwrite: bool = False,
    resume: bool = False,
    allow_changed: bool = False,
    workers: WorkerCount = "auto",
    json: bool = False,
    quiet: Annotated[bool, Parameter(alias="-q")] = False,
    verbose: Annotated[bool, Parameter(alias="-v")] = False,
) -> int:
    """Run an experiment.

    Args:
        file: The experiment file.
        overrides: Set a field of the experiment, e.g. strategy.params.fast=20; may be repeated.
        results_root: Folder below which the run gets its own.
        overwrite: Replace the results of an earlier run.
        resume: Go on from the results of an earlier run: what is complete does not run again.
        allow_changed: Go on even if the experiment, the data or versions have changed: phases that
            this leaves as they were are kept, the others run again.
        workers: Processes that run windows side by side; auto is one for each core.
        json: Write one JSON document to standard output instead of the summary.
        quiet: Show no progress.
        verbose: Show the log.
    """
    if overwrite and (resume or allow_changed):
        raise CycloptsError(
            msg="--overwrite replaces results, --resume goes on from them: give one"
        )
    configure_logging(verbose=verbose)

    def load() -> tuple[Runner, LoadedExperiment]:
        runner = Runner(
            results_root=results_root,
            overwrite=overwrite,
            resume=resume,
            allow_changed=allow_changed,
            workers=workers,
        )
        return runner, runner.load(file, overrides)

    return carry_out(load, json=json, quiet=quiet)


def carry_out(
    load: Callable[[], tuple[Runner, LoadedExperiment]], *, json: bool, quiet: bool
) -> int:
    """Run an experiment, tell how it ended, and return what to exit with.

    Args:
        load: Returns the experiment, and what is to run it.
        json: Write one JSON document instead of the summary.
        quiet: Show no progress.
    """
    try:
        with foreign_code():
            runner, loaded = load()
            for warning in loaded.warnings:
                say("warning", str(warning))
            objectives = {it.name: it.settings.objectives for it in runner.phases(loaded)}
            result = anyio.run(partial(_run, runner, loaded, quiet=quiet))
    except AdmfError as error:
        if json:
            write_json(NoResult("failed", str(error)))
        raise
    _tell(result, objectives, json=json)
    return _exit_code(result)


async def _run(runner: Runner, loaded: LoadedExperiment, *, quiet: bool) -> RunResult | None:
    """Run an experiment; return None if it was interrupted before anything was written."""
    preparing = anyio.CancelScope()
    run: RunExecution | None = None

    def stop() -> None:
        say("note", _STOPPING)
        preparing.cancel()
        if run is not None:
            run.cancel()

    def hurry() -> None:
        say("note", _HURRYING)
        if run is not None:
            run.hurry()

    with escalating_signals(stop, hurry), progress_report(quiet=quiet) as report:
        try:
            with preparing:
                run = await runner.prepare(loaded)
            if run is None or preparing.cancel_called:
                return None
            return await run.execute(report, partial(say, "note"))
        except ConfigError as error:
            raise loaded.located(error) from error


def _tell(result: RunResult | None, objectives: Objectives, *, json: bool) -> None:
    if result is None:
        say("error", _NOT_BEGUN)
        if json:
            write_json(NoResult("cancelled", _NOT_BEGUN))
        return
    for name, phase in result.phases.items():
        _tell_errors(name, phase)
    if result.status == "cancelled":
        path = result.results_path
        where = ""
        if path is not None:
            where = f"; results of what ran are in {path_text(path)}, --resume goes on from them"
        say("error", f"interrupted{where}")
    if json:
        write_json(result)
    else:
        write_out(_summary(result, objectives))


def _tell_errors(name: str, phase: PhaseResult) -> None:
    """Tell what went wrong in a phase; trials of a search may fail without harm."""
    failed = not phase.success or (phase.summary is not None and phase.summary.failed > 0)
    for error in phase.errors[:_MOST_ERRORS]:
        say("error" if failed else "warning", f"{name}: {error}")
    if len(phase.errors) > _MOST_ERRORS:
        say("note", f"{name}: {len(phase.errors) - _MOST_ERRORS} more went wrong")


def _summary(result: RunResult, objectives: Objectives) -> str:
    parts: list[RenderableType] = [head(result.run_id, result.status)]
    for phase, portfolios in anyio.run(read_finished, result, objectives):
        parts += phase_section(phase, portfolios, portfolio_summary)
    if result.results_path is not None:
        parts += ["", f"results are in {path_text(result.results_path)}"]
    return rendered(*parts)


def _exit_code(result: RunResult | None) -> ExitCode:
    if result is None or result.status == "cancelled":
        return ExitCode.INTERRUPTED
    return ExitCode.SOME_FAILED if result.some_failed else ExitCode.OK

"""``admf resume``: a run that was cut short, from its folder to its results."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated

from cyclopts import Parameter

from admf.engine.documents import read_document_from
from admf.engine.errors import ConfigError, Problem, ResultExistsError
from admf.engine.local_folder import LocalFolder
from admf.engine.result_names import RUN_FILE
from admf.workflows.cli.logs import configure_logging
from admf.workflows.cli.options import WorkerCount
from admf.workflows.cli.run import carry_out
from admf.workflows.earlier_run import EarlierRun
from admf.workflows.loading import LoadedExperiment
from admf.workflows.results.records import LIVE
from admf.workflows.results.run_folder import require_run
from admf.workflows.runner import Runner

__all__ = ["resume"]


def resume(
    directory: Path,
    /,
    *,
    allow_changed: bool = False,
    workers: WorkerCount = "auto",
    json: bool = False,
    quiet: Annotated[bool, Parameter(alias="-q")] = False,
    verbose: Annotated[bool, Parameter(alias="-v")] = False,
) -> int:
    """Go on with a run that was cut short; what is complete does not run again.

    Args:
        directory: The folder of the run.
        allow_changed: Go on even if the data or versions have changed: phases that this leaves as
            they were are kept, the others run again.
        workers: Processes that run windows side by side; auto is one for each core.
        json: Write one JSON document to standard output instead of the summary.
        quiet: Show no progress.
        verbose: Show the log.
    """
    configure_logging(verbose=verbose)

    def load() -> tuple[Runner, LoadedExperiment]:
        require_run(directory)
        earlier = read_document_from(LocalFolder(directory), RUN_FILE, EarlierRun)
        _refuse_live(earlier)
        _refuse_frames(earlier)
        root = _results_root(directory, earlier.results_dir)
        runner = Runner(
            results_root=root, resume=True, allow_changed=allow_changed, workers=workers
        )
        folder = Path(earlier.folder)
        return runner, runner.load(earlier.experiment, earlier.overrides, folder=folder)

    return carry_out(load, json=json, quiet=quiet)


def _refuse_live(earlier: EarlierRun) -> None:
    if earlier.workflow == LIVE:
        message = (
            "a live session goes on where its source is, in Python: "
            "admf.LiveSession(experiment, source, resume=True)"
        )
        raise ConfigError([Problem(message, field="workflow")])


def _refuse_frames(earlier: EarlierRun) -> None:
    for name, phase in earlier.phases.items():
        if phase["settings"]["data"]["source"] == "frames":
            message = (
                f"phase {name!r} ran on data frames, which Python hands over: go on with it there, "
                "by admf.run(experiment, frames=..., resume=True)"
            )
            raise ConfigError([Problem(message, field="data.source")])


def _results_root(directory: Path, results_dir: str) -> Path:
    """Return the folder below which a run has its own."""
    parts, place = PurePosixPath(results_dir).parts, directory.resolve()
    if place.parts[-len(parts) :] != parts:
        raise ResultExistsError(
            f"{directory} was renamed since it was written, it was called {results_dir}: give it "
            "back its name to go on with it"
        )
    return place.parents[len(parts) - 1]

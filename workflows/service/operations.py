"""What can be asked of the service about runs and results."""

from __future__ import annotations

from admf.engine.ids import MAX_ID_LENGTH
from admf.workflows.service.idempotency import LONGEST_KEY
from admf.workflows.service.ids import RUN_ID
from admf.workflows.service.openapi import EVENT_STREAM, Operation, Parameter
from admf.workflows.service.results import METRIC, MOST_ROWS, WINDOW, ResultRequests
from admf.workflows.service.runs import EVENT_TYPES, MOST_RUNS, RunRequests
from admf.workflows.service.service import RunService
from admf.workflows.service.views import (
    ContainerPage,
    PhaseInfo,
    ResultsInfo,
    RunInfo,
    RunPage,
    TablePage,
)

__all__ = ["operations_of"]


def _text(pattern: str) -> dict[str, object]:
    return {"type": "string", "pattern": f"^{pattern}$"}


def _whole(least: int, most: int) -> dict[str, object]:
    return {"type": "integer", "minimum": least, "maximum": most}


_RUN = Parameter("run_id", "path", _text(RUN_ID), "The run")
_PHASE = Parameter(
    "phase", "path", _text("[A-Za-z0-9_.:-]{1,300}"), "The phase, with ':' for each '/' in its name"
)
_CONTAINER = Parameter(
    "container", "path", _text(f"[A-Za-z0-9_.-]{{1,{MAX_ID_LENGTH}}}"), "The portfolio"
)
_WINDOW = Parameter("window", "query", _text(WINDOW), "The window, if the phase has several")
_PAGE = (
    Parameter("offset", "query", _whole(0, 999_999_999), "Rows to leave out"),
    Parameter("limit", "query", _whole(1, MOST_ROWS), "Rows at most"),
)
_CHOICE = (
    Parameter("by", "query", _text(METRIC), "The metric to sort by, best first"),
    Parameter("top", "query", _whole(1, 999_999_999), "Take the best so many"),
)
_RESULTS = "/runs/{run_id}/results"
_ONE_PHASE = f"{_RESULTS}/phases/{{phase}}"
_ONE_CONTAINER = f"{_ONE_PHASE}/containers/{{container}}"


def operations_of(service: RunService) -> tuple[Operation, ...]:
    """Return what can be asked about runs and results.

    Args:
        service: Has them.
    """
    return (*_about_runs(RunRequests(service)), *_about_results(ResultRequests(service)))


def _about_runs(runs: RunRequests) -> tuple[Operation, ...]:
    key = {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[!-~]+$"}
    return (
        Operation(
            "POST",
            "/runs",
            runs.submit,
            "Submit an experiment",
            status=202,
            answer=RunInfo,
            problems=(400, 408, 413, 415, 422, 503),
            parameters=(
                Parameter("Idempotency-Key", "header", key, "The same key gives the same run"),
            ),
            takes_experiment=True,
        ),
        Operation(
            "GET",
            "/runs",
            runs.page,
            "List runs, the newest first",
            answer=RunPage,
            problems=(400,),
            parameters=(
                Parameter("limit", "query", _whole(1, MOST_RUNS), "Runs at most"),
                Parameter("before", "query", _text(RUN_ID), "Those before this run"),
            ),
        ),
        Operation(
            "GET",
            "/runs/{run_id}",
            runs.show,
            "Look at a run",
            answer=RunInfo,
            problems=(404,),
            parameters=(_RUN,),
        ),
        Operation(
            "DELETE",
            "/runs/{run_id}",
            runs.cancel,
            "Cancel a run; what ran is kept",
            status=202,
            answer=RunInfo,
            problems=(404,),
            parameters=(_RUN,),
        ),
        Operation(
            "GET",
            "/runs/{run_id}/events",
            runs.follow,
            "Follow a run: its progress, and events of some types",
            answer=EVENT_STREAM,
            problems=(400, 404, 409, 503),
            parameters=(
                _RUN,
                Parameter("types", "query", _text(EVENT_TYPES), "Event types: FILL,SIGNAL"),
                Parameter(
                    "Last-Event-ID", "header", {"type": "string"}, "The last message that was had"
                ),
            ),
        ),
    )


def _about_results(results: ResultRequests) -> tuple[Operation, ...]:
    found = (400, 404, 409)
    return (
        Operation(
            "GET",
            _RESULTS,
            results.run,
            "The phases of a run",
            answer=ResultsInfo,
            problems=(404,),
            parameters=(_RUN,),
        ),
        Operation(
            "GET",
            f"{_RESULTS}/metrics",
            results.metrics,
            "The metrics of all portfolios of a run",
            answer=TablePage,
            problems=(400, 404),
            parameters=(_RUN, *_CHOICE, *_PAGE),
        ),
        Operation(
            "GET",
            _ONE_PHASE,
            results.phase,
            "The figures of a phase",
            answer=PhaseInfo,
            problems=(404, 409),
            parameters=(_RUN, _PHASE),
        ),
        Operation(
            "GET",
            f"{_ONE_PHASE}/metrics",
            results.metrics,
            "The metrics of the portfolios of a phase",
            answer=TablePage,
            problems=found,
            parameters=(_RUN, _PHASE, *_CHOICE, *_PAGE),
        ),
        Operation(
            "GET",
            f"{_ONE_PHASE}/containers",
            results.containers,
            "The portfolios of a phase",
            answer=ContainerPage,
            problems=found,
            parameters=(_RUN, _PHASE, *_PAGE),
        ),
        Operation(
            "GET",
            _ONE_CONTAINER,
            results.document,
            "All that a portfolio has left",
            problems=found,
            parameters=(_RUN, _PHASE, _CONTAINER, _WINDOW),
        ),
        Operation(
            "GET",
            f"{_ONE_CONTAINER}/trades",
            results.trades,
            "The closed trades of a portfolio",
            answer=TablePage,
            problems=found,
            parameters=(_RUN, _PHASE, _CONTAINER, _WINDOW, *_PAGE),
        ),
        Operation(
            "GET",
            f"{_ONE_CONTAINER}/equity",
            results.equity,
            "The equity curve of a portfolio",
            answer=TablePage,
            problems=found,
            parameters=(_RUN, _PHASE, _CONTAINER, _WINDOW, *_PAGE),
        ),
    )

"""Tells observers, and the log, of runs and their phases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import structlog

from admf.engine.activity import Attribute
from admf.engine.container import Status
from admf.engine.failures import describe
from admf.engine.observing import Observers
from admf.sequences.phase import ResolvedPhase
from admf.workflows.outcome import PhaseResult, RunResult

__all__ = ["watched_phase", "watched_run"]

_log = structlog.get_logger()
_LEVELS: Mapping[Status, int] = MappingProxyType(
    {"completed": logging.INFO, "cancelled": logging.WARNING, "failed": logging.ERROR}
)


@contextmanager
def watched_run(
    observers: Observers, run_id: str, workflow: str
) -> Generator[Callable[[RunResult], None]]:
    """Tell of a run that is carried out within; yield what takes its result."""
    attributes = {"run_id": run_id, "workflow": workflow}
    with observers.activity("run", run_id, attributes) as run:

        def end(result: RunResult) -> None:
            phases = result.phases.values()
            errors = tuple(error for phase in phases for error in phase.errors)
            windows = sum(it.summary.windows for it in phases if it.summary is not None)
            if run is not None:
                figures: dict[str, Attribute] = {"phases": len(phases), "windows": windows}
                run.end(result.status, attributes=figures | _first(errors))
            _log_run(run_id, workflow, result.status, len(phases), windows, errors)

        try:
            yield end
        except BaseException as error:
            status: Status = "failed" if isinstance(error, Exception) else "cancelled"
            _log_run(run_id, workflow, status, 0, 0, (describe(error),))
            raise


@contextmanager
def watched_phase(
    observers: Observers, name: str, phase: ResolvedPhase
) -> Generator[Callable[[PhaseResult], None]]:
    """Tell of a phase that is carried out within; yield what takes its result."""
    attributes = {"phase": name, "sequence": phase.sequence, "topology": phase.topology}
    with observers.activity("phase", name, attributes) as activity:

        def end(result: PhaseResult) -> None:
            if activity is None:
                return
            summary = result.summary
            figures: dict[str, Attribute] = {} if summary is None else {
                "windows": summary.windows,
                "containers": summary.containers,
                "failed": summary.failed,
                "trades": summary.total_trades,
            }  # fmt: skip
            status = "completed" if result.success else "failed"
            activity.end(status, attributes=figures | _first(result.errors))

        yield end


def _first(errors: tuple[str, ...]) -> dict[str, Attribute]:
    return {"error": errors[0]} if errors else {}


def _log_run(
    run_id: str,
    workflow: str,
    status: Status,
    phases: int,
    windows: int,
    errors: tuple[str, ...],
) -> None:
    """Leave one line in the log, if the host has configured one."""
    if structlog.is_configured():
        _log.log(
            _LEVELS[status],
            "run_closed",
            run_id=run_id,
            workflow=workflow,
            status=status,
            phases=phases,
            windows=windows,
            errors=errors,
        )

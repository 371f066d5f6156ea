"""What the service answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from admf.engine.errors import Problem
from admf.workflows.progress import RunProgress

__all__ = [
    "ContainerInfo",
    "ContainerPage",
    "Health",
    "HttpStatus",
    "PhaseInfo",
    "ResultsInfo",
    "RunInfo",
    "RunPage",
    "TablePage",
]

HttpStatus: TypeAlias = Literal[
    "queued", "running", "completed", "failed", "cancelled", "interrupted", "damaged"
]
"""How a run is; ``interrupted`` is one that an earlier process left before its end, and ``damaged``
one whose ``run.json`` is not as it was written."""

Links: TypeAlias = Mapping[str, str]


class Health(msgspec.Struct, frozen=True):
    """How the service is.

    Args:
        status: ``ok``, or what it cannot do.
    """

    status: str


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A run.

    Args:
        id: Its id, and the name of its folder below the results root.
        status: How it is.
        created_at: When it was submitted, ISO 8601.
        run_id: Its name in ``run.json``; empty until that is known.
        progress: How far it is; null of a run of an earlier process.
        errors: What went wrong, the first cause first.
        warnings: What is probably not meant in its experiment.
        links: Where to go from here.
    """

    id: str
    status: HttpStatus
    created_at: str
    run_id: str = ""
    progress: RunProgress | None = None
    errors: Sequence[str] = ()
    warnings: Sequence[Problem] = ()
    links: Links = {}


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the runs, the newest first.

    Args:
        runs: The runs.
        next: Where those before them are; null if there are none.
    """

    runs: Sequence[RunInfo]
    next: str | None = None


class PhaseInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A phase of a run.

    Args:
        name: Its name.
        status: How it is.
        saved: Whether its results are files, which can be asked for.
        sequence: The sequence that it runs.
        errors: What went wrong, the first cause first.
        skipped: Why it did not run; empty if it did.
        windows: Its complete windows that have portfolios; null in a list of phases.
        summary: Its figures, as far as all its portfolios have them; null in a list of phases.
        links: Where to go from here.
    """

    name: str
    status: str
    saved: bool
    sequence: str
    errors: Sequence[str] = ()
    skipped: str = ""
    windows: Sequence[str] | None = None
    summary: Mapping[str, Any] | None = None
    links: Links = {}


class ResultsInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a run as far as there are.

    Args:
        id: The run.
        status: How it is.
        workflow: Its workflow.
        started_at: When it began, ISO 8601.
        finished_at: When it ended; null while it has not.
        phases: Its phases, in their order.
        links: Where to go from here.
    """

    id: str
    status: HttpStatus
    workflow: str
    started_at: str
    finished_at: str | None
    phases: Sequence[PhaseInfo]
    links: Links = {}


class ContainerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A portfolio.

    Args:
        window: The execution window; empty if it is the phase's only one.
        container: Its id.
        status: How it ended.
        error: Why it failed; null if it did not.
        links: Where to go from here.
    """

    window: str
    container: str
    status: str
    error: str | None = None
    links: Links = {}


class ContainerPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the portfolios of a phase.

    Args:
        containers: The portfolios, in the order of windows and lanes.
        total: How many there are.
        next: Where the next ones are; null if there are none.
    """

    containers: Sequence[ContainerInfo]
    total: int
    next: str | None = None


class TablePage(msgspec.Struct, frozen=True, kw_only=True):
    """Some rows of a table.

    Args:
        rows: The rows, each by column.
        total: How many rows there are.
        next: Where the next ones are; null if there are none.
    """

    rows: Sequence[Mapping[str, Any]]
    total: int
    next: str | None = None

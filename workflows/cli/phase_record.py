"""What is shown of a phase, read from its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from admf.containers.config import LaneConfig
from admf.containers.metrics.history import Trade
from admf.containers.portfolio import OpenPosition
from admf.engine.container import Status
from admf.engine.result_names import AGGREGATE_FILE, COMMIT_FILE, CONTAINERS, results_path
from admf.engine.summary import WindowSummary
from admf.sequences.config import ObjectiveConfig
from admf.sequences.outcome import Outcome, Point
from admf.sequences.walk_forward_report import WINDOWS_FILE, WalkForwardWindow
from admf.workflows.cli.phase_files import PhaseFiles

__all__ = [
    "DataRecord",
    "LaneRecord",
    "Metrics",
    "PhaseHead",
    "PhaseOutcome",
    "PhaseRecord",
    "PhaseStatus",
    "PortfolioRecord",
    "read_phase",
    "read_portfolios",
]

_TRIALS = "trials.json"
_TEST = f"test/{AGGREGATE_FILE}"

Metrics: TypeAlias = Mapping[str, float | None]
PhaseStatus: TypeAlias = Literal["completed", "failed", "cancelled", "skipped"]


class DataRecord(msgspec.Struct, frozen=True):
    """The market data that a portfolio saw."""

    symbols: tuple[str, ...]
    timeframe: str | None
    start: str
    end: str
    bars: int


class PortfolioRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The result file of a portfolio, without its equity curve."""

    container_id: str
    window_id: str
    status: Status
    error: str | None
    lane: LaneConfig
    data: DataRecord
    parameters: Mapping[str, Any]
    metrics: Metrics
    rejects: Mapping[str, int]
    open_positions: tuple[OpenPosition, ...]
    trades: tuple[Trade, ...]


class LaneRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A portfolio as it stands in the ``aggregate_results.json`` of its window."""

    container_id: str
    status: str
    error: str | None = None
    parameters: Mapping[str, Any]
    metrics: Metrics = {}


class PhaseOutcome(Outcome, frozen=True, kw_only=True):
    """What a sequence wrote to the phase's ``aggregate_results.json``.

    Args:
        sequence: Its name.
        aggregate_metrics: Of the portfolios that the phase is about.
        out_of_sample_metrics: Of the portfolios that tested what was found.
    """

    sequence: str = ""
    aggregate_metrics: Mapping[str, Any] = {}
    out_of_sample_metrics: Mapping[str, Any] = {}


class PhaseHead(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a phase besides its files.

    Args:
        name: Its name, with the iteration or branch before it.
        status: How it ended.
        objectives: What it searched for, the leading one first; empty if that is not known.
        skipped: Why it did not run; empty if it did.
        errors: What went wrong, the first cause first.
        is_kept: Whether there are files; results that were only in memory are gone.
    """

    name: str
    status: PhaseStatus
    objectives: tuple[ObjectiveConfig, ...] = ()
    skipped: str = ""
    errors: tuple[str, ...] = ()
    is_kept: bool = True


class PhaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A phase as it is shown.

    Args:
        head: How it ended.
        windows: Execution windows that left results.
        outcome: What its sequence found; None if it did not come to its end, or the phase is one
            window.
        lanes: The portfolios of the phase's own window, if it is one.
        tests: The tests of ``top_parameters``, if there are several.
        walk: The windows of a walk-forward.
        objectives: Values of the objectives of ``top_parameters``, if there are several.
        front: Values of the objectives of ``pareto_front``.
    """

    head: PhaseHead
    windows: int = 0
    outcome: PhaseOutcome | None = None
    lanes: tuple[LaneRecord, ...] = ()
    tests: tuple[LaneRecord, ...] = ()
    walk: tuple[WalkForwardWindow, ...] = ()
    objectives: tuple[tuple[float, ...] | None, ...] = ()
    front: tuple[tuple[float, ...] | None, ...] = ()


class _Aggregate(PhaseOutcome, frozen=True, kw_only=True):
    portfolios: tuple[LaneRecord, ...] = ()


class _Trial(msgspec.Struct, frozen=True):
    parameters: Point
    objectives: tuple[float, ...] | None = None


class _Walk(msgspec.Struct, frozen=True):
    windows: tuple[WalkForwardWindow, ...]


class _Trials(msgspec.Struct, frozen=True):
    trials: tuple[_Trial, ...]


async def read_phase(head: PhaseHead, files: PhaseFiles) -> PhaseRecord:
    """Read what is shown of a phase: its own files, and not those of each of its windows.

    Args:
        head: What is known already.
        files: Its files.

    Raises:
        StorageError: A file cannot be read.
    """
    paths = set(await files.paths())
    folder = f"{CONTAINERS}/"
    windows = len({path.partition(folder)[0] for path in paths if folder in path})
    if AGGREGATE_FILE not in paths:
        return PhaseRecord(head=head, windows=windows)
    found = await files.read(AGGREGATE_FILE, _Aggregate)
    several = found.top_parameters if len(found.top_parameters) > 1 else ()
    trials = (*several, *found.pareto_front)
    values = await _objectives(files, trials) if trials and _TRIALS in paths else ()
    tests = (await files.read(_TEST, _Aggregate)).portfolios if several and _TEST in paths else ()
    return PhaseRecord(
        head=head,
        windows=windows,
        outcome=found if found.sequence else None,
        lanes=found.portfolios,
        tests=tests,
        walk=(await files.read(WINDOWS_FILE, _Walk)).windows if WINDOWS_FILE in paths else (),
        objectives=values[: len(several)],
        front=values[len(several) :],
    )


async def read_portfolios(
    files: PhaseFiles, window: str = "", most: int | None = None
) -> tuple[PortfolioRecord, ...]:
    """Read the portfolios of a window of a phase, in the order of their lanes.

    Args:
        files: The phase's files.
        window: Its folder below the phase's, ending with a slash; empty for the phase's own.
        most: Read no more of them than this.

    Raises:
        StorageError: A file cannot be read.
    """
    if f"{window}{COMMIT_FILE}" not in await files.paths():
        return ()
    summary = await files.read(f"{window}{COMMIT_FILE}", WindowSummary)
    ids = [it.id for it in summary.containers if it.role == "portfolio"]
    paths = [f"{window}{results_path(id_)}" for id_ in ids[:most]]
    return tuple([await files.read(path, PortfolioRecord) for path in paths])


async def _objectives(
    files: PhaseFiles, points: Sequence[Point]
) -> tuple[tuple[float, ...] | None, ...]:
    """Return the objectives of parameter sets, as the record of trials has them."""
    trials = (await files.read(_TRIALS, _Trials)).trials
    by_point = {_key(it.parameters): it.objectives for it in reversed(trials)}
    return tuple(by_point.get(_key(point)) for point in points)


def _key(point: Point) -> bytes:
    return msgspec.json.encode(point, order="sorted")

"""Trials of a search: how each is judged, and which are the best."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from admf.containers.metrics.catalogue import METRICS
from admf.containers.report import LaneReport
from admf.sequences.config import Direction, ObjectiveConfig
from admf.sequences.expressions import Expression
from admf.sequences.outcome import Point, TrialCounts
from admf.sequences.settings import PhaseSettings

__all__ = ["Judge", "Leaders", "Trial", "TrialRecord", "TrialStatus", "direction_of"]

TrialStatus: TypeAlias = Literal["completed", "failed", "infeasible", "pruned"]


class TrialRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A trial as it stands in ``trials.json``.

    Args:
        search: Where it was searched: the path of its execution windows within the phase.
        number: From 1, in the order of the search.
        objectives: Values of the objectives; None if one of them is null.
        error: Why its lane failed.
        repeats: Number of the trial of the same parameter set before it, which did not run again.
    """

    search: str
    number: int
    parameters: Point
    status: TrialStatus
    objectives: tuple[float, ...] | None
    error: str | None = None
    repeats: int | None = None


class Trial(msgspec.Struct, frozen=True):
    """A parameter set that was tried, and the report of its lane.

    Args:
        number: From 1, in the order of the search.
        losses: Values of the objectives, less being better; None if the trial is not eligible.
        repeats: Number of the trial that it repeats; None if it is new.
    """

    number: int
    point: Point
    status: TrialStatus
    objectives: tuple[float, ...] | None
    losses: tuple[float, ...] | None
    row: LaneReport
    repeats: int | None = None


def direction_of(objective: ObjectiveConfig) -> Direction:
    """Return the direction of an objective; that of its metric, if it does not say one.

    A metric of which neither more nor less is better is maximised.
    """
    if objective.direction is not None:
        return objective.direction
    better = {metric.name: metric.higher_is_better for metric in METRICS}
    return "minimize" if better.get(objective.name) is False else "maximize"


class Judge:
    """Judges trials by the objectives and constraints of a phase.

    Args:
        settings: The phase's settings.
    """

    def __init__(self, settings: PhaseSettings) -> None:
        self.objectives = settings.objectives
        self.directions: list[Direction] = [direction_of(it) for it in settings.objectives]
        self._min_trades = settings.min_trades
        self._constraints = [
            Expression.parse(text, f"metric_constraints.{row}")
            for row, text in enumerate(settings.metric_constraints)
        ]

    def trial(
        self, number: int, point: Point, row: LaneReport, repeats: int | None = None
    ) -> Trial:
        """Return the trial that a lane's report makes."""
        objectives = self.values(row.metrics)
        status = self._status(row, objectives)
        losses = None
        if status == "completed" and objectives is not None:
            losses = tuple(
                -value if direction == "maximize" else value
                for value, direction in zip(objectives, self.directions, strict=True)
            )
        return Trial(number, point, status, objectives, losses, row, repeats)

    def values(self, metrics: Mapping[str, float | None]) -> tuple[float, ...] | None:
        """Return the objectives, or None if one of them is null."""
        found = [metrics.get(objective.name) for objective in self.objectives]
        values = tuple(value for value in found if value is not None)
        return values if len(values) == len(found) else None

    def _status(self, row: LaneReport, objectives: tuple[float, ...] | None) -> TrialStatus:
        if row.status == "pruned":
            return "pruned"
        if row.status != "completed" or objectives is None:
            return "failed"
        enough = (row.metrics.get("trade_count") or 0) >= self._min_trades
        fulfilled = all(it.holds(row.metrics.get) for it in self._constraints)
        return "completed" if enough and fulfilled else "infeasible"


class Leaders:
    """The best trials so far, their number bounded, and how all trials ended.

    A trial is better if its first objective is; of two equal ones it is the earlier. One that
    repeats another is only counted.

    Args:
        count: Trials to keep.
        objectives: Number of objectives; with several, the Pareto front is kept as well.
    """

    def __init__(self, count: int, objectives: int) -> None:
        self._count = count
        self._best: list[tuple[float, int, Trial]] = []
        self._counts = dict.fromkeys(("completed", "failed", "infeasible", "pruned"), 0)
        self._front: list[Trial] | None = [] if objectives > 1 else None

    def take(self, trials: Sequence[Trial]) -> None:
        """Take the next trials in the order of their numbers."""
        for trial in trials:
            self._counts[trial.status] += 1
            if trial.losses is not None and trial.repeats is None:
                entry = (trial.losses[0], trial.number, trial)
                self._best = heapq.nsmallest(self._count, [*self._best, entry], key=_rank)
                self._enter_front(trial, trial.losses)

    @property
    def best(self) -> list[Trial]:
        """The best trials, the best first."""
        return [trial for _, _, trial in self._best]

    @property
    def front(self) -> list[Trial]:
        """The trials that no other one beats in every objective, in the order of their numbers."""
        return self._front or []

    @property
    def counts(self) -> TrialCounts:
        """How the trials ended."""
        return TrialCounts(total=sum(self._counts.values()), **self._counts)

    def _enter_front(self, trial: Trial, losses: tuple[float, ...]) -> None:
        if self._front is None:
            return
        if any(_dominates(other.losses or (), losses) for other in self._front):
            return
        survivors = [it for it in self._front if not _dominates(losses, it.losses or ())]
        self._front = [*survivors, trial]


def _rank(entry: tuple[float, int, Trial]) -> tuple[float, int]:
    return entry[:2]


def _dominates(left: tuple[float, ...], right: tuple[float, ...]) -> bool:
    """Whether the left one is nowhere worse and somewhere better."""
    return left != right and all(a <= b for a, b in zip(left, right, strict=True))

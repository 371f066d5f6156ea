"""What a sequence has found, as data that phases hand to one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from admf.sequences.config import Scalar

__all__ = ["Outcome", "Point", "TrialCounts"]

Point: TypeAlias = Mapping[str, Scalar]
"""A parameter set: the searched values by name."""

Metrics: TypeAlias = Mapping[str, float | None]


class TrialCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How the trials of a search ended.

    Args:
        total: Parameter sets that were tried.
        completed: Those that have an objective and fulfil every constraint.
        failed: Those whose lane failed, or whose objective is null.
        infeasible: Those whose metrics do not fulfil a constraint.
        pruned: Those that were given up early.
    """

    total: int = 0
    completed: int = 0
    failed: int = 0
    infeasible: int = 0
    pruned: int = 0

    def __add__(self, other: TrialCounts) -> TrialCounts:
        """Return the counts of two searches together."""
        mine, others = msgspec.structs.asdict(self), msgspec.structs.asdict(other)
        return TrialCounts(**{name: count + others[name] for name, count in mine.items()})


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a phase has found; references such as ``{search.best.sharpe_ratio}`` reach into it.

    Args:
        best_parameters: The parameter set with the best objective; None if no trial is eligible.
        best_objective: Its value of the first objective.
        best: Its metrics, in sample.
        top_parameters: The best parameter sets, the best first.
        pareto_front: The parameter sets that no other one beats in every objective, if there are
            several objectives.
        held_out: The part of the data that was not searched: ``start`` and ``end``, ISO 8601.
        trials: How the trials ended.
        overfitting: Probabilistic and deflated Sharpe ratio, probability of backtest overfitting.
        out_of_sample: Metrics of the tests: of the best parameter set's, or of all stitched.
        report: What is particular to the sequence.
    """

    best_parameters: Point | None = None
    best_objective: float | None = None
    best: Metrics = {}
    top_parameters: tuple[Point, ...] = ()
    pareto_front: tuple[Point, ...] = ()
    held_out: Mapping[str, str] | None = None
    trials: TrialCounts = TrialCounts()
    overfitting: Mapping[str, Any] | None = None
    out_of_sample: Metrics = {}
    report: Mapping[str, Any] = {}

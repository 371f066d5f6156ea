"""What a search has found, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from rich.table import Table
from rich.text import Text

from admf.sequences.outcome import Point, TrialCounts
from admf.workflows.cli.phase_record import Metrics, PhaseOutcome, PhaseRecord
from admf.workflows.cli.rendering import (
    MOST_ROWS,
    fact_rows,
    figure,
    metric_label,
    metric_of,
    metric_text,
    narrow_label,
    point_text,
    span_text,
    table,
    titled,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["overfitting", "search_facts", "search_tables", "side_by_side"]

_COMPARED = (
    "total_return",
    "cagr",
    "annual_volatility",
    "sharpe_ratio",
    "sortino_ratio",
    "max_drawdown",
    "profit_factor",
    "win_rate",
    "trade_count",
    "exposure_time",
)
_TESTED = ("total_return", "trade_count")
_OVERFITTING = (
    "probabilistic_sharpe_ratio",
    "deflated_sharpe_ratio",
    "probability_of_backtest_overfitting",
)


def search_tables(phase: PhaseRecord, found: PhaseOutcome) -> Iterator[RenderableType]:
    """Yield what was tried, what was best, and how good that is on other data."""
    yield search_facts(phase, found)
    if found.best or found.out_of_sample:
        yield Text("")
        yield side_by_side({"In sample": found.best, "Out of sample": found.out_of_sample})
    yield from overfitting(found)
    if len(found.top_parameters) > 1:
        yield from _top(phase, found.top_parameters)
    if found.pareto_front:
        yield from _front(phase, found.pareto_front)


def search_facts(phase: PhaseRecord, found: PhaseOutcome, where: str = "") -> Table:
    """Return the trials by how they ended, and the best of them.

    Args:
        phase: The phase.
        found: What it has found.
        where: Which part of it the best parameters are of.
    """
    rows = fact_rows()
    rows.add_row("Trials", _counts(found.trials))
    if found.best_parameters is None:
        rows.add_row("Best parameters", "none: no trial is eligible")
        return rows
    name = next(iter(_names(phase)), "")
    rows.add_row(
        "Objective", f"{metric_label(name)} {metric_of(name, found.best_objective)}".strip()
    )
    best = point_text(found.best_parameters) or "as they are set"
    rows.add_row("Best parameters", f"{best} {where}".rstrip())
    if found.held_out is not None:
        rows.add_row("Tested on", span_text(found.held_out))
    return rows


def side_by_side(columns: Mapping[str, Metrics]) -> Table:
    """Return headline metrics, a column for each of several places that has any."""
    shown = {name: metrics for name, metrics in columns.items() if metrics}
    rows = table("Metric", *shown, right=tuple(shown))
    for name in _COMPARED:
        values = [figure(metrics, name)[1] for metrics in shown.values()]
        rows.add_row(Text(metric_label(name), "dim"), *values)
    return rows


def overfitting(found: PhaseOutcome) -> Iterator[RenderableType]:
    """Yield what a search says of its own luck."""
    statistics = found.overfitting
    if statistics is None:
        return
    rows = fact_rows(right=True)
    for name in _OVERFITTING:
        rows.add_row(metric_label(name), metric_text(statistics.get(name), "probability"))
    yield Text("")
    yield rows


def _top(phase: PhaseRecord, points: Sequence[Point]) -> Iterator[RenderableType]:
    """Yield the best parameter sets, the best first, and what became of them in test."""
    inside = _names(phase) if phase.objectives else []
    outside = list(dict.fromkeys((*inside, *_TESTED))) if phase.tests else []
    right = [narrow_label(name, "in sample") for name in inside]
    right += [narrow_label(name, "in test") for name in outside]
    rows = table("Rank", "Parameters", *right, right=("Rank", *right))
    for rank, point in enumerate(points[:MOST_ROWS]):
        values = _values(inside, phase.objectives[rank] if inside else None)
        values += [figure(phase.tests[rank].metrics, name)[1] for name in outside]
        rows.add_row(str(rank + 1), point_text(point), *values)
    yield from titled("Best parameter sets", rows, len(points))


def _front(phase: PhaseRecord, points: Sequence[Point]) -> Iterator[RenderableType]:
    """Yield the parameter sets that no other one beats in every objective."""
    names = _names(phase) if phase.front else []
    right = tuple(map(narrow_label, names))
    rows = table("Parameters", *right, right=right)
    for row, point in enumerate(points[:MOST_ROWS]):
        rows.add_row(point_text(point), *_values(names, phase.front[row] if names else None))
    yield from titled("Pareto front", rows, len(points))


def _values(names: Sequence[str], values: Sequence[float] | None) -> list[str]:
    if values is None:
        return ["-" for _ in names]
    return [metric_of(name, value) for name, value in zip(names, values, strict=True)]


def _names(phase: PhaseRecord) -> list[str]:
    return [objective.name for objective in phase.head.objectives]


def _counts(counts: TrialCounts) -> str:
    ended = msgspec.structs.asdict(counts)
    total = ended.pop("total")
    parts = [f"{count:,} {how}" for how, count in ended.items() if count]
    return f"{total:,} ({', '.join(parts)})"

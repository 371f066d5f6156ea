"""What sequences say of their windows, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from rich.table import Table
from rich.text import Text

from admf.sequences.k_fold_report import KFoldSplit
from admf.sequences.walk_forward_report import WalkForwardWindow
from admf.workflows.cli.phase_record import Metrics, PhaseOutcome, PhaseRecord
from admf.workflows.cli.rendering import (
    MOST_ROWS,
    fact_rows,
    figure,
    metric_label,
    metric_of,
    metric_text,
    point_text,
    span_text,
    table,
    titled,
)
from admf.workflows.cli.search_tables import overfitting, search_facts, side_by_side

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "KFold",
    "MonteCarlo",
    "Report",
    "Stability",
    "WalkForward",
    "k_fold_tables",
    "monte_carlo_tables",
    "report_of",
    "walk_forward_tables",
]

_LEVELS = ("p5", "p25", "p50", "p75", "p95")
_RISKS = (
    "probability_of_loss",
    "probability_of_ruin",
    "value_at_risk_95",
    "conditional_value_at_risk_95",
)
_OF_PATHS = ("total_return", "cagr", "sharpe_ratio", "max_drawdown", "trade_count")


class Stability(msgspec.Struct, frozen=True):
    """How much a parameter changes from window to window; see `ParameterStability`."""

    distinct: int
    changes: float | None
    most_common: object
    share: float
    mean: float | None = None
    std: float | None = None


class WalkForward(msgspec.Struct, frozen=True):
    """What a walk-forward reports."""

    walk_forward_efficiency: float | None
    profitable_windows: float | None
    parameter_stability: Mapping[str, Stability]


class KFold(msgspec.Struct, frozen=True):
    """What a cross-validation reports."""

    splits: tuple[KFoldSplit, ...]
    paths: tuple[Metrics, ...]


class MonteCarlo(msgspec.Struct, frozen=True):
    """What a simulation reports."""

    method: str
    simulations: int
    failed: int
    batches: int
    percentiles: Mapping[str, Metrics]
    probability_of_loss: float | None
    probability_of_ruin: float | None
    value_at_risk_95: float | None
    conditional_value_at_risk_95: float | None


Report: TypeAlias = WalkForward | KFold | MonteCarlo

_REPORTS: Mapping[str, type[Report]] = MappingProxyType(
    {"parameter_stability": WalkForward, "splits": KFold, "percentiles": MonteCarlo}
)
"""Kinds of reports, by a field that tells them."""


def report_of(found: PhaseOutcome) -> Report | None:
    """Return what is particular to the sequence that found something, if it is a known kind."""
    for field, kind in _REPORTS.items():
        if field in found.report:
            try:
                return msgspec.convert(found.report, kind)
            except msgspec.ValidationError:  # a plug-in's own report that has a field of that name
                return None
    return None


def walk_forward_tables(
    phase: PhaseRecord, found: PhaseOutcome, report: WalkForward
) -> Iterator[RenderableType]:
    """Yield the windows of a walk-forward, and what they make together."""
    rows = search_facts(phase, found, "(of the last window)")
    rows.add_row("Walk-forward efficiency", metric_text(report.walk_forward_efficiency, "ratio"))
    rows.add_row("Profitable windows", metric_text(report.profitable_windows, "fraction"))
    yield rows
    if found.out_of_sample:
        yield Text("")
        yield side_by_side({"Stitched tests": found.out_of_sample})
    yield from overfitting(found)
    yield from _windows(phase, phase.walk)
    yield from _stability(report.parameter_stability)


def k_fold_tables(
    phase: PhaseRecord, found: PhaseOutcome, report: KFold
) -> Iterator[RenderableType]:
    """Yield the splits of a cross-validation, and the paths through its folds."""
    yield search_facts(phase, found, "(of most splits)")
    if found.best or found.out_of_sample:
        yield Text("")
        yield side_by_side({"In sample": found.best, "Mean of the paths": found.out_of_sample})
    yield from overfitting(found)
    yield from _splits(phase, report.splits)
    yield from _paths(report.paths)


def monte_carlo_tables(found: PhaseOutcome, report: MonteCarlo) -> Iterator[RenderableType]:
    """Yield how the metrics of simulations are spread, and what may be lost."""
    rows = fact_rows()
    failed = f" ({report.failed:,} failed)" if report.failed else ""
    rows.add_row("Simulations", f"{report.simulations:,}{failed} by {report.method}")
    if found.best_parameters:
        rows.add_row("Parameters", point_text(found.best_parameters))
    for name in _RISKS:
        value = getattr(report, name)
        rows.add_row(metric_label(name), metric_text(value, "fraction"))
    yield rows
    yield from titled("Percentiles", _percentiles(found.best, report.percentiles), 0)


def _percentiles(run: Metrics, percentiles: Mapping[str, Metrics]) -> Table:
    """Return a row for each metric: that of the run itself, and what chance makes of it."""
    right = ("The run", *(f"{level.removeprefix('p')} %" for level in _LEVELS))
    rows = table("Metric", *right, right=right, gap=1)
    for name, spread in percentiles.items():
        values = [run.get(name), *(spread.get(level) for level in _LEVELS)]
        label = Text(metric_label(name), "dim")
        rows.add_row(label, *(metric_of(name, value) for value in values))
    return rows


def _windows(phase: PhaseRecord, windows: Sequence[WalkForwardWindow]) -> Iterator[RenderableType]:
    """Yield a row for each window: the objective on both sides, and what the test made."""
    name = _objective(phase)
    right = ("In sample", "In test", "Return")
    rows = table("Window", "Test", "Parameters", *right, right=right)
    for window in windows[:MOST_ROWS]:
        inside, outside = window.in_sample, window.out_of_sample
        rows.add_row(
            window.window_id,
            span_text(window.test),
            "-" if window.parameters is None else point_text(window.parameters),
            metric_of(name, inside.get("objective")),
            metric_of(name, outside.get("objective")),
            metric_of("total_return", outside.get("total_return")),
        )
    yield from titled(f"Windows, by {_label(name)}", rows, len(windows))


def _stability(parameters: Mapping[str, Stability]) -> Iterator[RenderableType]:
    if not parameters:
        return
    right = ("Values", "Changes", "Most common", "Share", "Mean", "Deviation")
    rows = table("Parameter", *right, right=right)
    for name, it in parameters.items():
        rows.add_row(
            name,
            f"{it.distinct:,}",
            metric_text(it.changes, "fraction"),
            str(it.most_common),
            metric_text(it.share, "fraction"),
            metric_text(it.mean, "ratio"),
            metric_text(it.std, "ratio"),
        )
    yield from titled("Stability of the best parameters", rows, 0)


def _splits(phase: PhaseRecord, splits: Sequence[KFoldSplit]) -> Iterator[RenderableType]:
    name = _objective(phase)
    right = ("In sample", "In test")
    rows = table("Split", "Test", "Parameters", *right, right=right)
    for split in splits[:MOST_ROWS]:
        rows.add_row(
            split.split_id,
            "\n".join(map(span_text, split.test)),
            "-" if split.parameters is None else point_text(split.parameters),
            metric_of(name, split.in_sample),
            metric_of(name, split.out_of_sample),
        )
    yield from titled(f"Splits, by {_label(name)}", rows, len(splits))


def _paths(paths: Sequence[Metrics]) -> Iterator[RenderableType]:
    labels = [metric_label(name) for name in _OF_PATHS]
    rows = table("Path", *labels, right=("Path", *labels))
    for number, metrics in enumerate(paths[:MOST_ROWS], 1):
        rows.add_row(str(number), *(figure(metrics, name)[1] for name in _OF_PATHS))
    yield from titled("Paths through the tests", rows, len(paths))


def _objective(phase: PhaseRecord) -> str:
    objectives = phase.head.objectives
    return objectives[0].name if objectives else ""


def _label(objective: str) -> str:
    return metric_label(objective) or "objective"

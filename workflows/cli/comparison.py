"""How the portfolios of two phases, or of parts of them, differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import msgspec

from admf.engine.storage import LocalStorage
from admf.workflows.cli.frame_tables import metric_columns, parameter_columns, place_text
from admf.workflows.cli.phase_files import StoredFiles
from admf.workflows.cli.phase_record import PhaseHead, read_phase
from admf.workflows.cli.place import Place

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Best",
    "ComparedPhase",
    "Matched",
    "MetricChange",
    "PortfolioChange",
    "compared_phase",
    "metric_changes",
]

Row: TypeAlias = Mapping[str, Any]


class MetricChange(msgspec.Struct, frozen=True):
    """A metric of two portfolios, or of all portfolios of two phases.

    Args:
        metric: Its name.
        a: Its first value.
        b: Its second value.
        difference: ``b - a``; None if one of them is not defined.
        relative: The difference over the absolute first value; None if that is zero.
    """

    metric: str
    a: float | None
    b: float | None
    difference: float | None
    relative: float | None


class Best(msgspec.Struct, frozen=True):
    """The best portfolio of a phase."""

    place: str
    parameters: dict[str, Any]


class PortfolioChange(msgspec.Struct, frozen=True):
    """Two portfolios with the same phase, window and parameters."""

    window: str
    parameters: dict[str, Any]
    a: float | None
    b: float | None
    difference: float | None


class Matched(msgspec.Struct, frozen=True):
    """The portfolios of two phases, matched by window and parameters.

    Args:
        both: How many pairs there are.
        equal: Of these, the pairs with the same metrics.
        only_a: Portfolios that the first phase alone has.
        only_b: Portfolios that the second phase alone has.
        largest: The pairs that differ most in the leading metric, the largest difference first.
    """

    both: int
    equal: int
    only_a: int
    only_b: int
    largest: list[PortfolioChange]


class ComparedPhase(msgspec.Struct, frozen=True, kw_only=True):
    """How a phase turned out in two runs.

    Args:
        a: Its name in the first run.
        b: Its name in the second.
        by: The metric that says which portfolio is the best.
        best_a: The best portfolio of the first run; None if there is none.
        best_b: That of the second.
        best: Their metrics.
        out_of_sample: What the sequences found on data that they did not search; empty if one of
            them did not.
        portfolios_a: How many portfolios the first run has.
        portfolios_b: How many the second has.
        median: Medians of the metrics over all portfolios.
        matched: The portfolios one by one.
    """

    a: str
    b: str
    by: str
    best_a: Best | None
    best_b: Best | None
    best: list[MetricChange]
    out_of_sample: list[MetricChange]
    portfolios_a: int
    portfolios_b: int
    median: list[MetricChange]
    matched: Matched


def metric_changes(
    a: Mapping[str, float | None], b: Mapping[str, float | None]
) -> list[MetricChange]:
    """Return every metric of two sets of metrics, in the order of the first."""
    return [_change(name, a.get(name), b.get(name)) for name in dict.fromkeys((*a, *b))]


def _change(name: str, a: float | None, b: float | None) -> MetricChange:
    if a is None or b is None:
        return MetricChange(name, a, b, None, None)
    return MetricChange(name, a, b, b - a, (b - a) / abs(a) if a else None)


def compared_phase(first: Place, second: Place, by: str, limit: int) -> ComparedPhase:
    """Compare the portfolios of a phase, or of a part of one.

    Args:
        first: Where the first ones are.
        second: Where the others are.
        by: The metric that says which portfolio is the best.
        limit: How many pairs to tell one by one.

    Raises:
        ConfigError: There is no such metric.
    """
    a, b = first.metrics(by=by), second.metrics(by=by)
    rows = [next(frame.iter_rows(named=True), None) for frame in (a, b)]
    best_a, best_b = (_best(row, frame) for row, frame in zip(rows, (a, b), strict=True))
    metrics = [_metrics(row, frame) for row, frame in zip(rows, (a, b), strict=True)]
    return ComparedPhase(
        a=first.name,
        b=second.name,
        by=by,
        best_a=best_a,
        best_b=best_b,
        best=metric_changes(*metrics),
        out_of_sample=_tested(first, second),
        portfolios_a=a.height,
        portfolios_b=b.height,
        median=metric_changes(_medians(a), _medians(b)),
        matched=_matched(a, b, by, limit),
    )


def _tested(first: Place, second: Place) -> list[MetricChange]:
    if first.window or second.window:
        return []
    a, b = (_out_of_sample(place) for place in (first, second))
    return metric_changes(a, b) if a and b else []


def _out_of_sample(place: Place) -> Mapping[str, float | None]:
    """Return what the sequence of a phase found out of sample; empty if it did not."""
    files = StoredFiles(LocalStorage(place.run.path), place.phase)
    head = PhaseHead(name=place.phase, status="completed")
    found = anyio.run(read_phase, head, files).outcome
    return {} if found is None else found.out_of_sample


def _best(row: Row | None, frame: pl.DataFrame) -> Best | None:
    if row is None:
        return None
    return Best(place_text(row, {}), _parameters(row, frame))


def _metrics(row: Row | None, frame: pl.DataFrame) -> dict[str, float | None]:
    return {} if row is None else {name: row[name] for name in metric_columns(frame)}


def _medians(frame: pl.DataFrame) -> dict[str, float | None]:
    if frame.is_empty():
        return {}
    return frame.select(metric_columns(frame)).median().row(0, named=True)


def _parameters(row: Row, frame: pl.DataFrame) -> dict[str, Any]:
    return {it: row[it] for it in parameter_columns(frame) if row[it] is not None}


def _matched(a: pl.DataFrame, b: pl.DataFrame, by: str, limit: int) -> Matched:
    ours, theirs = _by_identity(a), _by_identity(b)
    pairs = [(ours[key], theirs[key]) for key in ours if key in theirs]
    names = metric_columns(a)
    equal = [all(one[it] == other.get(it) for it in names) for one, other in pairs]
    found = [
        PortfolioChange(one["window"], _parameters(one, a), *_values(one[by], other[by]))
        for (one, other), same in zip(pairs, equal, strict=True)
        if not same
    ]
    found.sort(key=lambda it: -1.0 if it.difference is None else abs(it.difference), reverse=True)
    both = len(pairs)
    return Matched(both, sum(equal), len(ours) - both, len(theirs) - both, found[:limit])


def _values(a: float | None, b: float | None) -> tuple[float | None, float | None, float | None]:
    return a, b, None if a is None or b is None else b - a


def _by_identity(frame: pl.DataFrame) -> dict[tuple[str, bytes, int], Row]:
    """Return portfolios by window and parameters; those that are the same in both are numbered."""
    found: dict[tuple[str, bytes, int], Row] = {}
    for row in frame.iter_rows(named=True):
        parameters = msgspec.json.encode(_parameters(row, frame), order="sorted")
        number = 0
        while (row["window"], parameters, number) in found:
            number += 1
        found[row["window"], parameters, number] = row
    return found

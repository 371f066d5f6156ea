"""``admf results compare``: how two results differ, and in what their runs do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from admf.containers.metrics.catalogue import HEADLINE_METRICS
from admf.workflows.cli.comparison import (
    ComparedPhase,
    Matched,
    MetricChange,
    PortfolioChange,
    compared_phase,
)
from admf.workflows.cli.frame_tables import common_text, own_parameters, shared
from admf.workflows.cli.name_cell import NameCell
from admf.workflows.cli.place import Place, open_place
from admf.workflows.cli.query_options import By, Limit
from admf.workflows.cli.rendering import (
    fact_rows,
    metric_label,
    metric_of,
    point_text,
    rendered,
    table,
)
from admf.workflows.cli.run_changes import Change, changes, phase_pairs
from admf.workflows.cli.streams import write_json, write_out

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["ComparedRun", "Comparison", "compare"]

_FEW = ("total_return", "sharpe_ratio", "max_drawdown", "trade_count")
_LONGEST_VALUE = 40


class ComparedRun(msgspec.Struct, frozen=True):
    """One of the two sides."""

    path: str
    run_id: str
    status: str
    started_at: str


class Comparison(msgspec.Struct, frozen=True):
    """What ``compare --json`` writes.

    Args:
        a: The first side.
        b: The second side.
        changes: In what the runs differ.
        phases: How their phases turned out.
    """

    a: ComparedRun
    b: ComparedRun
    changes: list[Change]
    phases: list[ComparedPhase]


def compare(
    first: Path, second: Path, /, *, by: By = None, limit: Limit = 10, json: bool = False
) -> None:
    """Show how the metrics of two results differ, and which settings, data or versions do.

    Args:
        first: The folder of a run, or a phase, a window or a portfolio in it.
        second: The same of another run, or of the same one.
        by: The metric that says which portfolios are the best; the leading objective if not given.
        limit: Show no more pairs of portfolios, and no more settings, than this; 10 if not given.
        json: Write a JSON document to standard output instead of tables.
    """
    places = open_place(first), open_place(second)
    phases = [
        compared_phase(one, other, by or one.leading_metric, limit)
        for one, other in phase_pairs(*places)
    ]
    a, b = (_side(place) for place in places)
    found = Comparison(a, b, changes(*places), phases)
    if json:
        write_json(found)
    else:
        write_out(rendered(*_shown(found, limit)))


def _side(place: Place) -> ComparedRun:
    run = place.run
    return ComparedRun(place.path, run.run_id, run.status, run.started_at)


def _shown(found: Comparison, limit: int) -> Iterator[RenderableType]:
    rows = fact_rows()
    for label, side in (("A", found.a), ("B", found.b)):
        rows.add_row(label, f"{side.path}  {side.run_id}, {side.status}")
    yield rows
    yield Text("")
    yield from _changes(found.changes, limit)
    for phase in found.phases:
        yield from _phase(phase)
    if not found.phases:
        yield Text("")
        yield Text(
            "they have no phase in common; to compare two of other names, give their folders"
        )


def _changes(found: Sequence[Change], limit: int) -> Iterator[RenderableType]:
    if not found:
        yield Text("the same settings, data, seed and versions")
        return
    told = any(it.phases for it in found[:limit])
    rows = table("Differs in", "A", "B", *(["Phases"] if told else []))
    for it in found[:limit]:
        name = it.name if it.kind in {"run", "setting"} else f"{it.kind} {it.name}"
        phases = [" ".join(it.phases)] if told else []
        rows.add_row(NameCell(name), _value(it.a), _value(it.b), *phases)
    yield rows
    if len(found) > limit:
        yield Text(f"and {len(found) - limit:,} more: see -n")


def _value(value: object) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _phase(phase: ComparedPhase) -> Iterator[RenderableType]:
    yield Text("")
    name = phase.a if phase.a == phase.b else f"{phase.a} and {phase.b}"
    yield Text(name or "all", "bold")
    if phase.best_a is None and phase.best_b is None:
        yield Text("neither has portfolios")
        return
    if phase.portfolios_a == phase.portfolios_b == 1:
        yield from _owners(phase)
        yield from _figures("", phase.best, HEADLINE_METRICS)
        return
    yield from _best(phase)
    if phase.out_of_sample:
        yield from _figures("Out of sample", phase.out_of_sample, _FEW)
    counts = f"{phase.portfolios_a:,} and {phase.portfolios_b:,} portfolios"
    yield from _figures(f"Median of {counts}", phase.median, _FEW)
    yield from _matched(phase.matched, phase.by)


def _best(phase: ComparedPhase) -> Iterator[RenderableType]:
    yield Text(f"the best by {phase.by}")
    yield from _owners(phase)
    yield from _figures("", phase.best, dict.fromkeys((phase.by, *HEADLINE_METRICS)))


def _owners(phase: ComparedPhase) -> Iterator[RenderableType]:
    rows = fact_rows()
    for label, best in (("A", phase.best_a), ("B", phase.best_b)):
        told = "none" if best is None else f"{best.place} {point_text(best.parameters)}"
        rows.add_row(label, told)
    yield rows


def _figures(
    title: str, found: Sequence[MetricChange], names: Iterable[str]
) -> Iterator[RenderableType]:
    """Yield some of two sets of metrics side by side; a line if all of them are the same."""
    if title:
        yield Text("")
    if all(it.a == it.b for it in found):
        yield Text(f"{title}: the same metrics" if title else "the same metrics")
        return
    by_name = {it.metric: it for it in found}
    right = ("A", "B", "B - A", "relative")
    rows = table(title or "Metric", *right, right=right)
    for name in filter(by_name.__contains__, names):
        it = by_name[name]
        values = [metric_of(name, value) for value in (it.a, it.b)]
        relative = "-" if it.relative is None else _signed(f"{100 * it.relative:,.1f} %")
        difference = _signed(metric_of(name, it.difference))
        rows.add_row(Text(metric_label(name), "dim"), *values, difference, relative)
    yield rows


def _signed(text: str) -> str:
    """Return a number with its sign; without one if it is rounded to nothing, or undefined."""
    if not any(it in "123456789" for it in text):
        return text.removeprefix("-") or text
    return text if text.startswith("-") else f"+{text}"


def _matched(found: Matched, by: str) -> Iterator[RenderableType]:
    alone = [f"{count:,} only in {side}" for side, count in _alone(found).items() if count]
    pairs = "no pair has the same window and parameters"
    if found.both:
        pairs = f"{found.equal:,} of {found.both:,} pairs with the same parameters are equal"
    yield Text("")
    yield Text(", ".join([pairs, *alone]))
    if not found.largest:
        return
    yield from _pairs(found.largest, by)
    left = found.both - found.equal - len(found.largest)
    if left:
        yield Text(f"and {left:,} more that differ: see -n")


def _pairs(found: Sequence[PortfolioChange], by: str) -> Iterator[RenderableType]:
    names = list(dict.fromkeys(name for it in found for name in it.parameters))
    own = [{name: it.parameters.get(name) for name in names} for it in found]
    places = [{"phase": "", "window": it.window, **row} for it, row in zip(found, own, strict=True)]
    common = shared(places, names)
    right = (f"{by} A", "B", "B - A")
    rows = table("Window", "Parameters", *right, right=right)
    for it, row in zip(found, places, strict=True):
        values = [metric_of(by, value) for value in (it.a, it.b)]
        told = own_parameters(row, names, common)
        rows.add_row(NameCell(it.window), told, *values, _signed(metric_of(by, it.difference)))
    yield from common_text({name: it for name, it in common.items() if name in names}, names)
    yield rows


def _alone(found: Matched) -> Mapping[str, int]:
    return {"A": found.only_a, "B": found.only_b}

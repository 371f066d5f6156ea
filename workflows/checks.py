"""Checks of an experiment that no schema can state: names, ranges, settings that contradict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from admf.containers.resampling import Timeframe
from admf.containers.times import DAY_NS
from admf.containers.timestamps import parse_bound
from admf.containers.zones import check_timezone
from admf.engine.errors import Problem
from admf.engine.ids import check_id_path
from admf.sequences.settings import PhaseSettings
from admf.workflows.data_folder import data_folder
from admf.workflows.findings import (
    Finding,
    content_of,
    not_known,
    refusals,
    texts_of,
    unknown_name,
)
from admf.workflows.layers import OVERRIDES, PHASES
from admf.workflows.nodes import FieldPath, Node, find, place_of, shorten
from admf.workflows.phase_checks import PARAMETERS, linkage_problems, override_problems
from admf.workflows.planning import PhasePlan, owner_path, settings_of
from admf.workflows.search_checks import (
    objective_findings,
    parameter_findings,
    space_findings,
    strategy_findings,
)
from admf.workflows.sequence_checks import inner_circle, searches, sequence_findings
from admf.workflows.validation import setting_misfits
from admf.workflows.vocabulary import Vocabulary

__all__ = ["mistakes", "phase_mistakes", "sections_of", "unknown_events"]


def mistakes(root: Node, known: Vocabulary, folder: Path | None) -> Iterator[Problem]:
    """Yield what forbids to run an experiment, as far as it shows without its workflow.

    Args:
        root: The experiment, a mapping.
        known: The names that it may use.
        folder: Where its file is; None for an experiment made in Python.
    """
    found = [*_workflow(root, known), *_results_dir(root), *_source(root, folder)]
    yield from _problems(root, (), found)
    strict = content_of(root, "strict") is True
    for path, section in sections_of(root):
        found = [*_section(section, known, strict=strict)]
        found += parameter_findings(section, known, folder)
        yield from _problems(root, path, found)


def phase_mistakes(
    root: Node, plans: Sequence[PhasePlan], known: Vocabulary, *, strict: bool
) -> Iterator[Problem]:
    """Yield what forbids to run the phases of an experiment with the settings they end up with.

    Args:
        root: The experiment.
        plans: The phases.
        known: The names that they may use.
        strict: Whether unknown events are mistakes.
    """
    yield from override_problems(root, [plan.config.name for plan in plans])
    yield from linkage_problems(plans, known)
    for plan in plans:
        for path, message in _of_phase(plan, known, strict=strict):
            place = place_of(plan.node, path)
            yield place.problem(owner_path(plan, path, place), message)


def _of_phase(plan: PhasePlan, known: Vocabulary, *, strict: bool) -> Iterator[Finding]:
    missing = [*_missing(plan.node), *_source(plan.node, plan.folder)]
    yield from missing
    if missing:
        return
    misfits = [*setting_misfits(plan.node)]
    yield from misfits
    if misfits:
        return
    yield from _section(plan.node, known, strict=strict)
    settings, sequence = settings_of(plan), plan.config.sequence
    if PARAMETERS in plan.config.input:
        yield from parameter_findings(plan.node, known, plan.folder)
    else:
        is_searched = searches(sequence, settings)
        yield from strategy_findings(plan.node, settings, known, plan.folder, searches=is_searched)
    yield from inner_circle(sequence, settings)
    yield from _trace(settings)


def _trace(settings: PhaseSettings) -> Iterator[Finding]:
    """Yield that traces are to become files of a phase that has none."""
    if settings.trace.store != "none" and settings.results_storage == "memory":
        message = (
            f"{settings.trace.store!r} makes files, and with results_storage 'memory' there are "
            "none; set results_storage to 'disk' or 'auto', or store to 'none'"
        )
        yield Finding(("trace", "store"), message)


def sections_of(root: Node) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Yield the sections that hold settings of phases, with their paths."""
    yield (), root
    for owner in (PHASES, OVERRIDES):
        for name, section in _fields(find(root, (owner,))).items():
            yield (owner, name), section


def _fields(section: Node | None) -> dict[str, Node]:
    return section.value if section and isinstance(section.value, dict) else {}


def _problems(root: Node, owner: FieldPath, found: Sequence[Finding]) -> Iterator[Problem]:
    for path, message in found:
        yield place_of(root, (*owner, *path)).problem((*owner, *path), message)


def _section(section: Node, known: Vocabulary, *, strict: bool) -> Iterator[Finding]:
    """Yield what is wrong with settings, whosever they are and however few."""
    yield from unknown_name(section, ("retention_policy",), known.retention_policies)
    if strict:
        yield from unknown_events(section, known)
    yield from _repeated_symbols(section)
    yield from _timeframe(section)
    yield from _range(section)
    yield from objective_findings(section)
    yield from space_findings(section)
    yield from sequence_findings(section, known.sequences)


def unknown_events(section: Node, known: Vocabulary) -> Iterator[Finding]:
    """Yield the traced events that nobody publishes."""
    for path, name in texts_of(section, "event_tracing"):
        if name not in known.events:
            yield Finding(path, not_known(name, known.events))


def _workflow(root: Node, known: Vocabulary) -> Iterator[Finding]:
    if not _fields(find(root, (PHASES,))):
        if ":" not in str(content_of(root, "workflow")):
            yield from unknown_name(root, ("workflow",), known.workflows)
    elif content_of(root, "workflow") in known.workflows:
        message = (
            f"{content_of(root, 'workflow')!r} is installed, and here the phases of another "
            "workflow are given; call it something else, or leave out 'phases'"
        )
        yield Finding(("workflow",), message)


def _results_dir(root: Node) -> Iterator[Finding]:
    folder = content_of(root, "results_dir")
    if isinstance(folder, str):
        yield from refusals(root, ("results_dir",), partial(check_id_path, folder, "folder"))


def _missing(section: Node) -> Iterator[Finding]:
    """Yield what a phase cannot do without and neither workflow nor experiment gives."""
    if find(section, ("strategy",)) is None:
        yield Finding(("strategy",), "is missing: the workflow brings none along")
    elif content_of(section, "strategy", "type") is None:
        yield Finding(("strategy", "type"), "is missing")


def _source(section: Node, folder: Path | None) -> Iterator[Finding]:
    data = find(section, ("data",))
    if data is None or not isinstance(data.value, dict):
        return
    source = content_of(section, "data", "source") or "file"
    path = content_of(section, "data", "path")
    is_missing = path == "" or (path is None and data_folder(data, folder) is None)
    if source == "file" and is_missing:
        message = "is missing: name a file or folder, or write 'source: sample'"
        yield Finding(("data", "path"), message)
    elif source == "frames" and folder is not None:
        message = "data frames are handed over from Python; a file says 'file' or 'sample'"
        yield Finding(("data", "source"), message)


def _repeated_symbols(section: Node) -> Iterator[Finding]:
    seen: set[str] = set()
    for path, symbol in texts_of(section, "data", "symbols"):
        if symbol in seen:
            yield Finding(path, f"{shorten(symbol)!r} is named twice")
        seen.add(symbol)


def _timeframe(section: Node) -> Iterator[Finding]:
    text = content_of(section, "data", "timeframe")
    if isinstance(text, str):
        yield from refusals(section, ("data", "timeframe"), partial(Timeframe.parse, text))


def _range(section: Node) -> Iterator[Finding]:
    """Check the time zone, and in it the first and last day of the data."""
    name = content_of(section, "data", "timezone")
    zone = name if isinstance(name, str) else "UTC"
    unknown_zone = refusals(section, ("data", "timezone"), partial(check_timezone, zone))
    if unknown_zone:
        yield from unknown_zone
        return
    bounds: list[int] = []
    for field, last in (("start", 0), ("end", DAY_NS - 1)):
        text = content_of(section, "data", field)
        if isinstance(text, str):
            read = partial(_read_bound, text, zone, last, bounds)
            yield from refusals(section, ("data", field), read)
    if len(bounds) == 2 and bounds[0] > bounds[1]:
        start = content_of(section, "data", "start")
        yield Finding(("data", "end"), f"is before start ({start})")


def _read_bound(text: str, zone: str, last: int, bounds: list[int]) -> None:
    """Add what ``text`` means in nanoseconds, of a day the instant ``last`` after its first."""
    ts, is_day = parse_bound(text, zone, "")
    bounds.append(ts + last if is_day else ts)

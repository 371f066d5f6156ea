"""Checks of an experiment that no schema can state: names, ranges, settings that contradict.

A check looks at nodes, not at a finished `Experiment`, so that it can speak up beside the mistakes
of other fields. What is missing or of the wrong type is the schema's business and is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

from admf.containers.resampling import Timeframe
from admf.containers.times import DAY_NS
from admf.containers.timestamps import parse_bound
from admf.containers.zones import check_timezone
from admf.engine.errors import ConfigError, Problem, did_you_mean
from admf.engine.ids import check_id_path
from admf.workflows.experiment import Experiment
from admf.workflows.nodes import (
    Content,
    FieldPath,
    Node,
    find,
    located,
    place_of,
    plain,
    shorten,
)
from admf.workflows.vocabulary import StrategyCheck, Vocabulary

__all__ = ["mistakes", "suspicions"]

_UNUSUAL_PERCENT = 0.1


def mistakes(root: Node, known: Vocabulary, folder: Path | None) -> Iterator[Problem]:
    """Yield what forbids to run an experiment.

    Args:
        root: The experiment, a mapping.
        known: The names that it may use.
        folder: Where its file is; None for an experiment made in Python.
    """
    yield from _unknown_name(root, ("workflow",), known.workflows)
    yield from _unknown_name(root, ("retention_policy",), known.retention_policies)
    if _value(root, "strict") is True:
        yield from _unknown_events(root, known.events)
    yield from _source(root, in_file=folder is not None)
    yield from _repeated_symbols(root)
    yield from _timeframe(root)
    yield from _range(root)
    yield from _results_dir(root)
    yield from _strategy(root, known.check_strategy, folder)


def suspicions(experiment: Experiment, root: Node, known: Vocabulary) -> Iterator[Problem]:
    """Yield what allows to run an experiment, but is probably not what was meant."""
    if not experiment.strict:
        yield from _unknown_events(root, known.events)
    yield from _small_percentages(root, ())
    yield from _unused_path(experiment, root)
    yield from _size_beyond_leverage(experiment, root)
    yield from _trades_that_never_close(experiment, root, known.events)


def _value(root: Node, *path: str) -> Content:
    node = find(root, path)
    return node.value if node else None


def _texts(root: Node, *path: str) -> Iterator[tuple[FieldPath, str]]:
    """Yield path and value of each text in a list."""
    entries = _value(root, *path)
    for row, node in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(node.value, str):
            yield (*path, row), node.value


def _problem(root: Node, path: FieldPath, message: str) -> Problem:
    return place_of(root, path).problem(path, message)


def _unknown_name(root: Node, path: tuple[str, ...], known: Collection[str]) -> Iterator[Problem]:
    name = _value(root, *path)
    if isinstance(name, str) and name not in known:
        yield _problem(root, path, _not_known(name, known))


def _unknown_events(root: Node, known: Collection[str]) -> Iterator[Problem]:
    for path, name in _texts(root, "event_tracing"):
        if name not in known:
            yield _problem(root, path, _not_known(name, known))


def _not_known(name: str, known: Collection[str]) -> str:
    hint = did_you_mean(name, known) or f" (known: {', '.join(known)})"
    return f"unknown name {shorten(name)!r}{hint}"


def _source(root: Node, *, in_file: bool) -> Iterator[Problem]:
    data = _value(root, "data")
    if not isinstance(data, dict):
        return
    source = _value(root, "data", "source") or "file"
    path = _value(root, "data", "path")
    if source == "file" and (path is None or path == ""):
        message = "is missing: name a file or folder, or write 'source: sample'"
        yield _problem(root, ("data", "path"), message)
    elif source == "frames" and in_file:
        message = "data frames are handed over from Python; a file says 'file' or 'sample'"
        yield _problem(root, ("data", "source"), message)


def _repeated_symbols(root: Node) -> Iterator[Problem]:
    seen: set[str] = set()
    for path, symbol in _texts(root, "data", "symbols"):
        if symbol in seen:
            yield _problem(root, path, f"{shorten(symbol)!r} is named twice")
        seen.add(symbol)


def _timeframe(root: Node) -> Iterator[Problem]:
    text = _value(root, "data", "timeframe")
    if isinstance(text, str):
        yield from _refusals(root, ("data", "timeframe"), partial(Timeframe.parse, text))


def _range(root: Node) -> Iterator[Problem]:
    """Check the time zone, and in it the first and last day of the data."""
    name = _value(root, "data", "timezone")
    zone = name if isinstance(name, str) else "UTC"
    unknown_zone = _refusals(root, ("data", "timezone"), partial(check_timezone, zone))
    if unknown_zone:
        yield from unknown_zone
        return
    bounds: list[int] = []
    for field, last in (("start", 0), ("end", DAY_NS - 1)):
        text = _value(root, "data", field)
        if isinstance(text, str):
            read = partial(_read_bound, text, zone, last, bounds)
            yield from _refusals(root, ("data", field), read)
    if len(bounds) == 2 and bounds[0] > bounds[1]:
        yield _problem(root, ("data", "end"), f"is before start ({_value(root, 'data', 'start')})")


def _read_bound(text: str, zone: str, last: int, bounds: list[int]) -> None:
    """Add what ``text`` means in nanoseconds, of a day the instant ``last`` after its first."""
    ts, is_day = parse_bound(text, zone, "")
    bounds.append(ts + last if is_day else ts)


def _refusals(root: Node, path: FieldPath, check: Callable[[], object]) -> list[Problem]:
    """Return what ``check`` has against the field ``path``."""
    try:
        check()
    except ConfigError as error:
        return [_problem(root, path, problem.message) for problem in error.problems]
    return []


def _results_dir(root: Node) -> Iterator[Problem]:
    folder = _value(root, "results_dir")
    if isinstance(folder, str):
        yield from _refusals(root, ("results_dir",), partial(check_id_path, folder, "folder"))


def _strategy(root: Node, check: StrategyCheck, folder: Path | None) -> Iterator[Problem]:
    type_ = _value(root, "strategy", "type")
    node = find(root, ("strategy", "params"))
    params = plain(node) if node else {}
    if not isinstance(type_, str) or not isinstance(params, dict):
        return
    try:
        check(type_, params, folder)
    except ConfigError as error:
        yield from located(error, root).problems


def _small_percentages(node: Node, path: FieldPath) -> Iterator[Problem]:
    if not isinstance(node.value, dict):
        return
    for name, child in node.value.items():
        value = child.value
        if name.endswith("_pct") and isinstance(value, float) and 0 < value < _UNUSUAL_PERCENT:
            message = f"{value} means {value} %; for {value * 100:g} % write {value * 100:g}"
            yield child.place.problem((*path, name), message)
        yield from _small_percentages(child, (*path, name))


def _unused_path(experiment: Experiment, root: Node) -> Iterator[Problem]:
    data = experiment.data
    if data.source != "file" and data.path is not None:
        yield _problem(root, ("data", "path"), f"is not used with source {data.source!r}")


def _size_beyond_leverage(experiment: Experiment, root: Node) -> Iterator[Problem]:
    sizing, leverage = experiment.portfolio.sizing, experiment.risk.max_leverage
    if sizing.type == "percent_equity" and leverage is not None and sizing.value > leverage:
        message = f"{sizing.value} times equity is more than risk.max_leverage, {leverage}, allows"
        yield _problem(root, ("portfolio", "sizing", "value"), message)


def _trades_that_never_close(
    experiment: Experiment, root: Node, known: Collection[str]
) -> Iterator[Problem]:
    traced, policy = experiment.event_tracing or (), experiment.retention_policy or "trade_complete"
    never_close = policy in {"trade_complete", "minimal"} and "POSITION_CLOSE" not in traced
    if never_close and {"FILL", "POSITION_OPEN"} & set(traced) and set(traced) <= set(known):
        message = f"without POSITION_CLOSE, {policy} sees no trade close and keeps what it may"
        yield _problem(root, ("event_tracing",), message)

"""What allows to run an experiment, but is probably not what was meant."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from admf.engine.errors import Problem
from admf.sequences.settings import PhaseSettings
from admf.workflows.checks import sections_of, unknown_events
from admf.workflows.findings import Finding
from admf.workflows.nodes import FieldPath, Node, find, key_place, place_of
from admf.workflows.phase_checks import PARAMETERS
from admf.workflows.planning import PhasePlan, owner_path, settings_of
from admf.workflows.sequence_checks import SEQUENCE_OPTIONS, inner_sequences, searches
from admf.workflows.vocabulary import Vocabulary

__all__ = ["suspicions"]

_UNUSUAL_PERCENT = 0.1


def suspicions(
    root: Node, plans: Sequence[PhasePlan], known: Vocabulary, *, strict: bool
) -> Iterator[Problem]:
    """Yield what is probably not meant.

    Args:
        root: The experiment.
        plans: Its phases, without mistakes.
        known: The names that it may use.
        strict: Whether unknown events were mistakes already.
    """
    if not strict:
        for owner, section in sections_of(root):
            for path, message in unknown_events(section, known):
                yield place_of(root, (*owner, *path)).problem((*owner, *path), message)
    yield from _small_percentages(root, ())
    for plan in plans:
        for path, message in _of_phase(plan, settings_of(plan), known):
            place = place_of(plan.node, path)
            yield place.problem(owner_path(plan, path, place), message)
    yield from _unused_options(root, plans)
    yield from _unused_spaces(root, plans)


def _of_phase(plan: PhasePlan, settings: PhaseSettings, known: Vocabulary) -> Iterator[Finding]:
    yield from _unused_path(settings)
    yield from _size_beyond_leverage(settings)
    yield from _trades_that_never_close(settings, known.events)
    yield from _nothing_to_search(plan, settings)


def _small_percentages(node: Node, path: FieldPath) -> Iterator[Problem]:
    if not isinstance(node.value, dict):
        return
    for name, child in node.value.items():
        if name.endswith("_pct"):
            yield from _small_percentage(child, (*path, name))
        yield from _small_percentages(child, (*path, name))


def _small_percentage(node: Node, path: FieldPath) -> Iterator[Problem]:
    """Yield a percentage, or those of a list of values to search, that looks like a fraction."""
    if isinstance(node.value, list):
        for row, child in enumerate(node.value):
            yield from _small_percentage(child, (*path, row))
    value = node.value
    if isinstance(value, float) and 0 < value < _UNUSUAL_PERCENT:
        message = f"{value} means {value} %; for {value * 100:g} % write {value * 100:g}"
        yield node.place.problem(path, message)


def _unused_path(settings: PhaseSettings) -> Iterator[Finding]:
    data = settings.data
    if data.source != "file" and data.path is not None:
        yield Finding(("data", "path"), f"is not used with source {data.source!r}")


def _size_beyond_leverage(settings: PhaseSettings) -> Iterator[Finding]:
    sizing, leverage = settings.portfolio.sizing, settings.risk.max_leverage
    if sizing.type == "percent_equity" and leverage is not None and sizing.value > leverage:
        message = f"{sizing.value} times equity is more than risk.max_leverage, {leverage}, allows"
        yield Finding(("portfolio", "sizing", "value"), message)


def _trades_that_never_close(settings: PhaseSettings, known: Collection[str]) -> Iterator[Finding]:
    traced, policy = set(settings.event_tracing), settings.retention_policy
    never_close = policy in {"trade_complete", "minimal"} and "POSITION_CLOSE" not in traced
    if never_close and {"FILL", "POSITION_OPEN"} & traced and traced <= set(known):
        message = f"without POSITION_CLOSE, {policy} sees no trade close and keeps what it may"
        yield Finding(("event_tracing",), message)


def _nothing_to_search(plan: PhasePlan, settings: PhaseSettings) -> Iterator[Finding]:
    if _searches(plan) and not settings.parameter_space:
        message = (
            f"there is only one parameter set for {plan.config.name} to try; "
            "give the values to search, e.g. 'parameter_space: {fast: [5, 10, 20]}'"
        )
        given = "parameter_space" if find(plan.node, ("parameter_space",)) else "strategy"
        yield Finding((given,), message)


def _searches(plan: PhasePlan) -> bool:
    takes = PARAMETERS in plan.config.input
    return not takes and searches(plan.config.sequence, settings_of(plan))


def _unused_spaces(root: Node, plans: Sequence[PhasePlan]) -> Iterator[Problem]:
    """Yield the parameter spaces that are given where nothing is searched."""
    searching = {plan.config.name for plan in plans if _searches(plan)}
    for owner, section in sections_of(root):
        is_used = owner[1] in searching if owner else bool(searching)
        if not is_used and find(section, ("parameter_space",)) is not None:
            who = f"{owner[1]} searches nothing" if owner else "no phase searches"
            path = (*owner, "parameter_space")
            yield key_place(root, path).problem(path, f"is not used: {who}")


def _unused_options(root: Node, plans: Sequence[PhasePlan]) -> Iterator[Problem]:
    """Yield the options that are given for sequences which nobody runs."""
    used = {
        plan.config.name: set(inner_sequences(plan.config.sequence, settings_of(plan)))
        for plan in plans
    }
    for owner, section in sections_of(root):
        running = used[owner[1]] if owner else set[str]().union(*used.values())
        for name in SEQUENCE_OPTIONS:
            path = (*owner, name)
            if name not in running and find(section, (name,)) is not None:
                who = f"{owner[1]} does not run" if owner else "no phase runs"
                yield key_place(root, path).problem(path, f"is not used: {who} {name}")

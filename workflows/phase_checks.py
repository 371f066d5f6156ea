"""Checks of phases: what they run, take from one another, and hand back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TypeAlias

from admf.engine.errors import ConfigError, Problem, did_you_mean
from admf.engine.ids import check_id
from admf.sequences.phase import PhaseConfig
from admf.workflows.findings import not_known
from admf.workflows.layers import OVERRIDES, PHASES
from admf.workflows.nodes import FieldPath, Node, find, key_place, place_of
from admf.workflows.planning import PhasePlan, phase_path
from admf.workflows.references import (
    Reference,
    condition_references,
    parse_reference,
    reference_fault,
    result_fault,
)
from admf.workflows.setting_types import setting_exists
from admf.workflows.vocabulary import Vocabulary

__all__ = ["PARAMETERS", "linkage_problems", "override_problems"]

PARAMETERS = "parameters"
"""The input that stands for the parameter set, or sets, that a phase uses."""

Faults: TypeAlias = Iterator[tuple[FieldPath, str]]


def override_problems(root: Node, phases: Collection[str]) -> Iterator[Problem]:
    """Yield the phases that are overridden and do not exist.

    Args:
        root: The experiment.
        phases: Names of the phases that there are.
    """
    overrides = find(root, (OVERRIDES,))
    named = overrides.value if overrides and isinstance(overrides.value, dict) else {}
    for name in named:
        if name not in phases:
            hint = did_you_mean(name, phases) or f" (there are: {', '.join(phases)})"
            message = f"the workflow has no phase {name!r}{hint}"
            yield key_place(root, (OVERRIDES, name)).problem((OVERRIDES, name), message)


def linkage_problems(plans: Sequence[PhasePlan], known: Vocabulary) -> Iterator[Problem]:
    """Yield what is wrong with the phases, apart from their settings.

    Args:
        plans: All phases of an experiment.
        known: The names that they may use.
    """
    phases = {plan.config.name: plan for plan in plans}
    for plan in plans:
        phase = plan.config
        faults = [*_names(phase, known), *_outputs(phase), *_inputs(phase), *_condition(phase)]
        for path, reference in _references(phase):
            fault = reference_fault(reference, phases)
            faults += [(path, fault)] if fault else []
        for path, message in faults:
            yield _problem(plan.root, phase.name, path, message)


def _names(phase: PhaseConfig, known: Vocabulary) -> Faults:
    if phase.sequence not in known.sequences:
        yield ("sequence",), not_known(phase.sequence, known.sequences)
    if phase.topology not in known.topologies:
        yield ("topology",), not_known(phase.topology, known.topologies)
    yield from _refused((), partial(check_id, phase.name, "phase"))


def _outputs(phase: PhaseConfig) -> Faults:
    for row, name in enumerate(phase.output):
        fault = result_fault(tuple(name.split(".")))
        if fault:
            yield ("output", row), fault


def _inputs(phase: PhaseConfig) -> Faults:
    for name, text in phase.input.items():
        path = ("inputs", name)
        if name != PARAMETERS and not setting_exists(name):
            message = (
                f"is no setting of a phase; write {PARAMETERS!r}, or a setting such as "
                "'data_range' or 'risk.stop_loss_pct'"
            )
            yield path, message
        yield from _refused(path, partial(parse_reference, text))


def _condition(phase: PhaseConfig) -> Faults:
    if phase.when is not None:
        yield from _refused(("when",), partial(condition_references, phase.when, ""))


def _references(phase: PhaseConfig) -> Iterator[tuple[FieldPath, Reference]]:
    """Yield the references of a phase that can be read."""
    for name, text in phase.input.items():
        if not list(_refused((), partial(parse_reference, text))):
            yield ("inputs", name), parse_reference(text)
    if not list(_condition(phase)):
        for reference in condition_references(phase.when or "true"):
            yield ("when",), reference


def _refused(path: FieldPath, check: Callable[[], object]) -> Faults:
    try:
        check()
    except ConfigError as error:
        yield from ((path, problem.message) for problem in error.problems)


def _problem(root: Node, phase: str, path: FieldPath, message: str) -> Problem:
    """Return a problem of a phase: in its section, if the experiment declares it."""
    field = (PHASES, phase, *path)
    declared = find(root, (PHASES, phase)) is not None
    place = key_place(root, phase_path(root, phase))
    if declared and path:
        place = place_of(root, field)
    return place.problem(field, message if declared else f"phase {phase!r}: {message}")

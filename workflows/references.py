"""References from one phase to the results of another: ``{search.best_parameters}``, and ``when``.

A phase refers to a nested mapping of what the phases before it have found::

    {phase: {best_parameters: {...}, held_out: {...}, ..., success: true, summary: {...},
             aggregate_metrics: {...}, metrics: {...}}}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias, cast

import msgspec

from admf.containers.metrics.catalogue import METRICS
from admf.engine.errors import ConfigError, Problem, did_you_mean
from admf.sequences.expressions import Expression
from admf.sequences.outcome import Outcome, TrialCounts
from admf.sequences.phase import PhaseConfig
from admf.workflows.outcome import PhaseSummary

__all__ = [
    "RESULT_KEYS",
    "Reference",
    "condition_holds",
    "condition_references",
    "parse_reference",
    "read",
    "reference_fault",
    "referenced_phases",
    "result_fault",
]

Outcomes: TypeAlias = Mapping[str, Mapping[str, Any]]

RESULT_KEYS: tuple[str, ...] = (
    *Outcome.__struct_fields__,
    "success",
    "summary",
    "aggregate_metrics",
    "metrics",
)
"""What a phase's result can be asked for."""

_METRICS = tuple(info.name for info in METRICS)
_KEYS_WITHIN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "best": _METRICS,
        "out_of_sample": _METRICS,
        "metrics": _METRICS,
        "trials": TrialCounts.__struct_fields__,
        "summary": PhaseSummary.__struct_fields__,
        "held_out": ("start", "end"),
    }
)
_REFERENCE = re.compile(r"\{\s*([^\s{}]+)\s*\}")


class Reference(msgspec.Struct, frozen=True):
    """A place in the results of a phase.

    Args:
        phase: Name of the phase.
        path: Keys that lead from its result to the value, at least one.
    """

    phase: str
    path: tuple[str, ...]


def parse_reference(text: str, field: str = "") -> Reference:
    """Read a reference, e.g. ``{parameter_search.best_parameters}``.

    Args:
        text: One reference and nothing else.
        field: Where it stands, for the message.

    Raises:
        ConfigError: It is not a reference.
    """
    match = _REFERENCE.fullmatch(text.strip())
    phase, *path = match[1].split(".") if match else ("",)
    if not path or not all((phase, *path)):
        message = (
            f"{text!r} is not a reference to a result; write "
            '"{phase.key}", for example "{parameter_search.best_parameters}"'
        )
        raise ConfigError([Problem(message, field)])
    return Reference(phase, tuple(path))


def read(reference: Reference | str, outcomes: Outcomes) -> object:
    """Return what a reference stands for; None where there is nothing.

    Args:
        reference: A reference, or its text in braces.
        outcomes: Results by phase; see the module.

    Raises:
        ConfigError: The text is not a reference.
    """
    if isinstance(reference, str):
        reference = parse_reference(reference)
    value: object = outcomes.get(reference.phase)
    for key in reference.path:
        if not isinstance(value, Mapping):
            return None
        value = cast("Mapping[str, object]", value).get(key)
    return value


def condition_holds(condition: str, outcomes: Outcomes) -> bool:
    """Whether a condition such as ``search.best.sharpe_ratio > 0.5`` is fulfilled.

    Args:
        condition: An expression over results.
        outcomes: Results by phase; see the module.

    Raises:
        ConfigError: It is no condition, or compares what cannot be compared.
    """
    return Expression.parse(condition, "when").holds(lambda name: read(f"{{{name}}}", outcomes))


def condition_references(condition: str, field: str = "when") -> tuple[Reference, ...]:
    """Return the results that a condition asks for.

    Args:
        condition: An expression over results.
        field: Where it stands, for messages.

    Raises:
        ConfigError: It is no condition, or a name in it is not ``phase.key``.
    """
    names = Expression.parse(condition, field).names
    return tuple(parse_reference(f"{{{name}}}", field) for name in names)


def referenced_phases(phase: PhaseConfig) -> tuple[str, ...]:
    """Return the phases that a phase's inputs and condition name, as far as they can be read."""
    return tuple(dict.fromkeys(_named_phases(phase)))


def _named_phases(phase: PhaseConfig) -> Iterator[str]:
    for text in phase.input.values():
        try:
            yield parse_reference(text).phase
        except ConfigError:  # is reported by whoever checks the phase
            continue
    try:
        yield from (it.phase for it in condition_references(phase.when or "true"))
    except ConfigError:  # likewise
        return


def reference_fault(reference: Reference, phases: Mapping[str, object]) -> str:
    """Return what is wrong with a reference, or an empty string.

    Args:
        reference: The reference.
        phases: The phases that there are, by name.
    """
    if reference.phase not in phases:
        return f"there is no phase {reference.phase!r}{_hint(reference.phase, list(phases))}"
    return result_fault(reference.path)


def result_fault(path: tuple[str, ...]) -> str:
    """Return what is wrong with a path of keys into a phase's result, or an empty string."""
    first, *rest = path
    if first not in RESULT_KEYS:
        return f"a phase has no result {first!r}{_hint(first, RESULT_KEYS)}"
    known = _KEYS_WITHIN.get(first)
    if known is not None and rest and rest[0] not in known:
        return f"{first} has no {rest[0]!r}{_hint(rest[0], known)}"
    return ""


def _hint(name: str, known: tuple[str, ...] | list[str]) -> str:
    return did_you_mean(name, known) or f" (there are: {', '.join(known)})"

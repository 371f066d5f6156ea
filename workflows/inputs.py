"""What a phase takes from the phases before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from admf.engine.errors import ConfigError, Problem
from admf.sequences.outcome import Point
from admf.sequences.phase import ResolvedPhase
from admf.sequences.settings import PhaseSettings
from admf.workflows.references import Outcomes, read

__all__ = ["PARAMETERS", "with_inputs"]

PARAMETERS = "parameters"
"""The input that stands for the parameter set, or sets, that a phase uses."""


def with_inputs(
    phase: ResolvedPhase, outcomes: Outcomes
) -> tuple[ResolvedPhase, tuple[Point, ...] | None]:
    """Return a phase with its inputs set, and its parameter sets; None if it is to search them.

    Args:
        phase: The phase.
        outcomes: What the phases before it have found, by name.

    Raises:
        ConfigError: There is nothing where an input refers to, or the setting refuses it.
    """
    values = {name: _value(phase, name, text, outcomes) for name, text in phase.input.items()}
    points = values.pop(PARAMETERS, None)
    if values:
        settings = _changed(phase.settings, values)
        phase = msgspec.structs.replace(phase, settings=settings)
    return phase, None if points is None else _points(points)


def _value(phase: ResolvedPhase, name: str, text: str, outcomes: Outcomes) -> object:
    value = read(text, outcomes)
    if value is None:
        message = f"{text} has no value: there is nothing that phase {phase.name!r} could use"
        raise ConfigError([Problem(message, name)])
    return value


def _points(value: object) -> tuple[Point, ...]:
    if isinstance(value, Mapping):
        return (cast("Point", value),)
    return tuple(cast("tuple[Point, ...]", value))


def _changed(settings: PhaseSettings, values: Mapping[str, object]) -> PhaseSettings:
    fields: dict[str, Any] = msgspec.to_builtins(settings)
    for name, value in values.items():
        section = fields
        *parts, last = name.split(".")
        for part in parts:
            section = section[part]
        section[last] = msgspec.to_builtins(value)
    try:
        return msgspec.convert(fields, PhaseSettings)
    except msgspec.ValidationError as error:
        raise ConfigError([Problem(str(error), ", ".join(values))]) from error

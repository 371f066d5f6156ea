"""Checks of what is searched: parameter space, constraint, objectives, metric constraints."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from admf.containers.config import StrategyConfig
from admf.containers.metrics.catalogue import METRICS
from admf.engine.errors import ConfigError, did_you_mean
from admf.sequences.config import Dimension, ObjectiveConfig, ParameterRange
from admf.sequences.expressions import Expression
from admf.sequences.search import space_of
from admf.sequences.settings import PhaseSettings
from admf.sequences.space import ParameterSpace
from admf.workflows.findings import (
    Finding,
    content_of,
    not_known,
    refusals,
    texts_of,
    unknown_name,
    value_of,
)
from admf.workflows.nodes import FieldPath, Node
from admf.workflows.setting_types import fits, searchable_settings
from admf.workflows.vocabulary import ParameterType, Vocabulary

__all__ = [
    "SEED",
    "objective_findings",
    "parameter_findings",
    "space_findings",
    "strategy_findings",
]

SEED = "seed"
"""The parameter that stands for the seed of a strategy's own randomness."""

_METRIC_NAMES = tuple(info.name for info in METRICS)
_SPACE = "parameter_space"
_SAMPLED = (0.0, 0.5, 0.999)
_MOST_TRIED = 10_000


def objective_findings(section: Node) -> Iterator[Finding]:
    """Yield what is wrong with objectives and metric constraints."""
    if isinstance(content_of(section, "objective_function"), dict):
        yield from unknown_name(section, ("objective_function", "name"), _METRIC_NAMES)
    several = value_of(section, tuple[ObjectiveConfig, ...], "objective_function") or ()
    for row, objective in enumerate(several):
        if objective.name not in _METRIC_NAMES:
            message = not_known(objective.name, _METRIC_NAMES)
            yield Finding(("objective_function", row, "name"), message)
    for path, text in texts_of(section, "metric_constraints"):
        yield from refusals(section, path, partial(_check_metric_constraint, text))


def space_findings(section: Node) -> Iterator[Finding]:
    """Yield what is wrong with a parameter space as such, whatever the strategy."""
    yield from refusals(section, (_SPACE,), partial(ParameterSpace, _space_of(section)))
    yield from refusals(section, ("constraint",), partial(_expression, section))


def parameter_findings(section: Node, known: Vocabulary, folder: Path | None) -> Iterator[Finding]:
    """Yield what is wrong with the parameters that a strategy is given, however few they are.

    Args:
        section: Settings.
        known: Knows the parameters of strategies.
        folder: Where the user's own strategies are looked for.
    """
    strategy = value_of(section, StrategyConfig, "strategy")
    if strategy is not None:
        parameters, found = _parameters(strategy, known, folder)
        yield from found or _params(strategy, parameters)


def strategy_findings(
    section: Node,
    settings: PhaseSettings,
    known: Vocabulary,
    folder: Path | None,
    *,
    searches: bool,
) -> Iterator[Finding]:
    """Yield what is wrong with the strategy of a phase and the parameters to search.

    Args:
        section: The settings of the phase, as far as anybody sets them.
        settings: All of them.
        known: Judges strategies.
        folder: Where the user's own strategies are looked for.
        searches: Whether the phase searches its parameter space.
    """
    strategy, space = settings.strategy, settings.parameter_space
    if not space or not searches:
        check = partial(known.check_strategy, strategy.type, strategy.params, folder)
        yield from refusals(section, ("strategy",), check)
        return
    parameters, found = _parameters(strategy, known, folder)
    found = found or [*_params(strategy, parameters), *space_findings(section)]
    found = found or list(_dimensions(space, parameters))
    found = found or [*_missing(strategy, parameters, space), *_combinations(section, settings)]
    yield from found


def _check_metric_constraint(text: str) -> None:
    Expression.parse(text).check_names(_METRIC_NAMES)


def _space_of(section: Node) -> Mapping[str, Dimension]:
    return value_of(section, dict[str, Dimension], _SPACE) or {}


def _parameters(
    strategy: StrategyConfig, known: Vocabulary, folder: Path | None
) -> tuple[Mapping[str, ParameterType], list[Finding]]:
    try:
        return known.strategy_parameters(strategy.type, folder), []
    except ConfigError as error:
        return {}, [Finding(("strategy", "type"), it.message) for it in error.problems]


def _params(strategy: StrategyConfig, parameters: Mapping[str, ParameterType]) -> Iterator[Finding]:
    for name, value in strategy.params.items():
        path = ("strategy", "params", name)
        if name not in parameters:
            yield Finding(path, _no_parameter(strategy.type, name, parameters))
        else:
            yield from _misfit(path, value, parameters[name])


def _missing(
    strategy: StrategyConfig, parameters: Mapping[str, ParameterType], space: Collection[str]
) -> Iterator[Finding]:
    for name, parameter in parameters.items():
        if parameter.required and name not in strategy.params and name not in space:
            message = f"is required: {parameter.text}; give it a value, or values to search"
            yield Finding(("strategy", "params", name), message)


def _dimensions(
    space: Mapping[str, Dimension], parameters: Mapping[str, ParameterType]
) -> Iterator[Finding]:
    settings = searchable_settings()
    for name, dimension in space.items():
        if name in parameters:
            type_ = parameters[name]
        elif name in settings:
            type_ = ParameterType(settings[name], f"a value of {name}")
        elif name == SEED:
            type_ = ParameterType(int, "int")
        else:
            yield Finding((_SPACE, name), _no_dimension(name, parameters, settings))
            continue
        for path, value in _values((_SPACE, name), dimension):
            yield from _misfit(path, value, type_)


def _values(path: FieldPath, dimension: Dimension) -> Iterator[tuple[FieldPath, object]]:
    """Yield the values of a dimension with their places; of a range some of them."""
    if not isinstance(dimension, ParameterRange):
        yield from (((*path, row), value) for row, value in enumerate(dimension))
        return
    (axis,) = ParameterSpace({"": dimension}).axes
    yield from ((path, axis.at(unit)) for unit in _SAMPLED)


def _combinations(section: Node, settings: PhaseSettings) -> list[Finding]:
    """Return what keeps a search from having parameter sets to try."""
    make = partial(space_of, settings)
    refused = refusals(section, ("constraint",), make)
    if refused:
        return refused
    space = make()
    if space.size is None and settings.search.method == "grid":
        return refusals(section, (_SPACE,), space.grid)
    if space.size is None or space.size > _MOST_TRIED:
        return []
    return refusals(section, ("constraint",), partial(_check_any, space))


def _check_any(space: ParameterSpace) -> None:
    if next(space.grid(), None) is None:
        raise ConfigError("no combination of the parameters fulfils it")


def _misfit(path: FieldPath, value: object, type_: ParameterType) -> Iterator[Finding]:
    if not fits(value, type_.annotation):
        yield Finding(path, f"must be {type_.text}, got {value!r}")


def _expression(section: Node) -> Expression | None:
    text = content_of(section, "constraint")
    return Expression.parse(text, "constraint") if isinstance(text, str) else None


def _no_parameter(strategy: str, name: str, parameters: Collection[str]) -> str:
    listed = f"it has {', '.join(parameters)}" if parameters else "it has none"
    return f"{strategy} has no parameter {name!r}{did_you_mean(name, parameters)}; {listed}"


def _no_dimension(name: str, parameters: Collection[str], settings: Mapping[str, Any]) -> str:
    if "." in name:
        hint = did_you_mean(name, settings) or f" (there are: {', '.join(settings)})"
        return f"is no setting that can be searched{hint}"
    hint = did_you_mean(name, parameters)
    listed = ", ".join(parameters) or "none"
    return (
        f"is no parameter of the strategy{hint}; it has {listed}, "
        "and settings are written as in risk.stop_loss_pct"
    )

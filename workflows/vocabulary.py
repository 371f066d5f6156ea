"""The names that an experiment may use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_type_hints

import msgspec

from admf.containers.strategies.loading import strategy_class
from admf.containers.strategies.parameters import make_strategy, parameters
from admf.engine.events import EventRegistry
from admf.engine.registry import Registry
from admf.engine.retention import BUILT_IN_POLICIES
from admf.workflows.experiment import Experiment
from admf.workflows.plugins import workflow_of
from admf.workflows.workflow import Workflow

__all__ = ["ParameterType", "StrategyCheck", "StrategyParameters", "Vocabulary", "vocabulary_of"]


class ParameterType(msgspec.Struct, frozen=True):
    """What a parameter of a strategy may be.

    Args:
        annotation: Its type, with the limits of its value.
        text: The same in words: ``int >= 1``.
        required: Whether it must be given.
    """

    annotation: Any
    text: str
    required: bool = False


StrategyCheck: TypeAlias = Callable[[str, Mapping[str, object], Path | None], None]
StrategyParameters: TypeAlias = Callable[[str, Path | None], Mapping[str, ParameterType]]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names that an experiment may use, and the judge of its strategy.

    Args:
        workflows: Names of workflows.
        sequences: Names of sequences.
        topologies: Names of topologies.
        events: Names of events that can be traced.
        retention_policies: Names of retention policies.
        workflow: Returns the workflow of an experiment, which may lie in the folder of its file.
        check_strategy: Called with a strategy's type, its parameters and the folder of the
            experiment file (None without a file), which is where the user's own strategies are
            looked for. It raises a ConfigError if they do not fit; the fields of its problems are
            ``strategy.type`` and ``strategy.params.<name>``.
        strategy_parameters: Called with a strategy's type and that folder, returns its parameters.
            It raises a ConfigError if there is no such strategy.
    """

    workflows: Collection[str]
    sequences: Collection[str]
    topologies: Collection[str]
    events: Collection[str]
    retention_policies: Collection[str]
    workflow: Callable[[Experiment, Path | None], Workflow]
    check_strategy: StrategyCheck
    strategy_parameters: StrategyParameters


def vocabulary_of(registry: Registry, events: EventRegistry) -> Vocabulary:
    """Return the names of what is registered.

    Args:
        registry: Workflows, sequences, topologies, strategies and retention policies.
        events: The events that can be traced.
    """

    def workflow(experiment: Experiment, folder: Path | None) -> Workflow:
        return workflow_of(experiment, registry, folder)

    def check_strategy(type_: str, params: Mapping[str, object], folder: Path | None) -> None:
        make_strategy(strategy_class(type_, registry, search_path=folder), params)

    def strategy_parameters(type_: str, folder: Path | None) -> Mapping[str, ParameterType]:
        return _parameter_types(strategy_class(type_, registry, search_path=folder))

    return Vocabulary(
        workflows=registry.names("workflows"),
        sequences=registry.names("sequences"),
        topologies=registry.names("topologies"),
        events=events.names(),
        retention_policies=(*BUILT_IN_POLICIES, *registry.names("retention")),
        workflow=workflow,
        check_strategy=check_strategy,
        strategy_parameters=strategy_parameters,
    )


def _parameter_types(cls: type) -> dict[str, ParameterType]:
    hints = get_type_hints(cls, include_extras=True)
    attributes = _attributes(cls)
    return {
        it.name: ParameterType(hints[attributes.get(it.name, it.name)], it.type, it.required)
        for it in parameters(cls)
    }


def _attributes(cls: type) -> Mapping[str, str]:
    """Return the attribute of each parameter whose name in a file is another one."""
    if not issubclass(cls, msgspec.Struct):
        return {}
    return {field.encode_name: field.name for field in msgspec.structs.fields(cls)}

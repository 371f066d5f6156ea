"""The parameter space that a workflow brings along, fitted to the strategy that the user takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from admf.engine.errors import ConfigError
from admf.sequences.expressions import Expression
from admf.workflows.layers import workflow_place
from admf.workflows.nodes import Node, find
from admf.workflows.vocabulary import Vocabulary

__all__ = ["fit_default_space"]


def fit_default_space(
    settings: Node, workflow: str, vocabulary: Vocabulary, folder: Path | None
) -> Node:
    """Return the settings of a phase without what the workflow's parameter space has too much.

    The workflow's dimensions remain that are parameters of the strategy and that the user has not
    fixed in ``strategy.params``; its constraint remains as long as it has something to say of them.

    Args:
        settings: The merged settings.
        workflow: Name of the workflow.
        vocabulary: Knows the parameters of strategies.
        folder: Where the user's own strategies are looked for.
    """
    defaults = _of_workflow(settings, ("parameter_space",), workflow)
    fixed = _fields(settings, ("strategy", "params"))
    unknown = set(defaults) - _parameters(settings, workflow, vocabulary, folder)
    dropped = {name for name in defaults if name in fixed or name in unknown}
    space = {
        name: node
        for name, node in _fields(settings, ("parameter_space",)).items()
        if name not in dropped
    }
    fields = dict(_fields(settings, ()))
    if dropped and not space:
        del fields["parameter_space"]
    elif dropped:
        fields["parameter_space"] = msgspec.structs.replace(fields["parameter_space"], value=space)
    if not _constrains(settings, workflow, space, fixed, set(defaults) - dropped):
        del fields["constraint"]
    return msgspec.structs.replace(settings, value=fields)


def _constrains(
    settings: Node,
    workflow: str,
    space: Collection[str],
    fixed: Collection[str],
    defaults: Collection[str],
) -> bool:
    """Whether the constraint, if there is one, is the user's, or fits what is searched."""
    constraint = find(settings, ("constraint",))
    if constraint is None or constraint.place != workflow_place(workflow):
        return True
    names = Expression.parse(str(constraint.value), "constraint").names
    return bool(set(names) & set(defaults)) and set(names) <= {*space, *fixed}


def _parameters(
    settings: Node, workflow: str, vocabulary: Vocabulary, folder: Path | None
) -> set[str]:
    """Return the parameters of the strategy; all in the space if it cannot be told."""
    type_ = find(settings, ("strategy", "type"))
    searched = _fields(settings, ("parameter_space",))
    if type_ is None or type_.place == workflow_place(workflow):
        return set(searched)
    try:
        return set(vocabulary.strategy_parameters(str(type_.value), folder))
    except ConfigError:  # is reported by whoever checks the strategy
        return set(searched)


def _of_workflow(settings: Node, path: tuple[str, ...], workflow: str) -> list[str]:
    place = workflow_place(workflow)
    return [name for name, node in _fields(settings, path).items() if node.place == place]


def _fields(settings: Node, path: tuple[str, ...]) -> Mapping[str, Node]:
    node = find(settings, path)
    return node.value if node and isinstance(node.value, dict) else {}

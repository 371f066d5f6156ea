"""Changing single fields of an experiment from outside its file: ``--set seed=8``."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from admf.engine.errors import ConfigError, Problem
from admf.sequences.config import ParameterRange
from admf.sequences.lanes import SETTING_SECTIONS
from admf.workflows.nodes import Node, Place, shorten
from admf.workflows.yaml_source import compose

__all__ = ["apply_overrides"]

_SPACE = "parameter_space"


def apply_overrides(root: Node, overrides: Iterable[str], problems: list[Problem]) -> Node:
    """Return ``root`` with each ``a.b=value`` set, in order; ``root`` itself stays as it is.

    A value is YAML: a scalar, or a list or section in brackets. Sections that do not exist are
    made; an entry of a list is named by its position (``data.symbols.0=IBM``), and a searched
    setting by its whole name (``parameter_space.risk.stop_loss_pct=[2, 5]``).

    Args:
        root: The experiment, a section.
        overrides: One text for each field to set.
        problems: Receives what is wrong with an override, which then changes nothing.
    """
    for override in overrides:
        try:
            root = _overridden(root, override, problems)
        except ConfigError as error:
            problems.extend(error.problems)
    return root


def _overridden(root: Node, override: str, problems: list[Problem]) -> Node:
    name, equals, text = override.partition("=")
    path = _path(name)
    if not equals or not all(path):
        message = f"expected 'field.name=value', got {shorten(override)!r}"
        raise ConfigError([Problem(message, file="--set")])
    place = Place.of_override(path)
    value, found = compose(text, place, path)
    problems.extend(found)
    return _replaced(root, path, 0, value)


def _path(name: str) -> tuple[str, ...]:
    """Return the fields that a dotted name leads through.

    Below ``parameter_space`` stand names that hold dots themselves: ``risk.stop_loss_pct``.
    """
    parts = tuple(part.strip() for part in name.split("."))
    if _SPACE not in parts:
        return parts
    first = parts.index(_SPACE) + 1
    if first >= len(parts) or parts[first] not in SETTING_SECTIONS:
        return parts
    within = (row for row, part in enumerate(parts) if row > first and _is_within_dimension(part))
    last = next(within, len(parts))
    return (*parts[:first], ".".join(parts[first:last]), *parts[last:])


def _is_within_dimension(part: str) -> bool:
    return part.isdigit() or part in ParameterRange.__struct_fields__


def _replaced(node: Node, path: tuple[str, ...], level: int, value: Node) -> Node:
    """Return ``node``, which stands at ``path[:level]``, with the value at ``path`` replaced."""
    if level == len(path):
        return value
    if isinstance(node.value, list):
        return _in_list(node, node.value, path, level, value)
    if node.value is None or isinstance(node.value, dict):
        return _in_section(node, node.value or {}, path, level, value)
    message = (
        f"{'.'.join(path[:level])} is a single value and has no field {shorten(path[level])!r}"
    )
    raise ConfigError([value.place.problem(path, message)])


def _in_section(
    node: Node, fields: dict[str, Node], path: tuple[str, ...], level: int, value: Node
) -> Node:
    name = path[level]
    child = _replaced(fields.get(name, Node(None, value.place)), path, level + 1, value)
    is_new = name not in fields or level + 1 == len(path)
    key = value.place if is_new else node.keys.get(name, node.place)
    return msgspec.structs.replace(
        node, value={**fields, name: child}, keys={**node.keys, name: key}
    )


def _in_list(
    node: Node, entries: list[Node], path: tuple[str, ...], level: int, value: Node
) -> Node:
    rows = {str(row): row for row in range(len(entries))}
    row = rows.get(path[level])
    if row is None:
        owner = ".".join(path[:level])
        message = f"{owner} is a list; name one of its {len(entries)} entries by number, from 0"
        raise ConfigError([value.place.problem(path, message)])
    child = _replaced(entries[row], path, level + 1, value)
    return msgspec.structs.replace(node, value=[*entries[:row], child, *entries[row + 1 :]])

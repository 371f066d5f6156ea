"""Which setting of a phase wins: everybody who says something of it, merged with the places.

Lowest to highest: the workflow's choice, the top level of the experiment, the phase's own section
in a workflow written in the experiment, ``phase_overrides``; and then the same three from
``--set``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec

from admf.sequences.phase import PhaseConfig
from admf.sequences.settings import PhaseOptions
from admf.workflows.nodes import Content, Node, Place, find, node_of

__all__ = [
    "OVERRIDES",
    "PHASES",
    "divide",
    "merged_settings",
    "without_fragments",
    "workflow_place",
]

PHASES = "phases"
OVERRIDES = "phase_overrides"

_REPLACED_WHOLE = frozenset({"strategy", "parameter_space", "objective_function"})
_REQUIRED_WITHIN: Mapping[str, str] = MappingProxyType({"strategy": "type", "data": "symbols"})
_LEFT_OPEN_BY_NULL = frozenset({"event_tracing", "retention_policy", "results_storage"})


def workflow_place(name: str) -> Place:
    """Return the place of what a workflow chooses."""
    return Place(f"workflow {name}")


def merged_settings(root: Node, phase: PhaseConfig, workflow: str) -> Node:
    """Return the settings of a phase, as far as anybody sets them, each with its place.

    Sections are merged field by field. A strategy, a parameter space, an objective and a list take
    the place of lower ones as a whole, unless ``--set`` names a field within them.

    Args:
        root: The experiment.
        phase: What the workflow says of the phase.
        workflow: Name of the workflow.
    """
    file, override = divide(root)
    merged = _chosen(phase, workflow)
    for layer in (file, override):
        for path in ((), (PHASES, phase.name), (OVERRIDES, phase.name)):
            said = find(layer, path) if layer else None
            if said is not None:
                merged = _merged(merged, _options(said), path)
    return msgspec.structs.replace(merged, place=root.place)


def without_fragments(root: Node) -> Node:
    """Return an experiment without the sections of which ``--set`` names single fields alone.

    ``--set strategy.params.fast=20`` changes whatever strategy there is, also that of the workflow,
    and makes no strategy by itself.
    """
    root = _without_fragments(root, (), ("strategy",))
    for owner in (PHASES, OVERRIDES):
        for name in _fields(find(root, (owner,)) or Node({})):
            root = _without_fragments(root, (owner, name), ("strategy", "data"))
    return root


def _without_fragments(root: Node, path: tuple[str, ...], names: tuple[str, ...]) -> Node:
    for name in names:
        section = find(root, (*path, name))
        if section is not None and _is_fragment(section, (*path, name)):
            root = _without(root, (*path, name))
    return root


def _is_fragment(section: Node, path: tuple[str, ...]) -> bool:
    is_complete = _REQUIRED_WITHIN[path[-1]] in _fields(section)
    return not is_complete and _is_partial(section, ".".join(path))


def _without(node: Node, path: tuple[str, ...]) -> Node:
    fields = _fields(node)
    child = fields.pop(path[0])
    if len(path) > 1:
        fields[path[0]] = _without(child, path[1:])
    return msgspec.structs.replace(node, value=fields)


def divide(node: Node, name: str = "") -> tuple[Node | None, Node | None]:
    """Return what a file, or Python, says of a field, and what ``--set`` says.

    Args:
        node: The field.
        name: Its dotted name; empty for the whole experiment.
    """
    is_new = node.place.overridden is not None
    if not isinstance(node.value, dict) or (is_new and not _is_partial(node, name)):
        overridden = _first_override(node)
        return (node, None) if overridden is None else (None, _placed(node, overridden))
    parts = {key: divide(child, _dotted(name, key)) for key, child in node.value.items()}
    file = {key: said for key, (said, _) in parts.items() if said is not None}
    override = {key: said for key, (_, said) in parts.items() if said is not None}
    return (
        None if is_new else msgspec.structs.replace(node, value=file),
        _placed(node, next(iter(override.values())).place, override) if override else None,
    )


def _chosen(phase: PhaseConfig, workflow: str) -> Node:
    place = workflow_place(workflow)
    chosen = node_of(msgspec.to_builtins(phase.config), [])
    return _options(_everywhere(chosen, place))


def _everywhere(node: Node, place: Place) -> Node:
    value: Content = node.value
    keys: dict[str, Place] = {}
    if isinstance(value, dict):
        keys = dict.fromkeys(value, place)
        value = {key: _everywhere(child, place) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_everywhere(child, place) for child in value]
    return Node(value, place, keys)


def _options(section: Node) -> Node:
    """Return the settings of a section that are set; its other fields are not a phase's."""
    known = {
        name: child
        for name, child in _fields(section).items()
        if name in PhaseOptions.__struct_fields__
        and not (child.value is None and name in _LEFT_OPEN_BY_NULL)
    }
    return msgspec.structs.replace(section, value=known)


def _merged(base: Node, over: Node, layer: tuple[str, ...]) -> Node:
    """Return the settings ``base`` with those of ``over``, which stand at ``layer``."""
    fields, settings = _fields(base), _fields(over)
    for name, setting in settings.items():
        below = fields.get(name)
        stays_whole = name in _REPLACED_WHOLE and not _is_partial(setting, ".".join((*layer, name)))
        fields[name] = setting if below is None or stays_whole else _merge(below, setting)
    return Node(fields, over.place, {**base.keys, **over.keys})


def _merge(base: Node, over: Node) -> Node:
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    fields = _fields(base)
    for key, child in over.value.items():
        fields[key] = _merge(fields[key], child) if key in fields else child
    place = over.place if over.place.overridden is None else base.place
    return Node(fields, place, {**base.keys, **over.keys})


def _fields(section: Node) -> dict[str, Node]:
    return dict(section.value) if isinstance(section.value, dict) else {}


def _is_partial(section: Node, name: str) -> bool:
    """Whether ``--set`` names a field within a section, not the section itself."""
    overridden = section.place.overridden
    return overridden is not None and overridden.startswith(f"{name}.")


def _first_override(node: Node) -> Place | None:
    return next((place for place in _places(node) if place.overridden is not None), None)


def _places(node: Node) -> Iterator[Place]:
    yield node.place
    if isinstance(node.value, list):
        for child in node.value:
            yield from _places(child)


def _placed(node: Node, place: Place, value: Content = None) -> Node:
    return Node(node.value if value is None else value, place, node.keys)


def _dotted(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key

"""Plain data that remembers where it was written."""

from __future__ import annotations

import math
import numbers
import os
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TypeAlias, cast

import msgspec

from admf.engine.errors import ConfigError, Problem

__all__ = [
    "CONTROL_CHARACTERS",
    "MAX_DEPTH",
    "Content",
    "FieldPath",
    "Node",
    "Place",
    "Plain",
    "Scalar",
    "changed",
    "field_name",
    "find",
    "key_place",
    "located",
    "measure",
    "node_of",
    "path_of",
    "place_of",
    "plain",
    "scalar_fault",
    "shorten",
]

Scalar: TypeAlias = str | int | float | bool | None
Plain: TypeAlias = "Scalar | list[Plain] | dict[str, Plain]"
Content: TypeAlias = "Scalar | dict[str, Node] | list[Node]"
FieldPath: TypeAlias = tuple[str | int, ...]

MAX_DEPTH = 100
# YAML's printable characters, less the byte order mark and the line ends that editors do not count
CONTROL_CHARACTERS = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_POSITION = re.compile(r"[0-9]{1,6}")
_OVERRIDE = "--set "
_LONGEST_TEXT = 4_096
_LONGEST_SHOWN = 60
_MOST_PARTS_SHOWN = 8


class Place(msgspec.Struct, frozen=True):
    """Where something was written.

    Args:
        file: Path of the file, or ``--set a.b`` for an override; empty for Python data.
        line: One-based.
        column: One-based, in characters.
    """

    file: str = ""
    line: int | None = None
    column: int | None = None

    @classmethod
    def of_override(cls, path: tuple[str, ...]) -> Place:
        """Return the place of what ``--set`` gives to a field."""
        return cls(_OVERRIDE + ".".join(path))

    @property
    def overridden(self) -> str | None:
        """The dotted field that ``--set`` named here; None if this is not an override."""
        if self.line is not None or not self.file.startswith(_OVERRIDE):
            return None
        return self.file.removeprefix(_OVERRIDE)

    @property
    def source(self) -> str:
        """The file, or the override, as messages show it."""
        field = self.overridden
        return self.file if field is None else f"{_OVERRIDE}{shorten(field)}"

    @property
    def text(self) -> str:
        """The place as users write it: ``experiment.yaml:12:5`` or ``--set seed``."""
        return ":".join(str(part) for part in (self.source, self.line, self.column) if part)

    def problem(self, path: FieldPath, message: str) -> Problem:
        """Return a problem with the field ``path`` at this place."""
        return Problem(message, field_name(path), self.source, self.line, self.column)


class Node(msgspec.Struct, frozen=True):
    """A value and where it was written.

    Args:
        value: A scalar, or nodes by key or position.
        place: Start of the value.
        keys: Place of each key of a mapping.
    """

    value: Content
    place: Place = Place()
    keys: dict[str, Place] = {}


def shorten(text: str) -> str:
    """Return ``text`` cut to what fits into a message."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def field_name(path: FieldPath) -> str:
    """Return a path as users write it, e.g. ``data.symbols.0``."""
    names = [shorten(str(part)) for part in path[:_MOST_PARTS_SHOWN]]
    shown = ".".join(name if name.isprintable() else repr(name) for name in names)
    return shown if len(path) <= _MOST_PARTS_SHOWN else f"{shown}..."


def plain(node: Node) -> Plain:
    """Return the bare data of a node."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def find(node: Node, path: FieldPath) -> Node | None:
    """Return the node at ``path``, or None if there is none."""
    for part in path:
        child: Node | None = None
        if isinstance(node.value, dict) and isinstance(part, str):
            child = node.value.get(part)
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            child = node.value[part]
        if child is None:
            return None
        node = child
    return node


def place_of(root: Node, path: FieldPath) -> Place:
    """Return where the field ``path`` stands; if it is missing, where its section does."""
    node = find(root, path)
    return node.place if node else key_place(root, path[:-1])


def key_place(root: Node, path: FieldPath) -> Place:
    """Return where the name of the field ``path`` stands; its value's place if it has no name."""
    if not path:
        return root.place
    owner = find(root, path[:-1])
    key = owner.keys.get(str(path[-1])) if owner else None
    return key or place_of(root, path)


def located(error: ConfigError, root: Node) -> ConfigError:
    """Return ``error`` with each problem that names no file at the place of its field."""
    return ConfigError([_located(problem, root) for problem in error.problems])


def _located(problem: Problem, root: Node) -> Problem:
    if problem.file:
        return problem
    path = path_of(root, problem.field)
    return place_of(root, path).problem(path, problem.message)


def path_of(root: Node, field: str) -> FieldPath:
    """Return the path that a dotted field name means; names within it may hold dots themselves."""
    path: list[str | int] = []
    node: Node | None = root
    rest = field.split(".")
    while rest:
        length = _longest_name(node, rest)
        part = ".".join(rest[:length])
        path.append(int(part) if _POSITION.fullmatch(part) else part)
        node = find(node, (path[-1],)) if node else None
        rest = rest[length:]
    return tuple(path)


def _longest_name(node: Node | None, parts: list[str]) -> int:
    """Return how many of the parts make up the first name of a field of a section."""
    if node is None or not isinstance(node.value, dict):
        return 1
    fields = node.value
    names = (n for n in range(min(len(parts), _MOST_PARTS_SHOWN), 1, -1))
    return next((n for n in names if ".".join(parts[:n]) in fields), 1)


def measure(node: Node) -> tuple[int, int]:
    """Return how many values a node holds, itself included, and how deep they nest."""
    if isinstance(node.value, dict):
        children = list(node.value.values())
    elif isinstance(node.value, list):
        children = node.value
    else:
        return 1, 1
    sizes = [measure(child) for child in children]
    return 1 + sum(size for size, _ in sizes), 1 + max((depth for _, depth in sizes), default=0)


def changed(new: Node, old: Node, placed: Node) -> Node:
    """Return ``new``; where it is as ``old``, with what ``placed`` has there, be it nothing.

    Args:
        new: A section without places.
        old: What it was before.
        placed: What was written of it, with its places; less than ``old``, which has defaults too.
    """
    if not isinstance(new.value, dict):
        return new
    before, written = _section(old), _section(placed)
    fields: dict[str, Node] = {}
    for key, child in new.value.items():
        was = before.get(key)
        if was is None or plain(child) != plain(was):
            inner = written.get(key, Node({}))
            fields[key] = changed(child, was or Node({}), inner)
        elif key in written:
            fields[key] = written[key]
    return Node(fields, placed.place, placed.keys)


def _section(node: Node) -> dict[str, Node]:
    return node.value if isinstance(node.value, dict) else {}


def scalar_fault(value: Scalar) -> str | None:
    """Return why a value cannot stand in an experiment whatever its field, or None if it can."""
    if isinstance(value, str):
        return _text_fault(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be a finite number, got {value}"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "is too large: whole numbers must fit into 64 bits"
    return None


def _text_fault(text: str) -> str | None:
    if len(text) > _LONGEST_TEXT:
        return f"is longer than {_LONGEST_TEXT:,} characters"
    found = CONTROL_CHARACTERS.search(text)
    return f"holds the control character U+{ord(found[0]):04X}" if found else None


def node_of(value: object, problems: list[Problem], path: FieldPath = ()) -> Node:
    """Return Python data as nodes without places.

    Takes what `plain` returns and, for convenience, Structs, tuples, dates, paths and numpy
    numbers.

    Args:
        value: The data.
        problems: Receives one entry for each value that is not plain data.
        path: Field that the value belongs to.
    """
    if len(path) > MAX_DEPTH:
        problems.append(Place().problem(path, f"nests deeper than {MAX_DEPTH} levels"))
        return Node(None)
    if isinstance(value, msgspec.Struct):
        value = _given_fields(value)
    if isinstance(value, Mapping):
        return _mapping_node(cast("Mapping[object, object]", value), problems, path)
    if isinstance(value, (list, tuple)):
        entries = enumerate(cast("Sequence[object]", value))
        return Node([node_of(entry, problems, (*path, row)) for row, entry in entries])
    return Node(_python_scalar(value, problems, path))


def _given_fields(struct: msgspec.Struct) -> dict[str, object]:
    fields = msgspec.structs.asdict(struct)
    return {name: value for name, value in fields.items() if value is not msgspec.UNSET}


def _mapping_node(value: Mapping[object, object], problems: list[Problem], path: FieldPath) -> Node:
    children: dict[str, Node] = {}
    for key, child in value.items():
        fault = scalar_fault(key) if isinstance(key, str) else "a key must be text"
        if fault or not isinstance(key, str):
            problems.append(Place().problem((*path, repr(key)), str(fault)))
            continue
        children[key] = node_of(child, problems, (*path, key))
    return Node(children)


def _python_scalar(value: object, problems: list[Problem], path: FieldPath) -> Scalar:
    scalar: Scalar = None
    fault: str | None = None
    if value is None or isinstance(value, (bool, str)):
        scalar = value
    elif isinstance(value, date):
        scalar = value.isoformat()
    elif isinstance(value, os.PathLike):
        scalar = os.fsdecode(cast("os.PathLike[str]", value))
    elif isinstance(value, numbers.Integral):
        scalar = int(value)
    elif isinstance(value, numbers.Real):
        scalar = float(value)
    else:
        fault = f"must be plain data, got {type(value).__qualname__}"
    fault = fault or scalar_fault(scalar)
    if fault is None:
        return scalar
    problems.append(Place().problem(path, fault))
    return None

"""What checks of settings find, and how they look at them.

A check looks at nodes, not at finished Structs, so that it can speak up beside the mistakes of
other fields. What is missing or of the wrong type is the schema's business and is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec

from admf.engine.errors import ConfigError, did_you_mean
from admf.workflows.nodes import Content, FieldPath, Node, find, path_of, plain, shorten

__all__ = [
    "Finding",
    "content_of",
    "not_known",
    "refusals",
    "texts_of",
    "unknown_name",
    "value_of",
]

T = TypeVar("T")


class Finding(NamedTuple):
    """Something about a field of a section.

    Args:
        path: The field, seen from the section.
        message: What is wrong with it.
    """

    path: FieldPath
    message: str


def content_of(section: Node, *path: str) -> Content:
    """Return what stands in a field; None if nothing does."""
    node = find(section, path)
    return node.value if node else None


def value_of(section: Node, type_: type[T], *path: str) -> T | None:
    """Return a field as a type; None if it is missing, or not of the type."""
    node = find(section, path)
    if node is None:
        return None
    annotation: Any = type_
    try:
        value: T = msgspec.convert(plain(node), annotation)
    except msgspec.ValidationError:
        return None
    return value


def texts_of(section: Node, *path: str) -> Iterator[tuple[FieldPath, str]]:
    """Yield path and value of each text in a list."""
    entries = content_of(section, *path)
    for row, node in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(node.value, str):
            yield (*path, row), node.value


def unknown_name(section: Node, path: tuple[str, ...], known: Collection[str]) -> Iterator[Finding]:
    """Yield the text in a field if it is not a known name."""
    name = content_of(section, *path)
    if isinstance(name, str) and name not in known:
        yield Finding(path, not_known(name, known))


def not_known(name: str, known: Collection[str]) -> str:
    """Say that a name is not known, and which one may have been meant."""
    hint = did_you_mean(name, known) or f" (known: {', '.join(known)})"
    return f"unknown name {shorten(name)!r}{hint}"


def refusals(section: Node, path: FieldPath, check: Callable[[], object]) -> list[Finding]:
    """Return what ``check`` has against a section.

    Args:
        section: The section.
        path: The field that a problem belongs to if it names none.
        check: Raises a ConfigError; the fields of its problems are seen from the section.
    """
    try:
        check()
    except ConfigError as error:
        return [
            Finding(path_of(section, it.field) if it.field else path, it.message)
            for it in error.problems
        ]
    return []

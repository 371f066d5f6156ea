"""Reading YAML as plain data, with places, behind limits that hold before anything is built.

The parser of libyaml delivers events; `Node` objects are made from them here and not by the YAML
library, because a composer of its own gives what an experiment file needs:

* size, depth and expansion by aliases are capped before memory or the stack is used;
* duplicate keys, tags and merge keys are refused, with their places;
* scalars follow the core schema of YAML 1.2: ``yes``, ``on`` and ``2004-08-19`` are text, ``1e3``
  is a number, ``010`` is ten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias, cast

import yaml

from admf.engine.errors import ConfigError, Problem
from admf.workflows.nodes import (
    CONTROL_CHARACTERS,
    MAX_DEPTH,
    FieldPath,
    Node,
    Place,
    Scalar,
    measure,
    scalar_fault,
    shorten,
)

__all__ = ["MAX_FILE_BYTES", "MAX_VALUES", "compose", "read_text"]

MAX_FILE_BYTES = 1 << 20
MAX_VALUES = 100_000

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_PREFIXED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_NUMBER = 400
_TAB_INDENT = re.compile(r" *\t")

_SYNTAX_HINTS = {
    "found character that cannot start any token": "put text that starts with this sign in quotes",
    "mapping values are not allowed in this context": "put text that holds ': ' in quotes, and "
    "give fields of one section the same indentation",
    "could not find expected ':'": "a field is written 'name: value'",
    "did not find expected key": "check the indentation and the brackets above",
    "did not find expected <document start>": "the document ended before this; check the quotes",
    "found unexpected end of stream": "a quote is not closed",
}
_TOO_DEEP = f"nests deeper than {MAX_DEPTH} levels"
_WRONG_FROM_THE_START = frozenset({"could not find expected ':'", "found unexpected end of stream"})


def read_text(path: Path) -> str:
    """Return the text of an experiment file.

    Raises:
        ConfigError: The file is missing, too large or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise _refused(path, "no such file") from None
    except IsADirectoryError:
        raise _refused(path, "is a folder, not an experiment file") from None
    except (OSError, ValueError) as error:
        raise _refused(path, f"cannot be read: {error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise _refused(path, "is larger than 1 MiB; an experiment file is text of a few KiB")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _refused(path, "is UTF-16; save it as UTF-8")
    return _decode(content, str(path))


def _refused(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(message, file=str(path))])


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        readable = error.object[: error.start].decode("utf-8", "replace")
        message = f"is not UTF-8: byte 0x{error.object[error.start]:02x}; save the file as UTF-8"
        raise ConfigError([_end_of(readable, Place(file, 1, 1)).problem((), message)]) from None


def compose(text: str, origin: Place, at: FieldPath = ()) -> tuple[Node, list[Problem]]:
    """Return the one document of a YAML text, and the mistakes that allow to read on.

    Args:
        text: The document.
        origin: ``file`` names the text. With a line of None the nodes get no lines and columns.
        at: The field that the document is the value of.

    Raises:
        ConfigError: The text is not YAML, or exceeds a limit.
    """
    control = CONTROL_CHARACTERS.search(text)
    if control is not None:
        place = _end_of(text[: control.start()], origin)
        message = f"control character U+{ord(control[0]):04X} is not allowed; remove it"
        raise ConfigError([place.problem(at, message)])
    composer = _Composer(text, origin, at)
    return composer.document(), composer.problems


def _end_of(text: str, origin: Place) -> Place:
    if origin.line is None:
        return origin
    lines = re.split(r"\r\n|\r|\n", text)
    return Place(origin.file, len(lines), len(lines[-1]) + 1)


_Content: TypeAlias = "yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent"


class _Composer:
    """Makes nodes from the events of one text."""

    def __init__(self, text: str, origin: Place, at: FieldPath) -> None:
        self.problems: list[Problem] = []
        self._text = text
        self._origin = origin
        self._field = at
        self._events = self._parse()
        self._anchors: dict[str, Node | None] = {}
        self._values = 0

    def document(self) -> Node:
        """Return the document; an empty text is null."""
        event = next(self._events)
        if not isinstance(event, yaml.DocumentStartEvent):
            return Node(None, self._at(event))
        root = self._node(next(self._events), self._field)
        next(self._events)
        event = next(self._events)
        if isinstance(event, yaml.DocumentStartEvent):
            message = "a second document starts here; keep one in a file"
            raise self._fatal(event, self._field, message)
        return root

    def _parse(self) -> Iterator[yaml.Event]:
        try:
            events = yaml.parse(self._text, yaml.CSafeLoader)
            next(events)
            yield from events
        except yaml.MarkedYAMLError as error:
            raise ConfigError([*self.problems, self._syntax_problem(error)]) from None

    def _syntax_problem(self, error: yaml.MarkedYAMLError) -> Problem:
        cause = error.problem or "cannot be read"
        start = error.context_mark if cause in _WRONG_FROM_THE_START else None
        mark = start or error.problem_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        tab = _TAB_INDENT.match("".join(self._text.splitlines()[line : line + 1]))
        if tab:
            place = self._located(line, tab.end() - 1)
            return place.problem(self._field, "a tab is used as indentation; use spaces")
        if "nesting depth" in cause:  # libyaml reads ahead, and may meet a limit of its own first
            return self._located(line, column).problem(self._field, _TOO_DEEP)
        hint = _SYNTAX_HINTS.get(cause)
        message = f"is not YAML: {cause} ({hint})" if hint else f"is not YAML: {cause}"
        return self._located(line, column).problem(self._field, message)

    def _located(self, line: int, column: int) -> Place:
        if self._origin.line is None:
            return self._origin
        return Place(self._origin.file, line + 1, column + 1)

    def _at(self, event: yaml.Event) -> Place:
        mark = cast("yaml.Mark", event.start_mark)
        return self._located(mark.line, mark.column)

    def _fatal(self, event: yaml.Event, path: FieldPath, message: str) -> ConfigError:
        return ConfigError([*self.problems, self._at(event).problem(path, message)])

    def _report(self, event: yaml.Event, path: FieldPath, message: str) -> None:
        self.problems.append(self._at(event).problem(path, message))

    def _count(self, event: yaml.Event, path: FieldPath, values: int, depth: int) -> None:
        """Hold the two limits; an alias counts as all that it stands for."""
        self._values += values
        if self._values > MAX_VALUES:
            raise self._fatal(event, path, f"holds more than {MAX_VALUES:,} values")
        if depth > MAX_DEPTH:
            raise self._fatal(event, path, _TOO_DEEP)

    def _node(self, event: yaml.Event, path: FieldPath) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        start = cast("_Content", event)
        self._count(start, path, 1, len(path) + 1)
        if start.tag is not None:
            self._report(start, path, f"the tag {shorten(start.tag)!r} is not allowed; remove it")
        if start.anchor is None:
            return self._content(start, path)
        self._anchors[start.anchor] = None
        node = self._anchors[start.anchor] = self._content(start, path)
        return node

    def _content(self, start: _Content, path: FieldPath) -> Node:
        if isinstance(start, yaml.MappingStartEvent):
            return self._mapping(start, path)
        if isinstance(start, yaml.SequenceStartEvent):
            return self._sequence(start, path)
        return self._scalar(start, path)

    def _alias(self, event: yaml.AliasEvent, path: FieldPath) -> Node:
        name = str(event.anchor)
        node = self._anchors.get(name)
        if node is None:
            known = name in self._anchors
            cause = "stands inside its own anchor" if known else "has no anchor before it"
            raise self._fatal(event, path, f"alias '*{shorten(name)}' {cause}")
        size, depth = measure(node)
        self._count(event, path, size, len(path) + depth)
        return node

    def _sequence(self, start: yaml.Event, path: FieldPath) -> Node:
        children: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            children.append(self._node(event, (*path, len(children))))
        return Node(children, self._at(start))

    def _mapping(self, start: yaml.Event, path: FieldPath) -> Node:
        children: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path)
            child = self._node(next(self._events), (*path, key))
            if key in keys:
                line = keys[key].line
                hint = f"; the first is on line {line}" if line else ""
                self._report(event, (*path, key), f"duplicate key{hint}")
                continue
            keys[key] = self._at(event)
            children[key] = child
        return Node(children, self._at(start), keys)

    def _key(self, event: yaml.Event, path: FieldPath) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise self._fatal(event, path, "a key must be a plain name")
        key: str = event.value
        fault = scalar_fault(key)
        if key == "<<" and event.implicit[0]:
            fault = "merge keys are not supported; write the fields out"
        if fault:
            self._report(event, (*path, key), fault)
        return key

    def _scalar(self, event: yaml.ScalarEvent, path: FieldPath) -> Node:
        value = _resolve(event.value) if event.implicit[0] else event.value
        fault = scalar_fault(value)
        if fault is not None:
            self._report(event, path, fault)
            value = None
        return Node(value, self._at(event))


def _resolve(text: str) -> Scalar:
    """Return the value of an unquoted scalar by the core schema of YAML 1.2."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if len(text) > _LONGEST_NUMBER:
        return text
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _PREFIXED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text

"""Checking an experiment against its schema, with messages for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import msgspec

from admf.engine.errors import Problem, did_you_mean
from admf.sequences.settings import PhaseSettings
from admf.workflows.experiment import Experiment
from admf.workflows.findings import Finding
from admf.workflows.nodes import (
    FieldPath,
    Node,
    Place,
    key_place,
    path_of,
    place_of,
    plain,
    shorten,
)
from admf.workflows.schema import JsonSchema, experiment_schema, settings_schema

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

__all__ = ["describe", "experiment_problems", "schema_problems", "setting_misfits"]

_TYPE_NAMES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "nothing",
    "number": "a number",
    "object": "a section with fields",
    "string": "text",
}
_SIGNS = {
    "minimum": ">=",
    "exclusiveMinimum": ">",
    "maximum": "<=",
    "exclusiveMaximum": "<",
}
_YAML_1_1_BOOLEANS = {
    "yes": "true",
    "on": "true",
    "y": "true",
    "no": "false",
    "off": "false",
    "n": "false",
}
_GROUPED_DIGITS = re.compile(r"[-+]?[0-9][0-9_, ]*(\.[0-9]+)?")


def schema_problems(root: Node, schema: JsonSchema) -> list[Problem]:
    """Return every place where ``root`` does not fit ``schema``, at most one for each field."""
    from jsonschema import Draft202012Validator, validators

    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
    validator = cast("Any", validators).extend(Draft202012Validator, type_checker=types)(schema)
    errors: Iterator[ValidationError] = validator.iter_errors(plain(root))
    problems: dict[FieldPath, Problem] = {}
    for error in errors:
        for leaf in _leaves(error):
            for path, place, message in _findings(leaf, root, schema):
                problems.setdefault(path, place.problem(path, message))
    return list(problems.values())


def experiment_problems(root: Node) -> list[Problem]:
    """Return what keeps a section from being an `Experiment`.

    The schema, which takes its time, is only asked to explain what does not fit.
    """
    try:
        msgspec.convert(plain(root), Experiment)
    except msgspec.ValidationError as error:
        problems = schema_problems(root, experiment_schema())
        return problems or [root.place.problem((), str(error))]
    return []


def setting_misfits(settings: Node) -> list[Finding]:
    """Return what keeps the merged settings of a phase from being `PhaseSettings`.

    Every part was checked where it was written, so there is little left that can be wrong.
    """
    try:
        msgspec.convert(plain(settings), PhaseSettings)
    except msgspec.ValidationError:
        problems = schema_problems(settings, settings_schema())
        return [Finding(path_of(settings, it.field), it.message) for it in problems]
    return []


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    """Yield the errors of the branches that a value could have meant."""
    if error.validator != "anyOf":
        yield error
        return
    branches = _branches(error)
    meant = [leaves for leaves in branches if not all(_is_misfit(it, error) for it in leaves)]
    if not meant and len(branches) > 1:
        yield error
    for leaves in meant or branches[:1]:
        yield from leaves


def _branches(error: ValidationError) -> list[list[ValidationError]]:
    """Return the errors of each branch of a choice but null."""
    schemas: Any = error.validator_value
    branches: dict[int, list[ValidationError]] = {}
    for inner in error.context or ():
        row = int(inner.relative_schema_path[0])
        if schemas[row] != {"type": "null"}:
            branches.setdefault(row, []).extend(_leaves(inner))
    return list(branches.values())


def _is_misfit(leaf: ValidationError, choice: ValidationError) -> bool:
    """Whether a value is not even of the kind that a branch is about."""
    if leaf.absolute_path != choice.absolute_path:
        return False
    is_text = isinstance(cast("object", leaf.instance), str)
    return leaf.validator == "type" or (leaf.validator == "enum" and not is_text)


def _findings(
    error: ValidationError, root: Node, schema: JsonSchema
) -> Iterator[tuple[FieldPath, Place, str]]:
    path = tuple(error.absolute_path)
    section: JsonSchema = error.schema if isinstance(error.schema, dict) else {}
    instance: Any = error.instance
    if error.validator == "required":
        for name in section["required"]:
            if name not in instance:
                yield (*path, name), place_of(root, (*path, name)), "is missing"
    elif error.validator == "additionalProperties":
        for name in instance:
            if name not in section["properties"]:
                message = f"unknown field{_field_hint(name, section, schema)}"
                yield (*path, name), key_place(root, (*path, name)), message
    else:
        yield path, place_of(root, path), _message(error)


def _field_hint(name: str, section: JsonSchema, schema: JsonSchema) -> str:
    for owner, field in schema["properties"].items():
        reference = field.get("$ref", "").removeprefix("#/$defs/")
        if name in schema["$defs"].get(reference, {}).get("properties", {}):
            return f" (it belongs in the section {owner!r})"
    near = did_you_mean(name, section["properties"])
    if near:
        return near
    return f" (known here: {', '.join(section['properties'])})"


def _message(error: ValidationError) -> str:
    kind = str(error.validator)
    limit: Any = error.validator_value
    value: Any = error.instance
    unit = "entries" if kind.endswith("Items") else "characters"
    if kind == "anyOf":
        return _choice_message(error)
    if kind == "type":
        return _type_message(limit, value)
    if kind == "enum":
        return _enum_message(limit, value)
    if kind in _SIGNS:
        return f"must be {_SIGNS[kind]} {limit}, got {value}"
    if kind in {"minItems", "minLength"}:
        return "must not be empty" if limit == 1 else f"must have at least {limit} {unit}"
    if kind in {"maxItems", "maxLength"}:
        return f"must have at most {limit} {unit}, has {len(value)}"
    return shorten(error.message)


def _choice_message(error: ValidationError) -> str:
    """Say what a value may be that is none of several things."""
    leaves = [leaves[0] for leaves in _branches(error)]
    wanted: list[str] = []
    for leaf in leaves:
        limit: Any = leaf.validator_value
        name = f"one of {', '.join(map(str, limit))}" if leaf.validator == "enum" else ""
        wanted.append(name or _TYPE_NAMES[limit])
    if _TYPE_NAMES["number"] in wanted:
        wanted = [name for name in wanted if name != _TYPE_NAMES["integer"]]
    value: object = error.instance
    return f"must be {' or '.join(dict.fromkeys(wanted))}, got {describe(value)}"


def _type_message(expected: str, value: object) -> str:
    message = f"must be {_TYPE_NAMES[expected]}, got {describe(value)}"
    hint = _type_hint(expected, value)
    return f"{message} ({hint})" if hint else message


def _type_hint(expected: str, value: object) -> str:
    if value is None:
        return "remove the line to use the default"
    if isinstance(value, str):
        return _text_hint(expected, value)
    if expected == "string" and isinstance(value, (bool, int, float)):
        return "put it in quotes"
    if expected == "integer" and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    return ""


def _text_hint(expected: str, text: str) -> str:
    if expected == "boolean" and text.casefold() in _YAML_1_1_BOOLEANS:
        return f"write {_YAML_1_1_BOOLEANS[text.casefold()]}"
    if expected in {"number", "integer"} and _GROUPED_DIGITS.fullmatch(text):
        return f"write {shorten(re.sub('[_, ]', '', text))}"
    if expected == "array":
        return f"write [{shorten(text)}]"
    return ""


def _enum_message(allowed: list[object], value: object) -> str:
    known = [str(one) for one in allowed]
    near = did_you_mean(value, known) if isinstance(value, str) else ""
    return f"must be one of {', '.join(known)}, got {describe(value)}{near}"


def describe(value: object) -> str:
    """Return a value as a message shows it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {shorten(value)!r}"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a section with fields"
    return str(value)

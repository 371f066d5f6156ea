"""The typed parameters of strategies: described, checked, set and read back."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeAlias, cast, get_type_hints

import msgspec
from msgspec import NODEFAULT, ValidationError
from msgspec import inspect as types

from admf.containers.strategies.base import BarStrategy, ColumnarStrategy
from admf.containers.strategies.user_code import user_place
from admf.engine.errors import ConfigError, Problem, did_you_mean

__all__ = ["AnyStrategy", "Parameter", "make_strategy", "parameters", "parameters_of"]

AnyStrategy: TypeAlias = ColumnarStrategy | BarStrategy

_BOUNDS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="), ("multiple_of", "multiple of"))


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a strategy.

    Args:
        name: As in ``strategy.params``.
        type: What it may be, in words: ``int >= 1``.
        required: Whether it must be given.
        default: What it is otherwise; None if it is required.
    """

    name: str
    type: str
    required: bool
    default: object = None


def parameters(cls: type) -> tuple[Parameter, ...]:
    """Return the parameters of a strategy class, in their order.

    Raises:
        TypeError: The class is neither a Struct nor a dataclass, or an annotation cannot be used.
    """
    return tuple(
        Parameter(field.encode_name, _type_text(field.type), field.required, _default(field))
        for field in _fields(cls)
    )


def make_strategy(cls: type[AnyStrategy], params: Mapping[str, object]) -> AnyStrategy:
    """Return a strategy with its parameters checked and set; nothing is converted but int to float.

    Args:
        cls: A strategy class, as `strategy_class` returns it.
        params: Parameters by name; those left out keep their defaults.

    Raises:
        ConfigError: Parameters are unknown, missing, of the wrong type or out of range, or the
            class refuses them; every problem is listed, each with its field.
    """
    problems = list(_problems(cls, params))
    if problems:
        raise ConfigError(problems)
    try:
        return msgspec.convert(dict(params), cls, strict=True)
    except Exception as error:  # __post_init__ is the user's and may raise anything
        raise ConfigError([_refusal(cls, error)]) from error


def parameters_of(strategy: object) -> dict[str, object]:
    """Return the parameters a strategy works with, defaults included, as JSON-able values."""
    return {
        field.encode_name: msgspec.to_builtins(getattr(strategy, field.name))
        for field in _fields(cast("type", type(strategy)))
    }


@lru_cache(maxsize=64)
def _fields(cls: type) -> tuple[types.Field, ...]:
    described = types.type_info(cls)
    if not isinstance(described, (types.StructType, types.DataclassType)):
        raise TypeError(f"{cls.__qualname__} is neither a Strategy nor a dataclass")
    return described.fields


@lru_cache(maxsize=64)
def _hints(cls: type) -> Mapping[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _default(field: types.Field) -> object:
    if field.default_factory is not NODEFAULT:
        return msgspec.to_builtins(field.default_factory())
    return None if field.default is NODEFAULT else msgspec.to_builtins(field.default)


def _problems(cls: type, params: Mapping[str, object]) -> Iterator[Problem]:
    fields = {field.encode_name: field for field in _fields(cls)}
    hints = _hints(cls)
    for name, value in params.items():
        if name not in fields:
            yield _problem(name, _unknown(cls, name, list(fields)))
        elif not _fits(value, hints[fields[name].name]):
            wanted = _type_text(fields[name].type)
            yield _problem(name, f"must be {wanted}, got {reprlib.repr(value)}")
    for name, field in fields.items():
        if field.required and name not in params:
            yield _problem(name, f"is required: {_type_text(field.type)}")


def _problem(name: str, message: str) -> Problem:
    return Problem(message, field=f"strategy.params.{name}" if name else "strategy.params")


def _unknown(cls: type, name: str, known: list[str]) -> str:
    listed = f"it has {', '.join(known)}" if known else "it has none"
    return f"{cls.__name__} has no parameter {name!r}{did_you_mean(str(name), known)}; {listed}"


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of a type and in its range; what is not finite never is."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    try:
        msgspec.convert(value, hint, strict=True)
    except ValidationError:
        return False
    return True


def _refusal(cls: type, error: Exception) -> Problem:
    """Say what ``__post_init__`` said, at the first parameter that it names."""
    cause = error.__cause__ if isinstance(error, ValidationError) and error.__cause__ else error
    message = str(cause)
    if not isinstance(cause, ValueError):
        message = f"{user_place(cause)}: {type(cause).__name__}: {message}"
    names = "|".join(re.escape(field.encode_name) for field in _fields(cls))
    named = re.search(rf"\b({names})\b", message)
    return _problem(named[0] if named else "", message)


def _type_text(described: types.Type) -> str:
    if isinstance(described, types.Metadata):
        return _type_text(described.type)
    if isinstance(described, types.UnionType):
        return " or ".join(map(_type_text, described.types))
    if isinstance(described, types.LiteralType):
        return " or ".join(map(repr, described.values))
    if isinstance(described, types.EnumType):
        return " or ".join(repr(member.value) for member in described.cls)
    return _plain_type_text(described)


def _plain_type_text(described: types.Type) -> str:
    if isinstance(described, types.NoneType):
        return "null"
    name = type(described).__name__.removesuffix("Type").lower()
    if isinstance(described, types.CollectionType):
        name = f"{name} of {_type_text(described.item_type)}"
    bounds = [
        f"{sign} {getattr(described, bound)}"
        for bound, sign in _BOUNDS
        if getattr(described, bound, None) is not None
    ]
    return " ".join((name, " and ".join(bounds))).strip()

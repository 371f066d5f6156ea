"""Conditions and formulas over named values, e.g. ``fast < slow and risk.stop_loss_pct <= 5``.

They are read with Python's grammar but never run as Python: a short list of what may occur is
translated node by node. There are ``and``, ``or``, ``not``, comparisons, ``in`` with a list of
constants, ``+ - * / // %``, dotted names, numbers, text, ``true``, ``false`` and ``null``.

Null, and likewise NaN, is no value: what is calculated from it is null, as is what is divided by
zero, and a comparison with it is not fulfilled, whichever it is. Only ``x == null`` and
``x != null``, with the word itself, ask whether there is a value.
"""

from __future__ import annotations

import ast
import math
import operator
import reprlib
import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeAlias

from admf.containers.tables import listed
from admf.engine.errors import ConfigError, Problem, did_you_mean

__all__ = ["Expression"]

_Values: TypeAlias = Callable[[str], object]
_Rule: TypeAlias = Callable[[_Values], object]
_Relation: TypeAlias = Callable[[Any, Any], bool]
_Operation: TypeAlias = Callable[[Any, Any], float]

_LONGEST: Final = 500
_DEEPEST: Final = 100
_WORDS: Final = {"true": True, "false": False, "null": None}
_ARITHMETIC: Final[dict[type, _Operation]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda left, right: left / right,
    ast.FloorDiv: lambda left, right: left // right,
    ast.Mod: operator.mod,
}


class Expression:
    """A condition or formula; use `parse`.

    Args:
        text: As its user wrote it, 500 characters at most.
        field: Where it stands, for messages.

    Attributes:
        text: As its user wrote it.
        names: The dotted names in it, each once, in the order of their appearance.

    Raises:
        ConfigError: It is too long or too deep, no expression, or holds what is not allowed.
    """

    def __init__(self, text: str, field: str = "") -> None:
        reader = _Reader(text)
        try:
            self._rule = reader.rule(_parse(text))
        except _Mistake as mistake:
            raise ConfigError([Problem(str(mistake), field)]) from None
        self.text = text
        self.names = tuple(reader.names)
        self._field = field

    @classmethod
    def parse(cls, text: str, field: str = "") -> Expression:
        """Read an expression; arguments and errors are those of the class."""
        return cls(text, field)

    def holds(self, values: Callable[[str], object]) -> bool:
        """Whether the condition is fulfilled; null is not.

        Args:
            values: Gives the value of a dotted name.

        Raises:
            ConfigError: Values are ordered or calculated with that are of the wrong type.
        """
        return bool(self.value(values))

    def value(self, values: Callable[[str], object]) -> object:
        """Return what the expression comes to.

        Args:
            values: Gives the value of a dotted name.

        Raises:
            ConfigError: Values are ordered or calculated with that are of the wrong type.
        """
        try:
            return self._rule(values)
        except _Mistake as mistake:
            message = f"{self.text!r} cannot be worked out: {mistake}"
            raise ConfigError([Problem(message, self._field)]) from None

    def check_names(self, known: Collection[str], field: str = "") -> None:
        """Check that every name in it is known.

        Args:
            known: The names that have a value.
            field: Where the expression stands; what `parse` was told by default.

        Raises:
            ConfigError: Names are not known; every one is listed.
        """
        there = f"there are {listed(known)}" if known else "there are none"
        problems = [
            Problem(
                f"{self.text!r} has an unknown name {name!r}{did_you_mean(name, known)}; {there}",
                field or self._field,
            )
            for name in self.names
            if name not in known
        ]
        if problems:
            raise ConfigError(problems)

    def __reduce__(self) -> tuple[type[Expression], tuple[str, str]]:
        return Expression, (self.text, self._field)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


class _Mistake(Exception):  # noqa: N818 - becomes a ConfigError that says where
    """What is wrong with an expression or its values."""


def _parse(text: str) -> ast.expr:
    if len(text) > _LONGEST:
        raise _Mistake(f"has {len(text)} characters; an expression may have {_LONGEST}")
    try:
        with warnings.catch_warnings():  # Python warns of oddities that are refused later
            warnings.simplefilter("ignore")
            return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        reason = f"{error.msg}; write for example: fast < slow and risk.stop_loss_pct <= 5"
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error)
    raise _Mistake(f"{text!r} cannot be read: {reason}")


class _Reader:
    """Translates the nodes of a syntax tree into rules that give their value."""

    def __init__(self, text: str) -> None:
        self.names: dict[str, None] = {}
        self._text = text.strip()

    def rule(self, node: ast.expr, depth: int = 0) -> _Rule:
        if depth > _DEEPEST:
            raise _Mistake(f"{self._text!r} is nested more than {_DEEPEST} deep; simplify it")
        match node:
            case ast.BoolOp(op=operation, values=operands):
                rules = [self.rule(operand, depth + 1) for operand in operands]
                return _all_of(rules) if isinstance(operation, ast.And) else _any_of(rules)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _negation(self.rule(operand, depth + 1))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return _arithmetic(operator.sub, _constant(0), self.rule(operand, depth + 1))
            case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _ARITHMETIC:
                rules = [self.rule(operand, depth + 1) for operand in (left, right)]
                return _arithmetic(_ARITHMETIC[type(operation)], *rules)
            case ast.Compare():
                return self._comparison(node, depth + 1)
            case _:
                return self._leaf(node)

    def _leaf(self, node: ast.expr) -> _Rule:
        constants = _constants([node])
        if constants is not None:
            return _constant(constants[0])
        name = _dotted(node)
        if name is None:
            raise _Mistake(
                f"{self._source(node)} is not allowed in an expression; use names, numbers, text, "
                "and, or, not, comparisons and + - * / // %"
            )
        self.names[name] = None
        return _lookup(name)

    def _comparison(self, node: ast.Compare, depth: int) -> _Rule:
        operands = [node.left, *node.comparators]
        rules = [self.rule(node.left, depth)]
        relations: list[_Relation] = []
        for operation, left, right in zip(node.ops, operands, operands[1:], strict=False):
            is_list = isinstance(operation, (ast.In, ast.NotIn))
            rules.append(self._choices(right) if is_list else self.rule(right, depth))
            relation = _RELATIONS.get(type(operation))
            if relation is None:
                raise _Mistake(f"'is' is not allowed in {self._text!r}; use == or !=")
            asks_for_null = (None,) in (_constants([left]), _constants([right]))
            plain = asks_for_null and isinstance(operation, (ast.Eq, ast.NotEq))
            relations.append(relation if plain else _unless_null(relation))
        return _chain(rules, relations)

    def _choices(self, node: ast.expr) -> _Rule:
        choices = _constants(node.elts) if isinstance(node, (ast.List, ast.Tuple)) else None
        if choices is None:
            raise _Mistake(
                f"{self._source(node)} cannot stand after 'in'; "
                "write a list of constants, for example ['a', 'b']"
            )
        return _constant(choices)

    def _source(self, node: ast.expr) -> str:
        return repr(ast.get_source_segment(self._text, node))


def _constants(nodes: Sequence[ast.expr]) -> tuple[object, ...] | None:
    """Return the values of nodes that are admitted constants; None if one is something else."""
    found: list[object] = []
    for node in nodes:
        match node:
            case ast.Constant(value=None | str() as value):
                found.append(value)
            case ast.Constant(value=int() | float() as value) if value != math.inf:
                found.append(value)
            case ast.UnaryOp(
                op=ast.USub(), operand=ast.Constant(value=int() | float() as value)
            ) if value != math.inf:
                found.append(-value)
            case ast.Name(id=word) if word in _WORDS:
                found.append(_WORDS[word])
            case _:
                return None
    return tuple(found)


def _dotted(node: ast.expr) -> str | None:
    """Return the name that a node is, if it is one."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _constant(value: object) -> _Rule:
    return lambda _: value


def _lookup(name: str) -> _Rule:
    def rule(values: _Values) -> object:
        value = values(name)
        return None if isinstance(value, float) and math.isnan(value) else value

    return rule


def _all_of(rules: Sequence[_Rule]) -> _Rule:
    return lambda values: all(rule(values) for rule in rules)


def _any_of(rules: Sequence[_Rule]) -> _Rule:
    return lambda values: any(rule(values) for rule in rules)


def _negation(rule: _Rule) -> _Rule:
    return lambda values: not rule(values)


def _arithmetic(operation: _Operation, left_rule: _Rule, right_rule: _Rule) -> _Rule:
    def rule(values: _Values) -> float | None:
        left, right = left_rule(values), right_rule(values)
        if left is None or right is None:
            return None
        for operand in (left, right):
            if not isinstance(operand, (int, float)):
                raise _Mistake(f"{reprlib.repr(operand)} is not a number")
        try:
            result = operation(left, right)
            return result if math.isfinite(result) else None
        except (ZeroDivisionError, OverflowError):
            return None

    return rule


def _chain(rules: Sequence[_Rule], relations: Sequence[_Relation]) -> _Rule:
    """Return the rule of ``a < b < c``: each holds between its neighbours."""

    def rule(values: _Values) -> bool:
        left = rules[0](values)
        for relation, operand in zip(relations, rules[1:], strict=True):
            right = operand(values)
            if not relation(left, right):
                return False
            left = right
        return True

    return rule


def _unless_null(relation: _Relation) -> _Relation:
    return lambda left, right: left is not None and right is not None and relation(left, right)


def _ordered(relation: _Relation) -> _Relation:
    def checked(left: object, right: object) -> bool:
        for kind in ((int, float), str):
            if isinstance(left, kind) and isinstance(right, kind):
                return relation(left, right)
        raise _Mistake(f"{reprlib.repr(left)} and {reprlib.repr(right)} have no order")

    return checked


_RELATIONS: Final[dict[type, _Relation]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: lambda value, choices: value in choices,
    ast.NotIn: lambda value, choices: value not in choices,
}

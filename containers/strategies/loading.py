"""From the name in an experiment to a strategy class that is known to fit."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

import msgspec

from admf.containers.strategies.parameters import (
    AnyStrategy,
    Parameter,
    parameters,
    parameters_of,
)
from admf.containers.strategies.user_code import Place, import_user_class, user_place
from admf.containers.times import iso_utc
from admf.engine.errors import ConfigError, Problem, UserCodeError
from admf.engine.registry import Registry

__all__ = [
    "StrategyDescription",
    "describe_strategies",
    "strategy_class",
    "strategy_problem",
    "user_error",
]

_GROUP = "strategies"
_FIELD = "strategy.type"
_SIGNATURES: Mapping[str, str] = MappingProxyType(
    {
        "on_bar": "on_bar(self, bar, ctx)",
        "targets": "targets(self, bars, features)",
    }
)


class StrategyDescription(msgspec.Struct, frozen=True):
    """What there is to know about a strategy before using it."""

    name: str
    summary: str
    parameters: tuple[Parameter, ...]


def strategy_class(
    name: str, registry: Registry, *, search_path: Path | None = None
) -> type[AnyStrategy]:
    """Return the class that an experiment's ``strategy.type`` names.

    Args:
        name: A registered name, or ``package.module:Class``.
        registry: The strategies known by name.
        search_path: Folder in which the user's module may lie, usually that of the experiment file;
            see `import_user_module`.

    Raises:
        ConfigError: Nothing has this name, the user's module cannot be imported, or the class is
            not a strategy; the field of the problem is ``strategy.type``.
    """
    try:
        cls = import_user_class(name, search_path) if ":" in name else registry.get(_GROUP, name)
    except ConfigError as error:
        raise ConfigError([Problem(it.message, _FIELD) for it in error.problems]) from error
    problem = strategy_problem(cls)
    if problem:
        raise ConfigError([Problem(f"strategy {name!r} {problem}", _FIELD)])
    return cast("type[AnyStrategy]", cls)


def strategy_problem(plugin: object) -> str:
    """Return what keeps an object from being a strategy class, or an empty string.

    It finds what a mistyped method or parameter would otherwise only show in a run; to be used as
    the registry's check of the group ``strategies``.
    """
    if not isinstance(plugin, type):
        return "is not a class"
    methods = [method for method in _SIGNATURES if callable(getattr(plugin, method, None))]
    if len(methods) != 1:
        wanted = " or ".join(_SIGNATURES.values())
        return f"needs exactly one of {wanted}, but has {'both' if methods else 'neither'}"
    problem = _method_problem(plugin, methods[0])
    if problem:
        return problem
    try:
        parameters(plugin)
    except Exception as error:  # noqa: BLE001 - evaluates the user's annotations and defaults
        return f"has parameters that cannot be used: {error}"
    return ""


def describe_strategies(registry: Registry) -> list[StrategyDescription]:
    """Return the registered strategies, sorted by name."""
    described: list[StrategyDescription] = []
    for name in registry.names(_GROUP):
        cls = strategy_class(name, registry)
        summary = inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]
        described.append(StrategyDescription(name, summary, parameters(cls)))
    return described


def user_error(
    error: BaseException, strategy: object, *, symbol: str, ts: int | None = None
) -> UserCodeError:
    """Return what is to be raised (``from error``) when a strategy's own code raised.

    Args:
        error: What it raised.
        strategy: The strategy.
        symbol: Symbol of the bar, or of the bars.
        ts: Time of the bar, ns UTC; None if the strategy was working on the whole window.
    """
    cls = type(strategy)
    place = user_place(error, _home(cls))
    bar = symbol if ts is None else f"{symbol} {iso_utc(ts)}"
    params = ", ".join(f"{name}={value}" for name, value in parameters_of(strategy).items())
    message = (
        f"{place}: {type(error).__name__}: {error} "
        f"(strategy {cls.__name__}, {'bars of' if ts is None else 'bar'} {bar}, "
        f"parameters {params or 'none'})"
    )
    return UserCodeError(message, file=place.file, line=place.line)


def _home(cls: type) -> Place | None:
    """Return where the method that makes a class a strategy begins."""
    methods = (inspect.unwrap(getattr(cls, name)) for name in _SIGNATURES if hasattr(cls, name))
    codes = [method.__code__ for method in methods if inspect.isfunction(method)]
    return Place(codes[0].co_filename, codes[0].co_firstlineno) if codes else None


def _method_problem(cls: type, method: str) -> str:
    function = getattr(cls, method)
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        return f"has a {method} that is no plain function; needed is def {_SIGNATURES[method]}"
    signature = inspect.signature(function)
    try:
        signature.bind(None, None, None)
    except TypeError:
        return f"has {method}{signature}; needed is {_SIGNATURES[method]}"
    return ""

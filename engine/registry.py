"""The registry of plug-ins: explicit, passed in, filled by hand and from entry points."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from admf.engine.errors import RegistryError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["ENTRY_POINT_PREFIX", "GROUPS", "Check", "Registry", "needs_method"]

GROUPS = (
    "strategies",
    "sequences",
    "workflows",
    "topologies",
    "containers",
    "retention",
    "brokers",
)

ENTRY_POINT_PREFIX = "admf."
"""The plug-ins of group ``strategies`` are the entry points of group ``admf.strategies``."""

Check: TypeAlias = Callable[[object], str]
"""Returns what keeps an object from being a plug-in of its group, or an empty string."""


class Registry:
    """Plug-ins by group and name; those from entry points are imported when first asked for."""

    def __init__(self) -> None:
        self._plugins: dict[str, dict[str, object]] = {group: {} for group in GROUPS}
        self._checks: dict[str, Check] = {
            "topologies": needs_method("build", "builder"),
            "containers": _is_callable,
            "retention": _is_callable,
            "brokers": _is_callable,
        }
        self._entry_points: dict[str, dict[str, EntryPoint]] = {group: {} for group in GROUPS}

    def define_group(self, group: str, check: Check) -> None:
        """Say what a plug-in of a group must look like; adds the group if it is new.

        Raises:
            RegistryError: A plug-in that is registered already does not look like that.
        """
        self._checks[group] = check
        self._entry_points.setdefault(group, {})
        for name, plugin in self._plugins.setdefault(group, {}).items():
            self._check(group, name, plugin)

    def register(self, group: str, name: str, plugin: object) -> None:
        """Add a plug-in.

        Raises:
            RegistryError: The group is unknown, the name is taken, or the plug-in does not look
                like one of its group.
        """
        self._known(group)
        if name in self.names(group):
            raise RegistryError(
                f"{group} {name!r} is taken by {self._origin(group, name)}; "
                f"register {_describe(plugin)} under another name"
            )
        self._check(group, name, plugin)
        self._plugins[group][name] = plugin

    def load_entry_points(self) -> None:
        """Take note of the plug-ins of all installed distributions, without importing them.

        Raises:
            RegistryError: Two distributions use one name in one group, or a name is taken.
        """
        from importlib.metadata import entry_points  # costs more to import than all of this module

        found = entry_points()
        for group in self._plugins:
            for entry_point in found.select(group=ENTRY_POINT_PREFIX + group):
                self._note(group, entry_point)

    def names(self, group: str) -> tuple[str, ...]:
        """Return the names of a group, sorted.

        Raises:
            RegistryError: The group is unknown.
        """
        return tuple(sorted(self._known(group).keys() | self._entry_points[group].keys()))

    def get(self, group: str, name: str) -> Any:
        """Return a plug-in, importing it if it comes from an entry point.

        Raises:
            RegistryError: The group or the name is unknown, the plug-in cannot be imported, or it
                does not look like one of its group.
        """
        plugins = self._known(group)
        if name not in plugins:
            plugins[name] = self._import(group, name)
        return plugins[name]

    def _known(self, group: str) -> dict[str, object]:
        try:
            return self._plugins[group]
        except KeyError:
            hint = did_you_mean(group, self._plugins)
            known = ", ".join(self._plugins)
            raise RegistryError(
                f"unknown group {group!r} of plug-ins{hint}; known are {known}"
            ) from None

    def _note(self, group: str, entry_point: EntryPoint) -> None:
        name = entry_point.name
        noted = self._entry_points[group]
        if name not in self._plugins[group]:
            noted.setdefault(name, entry_point)
        known = noted.get(name)
        if known is None or not _same(known, entry_point):
            raise RegistryError(
                f"{group} {name!r} of {_distribution(entry_point)} is taken by "
                f"{self._origin(group, name)}; uninstall or rename one of them"
            )

    def _import(self, group: str, name: str) -> object:
        entry_point = self._entry_points[group].get(name)
        if entry_point is None:
            known = self.names(group)
            listed = ", ".join(known) or "none"
            raise RegistryError(
                f"unknown name {name!r} in {group}{did_you_mean(name, known)}; known are {listed}"
            )
        try:
            plugin: object = entry_point.load()
        except Exception as error:  # the module is foreign code
            raise RegistryError(
                f"{group} {name!r} cannot be imported: entry point {entry_point.value!r} of "
                f"{_distribution(entry_point)} raised {type(error).__name__}: {error}"
            ) from error
        self._check(group, name, plugin)
        return plugin

    def _check(self, group: str, name: str, plugin: object) -> None:
        problem = self._checks[group](plugin) if group in self._checks else ""
        if problem:
            raise RegistryError(f"{group} {name!r}: {_describe(plugin)} {problem}")

    def _origin(self, group: str, name: str) -> str:
        entry_point = self._entry_points[group].get(name)
        if entry_point is not None:
            return f"{entry_point.value} of {_distribution(entry_point)}"
        return _describe(self._plugins[group][name])


def needs_method(method: str, *parameters: str) -> Check:
    """Return a check for objects, or classes of objects, with a method of these parameters."""

    def check(plugin: object) -> str:
        function = getattr(plugin, method, None)
        wanted = f"{method}({', '.join(parameters)})"
        if not callable(function):
            return f"has no method {wanted}"
        is_unbound = inspect.isclass(plugin) and inspect.isfunction(
            inspect.getattr_static(plugin, method)
        )
        signature = inspect.signature(function)
        try:
            signature.bind(*(["self"] if is_unbound else []), *parameters)
        except TypeError:
            return f"has {method}{signature}, which cannot be called as {wanted}"
        return ""

    return check


def _is_callable(plugin: object) -> str:
    return "" if callable(plugin) else "is not callable"


def _same(one: EntryPoint, other: EntryPoint) -> bool:
    if one is other:  # as nearly always; names of distributions have to be read from their files
        return True
    return (one.value, _distribution(one)) == (other.value, _distribution(other))


def _distribution(entry_point: EntryPoint) -> str:
    found = entry_point.dist
    return f"{found.name} {found.version}" if found is not None else "an unknown distribution"


def _describe(plugin: object) -> str:
    if not (inspect.isclass(plugin) or inspect.isroutine(plugin)):
        plugin = type(plugin)
    return f"{plugin.__module__}.{plugin.__qualname__}"

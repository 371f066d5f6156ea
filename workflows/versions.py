"""Versions of what results depend on."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from types import MappingProxyType

from admf.sequences.phase import ResolvedPhase

__all__ = ["installed_versions"]

_LIBRARIES = ("admf", "anyio", "msgspec", "numpy", "polars", "TA-Lib", "zstandard")

_OF_SEARCH: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"sobol": ("scipy",), "bayesian": ("optuna", "scipy")}
)


def installed_versions(phases: Iterable[ResolvedPhase]) -> dict[str, str]:
    """Return the versions of what the results of phases depend on."""
    methods = dict.fromkeys(phase.settings.search.method for phase in phases)
    names = [*_LIBRARIES, *(it for method in methods for it in _OF_SEARCH.get(method, ()))]
    found = {name: version(name) for name in dict.fromkeys(names)}
    return {"python": platform.python_version(), **found}

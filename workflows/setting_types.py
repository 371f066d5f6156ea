"""The types of settings by their dotted names: ``risk.stop_loss_pct``."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import msgspec

from admf.sequences.lanes import SETTING_SECTIONS
from admf.sequences.settings import PhaseSettings

__all__ = ["fits", "searchable_settings", "setting_exists", "setting_type"]


def fits(value: object, annotation: Any) -> bool:
    """Whether a value is of a type and within its limits; nothing is converted but int to float."""
    try:
        msgspec.convert(value, annotation, strict=True)
    except msgspec.ValidationError:
        return False
    return True


def setting_exists(name: str) -> bool:
    """Whether a dotted name is a setting of a phase, or a part of one."""
    return setting_type(PhaseSettings, tuple(name.split("."))) is not None


def searchable_settings() -> dict[str, Any]:
    """Return the settings that a parameter space may reach into, with their types."""
    found: dict[str, Any] = {}
    for section, cls in SETTING_SECTIONS.items():
        _collect(cls, section, found)
    return found


def setting_type(cls: type[msgspec.Struct], path: tuple[str, ...]) -> Any:
    """Return the type of a field within a Struct; None if there is no such field.

    Args:
        cls: The Struct.
        path: Names of fields; below a mapping any name goes.
    """
    annotation: Any = get_type_hints(cls, include_extras=True).get(path[0])
    if annotation is None or len(path) == 1:
        return annotation
    inner = _struct_of(annotation)
    if inner is not None:
        return setting_type(inner, path[1:])
    return Any if _is_mapping(annotation) and len(path) == 2 else None


def _collect(cls: type[msgspec.Struct], name: str, found: dict[str, Any]) -> None:
    for field, annotation in get_type_hints(cls, include_extras=True).items():
        inner = _struct_of(annotation)
        if inner is None:
            found[f"{name}.{field}"] = annotation
        else:
            _collect(inner, f"{name}.{field}", found)


def _struct_of(annotation: Any) -> type[msgspec.Struct] | None:
    """Return the Struct that a type is, or may be besides null."""
    for option in (annotation, *get_args(annotation)):
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option
    return None


def _is_mapping(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is dict

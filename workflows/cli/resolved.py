"""The settings of phases for people: value by value, and where each comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table
from rich.text import Text

from admf.sequences.phase import ResolvedPhase
from admf.workflows.cli.rendering import table
from admf.workflows.resolution import DEFAULT, ResolvedSetting
from admf.workflows.sequence_checks import SEQUENCE_OPTIONS, inner_sequences

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["settings_tables"]


def settings_tables(
    phases: Sequence[ResolvedPhase], settings: Mapping[str, Sequence[ResolvedSetting]]
) -> Iterator[RenderableType]:
    """Yield a table for each phase.

    The options of sequences that a phase does not run are left out, unless somebody sets them.

    Args:
        phases: The phases.
        settings: Their settings by the name of the phase.
    """
    for phase in phases:
        if phase is not phases[0]:
            yield Text("")
        yield Text(phase.name, "bold")
        yield _table(phase, settings[phase.name])


def _table(phase: ResolvedPhase, settings: Sequence[ResolvedSetting]) -> Table:
    running = inner_sequences(phase.sequence, phase.settings)
    rows = table("Setting", "Value", "From")
    for setting in settings:
        section = setting.name.partition(".")[0]
        is_idle = section in SEQUENCE_OPTIONS and section not in running
        if not (is_idle and setting.origin == DEFAULT):
            rows.add_row(f"  {setting.name}", _value(setting.value), setting.origin)
    return rows


def _value(value: Any) -> str:
    """Return a value as it stands in a file."""
    if isinstance(value, str):
        return value
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()

"""A phase of a workflow: what the workflow says of it, and what is run in the end."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from admf.sequences.settings import PhaseOptions, PhaseSettings

__all__ = ["PhaseConfig", "ResolvedPhase"]


class PhaseConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of a workflow, with the settings that the workflow chooses.

    Args:
        name: Names the phase and its folder.
        sequence: Registered name of the pattern that cuts the phase into execution windows.
        topology: Registered name of the topology of its windows.
        description: One line for people.
        config: The workflow's choices; users override them.
        input: What the phase takes from phases before it: by setting, a reference such as
            ``{parameter_search.held_out}``. The name ``parameters`` stands for the parameter set,
            or sets, that the phase uses in place of searching its parameter space.
        output: Which of its results the run hands back under ``output``.
        depends_on: Names of the phases that must have succeeded before.
        when: Condition on the results of phases before it; if it does not hold, the phase is
            skipped.
    """

    name: str
    sequence: str
    topology: str = "backtest"
    description: str = ""
    config: PhaseOptions = PhaseOptions()
    input: Mapping[str, str] = {}
    output: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    when: str | None = None


class ResolvedPhase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A phase with every setting decided; see `PhaseConfig`."""

    name: str
    sequence: str
    topology: str
    description: str
    settings: PhaseSettings
    input: Mapping[str, str] = {}
    output: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    when: str | None = None

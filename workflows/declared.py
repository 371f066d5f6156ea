"""The workflow that an experiment brings along: its phases stand in the file."""

from __future__ import annotations

from collections.abc import Mapping

from admf.sequences.phase import PhaseConfig
from admf.workflows.experiment import DeclaredPhase, Experiment

__all__ = ["DeclaredWorkflow"]


class DeclaredWorkflow:
    """Runs the phases in an experiment's section ``phases``."""

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:
        """Return the phases, without their settings: those override the experiment's own ones."""
        return {name: _phase(name, declared) for name, declared in config.phases.items()}


def _phase(name: str, declared: DeclaredPhase) -> PhaseConfig:
    return PhaseConfig(
        name=name,
        sequence=declared.sequence,
        topology=declared.topology,
        description=declared.description,
        input=declared.inputs,
        output=declared.output,
        depends_on=declared.depends_on,
        when=declared.when,
    )

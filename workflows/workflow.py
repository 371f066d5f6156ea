"""What a workflow is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from admf.sequences.phase import PhaseConfig
from admf.workflows.experiment import Experiment

__all__ = ["Workflow"]


class Workflow(Protocol):
    """A study: an ordered set of phases."""

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:
        """Return the phases of an experiment by name, in the order in which they run.

        The workflow chooses what the experiment leaves open.
        """
        ...

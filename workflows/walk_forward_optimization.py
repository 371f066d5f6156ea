"""The workflow ``walk_forward_optimization``: search again and again as time goes by."""

from __future__ import annotations

from collections.abc import Mapping

from admf.sequences.phase import PhaseConfig
from admf.workflows.experiment import Experiment
from admf.workflows.standard_phases import StandardPhaseConfigs

__all__ = ["WalkForwardOptimization"]


class WalkForwardOptimization:
    """Searches each training window, tests the best on the window after it, stitches the tests.

    Phases: ``walk_forward``.
    """

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:  # noqa: ARG002 - every experiment has the same
        """Return the phase."""
        phase = StandardPhaseConfigs.optimization_phase(
            "walk_forward",
            sequence="walk_forward",
            description="Searches each training window and tests the best on the window after it",
            output=("out_of_sample", "trials", "report"),
        )
        return {phase.name: phase}

"""The workflow ``robustness``: how much of the best result is luck."""

from __future__ import annotations

from collections.abc import Mapping

from admf.sequences.phase import PhaseConfig
from admf.workflows.experiment import Experiment
from admf.workflows.standard_phases import StandardPhaseConfigs

__all__ = ["Robustness"]


class Robustness:
    """Searches the parameter space, then lets chance change what the best parameters did.

    Phases: ``parameter_search``, then ``monte_carlo`` over all of the data.
    """

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:  # noqa: ARG002 - every experiment has the same
        """Return the two phases."""
        phases = (
            StandardPhaseConfigs.optimization_phase("parameter_search"),
            StandardPhaseConfigs.monte_carlo_phase(
                "monte_carlo",
                input={"parameters": "{parameter_search.best_parameters}"},
                depends_on=("parameter_search",),
            ),
        )
        return {phase.name: phase for phase in phases}

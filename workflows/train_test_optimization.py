"""The workflow ``train_test_optimization``: search on one part of the data, judge on the rest."""

from __future__ import annotations

from collections.abc import Mapping

from admf.sequences.phase import PhaseConfig
from admf.workflows.experiment import Experiment
from admf.workflows.standard_phases import StandardPhaseConfigs

__all__ = ["TrainTestOptimization"]


class TrainTestOptimization:
    """Searches the parameter space on the first part of the data, validates the best on the rest.

    Phases: ``parameter_search``, then ``validation`` on the part that was held out.
    """

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:  # noqa: ARG002 - every experiment has the same
        """Return the two phases."""
        phases = (
            StandardPhaseConfigs.optimization_phase("parameter_search"),
            StandardPhaseConfigs.validation_phase(
                "validation",
                input={
                    "parameters": "{parameter_search.best_parameters}",
                    "data_range": "{parameter_search.held_out}",
                },
                depends_on=("parameter_search",),
            ),
        )
        return {phase.name: phase for phase in phases}

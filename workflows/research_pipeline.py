"""The workflow ``research_pipeline``: search, doubt, and a last look at data nobody has seen."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET

from admf.engine.errors import ConfigError, Problem
from admf.sequences.phase import PhaseConfig
from admf.sequences.settings import DataRange
from admf.workflows.experiment import Experiment
from admf.workflows.standard_phases import StandardPhaseConfigs

__all__ = ["ResearchPipeline"]

_SEEN = DataRange(end=0.8)
_UNSEEN = DataRange(start=0.8)


class ResearchPipeline:
    """Searches, walks forward and simulates on the first 80 % of the data, then tests on the rest.

    Phases: ``parameter_search``, ``walk_forward``, ``monte_carlo`` and ``final_validation``, whose
    data none of the others saw.
    """

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:
        """Return the four phases.

        Raises:
            ConfigError: The experiment divides the data itself.
        """
        if config.data_range is not UNSET:
            message = (
                "research_pipeline holds back the last fifth of the data itself; "
                "limit all of it with data.start and data.end"
            )
            raise ConfigError([Problem(message, "data_range")])
        best = {"parameters": "{parameter_search.best_parameters}"}
        phases = (
            StandardPhaseConfigs.optimization_phase("parameter_search", data_range=_SEEN),
            StandardPhaseConfigs.optimization_phase(
                "walk_forward",
                sequence="walk_forward",
                description="Searches each training window and tests the best on the one after it",
                data_range=_SEEN,
                output=("out_of_sample", "trials", "report"),
                depends_on=("parameter_search",),
            ),
            StandardPhaseConfigs.monte_carlo_phase(
                "monte_carlo", data_range=_SEEN, input=best, depends_on=("walk_forward",)
            ),
            StandardPhaseConfigs.validation_phase(
                "final_validation", data_range=_UNSEEN, input=best, depends_on=("monte_carlo",)
            ),
        )
        return {phase.name: phase for phase in phases}

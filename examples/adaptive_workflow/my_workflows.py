"""A workflow that searches coarsely, and then again around what it has found."""

from collections.abc import Mapping

import msgspec

from admf.sequences import PhaseConfig
from admf.sequences.config import ParameterRange
from admf.workflows import Experiment, RunResult

SMALLEST_STEP = 2


class AdaptiveGrid:
    """Searches a grid; each further iteration halves its steps around the best point so far."""

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:
        search = PhaseConfig(
            name="search", sequence="parameter_sweep", output=("best_parameters", "best_objective")
        )
        return {search.name: search}

    def should_continue(self, result: RunResult, iteration: int) -> bool:
        return all(phase.success for phase in result.phases.values())

    def modify_config_for_next(
        self, config: Experiment, result: RunResult, iteration: int
    ) -> Experiment:
        best = list(result.phases.values())[-1].output["best_parameters"]
        space = {
            name: narrowed(dimension, best[name])
            for name, dimension in config.parameter_space.items()
        }
        return msgspec.structs.replace(config, parameter_space=space)


def narrowed(dimension: ParameterRange, best: int) -> ParameterRange:
    step = max(SMALLEST_STEP, dimension.step // 2)
    return ParameterRange(min=max(2, best - step), max=best + step, step=step)

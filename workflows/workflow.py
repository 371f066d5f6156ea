"""What a workflow is, and what it may do besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from admf.sequences.phase import PhaseConfig
from admf.workflows.experiment import Experiment

__all__ = ["BranchingWorkflow", "IteratingWorkflow", "Workflow"]


class Workflow(Protocol):
    """A study: an ordered set of phases."""

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:
        """Return the phases of an experiment by name.

        They run in this order, except that a phase runs after those that it depends on. What a
        phase's ``config`` leaves open, and what it sets, is for the experiment to override; the
        workflow need not look at the experiment's settings itself.

        Args:
            config: The experiment, with what its file leaves out unset.
        """
        ...


@runtime_checkable
class IteratingWorkflow(Protocol):
    """A workflow that runs again, changed by what it has found; its phases come each time anew.

    It never runs more often than the experiment's ``max_iterations``.
    """

    def should_continue(self, result: Any, iteration: int) -> bool:
        """Whether the phases are to run once more.

        Args:
            result: What the phases have found, as the run hands it back.
            iteration: How often they have run.
        """
        ...

    def modify_config_for_next(self, config: Experiment, result: Any, iteration: int) -> Experiment:
        """Return the experiment of the next iteration.

        Args:
            config: The experiment of this one.
            result: What its phases have found.
            iteration: How often they have run.
        """
        ...


@runtime_checkable
class BranchingWorkflow(Protocol):
    """A workflow that goes on in several directions once its phases have run."""

    def get_branches(self, result: Any) -> Mapping[str, Experiment]:
        """Return the experiments that follow, by the name of the branch.

        Args:
            result: What the phases have found, as the run hands it back.
        """
        ...

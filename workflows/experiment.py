"""The experiment: what an experiment file says, as one typed value."""

from __future__ import annotations

import msgspec

from admf.containers.config import DataConfig, PositiveInt
from admf.sequences.settings import PhaseOptions

__all__ = ["DeclaredPhase", "Experiment"]


class DeclaredPhase(PhaseOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A phase of a workflow that is written in the experiment, with settings of its own.

    Args:
        sequence: Pattern that cuts the phase into execution windows, e.g. ``walk_forward``.
        topology: Which containers its windows have.
        description: One line for people.
        depends_on: Phases that must have succeeded before. Those that inputs and the condition name
            are added.
        inputs: What the phase takes from phases before it, by setting: references such as
            ``"{parameter_search.held_out}"``. The name ``parameters`` stands for the parameter set,
            or sets, that the phase uses in place of searching.
        output: Which of its results the run hands back.
        when: Condition on the results of phases before it, e.g.
            ``parameter_search.best.sharpe_ratio > 0.5``; if it does not hold, the phase is skipped.
    """

    sequence: str
    topology: str = "backtest"
    description: str = ""
    depends_on: tuple[str, ...] = ()
    inputs: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    output: tuple[str, ...] = ()
    when: str | None = None


class Experiment(PhaseOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One study: which workflow runs, on which data, and what it overrides of the workflow.

    The settings of `PhaseOptions` apply to every phase; those that are left out are the workflow's
    to choose.

    Args:
        workflow: The study to run, e.g. ``train_test_optimization``; with ``phases``, its name.
        data: The market data, and which part of it is used.
        phase_overrides: Settings of single phases, by the name of the phase.
        phases: The phases of a workflow that is written here, by name, in place of an installed
            one.
        results_dir: Folder of the results below the results root; null takes the workflow's name.
        max_iterations: Times at most that a workflow which asks for more may run its phases.
        strict: Treat unknown event names as errors instead of warnings.
    """

    workflow: str
    data: DataConfig = msgspec.field()  # required, other than in the base
    phase_overrides: dict[str, PhaseOptions] = msgspec.field(
        default_factory=dict[str, PhaseOptions]
    )
    phases: dict[str, DeclaredPhase] = msgspec.field(default_factory=dict[str, DeclaredPhase])
    results_dir: str | None = None
    max_iterations: PositiveInt = 10
    strict: bool = False

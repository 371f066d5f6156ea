"""Workflows: user-facing studies, the experiment file, the runner and the command line."""

from __future__ import annotations

from admf.workflows.experiment import Experiment
from admf.workflows.loading import LoadedExperiment, experiment_from_mapping, load_experiment
from admf.workflows.outcome import PhaseData, PhaseResult, PhaseSummary, RunResult
from admf.workflows.progress import RunProgress
from admf.workflows.run import Run
from admf.workflows.runner import Runner
from admf.workflows.scripting import run, run_async
from admf.workflows.standard_phases import StandardPhaseConfigs
from admf.workflows.workflow import BranchingWorkflow, IteratingWorkflow, Workflow

__all__ = [
    "BranchingWorkflow",
    "Experiment",
    "IteratingWorkflow",
    "LoadedExperiment",
    "PhaseData",
    "PhaseResult",
    "PhaseSummary",
    "Run",
    "RunProgress",
    "RunResult",
    "Runner",
    "StandardPhaseConfigs",
    "Workflow",
    "experiment_from_mapping",
    "load_experiment",
    "run",
    "run_async",
]

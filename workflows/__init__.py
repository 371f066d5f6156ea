"""Workflows: user-facing studies, the experiment file, the runner and the command line."""

from __future__ import annotations

from admf.workflows.experiment import Experiment
from admf.workflows.loading import LoadedExperiment, experiment_from_mapping, load_experiment
from admf.workflows.outcome import PhaseResult, PhaseSummary, Progress, RunResult
from admf.workflows.run import Run
from admf.workflows.runner import Runner, run, run_async
from admf.workflows.workflow import Workflow

__all__ = [
    "Experiment",
    "LoadedExperiment",
    "PhaseResult",
    "PhaseSummary",
    "Progress",
    "Run",
    "RunResult",
    "Runner",
    "Workflow",
    "experiment_from_mapping",
    "load_experiment",
    "run",
    "run_async",
]

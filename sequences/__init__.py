"""Sequences: how a phase is cut into execution windows, and how parameters are searched."""

from __future__ import annotations

from admf.sequences.executor import InlineExecutor, WindowExecutor, WindowObserver
from admf.sequences.outcome import Outcome, TrialCounts
from admf.sequences.phase import PhaseConfig, ResolvedPhase
from admf.sequences.phase_run import RunOfPhase
from admf.sequences.sequence import Sequence
from admf.sequences.sequencer import PhaseEnd, Sequencer
from admf.sequences.settings import DataRange, PhaseOptions, PhaseSettings
from admf.sequences.stretch import Candidate, Stretch

__all__ = [
    "Candidate",
    "DataRange",
    "InlineExecutor",
    "Outcome",
    "PhaseConfig",
    "PhaseEnd",
    "PhaseOptions",
    "PhaseSettings",
    "ResolvedPhase",
    "RunOfPhase",
    "Sequence",
    "Sequencer",
    "Stretch",
    "TrialCounts",
    "WindowExecutor",
    "WindowObserver",
]

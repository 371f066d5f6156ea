"""Sequences: how a phase is cut into execution windows."""

from __future__ import annotations

from admf.sequences.phase import PhaseConfig
from admf.sequences.sequencer import RunWindow, Sequence, Sequencer, WindowObserver
from admf.sequences.single_pass import SinglePass

__all__ = ["PhaseConfig", "RunWindow", "Sequence", "Sequencer", "SinglePass", "WindowObserver"]

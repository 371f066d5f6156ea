"""The sequence ``single_pass``: all of the data, once."""

from __future__ import annotations

from admf.sequences.phase import PhaseConfig
from admf.sequences.sequencer import RunWindow

__all__ = ["SinglePass"]


class SinglePass:
    """Runs a phase as one execution window."""

    async def run(self, phase: PhaseConfig, workflow_id: str, run_window: RunWindow) -> None:
        """Run the window."""
        await run_window(phase.window(workflow_id))

"""A phase of a workflow, with every setting decided."""

from __future__ import annotations

import msgspec

from admf.containers.config import BacktestConfig
from admf.engine.retention import TracingConfig
from admf.engine.window import ResultsStorage, WindowSpec

__all__ = ["PhaseConfig"]


class PhaseConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one phase runs, and how.

    Args:
        name: Names the phase and its folder.
        description: One line for people.
        sequence: Registered name of the pattern that cuts the phase into execution windows.
        topology: Registered name of the topology of its windows.
        config: Settings of the topology.
        tracing: What containers trace, and how much of it they keep.
        results_storage: Whether results are written to files or only returned.
        seed: Root of the phase's randomness.
    """

    name: str
    description: str
    sequence: str
    topology: str
    config: BacktestConfig
    tracing: TracingConfig
    results_storage: ResultsStorage = "disk"
    seed: int = 0

    def window(self, workflow_id: str, window_id: str = "") -> WindowSpec:
        """Return the spec of one of the phase's windows.

        Args:
            workflow_id: The study.
            window_id: Names the window; empty if it is the phase's only one.
        """
        return WindowSpec(
            workflow_id=workflow_id,
            phase_name=self.name,
            window_id=window_id,
            topology=self.topology,
            config=msgspec.Raw(msgspec.json.encode(self.config)),
            tracing=self.tracing,
            results_storage=self.results_storage,
            seed=self.seed,
        )

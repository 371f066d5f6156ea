"""The workflow ``simple_backtest``: one strategy, one pass over the data."""

from __future__ import annotations

from collections.abc import Mapping

from admf.sequences.phase import PhaseConfig
from admf.sequences.settings import PhaseOptions
from admf.workflows.experiment import Experiment

__all__ = ["SimpleBacktest"]


class SimpleBacktest:
    """Runs the strategy once over all of the data, in the one phase ``backtest``."""

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:  # noqa: ARG002 - every experiment has the same
        """Return the phase, with trades and equity curve traced."""
        phase = PhaseConfig(
            name="backtest",
            sequence="single_pass",
            description="One pass over the data with the parameters given",
            config=PhaseOptions(
                event_tracing=("POSITION_OPEN", "POSITION_CLOSE", "FILL", "PORTFOLIO_UPDATE"),
                retention_policy="trade_complete",
                results_storage="disk",
            ),
            output=("metrics",),
        )
        return {phase.name: phase}

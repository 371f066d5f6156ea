"""The workflow ``simple_backtest``: one strategy, one pass over the data."""

from __future__ import annotations

from collections.abc import Mapping

from admf.containers.config import BacktestConfig, LaneConfig
from admf.engine.retention import TracingConfig
from admf.sequences.phase import PhaseConfig
from admf.workflows.experiment import Experiment

__all__ = ["SimpleBacktest"]

EVENT_TRACING = ("POSITION_OPEN", "POSITION_CLOSE", "FILL", "PORTFOLIO_UPDATE")


class SimpleBacktest:
    """Runs the strategy once over all of the data, in the one phase ``backtest``."""

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:
        """Return the phase, with trades and equity curve traced unless the experiment says else."""
        lane = LaneConfig(
            lane_id="001",
            strategy=config.strategy,
            portfolio=config.portfolio,
            risk=config.risk,
            execution=config.execution,
            seed=config.seed,
        )
        backtest = BacktestConfig(
            data=config.data,
            lanes=(lane,),
            block_size=config.block_size,
            periods_per_year=config.periods_per_year,
            benchmark=config.benchmark,
        )
        phase = PhaseConfig(
            name="backtest",
            description="One pass over the data with the parameters given",
            sequence="single_pass",
            topology="backtest",
            config=backtest,
            tracing=TracingConfig(
                event_tracing=EVENT_TRACING
                if config.event_tracing is None
                else config.event_tracing,
                retention_policy=config.retention_policy or "trade_complete",
                sliding_window_size=config.sliding_window_size,
            ),
            results_storage=config.results_storage or "disk",
            seed=config.seed,
        )
        return {phase.name: phase}

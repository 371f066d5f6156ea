"""The experiment: what an experiment file says, as one typed value."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from admf.containers.config import (
    DataConfig,
    ExecutionConfig,
    Identifier,
    PortfolioConfig,
    PositiveFloat,
    PositiveInt,
    RiskConfig,
    StrategyConfig,
)

__all__ = ["Experiment", "Seed"]

Seed: TypeAlias = Annotated[int, Meta(ge=0)]


class Experiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One study: which workflow runs, on which data, with which strategy, costs and limits.

    Args:
        workflow: The study to run, e.g. ``simple_backtest``.
        data: The market data, and which part of it is used.
        strategy: The strategy and its parameters.
        portfolio: Starting capital and the size of positions.
        risk: Protective orders and limits.
        execution: How orders fill, and what that costs.
        event_tracing: Names of the events to trace; null leaves the choice to the workflow.
        retention_policy: Which traced events are kept: ``trade_complete``, ``sliding_window`` or
            ``minimal``; null leaves the choice to the workflow.
        sliding_window_size: Events of each type that ``sliding_window`` keeps.
        results_storage: ``disk`` writes result files, ``memory`` returns results only; null leaves
            the choice to the workflow.
        results_dir: Folder of the results below the results root; null takes the workflow's name.
        seed: Seed of everything random in the study.
        block_size: Time steps that are handled at once; results do not depend on it.
        periods_per_year: Periods a year for annualised metrics; null takes them from the data.
        benchmark: Symbol that alpha, beta and the information ratio are measured against.
        strict: Treat unknown event names as errors instead of warnings.
    """

    workflow: str
    data: DataConfig
    strategy: StrategyConfig
    portfolio: PortfolioConfig = PortfolioConfig()
    risk: RiskConfig = RiskConfig()
    execution: ExecutionConfig = ExecutionConfig()
    event_tracing: tuple[str, ...] | None = None
    retention_policy: str | None = None
    sliding_window_size: PositiveInt = 1000
    results_storage: Literal["memory", "disk"] | None = None
    results_dir: str | None = None
    seed: Seed = 0
    block_size: PositiveInt = 4096
    periods_per_year: PositiveFloat | None = None
    benchmark: Identifier | None = None
    strict: bool = False

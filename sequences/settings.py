"""Settings of a phase: those that somebody set, and all of them once everything is decided."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from admf.containers.config import (
    DataConfig,
    ExecutionConfig,
    Identifier,
    NonNegativeInt,
    PortfolioConfig,
    PositiveFloat,
    PositiveInt,
    RiskConfig,
    StrategyConfig,
)
from admf.engine.packing import Compression
from admf.engine.retention import TraceStore, TracingConfig
from admf.engine.window_spec import ResultsStorage
from admf.sequences.config import (
    Dimension,
    KFoldConfig,
    MonteCarloConfig,
    ObjectiveConfig,
    ParameterSweepConfig,
    SearchConfig,
    SearchPruningConfig,
    SinglePassConfig,
    TrainTestConfig,
    WalkForwardConfig,
)

__all__ = ["DataRange", "PhaseOptions", "PhaseSettings", "TraceConfig"]


class DataRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part of the data that a phase uses.

    Args:
        start: First day or instant (ISO 8601), or the share of all time steps that lie before.
        end: Last day (inclusive) or instant, or the share of all time steps that lie before the
            end.
    """

    start: float | str | None = None
    end: float | str | None = None


class TraceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which traced events become files beside the results.

    Args:
        store: ``none``, ``retained`` for those that the retention policy keeps to the end of the
            window, or ``all`` for the whole event log of each portfolio, from which ``admf replay``
            computes its results once more.
    """

    store: TraceStore = "none"


class PhaseOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a phase, as many as somebody has set; the others are left to somebody else.

    Args:
        data: The market data, and which part of it is used.
        data_range: The part of the data that a phase uses; all of it by default.
        strategy: The strategy and its parameters.
        portfolio: Starting capital and the size of positions.
        risk: Protective orders and limits.
        execution: How orders fill, and what that costs.
        parameter_space: The values to search by parameter: a list, or a range. Names are the
            strategy's parameters, or settings such as ``risk.stop_loss_pct``.
        constraint: What parameter sets have to fulfil, e.g. ``fast < slow``.
        search: How the parameter space is searched.
        objective_function: What makes a parameter set good; several give a Pareto front.
        min_trades: Closed trades that a parameter set needs to be eligible.
        metric_constraints: What its metrics have to fulfil, e.g. ``max_drawdown >= -0.3``.
        pruning: When a parameter set is given up before its window ends; null never.
        single_pass: Options of the sequence ``single_pass``.
        parameter_sweep: Options of the sequence ``parameter_sweep``.
        train_test: Options of the sequence ``train_test``.
        walk_forward: Options of the sequence ``walk_forward``.
        k_fold: Options of the sequence ``k_fold``.
        monte_carlo: Options of the sequence ``monte_carlo``.
        event_tracing: Names of the events to trace.
        retention_policy: Which traced events are kept: ``trade_complete``, ``sliding_window`` or
            ``minimal``.
        sliding_window_size: Events of each type that ``sliding_window`` keeps.
        trace: Which traced events become files beside the results.
        results_storage: ``disk`` writes result files, ``memory`` returns results only, ``auto``
            keeps them in memory for as long as there is enough of it, and then moves them to disk.
        compression: Of result files: ``none``, ``gzip`` or ``zstd``.
        seed: Seed of everything random.
        block_size: Time steps that are handled at once; null for what suits the strategies. Results
            do not depend on it.
        periods_per_year: Periods a year for annualised metrics; null takes them from the data.
        benchmark: Symbol that alpha, beta and the information ratio are measured against.
    """

    data: DataConfig | UnsetType = UNSET
    data_range: DataRange | UnsetType = UNSET
    strategy: StrategyConfig | UnsetType = UNSET
    portfolio: PortfolioConfig | UnsetType = UNSET
    risk: RiskConfig | UnsetType = UNSET
    execution: ExecutionConfig | UnsetType = UNSET
    parameter_space: dict[str, Dimension] | UnsetType = UNSET
    constraint: str | UnsetType | None = UNSET
    search: SearchConfig | UnsetType = UNSET
    objective_function: ObjectiveConfig | tuple[ObjectiveConfig, ...] | UnsetType = UNSET
    min_trades: NonNegativeInt | UnsetType = UNSET
    metric_constraints: tuple[str, ...] | UnsetType = UNSET
    pruning: SearchPruningConfig | UnsetType | None = UNSET
    single_pass: SinglePassConfig | UnsetType = UNSET
    parameter_sweep: ParameterSweepConfig | UnsetType = UNSET
    train_test: TrainTestConfig | UnsetType = UNSET
    walk_forward: WalkForwardConfig | UnsetType = UNSET
    k_fold: KFoldConfig | UnsetType = UNSET
    monte_carlo: MonteCarloConfig | UnsetType = UNSET
    event_tracing: tuple[str, ...] | UnsetType | None = UNSET
    retention_policy: str | UnsetType | None = UNSET
    sliding_window_size: PositiveInt | UnsetType = UNSET
    trace: TraceConfig | UnsetType = UNSET
    results_storage: ResultsStorage | UnsetType | None = UNSET
    compression: Compression | UnsetType = UNSET
    seed: NonNegativeInt | UnsetType = UNSET
    block_size: PositiveInt | UnsetType | None = UNSET
    periods_per_year: PositiveFloat | UnsetType | None = UNSET
    benchmark: Identifier | UnsetType | None = UNSET


class PhaseSettings(PhaseOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of a phase, every one decided; the fields are those of `PhaseOptions`."""

    data: DataConfig = msgspec.field()  # required, other than in the base
    data_range: DataRange = DataRange()
    strategy: StrategyConfig = msgspec.field()
    portfolio: PortfolioConfig = PortfolioConfig()
    risk: RiskConfig = RiskConfig()
    execution: ExecutionConfig = ExecutionConfig()
    parameter_space: dict[str, Dimension] = {}
    constraint: str | None = None
    search: SearchConfig = SearchConfig()
    objective_function: ObjectiveConfig | tuple[ObjectiveConfig, ...] = ObjectiveConfig()
    min_trades: NonNegativeInt = 0
    metric_constraints: tuple[str, ...] = ()
    pruning: SearchPruningConfig | None = None
    single_pass: SinglePassConfig = SinglePassConfig()
    parameter_sweep: ParameterSweepConfig = ParameterSweepConfig()
    train_test: TrainTestConfig = TrainTestConfig()
    walk_forward: WalkForwardConfig = WalkForwardConfig()
    k_fold: KFoldConfig = KFoldConfig()
    monte_carlo: MonteCarloConfig = MonteCarloConfig()
    event_tracing: tuple[str, ...] = ("POSITION_OPEN", "POSITION_CLOSE", "FILL")
    retention_policy: str = "trade_complete"
    sliding_window_size: PositiveInt = 1000
    trace: TraceConfig = TraceConfig()
    results_storage: ResultsStorage = "disk"
    compression: Compression = "none"
    seed: NonNegativeInt = 0
    block_size: PositiveInt | None = None
    periods_per_year: PositiveFloat | None = None
    benchmark: Identifier | None = None

    @property
    def objectives(self) -> tuple[ObjectiveConfig, ...]:
        """The objectives, the leading one first."""
        found = self.objective_function
        return found if isinstance(found, tuple) else (found,)

    @property
    def timezone(self) -> str:
        """Zone of calendar days and months."""
        return self.data.timezone or "UTC"

    @property
    def tracing(self) -> TracingConfig:
        """What containers trace, and how much of it they keep."""
        return TracingConfig(
            event_tracing=self.event_tracing,
            retention_policy=self.retention_policy,
            sliding_window_size=self.sliding_window_size,
            store=self.trace.store,
        )

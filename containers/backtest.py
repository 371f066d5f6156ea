"""The topology ``backtest``: data and features at the root, and a scope for each lane."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from admf.containers.catalog import DataCatalog, UserModules
from admf.containers.config import BacktestConfig, LaneConfig
from admf.containers.context import BarContext
from admf.containers.costs import Costs
from admf.containers.data import DataContainer
from admf.containers.events import MARKET_EVENTS
from admf.containers.execution import ExecutionContainer
from admf.containers.features import FeaturesContainer, FeatureSpec
from admf.containers.lane import LaneContainer
from admf.containers.market import Market, Quotes
from admf.containers.market_data import MarketData
from admf.containers.metrics.annualisation import infer_annualisation
from admf.containers.metrics.tracer import MetricsEventTracer, history_limit
from admf.containers.portfolio import PortfolioContainer
from admf.containers.report import WindowReport
from admf.containers.risk import RiskContainer
from admf.containers.sizing import Sizer
from admf.containers.strategies.base import (
    ColumnarStrategy,
    declared_features,
)
from admf.containers.strategies.loading import strategy_class, user_error
from admf.containers.strategies.parameters import make_strategy, parameters_of
from admf.containers.strategy import (
    USER_ERRORS,
    BarStrategyContainer,
    ColumnarStrategyContainer,
    StrategyContainer,
)
from admf.containers.times import DAY_NS, iso_utc
from admf.engine.errors import DataError
from admf.engine.events import ENGINE_EVENTS, EventRegistry
from admf.engine.registry import Registry
from admf.engine.retention import BUILT_IN_POLICIES, PolicyFactory, make_policy
from admf.engine.topology import TopologyBuilder
from admf.engine.tracer import resolve_types

__all__ = ["BacktestTopology"]


class BacktestTopology:
    """Runs lanes side by side on the same bars; a lane that fails does so alone."""

    def build(self, builder: TopologyBuilder) -> None:
        """Add the containers of a `BacktestConfig`.

        Raises:
            ConfigError: A strategy is unknown or refuses its parameters.
            DataError: The data cannot be used, or has no bars in the window.
            UserCodeError: A strategy cannot say which features it needs.
        """
        config = msgspec.json.decode(builder.spec.config, type=BacktestConfig)
        catalog = builder.resources.find(DataCatalog) or DataCatalog()
        features = catalog.load(config.data, config.benchmark)
        data = features.market_data
        start, stop = _steps(data, config)
        market = Market(
            data, features, start_step=start, stop_step=stop, benchmark=config.benchmark
        )
        lanes = [_Lane(builder, config, lane, market) for lane in config.lanes]
        specs = [spec for lane in lanes for spec in lane.features()]
        builder.add(FeaturesContainer("features", scope=builder.bus, store=features, specs=specs))
        names = ["features", *(lane.add() for lane in lanes)]
        builder.add_report(WindowReport([lane.portfolio for lane in lanes]))
        builder.add(
            DataContainer(
                "data",
                data,
                (start, stop),
                config.block_size,
                scope=builder.bus,
                depends_on=names,
            )
        )


class _Lane:
    """Puts one lane together."""

    def __init__(
        self, builder: TopologyBuilder, config: BacktestConfig, lane: LaneConfig, market: Market
    ) -> None:
        self._builder = builder
        self._config = config
        self._lane = lane
        self._market = market
        modules = builder.resources.find(UserModules) or UserModules()
        cls = strategy_class(lane.strategy.type, builder.registry, search_path=modules.folder)
        self.strategy = make_strategy(cls, lane.strategy.params)
        self._annualisation = infer_annualisation(market.data.ts, config.periods_per_year)
        self._scope = builder.bus.scope(f"lane_{lane.lane_id}", contain_failures=True)
        self._quotes = Quotes()
        self.portfolio = self._make_portfolio()

    def features(self) -> tuple[FeatureSpec, ...]:
        """Return the features that the strategy wants published."""
        try:
            return declared_features(self.strategy)
        except USER_ERRORS as error:
            symbols = ", ".join(self._market.symbols)
            raise user_error(error, self.strategy, symbol=symbols) from error

    def add(self) -> str:
        """Add the lane's containers and return the id of the one that starts last."""
        add, lane = self._builder.add, self._lane
        portfolio = add(self.portfolio)
        account = portfolio.account
        risk = RiskContainer(
            f"risk_{lane.lane_id}",
            lane.risk,
            scope=self._scope,
            account=account,
            quotes=self._quotes,
        )
        costs = Costs(lane.execution)
        execution = ExecutionContainer(
            f"execution_{lane.lane_id}",
            lane.execution,
            scope=self._scope,
            account=account,
            sizer=self._sizer(costs),
            costs=costs,
            limits=risk,
            quotes=self._quotes,
        )
        strategy = self._strategy()
        members = [add(member) for member in (risk, execution, strategy)]
        conductor = LaneContainer(
            f"lane_{lane.lane_id}",
            scope=self._scope,
            market=self._market,
            quotes=self._quotes,
            strategy=strategy,
            risk=risk,
            execution=execution,
            portfolio=portfolio,
            close_at_end=lane.execution.close_at_end,
            depends_on=[portfolio.id, *(member.id for member in members)],
        )
        return add(conductor).id

    def _strategy(self) -> StrategyContainer:
        container_id, scope = f"strategy_{self._lane.lane_id}", self._scope
        if isinstance(self.strategy, ColumnarStrategy):
            return ColumnarStrategyContainer(
                container_id, self.strategy, scope=scope, market=self._market
            )
        context = BarContext(
            scope,
            container_id,
            account=self.portfolio.account,
            market=self._market,
            quotes=self._quotes,
            seed=self._lane.seed,
        )
        return BarStrategyContainer(
            container_id, self.strategy, context, scope=scope, market=self._market
        )

    def _sizer(self, costs: Costs) -> Sizer:
        return Sizer(
            self._lane.portfolio.sizing,
            account=self.portfolio.account,
            costs=costs,
            market=self._market,
            quotes=self._quotes,
            bars_per_year=self._bars_per_year(),
            max_leverage=self._lane.risk.max_leverage,
        )

    def _bars_per_year(self) -> float:
        per_year, ts = self._annualisation.periods_per_year, self._market.data.ts
        if self._annualisation.interval == "bar":
            return per_year
        return per_year * len(ts) / len(np.unique(ts // DAY_NS))

    def _make_portfolio(self) -> PortfolioContainer:
        tracing = self._builder.spec.tracing
        registry = EventRegistry([*ENGINE_EVENTS, *MARKET_EVENTS])
        traced, _ = resolve_types(tracing.event_tracing, registry)
        tracer = MetricsEventTracer(
            traced,
            make_policy(tracing, _policies(self._builder.registry, tracing.retention_policy)),
            initial_capital=self._lane.portfolio.initial_capital,
            annualisation=self._annualisation,
            history=history_limit(tracing),
            policy_name=tracing.retention_policy,
        )
        return PortfolioContainer(
            f"portfolio_{self._lane.lane_id}",
            self._lane.portfolio,
            scope=self._scope,
            tracer=tracer,
            market=self._market,
            quotes=self._quotes,
            parameters=parameters_of(self.strategy),
            head=self._head(),
        )

    def _head(self) -> dict[str, object]:
        """Return what the result file says about the lane besides its results."""
        spec, data = self._builder.spec, self._market.data
        first, last = self._market.start_step, self._market.stop_step - 1
        return {
            "workflow_id": spec.workflow_id,
            "phase_name": spec.phase_name,
            "window_id": spec.window_id,
            "lane": self._lane,
            "data": {
                "symbols": data.symbols,
                "benchmark": self._config.benchmark,
                "timeframe": data.timeframe,
                "start": iso_utc(int(data.ts[first])),
                "end": iso_utc(int(data.ts[last])),
                "bars": last - first + 1,
                "fingerprint": data.fingerprint,
            },
        }


def _policies(registry: Registry, name: str) -> Mapping[str, PolicyFactory]:
    """Return the built-in policies, and the plug-in of this name if there is one."""
    if name not in registry.names("retention"):
        return BUILT_IN_POLICIES
    return {**BUILT_IN_POLICIES, name: registry.get("retention", name)}


def _steps(data: MarketData, config: BacktestConfig) -> tuple[int, int]:
    start, stop = data.step_range(config.start_ts, config.end_ts)
    if start == stop:
        begin = "their beginning" if config.start_ts is None else iso_utc(config.start_ts)
        end = "their end" if config.end_ts is None else f"before {iso_utc(config.end_ts)}"
        raise DataError(
            f"there are no bars of {', '.join(data.symbols)} in the window from {begin} to {end}; "
            f"they reach from {iso_utc(int(data.ts[0]))} to {iso_utc(int(data.ts[-1]))}"
        )
    return start, stop

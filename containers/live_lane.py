"""Puts the containers of one live lane together."""

from __future__ import annotations

from collections.abc import Mapping

from admf.containers.config import LaneConfig
from admf.containers.execution import ExecutionContainer
from admf.containers.lane_arrays import LaneArrays
from admf.containers.lane_builder import FindStrategy, LaneBuilder
from admf.containers.lane_events import LaneEvents
from admf.containers.live_broker import Broker
from admf.containers.live_config import LiveConfig
from admf.containers.live_market import LiveMarket
from admf.containers.live_portfolio import LivePortfolio
from admf.containers.live_strategy import LiveBarStrategy, LiveColumnarStrategy, LiveContext
from admf.containers.metrics.annualisation import Annualisation
from admf.containers.metrics.tracer import MetricsEventTracer
from admf.containers.portfolio import PortfolioContainer
from admf.containers.risk import RiskContainer
from admf.containers.strategies.base import ColumnarStrategy
from admf.containers.strategy import StrategyContainer
from admf.engine.topology import TopologyBuilder

__all__ = ["LiveLaneBuilder"]


class LiveLaneBuilder(LaneBuilder):
    """One lane of a live window, whose containers hand their states over to those of the next.

    Args:
        builder: Where the containers go.
        config: The window's settings.
        lane: The lane's settings.
        market: The window of the session.
        find_strategy: See `strategy_finder`.

    Raises:
        ConfigError: As for `LaneBuilder`, or there is no such broker.
        UserCodeError: As for `LaneBuilder`.
    """

    _market: LiveMarket

    def __init__(
        self,
        builder: TopologyBuilder,
        config: LiveConfig,
        lane: LaneConfig,
        market: LiveMarket,
        find_strategy: FindStrategy,
    ) -> None:
        self._broker: Broker = builder.registry.get("brokers", config.broker)
        super().__init__(builder, config.backtest(), lane, market, find_strategy)

    def _choose_annualisation(self) -> Annualisation:
        per_year = self._config.periods_per_year
        known = self._market.history.annualisation
        return known if per_year is None else Annualisation(per_year, "bar")

    def _bars_per_year(self) -> float:
        per_year = self._annualisation.periods_per_year
        if self._annualisation.interval == "bar":
            return per_year
        return per_year * self._market.history.bars_per_day

    def _portfolio(self, events: LaneEvents) -> PortfolioContainer:
        container_id = f"portfolio_{self._lane.lane_id}"

        def make_tracer(equity: float) -> MetricsEventTracer:
            self._equity = equity
            return self._tracer(container_id)

        return LivePortfolio(
            container_id,
            make_tracer=make_tracer,
            equity=self._equity,
            config=self._lane.portfolio,
            events=events,
            account=self._account,
            market=self._market,
            quotes=self._quotes,
            lane=self._lane,
            strategy=self._settled_strategy(),
            head=self._head(),
        )

    def _execution(self, events: LaneEvents, risk: RiskContainer) -> ExecutionContainer:
        return self._broker(**self._execution_arguments(events, risk))

    def _arrays(
        self,
        strategy: StrategyContainer,  # noqa: ARG002
        risk: RiskContainer,  # noqa: ARG002
        execution: ExecutionContainer,  # noqa: ARG002
        portfolio: PortfolioContainer,  # noqa: ARG002
    ) -> LaneArrays | None:
        return None

    def _strategy_container(self, events: LaneEvents) -> StrategyContainer:
        container_id, market = f"strategy_{self._lane.lane_id}", self._market
        if isinstance(self._strategy, ColumnarStrategy):
            before: Mapping[str, float] = self._targets_before()
            return LiveColumnarStrategy(
                container_id, self._strategy, events=events, market=market, before=before
            )
        context = LiveContext(
            events,
            container_id,
            account=self._account,
            market=market,
            quotes=self._quotes,
            seed=self._lane.seed,
        )
        return LiveBarStrategy(
            container_id, self._strategy, context, self._quotes, events=events, market=market
        )

"""Puts the containers of one lane together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, TypeAlias

import msgspec

from admf.containers.account import Account
from admf.containers.catalog import UserModules
from admf.containers.config import BacktestConfig, CarriedAccount, LaneConfig, StrategyConfig
from admf.containers.context import BarContext
from admf.containers.costs import Costs
from admf.containers.execution import ExecutionContainer
from admf.containers.features import FeatureSpec
from admf.containers.lane import LaneContainer
from admf.containers.lane_arrays import LaneArrays, suits_arrays
from admf.containers.lane_bars import LaneBars
from admf.containers.lane_events import LaneEvents
from admf.containers.lane_log import LaneTracing, lane_log
from admf.containers.market import Market, Quotes
from admf.containers.metrics.annualisation import Annualisation
from admf.containers.metrics.tracer import MetricsEventTracer, history_limit
from admf.containers.portfolio import PortfolioContainer, parameters_shown
from admf.containers.pruning import Pruner
from admf.containers.risk import RiskContainer
from admf.containers.sizing import Sizer
from admf.containers.strategies.base import ColumnarStrategy, declared_features
from admf.containers.strategies.loading import strategy_class, user_error
from admf.containers.strategies.parameters import AnyStrategy, make_strategy, parameters_of
from admf.containers.strategy import (
    USER_ERRORS,
    BarStrategyContainer,
    ColumnarStrategyContainer,
    StrategyContainer,
)
from admf.engine.errors import ConfigError, Problem, did_you_mean
from admf.engine.topology import TopologyBuilder

__all__ = ["WINDOW_OPTIONS", "FindStrategy", "LaneBuilder", "strategy_finder"]

WINDOW_OPTIONS = tuple(
    name
    for name in BacktestConfig.__struct_fields__
    if name not in {"data", "lanes", "block_size", "dispatch"}
)
"""Settings of a window that, with those of a lane and the data, the lane's results depend on."""


FindStrategy: TypeAlias = Callable[[str], type[AnyStrategy]]
"""Returns the class that a strategy's type names, or raises `ConfigError`."""


def strategy_finder(builder: TopologyBuilder) -> FindStrategy:
    """Return what finds strategies for the lanes of a window, each once."""
    modules = builder.resources.find(UserModules) or UserModules()
    return cache(partial(strategy_class, registry=builder.registry, search_path=modules.folder))


class LaneBuilder:
    """One lane, which is known to fit once this has been made.

    Args:
        builder: Where the containers go.
        config: The window's settings.
        lane: The lane's settings.
        market: The window's market data.
        find_strategy: See `strategy_finder`.
        pruner: Says when the lane is given up; None for never.

    Attributes:
        features: The features that the strategy wants published.

    Raises:
        ConfigError: The strategy is unknown or refuses its parameters, a feature does not exist, or
            the account that is carried does not fit the market.
        UserCodeError: The strategy cannot say which features it needs.
    """

    def __init__(
        self,
        builder: TopologyBuilder,
        config: BacktestConfig,
        lane: LaneConfig,
        market: Market,
        find_strategy: FindStrategy,
        pruner: Pruner | None = None,
    ) -> None:
        self._builder = builder
        self._config = config
        self._lane = lane
        self._market = market
        self._pruner = pruner
        self._strategy = make_strategy(find_strategy(lane.strategy.type), lane.strategy.params)
        self.features = self._declared_features()
        self._annualisation = self._choose_annualisation()
        self._account = Account(lane.portfolio.initial_capital)
        self._equity = self._account.cash
        if lane.carried is not None:
            self._account = Account.of(lane.carried)
            self._equity = _checked_equity(lane.carried, self._account, market)
        self._quotes = Quotes()
        self._costs = Costs(lane.execution)

    @property
    def is_columnar(self) -> bool:
        """Whether the strategy looks at no single bars."""
        return isinstance(self._strategy, ColumnarStrategy)

    def add(self) -> tuple[PortfolioContainer, str]:
        """Add the lane's containers.

        Returns:
            The portfolio, and the id of the container that starts last.
        """
        add, lane = self._builder.add, self._lane
        scope = self._builder.bus.scope(f"lane_{lane.lane_id}", contain_failures=True)
        events = LaneEvents(scope, directly=self._config.dispatch == "direct")
        portfolio = add(self._portfolio(events))
        risk = RiskContainer(
            f"risk_{lane.lane_id}",
            lane.risk,
            events=events,
            account=self._account,
            quotes=self._quotes,
            peak=self._equity,
        )
        execution = self._execution(events, risk)
        strategy = self._strategy_container(events)
        members = [add(member) for member in (risk, execution, strategy)]
        conductor = LaneContainer(
            f"lane_{lane.lane_id}",
            events=events,
            market=self._market,
            quotes=self._quotes,
            strategy=strategy,
            risk=risk,
            execution=execution,
            portfolio=portfolio,
            close_at_end=lane.execution.close_at_end,
            arrays=self._arrays(strategy, risk, execution, portfolio),
            plain_bars=self._plain_bars(events, strategy, execution),
            pruner=self._pruner,
            depends_on=[portfolio.id, *(member.id for member in members)],
        )
        return portfolio, add(conductor).id

    def _declared_features(self) -> tuple[FeatureSpec, ...]:
        try:
            specs = declared_features(self._strategy)
            [spec.name for spec in specs]  # fails if one is something else
        except USER_ERRORS as error:
            symbols = ", ".join(self._market.symbols)
            raise user_error(error, self._strategy, symbol=symbols) from error
        for spec in specs:
            spec.resolve()
        return specs

    def _execution(self, events: LaneEvents, risk: RiskContainer) -> ExecutionContainer:
        return ExecutionContainer(**self._execution_arguments(events, risk))

    def _execution_arguments(self, events: LaneEvents, risk: RiskContainer) -> dict[str, Any]:
        lane = self._lane
        return {
            "container_id": f"execution_{lane.lane_id}",
            "config": lane.execution,
            "events": events,
            "account": self._account,
            "sizer": self._sizer(self._account),
            "costs": self._costs,
            "limits": risk,
            "quotes": self._quotes,
        }

    def _sizer(self, account: Account) -> Sizer:
        lane = self._lane
        return Sizer(
            lane.portfolio.sizing,
            account=account,
            costs=self._costs,
            market=self._market,
            quotes=self._quotes,
            bars_per_year=self._bars_per_year(),
            max_leverage=lane.risk.max_leverage,
        )

    def _arrays(
        self,
        strategy: StrategyContainer,
        risk: RiskContainer,
        execution: ExecutionContainer,
        portfolio: PortfolioContainer,
    ) -> LaneArrays | None:
        if not isinstance(strategy, ColumnarStrategyContainer):
            return None
        if not suits_arrays(self._lane, self._market):
            return None
        account = Account(0.0)
        return LaneArrays(
            self._lane,
            market=self._market,
            quotes=self._quotes,
            strategy=strategy,
            risk=risk,
            execution=execution,
            portfolio=portfolio,
            costs=self._costs,
            sizer=self._sizer(account),
            account=account,
        )

    def _plain_bars(
        self, events: LaneEvents, strategy: StrategyContainer, execution: ExecutionContainer
    ) -> LaneBars | None:
        if not isinstance(strategy, BarStrategyContainer):
            return None
        if not suits_arrays(self._lane, self._market):
            return None
        return LaneBars(
            events=events,
            quotes=self._quotes,
            strategy=strategy,
            execution=execution,
            symbol=self._market.symbols[0],
        )

    def _strategy_container(self, events: LaneEvents) -> StrategyContainer:
        container_id = f"strategy_{self._lane.lane_id}"
        if isinstance(self._strategy, ColumnarStrategy):
            return ColumnarStrategyContainer(
                container_id,
                self._strategy,
                config=_plain(self._lane.strategy),
                events=events,
                market=self._market,
                before=self._targets_before(),
            )
        context = BarContext(
            events,
            container_id,
            account=self._account,
            market=self._market,
            quotes=self._quotes,
            seed=self._lane.seed,
        )
        return BarStrategyContainer(
            container_id,
            self._strategy,
            context,
            self._quotes,
            events=events,
            market=self._market,
        )

    def _targets_before(self) -> Mapping[str, float]:
        """Return each symbol's target before the window, NaN where it must be signalled anew."""
        symbols, carried = self._market.symbols, self._lane.carried
        if carried is None:
            return dict.fromkeys(symbols, 0.0)
        wanted = carried.wanted
        same = wanted is not None and _plain(wanted.strategy) == _plain(self._settled_strategy())
        known = wanted.targets if wanted is not None and same else {}
        return {symbol: known.get(symbol, math.nan) for symbol in symbols}

    def _settled_strategy(self) -> StrategyConfig:
        """Return the strategy with all of its parameters, defaults included."""
        return StrategyConfig(type=self._lane.strategy.type, params=parameters_of(self._strategy))

    def _choose_annualisation(self) -> Annualisation:
        """Return what the user asked for, or what fits the data."""
        return self._market.data.annualisation_for(self._config.periods_per_year)

    def _bars_per_year(self) -> float:
        per_year, data = self._annualisation.periods_per_year, self._market.data
        if self._annualisation.interval == "bar":
            return per_year
        return per_year * data.steps / data.day_count

    def _portfolio(self, events: LaneEvents) -> PortfolioContainer:
        container_id = f"portfolio_{self._lane.lane_id}"
        return PortfolioContainer(
            container_id,
            self._lane.portfolio,
            events=events,
            tracer=self._tracer(container_id),
            account=self._account,
            market=self._market,
            quotes=self._quotes,
            lane=self._lane,
            strategy=self._settled_strategy(),
            head=self._head(),
        )

    def _tracer(self, portfolio: str) -> MetricsEventTracer:
        tracing = self._builder.spec.tracing
        lane = LaneTracing(
            container_id=portfolio,
            initial_capital=self._equity,
            annualisation=self._annualisation,
            tracing=tracing,
            history=history_limit(tracing),
            return_blocks=self._config.return_blocks,
            returns=self._market.return_counts[self._annualisation.interval],
            parameters=parameters_shown(self._settled_strategy(), self._lane),
        )
        return lane.tracer(
            self._builder.registry,
            series=self._config.series,
            overflow=self._builder.overflow(portfolio),
            log=lane_log(self._builder, lane),
        )

    def _head(self) -> dict[str, object]:
        """Return what the result file says about the lane besides its results."""
        spec = self._builder.spec
        return {
            "workflow_id": spec.workflow_id,
            "phase_name": spec.phase_name,
            "window_id": spec.window_id,
            "lane": self._lane,
            "data": self._market.description,
            "window": {
                "topology": spec.topology,
                "seed": spec.seed,
                "tracing": spec.tracing,
                "options": {name: getattr(self._config, name) for name in WINDOW_OPTIONS},
            },
        }


def _checked_equity(carried: CarriedAccount, account: Account, market: Market) -> float:
    """Return what a carried account is worth at the last closes before the window.

    Before the first bar of a symbol, a position is worth what was paid for it.
    """
    symbols = [position.symbol for position in carried.positions]
    for symbol in symbols:
        if symbol not in market.symbols:
            hint = did_you_mean(symbol, market.symbols)
            raise _refused(f"a position in {symbol!r}, which is not traded here{hint}")
        if market.close_before(symbol) is None and not market.begins_with(symbol):
            raise _refused(f"a position in {symbol!r}, which has no bar yet when the window begins")
    if len(set(symbols)) < len(symbols):
        raise _refused(f"two positions in one symbol: {', '.join(symbols)}")
    paid = {position.symbol: position.entry_price for position in carried.positions}
    before = {symbol: market.close_before(symbol) for symbol in symbols}
    equity = account.equity(lambda symbol: before[symbol] or paid[symbol])
    if not 0.0 < equity < math.inf:
        raise _refused(f"nothing to trade with: it is worth {equity:g} when the window begins")
    return equity


def _refused(has: str) -> ConfigError:
    return ConfigError([Problem(f"the carried account has {has}", "lanes.carried")])


def _plain(strategy: StrategyConfig) -> bytes:
    """Return a strategy in the form in which it is handed from window to window."""
    return msgspec.json.encode(strategy)

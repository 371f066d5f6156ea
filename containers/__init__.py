"""Market containers: events, data, features, strategy, risk, portfolio, execution."""

from __future__ import annotations

from admf.containers.config import (
    BacktestConfig,
    CarriedAccount,
    CarriedPosition,
    CarriedTargets,
    CommissionConfig,
    DataConfig,
    ExecutionConfig,
    LaneConfig,
    LanePruning,
    PortfolioConfig,
    RiskConfig,
    SizingConfig,
    StrategyConfig,
)
from admf.containers.events import (
    MARKET_EVENTS,
    Bar,
    Cancel,
    Features,
    Fill,
    Order,
    PortfolioUpdate,
    PositionClose,
    PositionOpen,
    Reject,
    Signal,
)
from admf.containers.live_broker import BrokerExecution, BrokerReport
from admf.containers.live_config import LiveConfig
from admf.containers.live_intake import BarRefused
from admf.containers.market_data import Bars, MarketData
from admf.containers.readers import load_market_data

__all__ = [
    "MARKET_EVENTS",
    "BacktestConfig",
    "Bar",
    "BarRefused",
    "Bars",
    "BrokerExecution",
    "BrokerReport",
    "Cancel",
    "CarriedAccount",
    "CarriedPosition",
    "CarriedTargets",
    "CommissionConfig",
    "DataConfig",
    "ExecutionConfig",
    "Features",
    "Fill",
    "LaneConfig",
    "LanePruning",
    "LiveConfig",
    "MarketData",
    "Order",
    "PortfolioConfig",
    "PortfolioUpdate",
    "PositionClose",
    "PositionOpen",
    "Reject",
    "RiskConfig",
    "Signal",
    "SizingConfig",
    "StrategyConfig",
    "load_market_data",
]

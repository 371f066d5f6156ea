"""Settings of the market containers, as they stand in an experiment file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from admf.containers.events import FillMoment
from admf.containers.price_path import PricePathConfig

__all__ = [
    "BacktestConfig",
    "CarriedAccount",
    "CarriedPosition",
    "CarriedTargets",
    "CommissionConfig",
    "DataConfig",
    "ExecutionConfig",
    "LaneConfig",
    "LanePruning",
    "PortfolioConfig",
    "RiskConfig",
    "SizingConfig",
    "StrategyConfig",
]

PositiveFloat: TypeAlias = Annotated[float, Meta(gt=0)]
PositiveInt: TypeAlias = Annotated[int, Meta(gt=0)]
NonNegativeInt: TypeAlias = Annotated[int, Meta(ge=0)]
NonNegativeFloat: TypeAlias = Annotated[float, Meta(ge=0)]
Percent: TypeAlias = Annotated[float, Meta(gt=0, lt=100, description="percent: 5 means 5 %")]
Identifier: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]


class DataConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where bars come from, and which part of them is used.

    Args:
        source: ``file`` reads ``path``; ``sample`` is the bundled set; ``frames`` are data frames
            that the caller hands over.
        path: A folder with ``{symbol}.csv`` or ``{symbol}.parquet``, or one file.
        symbols: Which symbols, in the order in which they are handled within a time step.
        timeframe: Bar size to resample to (``5m``, ``1h``, ``1d``, ``1w``); None: the source's.
        start: First day or instant, ISO 8601.
        end: Last day (inclusive) or instant, ISO 8601.
        timezone: Zone of naive timestamps in the source; UTC if not given.
    """

    source: Literal["file", "sample", "frames"] = "file"
    path: str | None = None
    symbols: Annotated[tuple[Identifier, ...], Meta(min_length=1)]
    timeframe: str | None = None
    start: str | None = None
    end: str | None = None
    timezone: str | None = None


class StrategyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which strategy, by registered name or ``package.module:Class``, and its parameters."""

    type: str
    params: dict[str, Any] = {}


class SizingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How large a full position is.

    Args:
        type: ``percent_equity``: fraction of equity; ``fixed_units``: units; ``fixed_notional``:
            quote currency; ``volatility_target``: annualised volatility of the position.
        value: In the unit of the type.
        whole_units: Round the quantity down to whole units.
        lookback: Bars over which ``volatility_target`` measures volatility.
    """

    type: Literal["percent_equity", "fixed_units", "fixed_notional", "volatility_target"] = (
        "percent_equity"
    )
    value: PositiveFloat = 1.0
    whole_units: bool = False
    lookback: Annotated[int, Meta(ge=2)] = 20


class PortfolioConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Starting capital in quote currency, and sizing."""

    initial_capital: PositiveFloat = 100_000.0
    sizing: SizingConfig = SizingConfig()


class RiskConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits and protective orders; None switches a rule off.

    Args:
        stop_loss_pct: Percent from the entry price at which a position is stopped out.
        take_profit_pct: Percent from the entry price at which a profit is taken.
        trailing_stop_pct: Percent from the best price since entry.
        max_drawdown_pct: Percent below peak equity at which trading halts for good.
        max_leverage: Gross exposure / equity that an order may lead to.
        max_position: Units of one symbol, long or short.
    """

    stop_loss_pct: Percent | None = None
    take_profit_pct: PositiveFloat | None = None
    trailing_stop_pct: Percent | None = None
    max_drawdown_pct: Percent | None = None
    max_leverage: PositiveFloat | None = 1.0
    max_position: PositiveFloat | None = None


class CommissionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Commission of one fill.

    Args:
        type: ``rate``: fraction of the traded value; ``per_unit``: quote currency per unit;
            ``fixed``: quote currency per fill.
        value: In the unit of the type.
        minimum: Least commission of a fill, quote currency.
    """

    type: Literal["rate", "per_unit", "fixed"] = "rate"
    value: NonNegativeFloat = 0.0
    minimum: NonNegativeFloat = 0.0


class ExecutionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How orders fill.

    Args:
        fill_on: ``next_open``: orders work from the next bar; ``close``: market orders fill at the
            close of the bar that caused them.
        slippage_bps: Basis points against the trader on every fill.
        close_at_end: Close what is open at the window's last close.
    """

    fill_on: Literal["next_open", "close"] = "next_open"
    commission: CommissionConfig = CommissionConfig()
    slippage_bps: Annotated[float, Meta(ge=0, lt=10_000)] = 0.0
    close_at_end: bool = False


class CarriedPosition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A position that a lane holds when its window begins.

    Args:
        direction: 1 for long, -1 for short.
        quantity: Units held.
        entry_price: Quantity-weighted mean price of the entries.
        entry_ts: Time of the entry bar, ns UTC.
        commission: Of all its fills so far, quote currency.
        entry_moment: When in that bar it was entered.
        opening_price: Price of the first entry, from which percentage stops are counted; None:
            ``entry_price``.
        entered: Units entered in total; None: ``quantity``.
        entry_value: Sum of quantity * price of the entries; None: ``entered * entry_price``.
        exited: Units left already.
        exit_value: Sum of quantity * price of the exits.
        entry_equity: Equity just before the entry, quote currency; None if it is not known.
    """

    symbol: str
    direction: Literal[1, -1]
    quantity: PositiveFloat
    entry_price: PositiveFloat
    entry_ts: int
    commission: float = 0.0
    position_id: str
    entry_moment: FillMoment = "open"
    opening_price: PositiveFloat | None = None
    entered: PositiveFloat | None = None
    entry_value: PositiveFloat | None = None
    exited: NonNegativeFloat = 0.0
    exit_value: NonNegativeFloat = 0.0
    entry_equity: float | None = None


class CarriedTargets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a columnar strategy asked for last.

    Args:
        strategy: The strategy, with all of its parameters.
        targets: Exposure by symbol, but for those whose order was still waiting.
    """

    strategy: StrategyConfig
    targets: dict[str, float]


class CarriedAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The account with which a lane begins its window, as another window left it.

    Orders are not carried: the percentage stops of `RiskConfig` are placed again, but working
    orders and the brackets of a strategy are not.

    Args:
        cash: Quote currency.
        positions: The open positions, one for each symbol at most.
        opened: Positions opened so far, from which the ids of the next ones follow.
        wanted: Targets that the same strategy need not signal again. Without them, and for any
            other strategy or parameters, the first known target is always signalled, even 0.
    """

    cash: float
    positions: tuple[CarriedPosition, ...] = ()
    opened: NonNegativeInt = 0
    wanted: CarriedTargets | None = None


class LaneConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One lane: a strategy with its parameters, its portfolio, its risk limits and its costs.

    Args:
        lane_id: Three digits or more, e.g. ``001``; the portfolio becomes ``portfolio_001``.
        seed: Seed of the lane's own random generator.
        parameters: The point of a parameter space that the lane is, by dotted name (``fast``,
            ``risk.stop_loss_pct``); only told in results, the other settings hold it already.
        carried: The account to begin with, instead of the initial capital in cash.
    """

    lane_id: str
    strategy: StrategyConfig
    portfolio: PortfolioConfig = PortfolioConfig()
    risk: RiskConfig = RiskConfig()
    execution: ExecutionConfig = ExecutionConfig()
    seed: int = 0
    parameters: dict[str, Any] = {}
    carried: CarriedAccount | None = None


class LanePruning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a lane is given up before its window ends.

    The lane is looked at after ``after_bars`` time steps of the window, and then after every
    ``every_bars`` more.

    Args:
        max_drawdown_pct: Percent below a peak so far at which it ends.
        metric: Name of a metric that ends it when it is beyond ``threshold``; undefined is not.
        threshold: In the metric's own unit.
        maximize: Whether lower than the threshold is worse, otherwise higher.
        after_bars: Time steps before the first look.
        every_bars: Time steps between two looks.
    """

    max_drawdown_pct: Percent | None = None
    metric: str | None = None
    threshold: float | None = None
    maximize: bool = True
    after_bars: PositiveInt
    every_bars: PositiveInt


class BacktestConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the topology ``backtest`` needs for one execution window.

    Args:
        data: Source of the bars.
        lanes: The parameter sets that run side by side on the same bars.
        block_size: Time steps in a block; None for what suits the strategies. Results do not depend
            on it.
        periods_per_year: Periods a year for annualisation; None bins by day (see metrics).
        benchmark: Symbol that alpha, beta and information ratio are measured against.
        start_ts: First time step of the window, ns UTC, inclusive; None for the data's first.
        end_ts: End of the window, ns UTC, exclusive; None for the data's end.
        warmup: Time steps before the window that indicators see; None for all there are.
        return_blocks: Consecutive groups of returns that each lane's report sums up; 0 for none.
        series: Write ``series.json`` with every mark and trade of each lane, whatever is traced.
        pruning: When a lane is given up before the window ends; None for never.
        price_path: Which path drawn from the bars takes their place; None for the real ones.
        dispatch: ``direct`` hands the events of a lane from container to container wherever nobody
            else listens; ``bus`` sends each over the lane's bus. Results do not depend on it.
    """

    data: DataConfig
    lanes: Annotated[tuple[LaneConfig, ...], Meta(min_length=1)]
    block_size: PositiveInt | None = None
    periods_per_year: PositiveFloat | None = None
    benchmark: str | None = None
    start_ts: int | None = None
    end_ts: int | None = None
    warmup: NonNegativeInt | None = None
    return_blocks: NonNegativeInt = 0
    series: bool = False
    pruning: LanePruning | None = None
    price_path: PricePathConfig | None = None
    dispatch: Literal["direct", "bus"] = "direct"

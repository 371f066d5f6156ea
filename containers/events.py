"""The market events, named as users name them in ``event_tracing``."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from admf.engine.events import Event

__all__ = [
    "MARKET_EVENTS",
    "Bar",
    "Cancel",
    "Features",
    "Fill",
    "FillMoment",
    "Order",
    "OrderType",
    "PortfolioUpdate",
    "PositionClose",
    "PositionOpen",
    "PositionSide",
    "Reject",
    "Side",
    "Signal",
    "SignalAction",
    "TimeInForce",
]

Side: TypeAlias = Literal["buy", "sell"]
PositionSide: TypeAlias = Literal["long", "short"]
OrderType: TypeAlias = Literal["market", "limit", "stop", "stop_limit"]
TimeInForce: TypeAlias = Literal["gtc", "day"]
FillMoment: TypeAlias = Literal["open", "intrabar", "close"]
SignalAction: TypeAlias = Literal["target", "buy", "sell", "close", "cancel"]


class Bar(Event, frozen=True, gc=False, tag="BAR"):
    """One bar of one symbol; prices in quote currency, volume in units."""

    key_field: ClassVar[str | None] = "symbol"

    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float


class Features(Event, frozen=True, gc=False, tag="FEATURES"):
    """Indicator values of one bar, known at its close; NaN while an indicator warms up."""

    key_field: ClassVar[str | None] = "symbol"

    symbol: str
    names: tuple[str, ...]
    values: tuple[float, ...]


class Signal(Event, frozen=True, gc=False, tag="SIGNAL"):
    """What a strategy wants, before risk and sizing.

    Args:
        action: ``target`` asks for an exposure; ``buy`` and ``sell`` add an order; ``close``
            flattens; ``cancel`` withdraws the symbol's working orders, but for the protective ones.
        target: Wanted exposure as a multiple of the sizing's full position, negative for short.
        quantity: Units, or None to let the sizing decide when the order fills.
        stop_loss: Price of the protective stop of a bracket.
        take_profit: Price of the target of a bracket.
    """

    key_field: ClassVar[str | None] = "symbol"

    symbol: str
    action: SignalAction
    target: float = 0.0
    quantity: float | None = None
    type: OrderType = "market"
    limit_price: float | None = None
    stop_price: float | None = None
    time_in_force: TimeInForce = "gtc"
    stop_loss: float | None = None
    take_profit: float | None = None


class Order(Event, frozen=True, gc=False, tag="ORDER"):
    """An order that risk let through; it works from the next bar on.

    Args:
        order_id: Counter, unique in its lane, from 1.
        quantity: Units, or None to be resolved when the order fills.
        target: With ``quantity`` None: the exposure to reach, as a multiple of the full position.
        trailing_pct: With ``type`` stop: the stop follows the best price since entry at this many
            percent.
        reduce_only: The order may shrink or close a position, never open or enlarge one; it ends
            with the position.
        reason: Why it exists; becomes the exit reason of the trade it closes.
    """

    key_field: ClassVar[str | None] = "symbol"

    symbol: str
    order_id: int
    side: Side
    type: OrderType = "market"
    quantity: float | None = None
    target: float | None = None
    limit_price: float | None = None
    stop_price: float | None = None
    time_in_force: TimeInForce = "gtc"
    trailing_pct: float | None = None
    reduce_only: bool = False
    stop_loss: float | None = None
    take_profit: float | None = None
    reason: str = "signal"


class Reject(Event, frozen=True, gc=False, tag="REJECT"):
    """An order that was refused, and why."""

    key_field: ClassVar[str | None] = "symbol"

    symbol: str
    order_id: int
    reason: str


class Cancel(Event, frozen=True, gc=False, tag="CANCEL"):
    """A working order ended without a fill, or before all of it was filled."""

    key_field: ClassVar[str | None] = "symbol"

    symbol: str
    order_id: int
    reason: str


class Fill(Event, frozen=True, gc=False, tag="FILL"):
    """An execution. It never crosses zero: a reversal is two fills.

    Args:
        position_id: The position it opens, enlarges, shrinks or closes.
        quantity: Units, positive.
        price: Quote currency per unit, slippage included.
        commission: Quote currency.
        slippage: Quote currency lost against the price without slippage.
        moment: When in the bar: at its open, between open and close, or at its close.
    """

    key_field: ClassVar[str | None] = "symbol"
    correlation_field: ClassVar[str | None] = "position_id"

    symbol: str
    order_id: int
    position_id: str
    side: Side
    quantity: float
    price: float
    commission: float
    slippage: float
    moment: FillMoment
    reason: str


class PositionOpen(Event, frozen=True, gc=False, tag="POSITION_OPEN"):
    """A symbol went from flat to a position; ``order_id`` is the order that did it."""

    key_field: ClassVar[str | None] = "symbol"
    correlation_field: ClassVar[str | None] = "position_id"

    symbol: str
    position_id: str
    order_id: int
    side: PositionSide
    quantity: float
    price: float
    commission: float


class PositionClose(Event, frozen=True, gc=False, tag="POSITION_CLOSE"):
    """A position went flat; carries the whole trade.

    Args:
        quantity: Units entered in total.
        entry_price: Quantity-weighted mean of the entry fills.
        exit_price: Quantity-weighted mean of the exit fills.
        pnl: Quote currency, after commission and slippage of all fills.
        return_fraction: ``pnl`` / (``quantity`` * ``entry_price``).
        bars_held: Bars of the symbol from the entry bar to the exit bar.
        mae: Maximum adverse excursion, fraction of the entry price, <= 0.
        mfe: Maximum favourable excursion, fraction of the entry price, >= 0.
    """

    key_field: ClassVar[str | None] = "symbol"
    correlation_field: ClassVar[str | None] = "position_id"
    closes: ClassVar[bool] = True

    symbol: str
    position_id: str
    side: PositionSide
    quantity: float
    entry_ts: int
    entry_price: float
    exit_price: float
    pnl: float
    return_fraction: float
    commission: float
    bars_held: int
    mae: float
    mfe: float
    exit_reason: str


class PortfolioUpdate(Event, frozen=True, gc=False, tag="PORTFOLIO_UPDATE"):
    """The portfolio marked at the close of a time step.

    Args:
        equity: cash + sum(position * close), quote currency.
        cash: Quote currency.
        exposure: sum(abs(position) * close), quote currency.
        benchmark: Last close of the benchmark symbol; NaN without one.
    """

    equity: float
    cash: float
    exposure: float
    benchmark: float


MARKET_EVENTS: tuple[type[Event], ...] = (
    Bar,
    Features,
    Signal,
    Order,
    Reject,
    Cancel,
    Fill,
    PositionOpen,
    PositionClose,
    PortfolioUpdate,
)

"""Working orders, and when a bar fills them."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import msgspec

from admf.containers.events import FillMoment, Order

__all__ = ["BarPrices", "Match", "Moment", "WorkingOrder", "match"]

Moment: TypeAlias = Literal["earlier", "open", "intrabar"]
"""When an order came: in an earlier bar, or in this one at its open or between open and close."""

_MARKET, _GAP, _STOP, _LIMIT = range(4)


class BarPrices(NamedTuple):
    """The prices of a bar that fills need."""

    open: float
    high: float
    low: float


class Match(NamedTuple):
    """How a bar fills an order; the lowest rank fills first.

    Args:
        rank: Market orders, then what gapped through at the open, then stops, then limits.
        price: Before slippage.
        moment: At the open, or between open and close.
    """

    rank: int
    price: float
    moment: FillMoment


class WorkingOrder(msgspec.Struct):
    """An order in the book.

    Args:
        order: As it was placed.
        came: When it came, seen from the bar that is being matched.
        stop_price: Present stop level; a trailing stop moves it.
        limit_price: Limit; a stop-limit order has one from the time its stop was touched.
        left: Units still to fill; None if the sizing decides.
        last_day: UTC day after which a day order expires; None until its first bar.
    """

    order: Order
    came: Moment
    stop_price: float | None
    limit_price: float | None
    left: float | None
    last_day: int | None = None

    @classmethod
    def of(cls, order: Order, came: Moment) -> WorkingOrder:
        """Return the book's entry for a new order."""
        limit = None if order.type == "stop_limit" else order.limit_price
        return cls(order, came, order.stop_price, limit, order.quantity)

    @property
    def is_market(self) -> bool:
        """Whether it fills at the next price, whatever it is."""
        return self.order.type == "market"

    @property
    def is_target(self) -> bool:
        """Whether it asks for an exposure; a newer such order replaces it."""
        return self.order.target is not None and not self.order.reduce_only

    def trail(self, high: float, low: float) -> None:
        """Move a trailing stop after a bar's close; it never moves away from the price."""
        if self.order.trailing_pct is None or self.stop_price is None:
            return
        share = self.order.trailing_pct / 100
        if self.order.side == "sell":
            self.stop_price = max(self.stop_price, high * (1 - share))
        else:
            self.stop_price = min(self.stop_price, low * (1 + share))


def match(working: WorkingOrder, bar: BarPrices) -> Match | None:
    """Return how a bar fills an order, or None if it does not.

    A market order fills at the open. A stop or limit fills at its price when the range touches it,
    or at the open if the open is already beyond it. A stop-limit order whose stop is touched fills
    in the same bar only if the stop is within its limit; otherwise it goes on as a limit order.

    An order that came at this bar's open sees the rest of the bar, which does not gap. Of those
    that came between open and close only stops can fill: whether a target was touched before or
    after the entry cannot be known, and the worse is assumed.
    """
    if working.is_market:
        return Match(_MARKET, bar.open, "open") if working.came == "earlier" else None
    buys = working.order.side == "buy"
    if working.stop_price is not None:
        return _match_stop(working, working.stop_price, bar, buys=buys)
    if working.limit_price is not None and working.came != "intrabar":
        return _match_limit(working, working.limit_price, bar, buys=buys)
    return None


def _match_stop(working: WorkingOrder, stop: float, bar: BarPrices, *, buys: bool) -> Match | None:
    touched = bar.high >= stop if buys else bar.low <= stop
    if not touched:
        return None
    gapped = working.came == "earlier" and (bar.open >= stop if buys else bar.open <= stop)
    price = bar.open if gapped else stop
    limit = working.order.limit_price
    if limit is not None and (price > limit if buys else price < limit):
        working.stop_price, working.limit_price, working.came = None, limit, "intrabar"
        return None
    return Match(_GAP, price, "open") if gapped else Match(_STOP, price, "intrabar")


def _match_limit(
    working: WorkingOrder, limit: float, bar: BarPrices, *, buys: bool
) -> Match | None:
    if working.came == "earlier" and (bar.open <= limit if buys else bar.open >= limit):
        return Match(_GAP, bar.open, "open")
    if bar.low <= limit if buys else bar.high >= limit:
        return Match(_LIMIT, limit, "intrabar")
    return None

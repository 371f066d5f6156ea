"""Working orders, and when a bar fills them."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from admf.containers.events import FillMoment, Order

__all__ = ["BarPrices", "Match", "WorkingOrder", "match"]

_MARKET, _GAP, _STOP, _LIMIT = range(4)


class BarPrices(NamedTuple):
    """The prices of a bar."""

    open: float
    high: float
    low: float
    close: float


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
        start: The price at which it was placed, if that was between open and close of the bar that
            is being matched; None if it sees the whole bar.
        stop_price: Present stop level; a trailing stop moves it.
        limit_price: Limit; a stop-limit order has one from the bar after its stop was touched.
        left: Units still to fill; None if the sizing decides.
        last_day: UTC day after which a day order expires; None until its first bar.
    """

    order: Order
    start: float | None
    stop_price: float | None
    limit_price: float | None
    left: float | None
    last_day: int | None = None

    @classmethod
    def of(cls, order: Order, start: float | None) -> WorkingOrder:
        """Return the book's entry for a new order."""
        limit = None if order.type == "stop_limit" else order.limit_price
        return cls(order, start, order.stop_price, limit, order.quantity)

    @property
    def is_market(self) -> bool:
        """Whether it fills at the next price, whatever it is."""
        return self.order.type == "market"

    @property
    def is_target(self) -> bool:
        """Whether it asks for an exposure; a newer such order replaces it."""
        return self.order.target is not None and not self.order.reduce_only

    def replaces(self, older: WorkingOrder) -> bool:
        """Whether an older order of the symbol ends when this one is placed.

        A target ends an older target; a protective order ends an older one of its kind.
        """
        if self.order.reduce_only and older.order.reduce_only:
            return self.order.reason == older.order.reason
        return self.is_target and older.is_target

    def end_bar(self, bar: BarPrices) -> None:
        """Go on to the next bar: trailing stops follow, and touched stop-limits become limits."""
        stop = self.stop_price
        if stop is not None and self.order.trailing_pct is not None:
            self.stop_price = self._trailed(stop, self.order.trailing_pct / 100, bar)
        elif stop is not None and self.order.type == "stop_limit" and _touched(self, stop, bar):
            self.stop_price, self.limit_price = None, self.order.limit_price
        self.start = None

    def _trailed(self, stop: float, share: float, bar: BarPrices) -> float:
        """Return where a trailing stop stands after a bar; it never moves away from the price.

        Of a bar in which the position was entered between open and close, only the close is known
        to have come after the entry.
        """
        if self.order.side == "sell":
            best = bar.high if self.start is None else bar.close
            return max(stop, best * (1 - share))
        best = bar.low if self.start is None else bar.close
        return min(stop, best * (1 + share))


def match(working: WorkingOrder, bar: BarPrices) -> Match | None:
    """Return how a bar fills an order, or None if it does not.

    A market order fills at the open. A stop or limit fills at its price when the range touches it,
    or at the open if the open is already beyond it. A stop-limit order that is triggered beyond its
    limit goes on as a limit order: in the same bar if the open triggered it, else in the next.

    An order that was placed between open and close begins at the price of that moment instead of
    the open. Only stops can fill then: whether a target was touched before or after the entry
    cannot be known, and the worse is assumed.
    """
    if working.stop_price is not None:
        return _match_stop(working, working.stop_price, bar)
    if working.start is not None:
        return None
    if working.limit_price is not None:
        return _match_limit(working, working.limit_price, bar)
    return Match(_MARKET, bar.open, "open")


def _match_stop(working: WorkingOrder, stop: float, bar: BarPrices) -> Match | None:
    if not _touched(working, stop, bar):
        return None
    first = bar.open if working.start is None else working.start
    beyond = _reaches(working, first, stop)
    at_open = beyond and working.start is None
    price = first if beyond else stop
    limit = working.order.limit_price
    if limit is not None and not _reaches(working, limit, price):
        return _match_limit(working, limit, bar) if at_open else None
    return Match(_GAP, price, "open") if at_open else Match(_STOP, price, "intrabar")


def _match_limit(working: WorkingOrder, limit: float, bar: BarPrices) -> Match | None:
    buys = working.order.side == "buy"
    if bar.open <= limit if buys else bar.open >= limit:
        return Match(_GAP, bar.open, "open")
    if bar.low <= limit if buys else bar.high >= limit:
        return Match(_LIMIT, limit, "intrabar")
    return None


def _touched(working: WorkingOrder, stop: float, bar: BarPrices) -> bool:
    """Whether the part of a bar that the order sees reaches its stop."""
    first = bar.open if working.start is None else working.start
    extreme = bar.high if working.order.side == "buy" else bar.low
    return _reaches(working, first, stop) or _reaches(working, extreme, stop)


def _reaches(working: WorkingOrder, price: float, level: float) -> bool:
    """Whether a price is at a level, or beyond it in the direction of the order."""
    return price >= level if working.order.side == "buy" else price <= level

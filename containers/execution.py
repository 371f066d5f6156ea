"""Execution: holds the working orders and fills them against the bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import msgspec

from admf.containers.account import Account
from admf.containers.bar_table import BarTable
from admf.containers.config import ExecutionConfig
from admf.containers.costs import Costs
from admf.containers.events import (
    Cancel,
    Fill,
    FillMoment,
    Order,
    PositionClose,
    Reject,
    Side,
    Signal,
)
from admf.containers.lane_events import LaneEvents, LaneMember
from admf.containers.market import Quotes
from admf.containers.order_search import next_bar, pass_over
from admf.containers.orders import BarPrices, WorkingOrder, match
from admf.containers.sizing import Sizer
from admf.containers.times import DAY_NS

__all__ = ["ExecutionContainer", "ExecutionState", "Limits"]

_ROUNDING = 1e-9
"""A position that is nearer than this fraction to its target has reached it."""


class Limits(Protocol):
    """What execution asks and tells before it opens or enlarges a position."""

    def refusal(self, symbol: str, quantity: float, price: float, commission: float) -> str:
        """Return why a position may not grow by ``quantity`` (signed) units; empty if it may."""
        ...

    def entering(self, order: Order) -> None:
        """Take note that the next FILL opens or enlarges a position for this order."""
        ...


class ExecutionState(msgspec.Struct, frozen=True):
    """The working orders, which a window of a live session leaves to the next."""

    working: tuple[WorkingOrder, ...]


class ExecutionContainer(LaneMember):
    """Fills a lane's orders in the order of a bar: open, in between, close.

    The lane gives it the turn: `open_bar`, then `fill_next` until it returns False, for the open
    and then for the rest of the bar, with every FILL handled by all before the next is made, and at
    last `close_bar`.

    Args:
        container_id: Id, e.g. ``execution_001``.
        config: When orders fill and what that costs.
        events: The lane's events.
        account: The lane's cash and positions, only read here.
        sizer: Decides quantities that an order leaves open.
        costs: Commission and slippage.
        limits: The lane's risk.
        quotes: The lane's place in the bars.
    """

    state_type: ClassVar[type[msgspec.Struct] | None] = ExecutionState

    def __init__(
        self,
        container_id: str,
        config: ExecutionConfig,
        *,
        events: LaneEvents,
        account: Account,
        sizer: Sizer,
        costs: Costs,
        limits: Limits,
        quotes: Quotes,
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, "execution", config, events=events, depends_on=depends_on)
        self.fills_at_close = config.fill_on == "close"
        self._account = account
        self._sizer = sizer
        self._costs = costs
        self._limits = limits
        self._quotes = quotes
        self._working: dict[int, WorkingOrder] = {}
        self._start: float | None = None

    async def on_start(self) -> None:
        """Take orders, and end those whose reason is gone."""
        self.listen(Order, self._on_order)
        self.listen(PositionClose, self._on_position_close)
        self.listen(Signal, self._on_signal)

    @property
    def busy(self) -> bool:
        """Whether there are working orders, so that the next bar has to be looked at."""
        return bool(self._working)

    @property
    def is_plain(self) -> bool:
        """Whether the working orders are market orders that bring no protective ones."""
        for working in self._working.values():
            order = working.order
            bare = order.stop_loss is None and order.take_profit is None
            if not bare or order.type != "market":
                return False
        return True

    def awaits(self, symbol: str) -> bool:
        """Whether an order to reach a target is still working."""
        return any(working.is_target for working in self._of(symbol))

    def waiting_targets(self) -> list[Order] | None:
        """Return the working orders if all are market orders for an exposure; None if not."""
        orders = [working.order for working in self._working.values()]
        plain = all(it.is_market and it.is_target for it in self._working.values())
        return orders if plain else None

    def wait_for(self, order: Order | None) -> None:
        """Have this order, or none, work in place of those there are."""
        self._working = {}
        if order is not None:
            self._working[order.order_id] = WorkingOrder.of(order, None)

    def hand_over(self) -> msgspec.Struct:
        """Return what the next window needs to go on."""
        return ExecutionState(tuple(self._working.values()))

    def take_over(self, state: Any) -> None:
        """Go on from where the window before ended."""
        self._working = {working.order.order_id: working for working in state.working}

    # -- the lane's turns -------------------------------------------------------------------------

    def next_step(self, table: BarTable, step: int) -> int:
        """Return the next step from ``step`` on whose bars may change an order.

        Returns:
            ``table.steps`` if there is none in the block.
        """
        found = table.steps
        for working in self._working.values():
            bars = table.bars_of(working.order.symbol)
            at = next_bar(working, bars, table.bar_from(working.order.symbol, step))
            if at < len(bars.step):
                found = min(found, int(bars.step[at]))
        return found

    def pass_over(self, table: BarTable, start: int, stop: int) -> None:
        """Leave out the steps from ``start`` to before ``stop``, none of which changes an order."""
        for working in self._working.values():
            if working.order.trailing_pct is not None:
                symbol = working.order.symbol
                first, last = table.bar_from(symbol, start), table.bar_from(symbol, stop)
                pass_over(working, table.bars_of(symbol), first, last)

    def open_bar(self, symbol: str, ts: int) -> None:
        """Begin a bar: old day orders expire."""
        day = ts // DAY_NS
        for working in self._of(symbol):
            if working.order.time_in_force == "day":
                working.last_day = day if working.last_day is None else working.last_day
                if day > working.last_day:
                    self._cancel(working, "expired")

    def fill_next(self, symbol: str, bar: BarPrices, moment: FillMoment) -> bool:
        """Make the next fill of a bar, or refuse an order; False if nothing more fills.

        Args:
            symbol: Symbol of the bar.
            bar: Its prices.
            moment: ``open`` for what fills at the open, ``intrabar`` for what fills after it.
        """
        if not self._working:
            return False
        found = [(match(working, bar), working) for working in self._of(symbol)]
        due = [(it, working) for it, working in found if it is not None and it.moment == moment]
        if not due:
            return False
        first, working = min(due, key=lambda pair: (pair[0].rank, abs(pair[0].price - bar.open)))
        if moment == "intrabar":
            self._start = first.price
        self._execute(working, first.price, moment)
        return True

    def fill_next_market_order(self, symbol: str, price: float, moment: FillMoment) -> bool:
        """Make the next fill of a symbol's market orders at a price; False if there is none."""
        for working in self._working.values():
            if working.is_market and working.order.symbol == symbol:
                self._execute(working, price, moment)
                return True
        return False

    def close_bar(self, symbol: str, bar: BarPrices) -> None:
        """End the open phase of a bar: what still works goes on to the next one."""
        self._start = None
        for working in self._of(symbol):
            working.end_bar(bar)

    def close_out(self, symbol: str, order_id: int) -> None:
        """Drop all orders of a symbol and order its position to be closed, at the window's end."""
        for working in self._of(symbol):
            self._cancel(working, "end")
        quantity = self._account.quantity(symbol)
        if quantity:
            side: Side = "sell" if quantity > 0 else "buy"
            order = Order(
                self._quotes.ts, symbol, order_id, side, target=0.0, reduce_only=True, reason="end"
            )
            self.publish(order)

    # -- events -----------------------------------------------------------------------------------

    def _on_order(self, order: Order) -> None:
        new = WorkingOrder.of(order, self._start)
        for older in self._of(order.symbol):
            if new.replaces(older):
                self._cancel(older, "replaced")
        self._working[order.order_id] = new

    def _on_position_close(self, event: PositionClose) -> None:
        for working in self._of(event.symbol):
            if working.order.reduce_only:
                self._cancel(working, "position_closed")

    def _on_signal(self, signal: Signal) -> None:
        if signal.action == "cancel":
            for working in self._of(signal.symbol):
                if not working.order.reduce_only:
                    self._cancel(working, "cancelled")

    # -- one order --------------------------------------------------------------------------------

    def _of(self, symbol: str) -> list[WorkingOrder]:
        if not self._working:
            return []
        return [it for it in self._working.values() if it.order.symbol == symbol]

    def _execute(self, working: WorkingOrder, reference: float, moment: FillMoment) -> None:
        """Make an order's next fill, or end the order if there is none to make."""
        order = working.order
        leg = self._next_leg(working, reference)
        if leg.quantity == 0.0:
            self._end_without_fill(working)
            return
        side: Side = "buy" if leg.quantity > 0 else "sell"
        units = abs(leg.quantity)
        price = self._costs.price(side, reference)
        commission = self._costs.commission(units, price)
        if not leg.reduces:
            refusal = self._limits.refusal(order.symbol, leg.quantity, price, commission)
            if refusal:
                self._reject(working, refusal)
                return
            self._limits.entering(order)
        if leg.is_last:
            del self._working[order.order_id]
        elif working.left is not None:
            working.left -= units
        fill = Fill(
            self._quotes.ts,
            order.symbol,
            order.order_id,
            self._account.position_id(order.symbol),
            side,
            units,
            price,
            commission,
            abs(price - reference) * units,
            moment,
            order.reason,
        )
        self.publish(fill)

    def _next_leg(self, working: WorkingOrder, reference: float) -> _Leg:
        order = working.order
        held = self._account.quantity(order.symbol)
        if order.target is not None:
            return self._leg_to_target(order.symbol, order.target, held, reference)
        sign = 1 if order.side == "buy" else -1
        left = None if working.left is None else self._sizer.rounded(working.left)
        if held * sign < 0:
            if left is not None and left <= abs(held):
                return _Leg(sign * left, reduces=True)
            return _Leg(-held, reduces=True, is_last=order.reduce_only)
        if order.reduce_only:
            return _Leg(0.0)
        if left is not None:
            return _Leg(sign * left)
        price = self._costs.price(order.side, reference)
        return _Leg(sign * self._sizer.full_position(order.symbol, price))

    def _leg_to_target(self, symbol: str, target: float, held: float, reference: float) -> _Leg:
        if target == 0.0 or held * target < 0:
            return _Leg(-held, reduces=True, is_last=target == 0.0)
        price = self._costs.price("buy" if target > 0 else "sell", reference)
        units = self._sizer.full_position(symbol, price, abs(target), abs(held))
        change = (units if target > 0 else -units) - held
        if abs(change) <= _ROUNDING * abs(held):
            return _Leg(0.0)
        return _Leg(change, reduces=change * held < 0)

    def _end_without_fill(self, working: WorkingOrder) -> None:
        order = working.order
        there = self._account.quantity(order.symbol) != 0.0 or order.target == 0.0
        if order.reduce_only or (order.target is not None and there):
            self._cancel(working, "nothing_to_do")
        else:
            self._reject(working, "zero_quantity")

    def _reject(self, working: WorkingOrder, reason: str) -> None:
        order = working.order
        del self._working[order.order_id]
        reject = Reject(self._quotes.ts, order.symbol, order.order_id, reason)
        self.publish(reject)

    def _cancel(self, working: WorkingOrder, reason: str) -> None:
        order = working.order
        del self._working[order.order_id]
        cancel = Cancel(self._quotes.ts, order.symbol, order.order_id, reason)
        self.publish(cancel)


class _Leg(NamedTuple):
    """The next fill of an order, in signed units; it never crosses zero."""

    quantity: float
    reduces: bool = False
    is_last: bool = True

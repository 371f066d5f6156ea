"""Risk: turns signals into orders, guards positions, and refuses what breaks a limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.containers.account import Account, Position
from admf.containers.bar_table import BarTable
from admf.containers.config import RiskConfig
from admf.containers.events import (
    Fill,
    Order,
    OrderType,
    PositionOpen,
    PositionSide,
    Side,
    Signal,
)
from admf.containers.lane_events import LaneEvents, LaneMember
from admf.containers.market import Quotes
from admf.containers.order_search import first_where

__all__ = ["RiskContainer", "RiskState"]

_TOLERANCE = 1e-9


class RiskState(msgspec.Struct, frozen=True):
    """What the risk of a lane leaves to the next window of a live session.

    Args:
        peak: Highest equity so far, quote currency.
        halted: Whether trading has been halted for good.
        order_id: The last one given.
    """

    peak: float
    halted: bool
    order_id: int


class RiskContainer(LaneMember):
    """The lane's risk rules.

    A position gets its protective orders at the moment it is opened. They are part of the same bar:
    a position that is opened at the open can be stopped out before the close. If it is enlarged by
    an order with a bracket, the bracket's prices take the place of those it had.

    Args:
        container_id: Id, e.g. ``risk_001``.
        config: The rules.
        events: The lane's events.
        account: The lane's cash and positions, only read here.
        quotes: The lane's place in the bars.
        peak: Equity before the first bar, quote currency; the account's cash if not given.
    """

    state_type = RiskState

    def __init__(
        self,
        container_id: str,
        config: RiskConfig,
        *,
        events: LaneEvents,
        account: Account,
        quotes: Quotes,
        peak: float | None = None,
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, "risk", config, events=events, depends_on=depends_on)
        self._rules = config
        levels = (config.stop_loss_pct, config.take_profit_pct, config.trailing_stop_pct)
        self._guards = any(level is not None for level in levels)
        self._account = account
        self._quotes = quotes
        self._order_id = 0
        self._entering: Order | None = None
        self._enlarges = False
        self._peak = account.cash if peak is None else peak
        self._halted = False

    async def on_start(self) -> None:
        """Listen to signals, and to positions that want protection."""
        self.listen(Signal, self._on_signal)
        self.listen(Fill, self._on_fill)
        self.listen(PositionOpen, self._on_position_open)

    @property
    def watches_equity(self) -> bool:
        """Whether `check_drawdown` has to be called at every close."""
        return self._rules.max_drawdown_pct is not None and not self._halted

    def next_order_id(self) -> int:
        """Return a new order id, unique in the lane."""
        self._order_id += 1
        return self._order_id

    def take_order_ids(self, count: int) -> int:
        """Return the first of as many new order ids as are needed."""
        first = self._order_id + 1
        self._order_id += count
        return first

    def refusal(self, symbol: str, quantity: float, price: float, commission: float) -> str:
        """Return the limit that a fill would break, or an empty string.

        Args:
            symbol: What is traded.
            quantity: Signed units by which the position grows.
            price: Price of the fill, quote currency.
            commission: Of the fill, quote currency.
        """
        if self._halted:
            return "max_drawdown"
        held = abs(self._account.quantity(symbol) + quantity)
        most = self._rules.max_position
        if most is not None and held > most * (1 + _TOLERANCE):
            return "max_position"
        if self._rules.max_leverage is None:
            return ""
        equity, others = self._account.cash - commission, 0.0
        if self._account.positions:
            equity = self._account.equity(lambda it: self._price(it, symbol, price)) - commission
            others = self._account.exposure(
                lambda name: 0.0 if name == symbol else self._quotes.price(name)
            )
        within = others + held * price <= self._rules.max_leverage * equity * (1 + _TOLERANCE)
        return "" if within else "max_leverage"

    def entering(self, order: Order) -> None:
        """Remember the order whose fill opens or enlarges a position: its bracket goes with it."""
        self._entering = order
        self._enlarges = order.symbol in self._account.positions

    def check_drawdown(self) -> bool:
        """Halt trading for good if equity has fallen too far below its peak.

        Returns:
            Whether orders to flatten the positions were published.
        """
        equity = self._account.equity(self._quotes.price)
        self._peak = max(self._peak, equity)
        allowed = self._rules.max_drawdown_pct
        if allowed is None or self._halted or equity > self._peak * (1 - allowed / 100):
            return False
        self._halted = True
        for symbol, position in self._account.positions.items():
            self._place_exit(symbol, _exit_side(position.side), "max_drawdown")
        return True

    def next_step(self, table: BarTable, step: int) -> int:
        """Return the next step from ``step`` on at whose close trading halts, if nothing is traded.

        Returns:
            ``table.steps`` if there is none in the block.
        """
        if not self.watches_equity or not self._account.positions:
            return table.steps
        peak, share = self._peak, 1 - (self._rules.max_drawdown_pct or 0.0) / 100

        def halts(steps: slice) -> NDArray[np.bool_]:
            nonlocal peak
            equity = self._equity(table, steps)
            peaks = np.maximum.accumulate(np.maximum(equity, peak))
            peak = float(peaks[-1])
            found: NDArray[np.bool_] = equity <= peaks * share
            return found

        return first_where(halts, step, table.steps)

    def pass_over(self, table: BarTable, start: int, stop: int) -> None:
        """Leave out the closes from ``start`` to before ``stop``, none of which halts trading."""
        if self.watches_equity and start < stop:
            steps = slice(start, stop)
            self._peak = max(self._peak, float(self._equity(table, steps).max()))

    def hand_over(self) -> RiskState:
        """Return what the next window needs to go on."""
        return RiskState(self._peak, self._halted, self._order_id)

    def take_over(self, state: RiskState) -> None:
        """Go on from where the window before ended."""
        self._peak, self._halted, self._order_id = state.peak, state.halted, state.order_id

    def guard_carried(self, best_price: Callable[[Position], float]) -> None:
        """Place the percentage stops of the positions that were carried into the window.

        Args:
            best_price: Returns the best price that a trailing stop has seen already.
        """
        if self._order_id:  # it goes on from another that has done so
            return
        for position in self._account.positions.values():
            best = best_price(position)
            self._guard(position.symbol, position.side, position.opening_price, best)

    def _on_signal(self, signal: Signal) -> None:
        if signal.action != "cancel":
            self.publish(self._order(signal))

    def _order(self, signal: Signal) -> Order:
        held = self._account.quantity(signal.symbol)
        if signal.action == "close":
            return self._to_target(signal, 0.0, held)
        if signal.action == "target":
            return self._to_target(signal, signal.target, held)
        return Order(
            ts=signal.ts,
            symbol=signal.symbol,
            order_id=self.next_order_id(),
            side="buy" if signal.action == "buy" else "sell",
            type=signal.type,
            quantity=signal.quantity,
            limit_price=signal.limit_price,
            stop_price=signal.stop_price,
            time_in_force=signal.time_in_force,
            stop_loss=signal.stop_loss,
            take_profit=signal.take_profit,
        )

    def _to_target(self, signal: Signal, target: float, held: float) -> Order:
        side: Side = "buy" if target > 0 or (target == 0.0 and held < 0) else "sell"
        return Order(signal.ts, signal.symbol, self.next_order_id(), side, target=target)

    def _on_fill(self, fill: Fill) -> None:
        """Give a position that was enlarged the bracket of the order that did it."""
        order = self._entering
        if order is not None and order.order_id == fill.order_id and self._enlarges:
            side: Side = "sell" if fill.side == "buy" else "buy"
            self._protect(fill.symbol, side, order.stop_loss, order.take_profit)

    def _on_position_open(self, opened: PositionOpen) -> None:
        """Protect a new position; a bracket's own prices take the place of the percentages."""
        order = self._entering
        stop = target = None
        if order is not None and order.order_id == opened.order_id:
            stop, target = order.stop_loss, order.take_profit
        if self._guards or stop is not None or target is not None:
            self._guard(opened.symbol, opened.side, opened.price, opened.price, stop, target)

    def _guard(
        self,
        symbol: str,
        position: PositionSide,
        price: float,
        best_price: float,
        stop: float | None = None,
        target: float | None = None,
    ) -> None:
        """Place a position's protective orders, by the percentages where no prices are given."""
        rules, sign = self._rules, 1 if position == "long" else -1
        if stop is None:
            stop = _offset(price, rules.stop_loss_pct, -sign)
        if target is None:
            target = _offset(price, rules.take_profit_pct, sign)
        side = _exit_side(position)
        self._protect(symbol, side, stop, target)
        trailing = rules.trailing_stop_pct
        level = _offset(best_price, trailing, -sign)
        if level is not None:
            self._place_exit(symbol, side, "trailing_stop", stop_price=level, trailing_pct=trailing)

    def _protect(self, symbol: str, side: Side, stop: float | None, target: float | None) -> None:
        if stop is not None:
            self._place_exit(symbol, side, "stop_loss", stop_price=stop)
        if target is not None:
            self._place_exit(symbol, side, "take_profit", limit_price=target)

    def _place_exit(
        self,
        symbol: str,
        side: Side,
        reason: str,
        *,
        stop_price: float | None = None,
        limit_price: float | None = None,
        trailing_pct: float | None = None,
    ) -> None:
        """Publish an order that closes the position, if it still stands when the order fills."""
        order = Order(
            ts=self._quotes.ts,
            symbol=symbol,
            order_id=self.next_order_id(),
            side=side,
            type=_type(stop_price, limit_price),
            target=0.0,
            stop_price=stop_price,
            limit_price=limit_price,
            trailing_pct=trailing_pct,
            reduce_only=True,
            reason=reason,
        )
        self.publish(order)

    def _equity(self, table: BarTable, steps: slice) -> NDArray[np.float64]:
        """Return the equity at the closes of some steps, as `Account.equity` adds it up."""
        equity = np.full(steps.stop - steps.start, self._account.cash)
        for symbol, position in self._account.positions.items():
            equity += position.direction * position.quantity * table.closes(symbol)[steps]
        return equity

    def _price(self, name: str, symbol: str, price: float) -> float:
        return price if name == symbol else self._quotes.price(name)


def _exit_side(side: PositionSide) -> Side:
    return "sell" if side == "long" else "buy"


def _type(stop_price: float | None, limit_price: float | None) -> OrderType:
    if stop_price is not None:
        return "stop"
    return "market" if limit_price is None else "limit"


def _offset(price: float, percent: float | None, sign: int) -> float | None:
    return None if percent is None else price * (1 + sign * percent / 100)

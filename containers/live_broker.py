"""Where the orders of a live lane go: a simulation, or a broker."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from admf.containers.account import Account
from admf.containers.config import ExecutionConfig
from admf.containers.costs import Costs
from admf.containers.events import Fill, FillMoment, Order, Side
from admf.containers.execution import ExecutionContainer, ExecutionState, Limits
from admf.containers.lane_events import LaneEvents
from admf.containers.market import Quotes
from admf.containers.orders import BarPrices, WorkingOrder
from admf.containers.sizing import Sizer

__all__ = ["Broker", "BrokerExecution", "BrokerReport", "BrokerState"]

Broker: TypeAlias = Callable[..., ExecutionContainer]
"""Makes the execution of a lane, by the arguments of `ExecutionContainer`; a plug-in of the group
``brokers``."""


class BrokerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker says of an order.

    Args:
        order_id: The order.
        quantity: Units filled, positive; 0 if the order was refused.
        price: Quote currency per unit, all costs but the commission included.
        commission: Quote currency.
        is_last: Whether the order has come to its end.
        reason: Why it was refused.
    """

    order_id: int
    quantity: float = 0.0
    price: float = 0.0
    commission: float = 0.0
    is_last: bool = True
    reason: str = "refused_by_broker"


class BrokerState(ExecutionState, frozen=True):
    """What the execution of a window leaves to that of the next.

    Args:
        reports: What the broker has said and is yet to be booked.
    """

    reports: tuple[BrokerReport, ...]


class BrokerExecution(ExecutionContainer):
    """Base of executions that pass orders on to a broker outside.

    A subclass overrides `place` and `withdraw`, neither of which may wait, and has `report` called
    whenever the broker says something, in the event loop. What was reported is booked when the
    next bar opens, in the order of the reports: within a lane, things happen at bars alone.

    Each window has an execution of its own. The connection to the broker outlives them, so it
    belongs to the plug-in; `take_over` is the place to have it report to the new one.
    """

    state_type = BrokerState

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
        super().__init__(
            container_id,
            config,
            events=events,
            account=account,
            sizer=sizer,
            costs=costs,
            limits=limits,
            quotes=quotes,
            depends_on=depends_on,
        )
        self.fills_at_close = False
        self._reports: deque[BrokerReport] = deque()

    def hand_over(self) -> BrokerState:
        """Return what the next window needs to go on."""
        return BrokerState(tuple(self._working.values()), tuple(self._reports))

    def take_over(self, state: BrokerState) -> None:
        """Go on from where the window before ended."""
        super().take_over(state)
        self._reports.extend(state.reports)

    @abstractmethod
    def place(self, order: Order, quantity: float) -> None:
        """Send an order.

        Args:
            order: As risk let it through.
            quantity: Signed units that reach what it asks for at the latest price, negative to
                sell; a protective order is for the position.
        """

    @abstractmethod
    def withdraw(self, order_id: int) -> None:
        """Ask the broker to cancel an order; what it fills before that may still be reported."""

    def report(self, report: BrokerReport) -> None:
        """Take in what the broker says of an order."""
        self._reports.append(report)

    @property
    def busy(self) -> bool:
        """Whether something was reported, so that it is booked at the next bar."""
        return bool(self._reports)

    def open_bar(self, symbol: str, ts: int) -> None:
        """Do nothing: the broker knows when an order expires."""

    def fill_next(self, symbol: str, bar: BarPrices, moment: FillMoment) -> bool:  # noqa: ARG002
        """Book the next report of a symbol; False if there is none."""
        for report in self._reports:
            working = self._working.get(report.order_id)
            if working is None:  # of an order that nobody here knows any more
                self._reports.remove(report)
                return True
            if working.order.symbol == symbol:
                self._book(report, working)
                return True
        return False

    def close_bar(self, symbol: str, bar: BarPrices) -> None:
        """Do nothing: the broker follows prices by itself."""

    def _on_order(self, order: Order) -> None:
        super()._on_order(order)
        working = self._working[order.order_id]
        leg = self._next_leg(working, self._quotes.price(order.symbol))
        quantity = leg.quantity
        held = self._account.quantity(order.symbol)
        if leg.reduces and not leg.is_last:  # the rest of a reversal
            side: Side = "buy" if quantity > 0 else "sell"
            price = self._costs.price(side, self._quotes.price(order.symbol))
            rest = self._sizer.full_position(order.symbol, price, abs(order.target or 1.0))
            quantity += rest if quantity > 0 else -rest
        if quantity == 0.0 and not held:
            self._reject(working, "zero_quantity")
        else:
            self.place(order, quantity)

    def _cancel(self, working: WorkingOrder, reason: str) -> None:
        self.withdraw(working.order.order_id)
        super()._cancel(working, reason)

    def _book(self, report: BrokerReport, working: WorkingOrder) -> None:
        """Publish the next fill that a report makes; one that crosses zero makes two."""
        self._reports.remove(report)
        order = working.order
        if report.quantity == 0.0:
            self._reject(working, report.reason)
            return
        held = self._account.quantity(order.symbol)
        sign = 1.0 if order.side == "buy" else -1.0
        quantity = report.quantity
        if held * sign < 0 and quantity > abs(held):
            share = abs(held) / quantity
            rest = msgspec.structs.replace(
                report, quantity=quantity - abs(held), commission=report.commission * (1 - share)
            )
            self._reports.appendleft(rest)
            report = msgspec.structs.replace(
                report, quantity=abs(held), commission=report.commission * share, is_last=False
            )
        elif held * sign >= 0:
            self._limits.entering(order)
        if report.is_last:
            del self._working[order.order_id]
        self.publish(self._fill(order, report))

    def _fill(self, order: Order, report: BrokerReport) -> Fill:
        return Fill(
            ts=self._quotes.ts,
            symbol=order.symbol,
            order_id=order.order_id,
            position_id=self._account.position_id(order.symbol),
            side=order.side,
            quantity=report.quantity,
            price=report.price,
            commission=report.commission,
            slippage=0.0,
            moment="open",
            reason=order.reason,
        )

"""Whole blocks of a lane at once: all that a columnar strategy's orders lead to, as arrays.

This is for lanes in which each order fills at the next price and nothing else happens: one symbol,
exposures that open and close positions, and no protective orders. Where a block has anything else,
it is left to the lane, which goes from event to event. The events are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.account import Account
from admf.containers.array_events import ArrayEvents, PlacedOrders, Publishers
from admf.containers.array_legs import Legs, Orders, is_sized_at_once, legs_of
from admf.containers.array_trades import position_after, trades_of
from admf.containers.bar_table import BarTable
from admf.containers.config import LaneConfig
from admf.containers.costs import Costs
from admf.containers.events import FillMoment, Order
from admf.containers.execution import ExecutionContainer
from admf.containers.market import Market, Quotes
from admf.containers.portfolio import PortfolioContainer
from admf.containers.risk import RiskContainer
from admf.containers.sizing import Sizer
from admf.containers.strategy import ColumnarStrategyContainer

__all__ = ["LaneArrays", "suits_arrays"]

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]

CHANGES_AT_ONCE = 4_096
"""Changes of the target that are computed at once; half as many where each size needs a call."""


def suits_arrays(lane: LaneConfig, market: Market) -> bool:
    """Whether the rules of a lane are such that its blocks can be computed as arrays."""
    rules = lane.risk
    protected = (
        rules.stop_loss_pct,
        rules.take_profit_pct,
        rules.trailing_stop_pct,
        rules.max_drawdown_pct,
    )
    return len(market.symbols) == 1 and all(rule is None for rule in protected)


class _Plan(NamedTuple):
    """What happens in some steps of a block.

    Args:
        row: int64 (k,), bar of each signal.
        target: float64 (k,), exposure that it asks for.
        waiting: Orders of earlier steps, at most one.
        legs: The fills; None if there are none.
    """

    row: Rows
    target: Floats
    waiting: list[Order]
    legs: Legs | None


class LaneArrays:
    """Computes blocks of one lane, whose rules suit it, as arrays.

    Args:
        lane: The lane's settings.
        market: The window's market data.
        quotes: The lane's place in it.
        strategy: Says which exposures are wanted.
        risk: Numbers the orders.
        execution: Holds an order that waits for its price.
        portfolio: Has the account, and is told the events.
        costs: Commission and slippage.
        sizer: Sizes positions of ``account`` where equity decides.
        account: An account that stands in for the lane's while positions are sized.
    """

    def __init__(
        self,
        lane: LaneConfig,
        *,
        market: Market,
        quotes: Quotes,
        strategy: ColumnarStrategyContainer,
        risk: RiskContainer,
        execution: ExecutionContainer,
        portfolio: PortfolioContainer,
        costs: Costs,
        sizer: Sizer,
        account: Account,
    ) -> None:
        self._lane = lane
        self._market = market
        self._quotes = quotes
        self._strategy = strategy
        self._risk = risk
        self._execution = execution
        self._portfolio = portfolio
        self._costs = costs
        self._sizer = sizer
        self._account = account
        self._symbol = market.symbols[0]
        self._moment: FillMoment = "close" if execution.fills_at_close else "open"
        publishers = Publishers(strategy.id, risk.id, execution.id, portfolio.id)
        self._events = ArrayEvents(self._symbol, self._moment, publishers)

    def portions(self, start: int, stop: int) -> Iterator[int]:
        """Yield the ends of the portions in which the steps are to be computed.

        In none is there so much to do that the host's event loop would wait for long.
        """
        rows, _ = self._strategy.changes(start, stop)
        at_once = CHANGES_AT_ONCE
        if not is_sized_at_once(self._lane.portfolio.sizing):
            at_once = max(1, at_once // 2)
        yield from rows[at_once::at_once].tolist()
        yield stop

    def compute(self, table: BarTable, start: int, stop: int) -> bool:
        """Do all that happens in the steps from ``start`` to before ``stop``, but for the marks.

        Returns:
            False if something happens that is not for arrays; then nothing has been done.
        """
        plan = self._plan(table, start, stop)
        if plan is None:
            return False
        if plan.legs is not None or len(plan.row):
            self._carry_out(table, plan)
        return True

    def _plan(self, table: BarTable, start: int, stop: int) -> _Plan | None:
        waiting = self._execution.waiting_targets()
        if waiting is None or len(waiting) > (self._moment == "open"):
            return None
        row, target = self._strategy.changes(start, stop)
        bars = table.bars_of(self._symbol)
        if self._moment == "close":
            orders = Orders(target, row, bars.close[row])
        else:
            first = [0.0 if order.target is None else order.target for order in waiting]
            wanted: Floats = np.concatenate((np.array(first), target))
            fills = np.concatenate((np.full(len(waiting), start), row + 1))
            fills = fills[: int(np.searchsorted(fills, stop))]
            orders = Orders(wanted[: len(fills)], fills, bars.open[fills])
        if not len(orders.row):
            return _Plan(row, target, waiting, None)
        legs = self._legs(table, orders)
        return None if legs is None else _Plan(row, target, waiting, legs)

    def _legs(self, table: BarTable, orders: Orders) -> Legs | None:
        account = self._portfolio.account

        def size(cash: float, price: float, exposure: float, row: int) -> float:
            self._quotes.move_to(table, row, closed=self._moment == "close")
            self._account.cash = cash
            return self._sizer.full_position(self._symbol, price, exposure)

        return legs_of(
            orders,
            account.quantity(self._symbol),
            account.cash,
            costs=self._costs,
            sizing=self._lane.portfolio.sizing,
            risk=self._lane.risk,
            size=size,
        )

    def _carry_out(self, table: BarTable, plan: _Plan) -> None:
        """Publish the events, and leave the lane as they leave it."""
        ts, legs = table.bars_of(self._symbol).ts, plan.legs
        orders = self._placed(plan, ts)
        if legs is None:
            batch = self._events.batch(orders, None, ts, (), None)
            self._portfolio.events.publish_block(batch)
        else:
            self._trade(table, orders, legs, ts)
        filled = 0 if legs is None else int(legs.order[-1]) + 1
        if len(plan.row) + len(plan.waiting) > filled:
            self._execution.wait_for(self._last_order(orders) if len(plan.row) else None)
        else:
            self._execution.wait_for(None)

    def _placed(self, plan: _Plan, ts: Rows) -> PlacedOrders:
        before = np.empty(len(plan.target))
        if len(before):
            held = self._portfolio.account.quantity(self._symbol)
            before[0] = plan.waiting[0].target if plan.waiting else held
            before[1:] = plan.target[:-1]
        first = self._risk.take_order_ids(len(plan.row))
        return PlacedOrders(
            ts=ts[plan.row],
            target=plan.target,
            buys=(plan.target > 0.0) | ((plan.target == 0.0) & (before < 0.0)),
            order_id=np.arange(first, first + len(plan.row)),
            waiting=[order.order_id for order in plan.waiting],
        )

    def _trade(self, table: BarTable, orders: PlacedOrders, legs: Legs, ts: Rows) -> None:
        account = self._portfolio.account
        held = account.positions.get(self._symbol)
        opened = len(legs.row[legs.opening])
        ids = self._market.position_ids(self._symbol, account.next_number, opened)
        trades = None
        if len(legs.row) > legs.opens:
            bars, first_bar = self._market.data.bars(self._symbol), self._market.first_bar(table)
            trades = trades_of(legs, held, bars, first_bar, self._moment)
        known = ids if held is None else [held.position_id, *ids]
        batch = self._events.batch(orders, legs, ts, known, trades)
        position = None
        if legs.opens == bool(len(legs.row) % 2):
            last = int(ts[legs.row[-1]])
            position = position_after(legs, ids[-1], self._symbol, last, self._moment)
        self._portfolio.book_all(self._symbol, legs, batch, ids, position)

    def _last_order(self, orders: PlacedOrders) -> Order:
        return Order(
            int(orders.ts[-1]),
            self._symbol,
            int(orders.order_id[-1]),
            "buy" if orders.buys[-1] else "sell",
            target=float(orders.target[-1]),
        )

"""The steps of a per-bar strategy, as long as market orders are all that works."""

from __future__ import annotations

from admf.containers.bar_table import BarTable
from admf.containers.events import FillMoment
from admf.containers.execution import ExecutionContainer
from admf.containers.lane_events import LaneEvents
from admf.containers.market import Quotes
from admf.containers.strategy import BarStrategyContainer

__all__ = ["LaneBars"]


class LaneBars:
    """Goes from signal to signal of a per-bar strategy in one symbol.

    This is for lanes that place no protective orders by rule. A step in which an order with a
    level, a bracket or the like works is left to the lane; the events are the same.

    Args:
        events: The lane's events.
        quotes: The lane's place in the market data.
        strategy: Sees the bars.
        execution: Fills the orders.
        symbol: What is traded.
    """

    def __init__(
        self,
        *,
        events: LaneEvents,
        quotes: Quotes,
        strategy: BarStrategyContainer,
        execution: ExecutionContainer,
        symbol: str,
    ) -> None:
        self._events = events
        self._quotes = quotes
        self._strategy = strategy
        self._execution = execution
        self._symbol = symbol

    def walk(self, table: BarTable, step: int, stop: int) -> int:
        """Do all that happens in steps before ``stop``, as far as it is market orders and in time.

        Returns:
            The step that is next: ``stop``, or one at which others have to go on.
        """
        execution, settle = self._execution, self._events.settle
        act_within = self._strategy.act_within
        while step < stop:
            if execution.busy:
                if not execution.is_plain:
                    return step
                self._quotes.move_to(table, step, closed=False)
                self._fill(table.open_price(step), "open")
            seen = act_within(table, step, stop)
            if seen == stop:
                return stop
            self._quotes.step = seen
            settle()
            if execution.fills_at_close:
                self._fill(table.last_close(self._symbol, seen), "close")
            step = seen + 1
            if self._strategy.scope.must_rest:
                return step
        return step

    def _fill(self, price: float, moment: FillMoment) -> None:
        while self._execution.fill_next_market_order(self._symbol, price, moment):
            self._events.settle()

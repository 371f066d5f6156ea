"""A lane: one strategy, its risk, portfolio and execution, and the order of a bar among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from admf.containers.bar_table import BarTable
from admf.containers.events import Bar, Features
from admf.containers.execution import ExecutionContainer
from admf.containers.lane_arrays import LaneArrays
from admf.containers.lane_bars import LaneBars
from admf.containers.lane_events import LaneEvents
from admf.containers.market import Market, Quotes
from admf.containers.portfolio import PortfolioContainer
from admf.containers.pruning import Pruner
from admf.containers.risk import RiskContainer
from admf.containers.strategy import StrategyContainer
from admf.engine.block import Block
from admf.engine.container import Container
from admf.engine.errors import UserCodeError

__all__ = ["LaneContainer"]

STEPS_PER_TURN = 16
"""Time steps that may pass without events before the bus gets to look at the clock."""


class LaneContainer(Container):
    """Gives the containers of a lane their turns, time step by time step.

    1. Open: working orders meet the bars, those of all symbols at the open before any between open
       and close; every fill is booked before the next is made.
    2. Close: the strategy sees the bars; its signals become orders or refusals.
    3. Mark: the portfolio is valued at the closes (all steps of a block at once).

    What one turn publishes has reached everybody before the next turn begins. Steps at which no
    order can fill and the strategy has nothing to say are passed over.

    Where nobody else listens, events go from hand to hand (see `LaneEvents`), and working orders
    find the bars that concern them by array search. Otherwise each event goes over the bus, and
    each bar is looked at as long as orders work. Either way the events are the same.

    Args:
        container_id: Id, e.g. ``lane_001``.
        events: The lane's events.
        market: The window's market data.
        quotes: The lane's place in it, which this container moves.
        strategy: Makes signals.
        risk: Makes orders of them.
        execution: Fills orders.
        portfolio: Books fills and marks.
        close_at_end: Close what is open at the window's last close.
        arrays: Computes whole blocks, if the rules of the lane suit that.
        plain_bars: Goes through steps in which only market orders work, if the rules suit that.
        pruner: Says when the lane is given up; None for never.
    """

    def __init__(
        self,
        container_id: str,
        *,
        events: LaneEvents,
        market: Market,
        quotes: Quotes,
        strategy: StrategyContainer,
        risk: RiskContainer,
        execution: ExecutionContainer,
        portfolio: PortfolioContainer,
        close_at_end: bool,
        arrays: LaneArrays | None = None,
        plain_bars: LaneBars | None = None,
        pruner: Pruner | None = None,
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, "lane", scope=events.scope, depends_on=depends_on)
        self._events = events
        self._market = market
        self._quotes = quotes
        self._strategy = strategy
        self._risk = risk
        self._execution = execution
        self._portfolio = portfolio
        self._close_at_end = close_at_end
        self._arrays = arrays
        self._plain_bars = plain_bars
        self._pruner = pruner
        self._bars: Block[Bar] | None = None

    async def on_start(self) -> None:
        """Wait for bars, and for their features as the sign that they are closed."""
        self.subscribe(Bar, self._on_bars, blocks=True)
        self.subscribe(Features, self._on_features, blocks=True)

    def _on_bars(self, bars: Block[Bar]) -> None:
        self._bars = bars

    def _on_features(self, _: Block[Features]) -> None:
        if self._bars is not None and self._portfolio.pruned_at is None:
            self.scope.advance(self._walk(self._market.table(self._bars)))

    def _walk(self, table: BarTable) -> Iterator[None]:
        """Go through a block; at each yield, the bus delivers what waits and keeps to its pace."""
        self._events.begin()
        try:
            yield from self._walk_block(table)
        except BaseException:
            self._events.give_up()  # so that the tracers miss nothing of what was told
            raise

    def _walk_block(self, table: BarTable) -> Iterator[None]:
        if table.first_step == 0 and self._portfolio.account.positions:
            self._quotes.move_to(table, 0, closed=False)
            self._risk.guard_carried(self._market.best_price)
            self._events.settle()
            yield
        if table.first_step == 0:
            yield from self._strategy.prepare()
        self._strategy.begin(table)
        start = 0
        for stop in self._looks(table):
            yield from self._walk_to(table, start, stop)
            self._portfolio.mark(table, stop)
            yield  # so that the marks are in the metrics
            if self._gives_up(table, stop):
                return
            start = stop
        yield from self._walk_to(table, start, table.steps)
        yield from self._settled(self._end(table))

    def _walk_to(self, table: BarTable, start: int, stop: int) -> Iterator[None]:
        try:
            if not self._events.direct:
                yield from self._walk_over_bus(table, start, stop)
            elif self._arrays is None:
                yield from self._walk_directly(table, start, stop)
            else:
                yield from self._compute(self._arrays, table, start, stop)
        except UserCodeError:  # what the lane did before is reported all the same
            self._events.give_up()
            self._portfolio.mark(table, self._quotes.step)
            raise

    def _compute(
        self, arrays: LaneArrays, table: BarTable, start: int, stop: int
    ) -> Iterator[None]:
        for until in arrays.portions(start, stop):
            if not arrays.compute(table, start, until):
                yield from self._walk_directly(table, start, until)
            elif until < stop:
                yield
            start = until

    # -- over the bus -----------------------------------------------------------------------------

    def _walk_over_bus(self, table: BarTable, start: int, stop: int) -> Iterator[None]:
        step = self._next_step(table, start)
        while step < stop:
            yield from self._open(table, step)
            yield from self._close(table, step, table.rows(step))
            step = self._next_step(table, step + 1)
            if step % STEPS_PER_TURN == 0:
                yield  # so that the bus can keep to its max_block_ms

    def _next_step(self, table: BarTable, step: int) -> int:
        if self._execution.busy or self._risk.watches_equity:
            return step
        return self._strategy.next_step(table, step)

    # -- from hand to hand ------------------------------------------------------------------------

    def _walk_directly(self, table: BarTable, start: int, stop: int) -> Iterator[None]:
        step = start
        while step < stop:
            step = self._next_turn(table, step, stop)
            if self.scope.must_rest:
                yield

    def _next_turn(self, table: BarTable, step: int, stop: int) -> int:
        """Go on to where something happens, let it happen, and return the step that follows."""
        if self._plain_bars is not None:
            reached = self._plain_bars.walk(table, step, stop)
            if reached > step:
                return reached
        due = min(self._execution.next_step(table, step), self._risk.next_step(table, step), stop)
        if step < due:
            last = table.first_row(due)
            row = self._strategy.act_within(table, table.first_row(step), last)
            if row < last:
                return self._end_step(table, step, row)
            self._pass_over(table, step, due)
        if due == stop:
            return stop
        self._do(self._open(table, due))
        self._do(self._close(table, due, table.rows(due)))
        return due + 1

    def _end_step(self, table: BarTable, since: int, row: int) -> int:
        """End the step of the last row that the strategy has seen, and return the one after it."""
        step = table.steps_of_rows[row]
        self._execution.pass_over(table, since, step + 1)
        self._risk.pass_over(table, since, step)
        self._quotes.move_to(table, step, closed=True)
        self._events.settle()
        self._do(self._close(table, step, range(row + 1, table.first_row(step + 1))))
        return step + 1

    def _pass_over(self, table: BarTable, start: int, stop: int) -> None:
        self._execution.pass_over(table, start, stop)
        self._risk.pass_over(table, start, stop)

    def _do(self, turns: Iterator[None]) -> None:
        """Take turns of which each is to have reached everybody before the next."""
        for _ in turns:
            self._events.settle()
        self._events.settle()

    def _settled(self, turns: Iterator[None]) -> Iterator[None]:
        for turn in turns:
            self._events.settle()
            yield turn
        self._events.settle()

    # -- the turns of a step ----------------------------------------------------------------------

    def _end(self, table: BarTable) -> Iterator[None]:
        self._quotes.move_to(table, table.steps - 1, closed=True)
        if table.is_last and self._close_at_end:
            yield from self._close_out()
        elif table.is_last:
            targets = self._strategy.targets.items()
            self._portfolio.reach_end({s: t for s, t in targets if not self._execution.awaits(s)})
        self._portfolio.mark(table, table.steps)

    def _looks(self, table: BarTable) -> list[int]:
        return [] if self._pruner is None else self._pruner.looks(table.first_step, table.steps)

    def _gives_up(self, table: BarTable, stop: int) -> bool:
        """End the lane at the step before ``stop`` if it is hopeless."""
        if self._pruner is None or not self._pruner.gives_up(self._portfolio.metric):
            return False
        self._quotes.move_to(table, stop - 1, closed=True)
        self._portfolio.prune()
        return True

    def _open(self, table: BarTable, step: int) -> Iterator[None]:
        self._quotes.move_to(table, step, closed=False)
        if not self._execution.busy:
            return
        bars = [(table.symbol[row], table.prices(row)) for row in table.rows(step)]
        for symbol, _ in bars:
            self._execution.open_bar(symbol, self._quotes.ts)
        for symbol, bar in bars:
            while self._execution.fill_next(symbol, bar, "open"):
                yield
        for symbol, bar in bars:
            while self._execution.fill_next(symbol, bar, "intrabar"):
                yield
            self._execution.close_bar(symbol, bar)

    def _close(self, table: BarTable, step: int, rows: range) -> Iterator[None]:
        """Close a step; the strategy has yet to see the bars in ``rows``."""
        self._quotes.move_to(table, step, closed=True)
        for row in rows:
            if self._strategy.act(table, row):
                yield
        yield from self._fill_market_orders(table, step)
        if self._risk.watches_equity and self._risk.check_drawdown():
            yield
            yield from self._fill_market_orders(table, step)

    def _fill_market_orders(self, table: BarTable, step: int) -> Iterator[None]:
        if self._execution.fills_at_close:
            for row in table.rows(step):
                yield from self._fill_at_close(table.symbol[row])

    def _close_out(self) -> Iterator[None]:
        self._events.show()  # from here on it is the execution that publishes orders
        for symbol in self._market.symbols:
            self._execution.close_out(symbol, self._risk.next_order_id())
            yield
            yield from self._fill_at_close(symbol)

    def _fill_at_close(self, symbol: str) -> Iterator[None]:
        price = self._quotes.price(symbol)
        while self._execution.fill_next_market_order(symbol, price, "close"):
            yield

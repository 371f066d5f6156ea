"""A lane: one strategy, its risk, portfolio and execution, and the order of a bar among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from admf.containers.bar_table import BarTable
from admf.containers.events import Bar, Features
from admf.containers.execution import ExecutionContainer
from admf.containers.market import Market, Quotes
from admf.containers.portfolio import PortfolioContainer
from admf.containers.pruning import Pruner
from admf.containers.risk import RiskContainer
from admf.containers.strategy import StrategyContainer
from admf.engine.block import Block
from admf.engine.bus import Bus
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
    order works and the strategy has nothing to say are passed over.

    Args:
        container_id: Id, e.g. ``lane_001``.
        scope: The lane's scope.
        market: The window's market data.
        quotes: The lane's place in it, which this container moves.
        strategy: Makes signals.
        risk: Makes orders of them.
        execution: Fills orders.
        portfolio: Books fills and marks.
        close_at_end: Close what is open at the window's last close.
        pruner: Says when the lane is given up; None for never.
    """

    def __init__(
        self,
        container_id: str,
        *,
        scope: Bus,
        market: Market,
        quotes: Quotes,
        strategy: StrategyContainer,
        risk: RiskContainer,
        execution: ExecutionContainer,
        portfolio: PortfolioContainer,
        close_at_end: bool,
        pruner: Pruner | None = None,
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, "lane", scope=scope, depends_on=depends_on)
        self._market = market
        self._quotes = quotes
        self._strategy = strategy
        self._risk = risk
        self._execution = execution
        self._portfolio = portfolio
        self._close_at_end = close_at_end
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
        if table.first_step == 0 and self._portfolio.account.positions:
            self._quotes.move_to(table, 0, closed=False)
            self._risk.guard_carried(self._market.best_price)
            yield
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
        yield from self._end(table)

    def _walk_to(self, table: BarTable, start: int, stop: int) -> Iterator[None]:
        step = self._next_step(table, start)
        try:
            while step < stop:
                yield from self._open(table, step)
                yield from self._close(table, step)
                step = self._next_step(table, step + 1)
                if step % STEPS_PER_TURN == 0:
                    yield  # so that the bus can keep to its max_block_ms
        except UserCodeError:  # what the lane did before is reported all the same
            self._portfolio.mark(table, step)
            raise

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

    def _next_step(self, table: BarTable, step: int) -> int:
        if self._execution.busy or self._risk.watches_equity:
            return step
        return self._strategy.next_step(table, step)

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

    def _close(self, table: BarTable, step: int) -> Iterator[None]:
        self._quotes.move_to(table, step, closed=True)
        for row in table.rows(step):
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
        for symbol in self._market.symbols:
            self._execution.close_out(symbol, self._risk.next_order_id())
            yield
            yield from self._fill_at_close(symbol)

    def _fill_at_close(self, symbol: str) -> Iterator[None]:
        while self._execution.fill_next_at_close(symbol, self._quotes.price(symbol)):
            yield

"""Strategies on live bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from admf.containers.bar_table import BarTable
from admf.containers.context import BarContext
from admf.containers.events import Signal
from admf.containers.features import FeatureSpec
from admf.containers.lane_events import LaneEvents
from admf.containers.live_market import LiveMarket
from admf.containers.strategies.base import BarStrategy, ColumnarStrategy
from admf.containers.strategies.loading import user_error
from admf.containers.strategy import (
    USER_ERRORS,
    BarStrategyContainer,
    StrategyContainer,
    call_name,
    changes_in,
)

__all__ = [
    "ColumnarState",
    "LiveBarStrategy",
    "LiveColumnarStrategy",
    "LiveContext",
    "StrategyState",
]


class LiveContext(BarContext):
    """What a per-bar strategy is given in a live session; bars count from its beginning."""

    _market: LiveMarket

    def feature(
        self, function: str, *params: float, on: str | None = None, output: str | None = None
    ) -> float:
        """Return an indicator at this bar, NaN while it warms up."""
        return self._market.latest(self._symbol, FeatureSpec(function, params, on, output))

    def bars_seen(self) -> dict[str, int]:
        """Return how many bars of each symbol there were."""
        seen = dict(self._first)
        if self._table is not None:
            for symbol in seen:
                seen[symbol] += len(self._table.rows_of(symbol))
        return seen

    def go_on(self, bars_seen: Mapping[str, int], rng: np.random.Generator) -> None:
        """Go on from where another context was."""
        self._first.update(bars_seen)
        self._rng = rng


class StrategyState(msgspec.Struct, frozen=True):
    """What a per-bar strategy leaves to the next window.

    Args:
        strategy: The strategy itself, with all that it keeps.
        bars: Bars of each symbol that it has seen.
        rng: Its generator.
    """

    strategy: Any
    bars: dict[str, int]
    rng: Any


class LiveBarStrategy(BarStrategyContainer):
    """Calls ``on_bar`` at every close, window after window on the same strategy.

    A strategy that has failed begins anew in the next window.
    """

    _strategy: BarStrategy
    _context: LiveContext

    def hand_over(self) -> StrategyState | None:
        """Return the strategy, unless it has failed."""
        if self.scope.failure is not None:
            return None
        return StrategyState(self._strategy, self._context.bars_seen(), self._context.rng)

    def take_over(self, state: StrategyState) -> None:
        """Go on with the strategy of the window before."""
        self._call(state.strategy)
        self._context.go_on(state.bars, state.rng)


class ColumnarState(msgspec.Struct, frozen=True):
    """The last target of each symbol, which a columnar strategy leaves to the next window."""

    targets: dict[str, float]


class LiveColumnarStrategy(StrategyContainer):
    """Asks a columnar strategy for its targets at each close, and publishes their changes.

    It is given the bars of the session, as many as are kept, and the last of its targets counts.

    Args:
        container_id: Id.
        strategy: The user's strategy.
        events: The lane's events.
        market: The window of the session.
        before: The target of each symbol before the session, NaN if it is not known.
    """

    _market: LiveMarket

    state_type = ColumnarState

    def __init__(
        self,
        container_id: str,
        strategy: ColumnarStrategy,
        *,
        events: LaneEvents,
        market: LiveMarket,
        before: Mapping[str, float],
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, events=events, market=market, depends_on=depends_on)
        self._strategy = strategy
        self._ask = self.scope.timed(strategy.targets, call_name(self.id, strategy, "targets"))
        self._last = dict(before)
        self._due: dict[int, float] = {}

    @property
    def targets(self) -> Mapping[str, float]:
        """The targets it asked for last, by symbol, where they are known."""
        return {symbol: target for symbol, target in self._last.items() if not np.isnan(target)}

    def hand_over(self) -> ColumnarState:
        """Return the targets."""
        return ColumnarState(dict(self.targets))

    def take_over(self, state: ColumnarState) -> None:
        """Go on from the targets of the window before."""
        self._last.update(state.targets)

    def begin(self, table: BarTable) -> None:
        """Find out which targets change at a time step."""
        self._due = {}
        for row, symbol in enumerate(table.symbol):
            target = self._target(symbol)
            if not np.isnan(target) and target != self._last[symbol]:
                self._due[row] = self._last[symbol] = target

    def next_step(self, table: BarTable, step: int) -> int:
        """Return the step, if it has a change."""
        return step if self._due and step < table.steps else table.steps

    def act(self, table: BarTable, row: int) -> bool:
        """Publish the change of a row, if there is one."""
        target = self._due.get(row)
        if target is None:
            return False
        self.publish(Signal(int(table.block.ts[row]), table.symbol[row], "target", target=target))
        return True

    def act_within(self, table: BarTable, start: int, stop: int) -> int:
        """Publish the first change in the rows, if there is one."""
        return next((row for row in range(start, stop) if self.act(table, row)), stop)

    def _target(self, symbol: str) -> float:
        bars, features = self._market.bars(symbol), self._market.feature_window(symbol)
        try:
            targets = np.asarray(self._ask(bars, features), dtype=np.float64)
            changes_in(targets, len(bars))  # refuses what are no targets
        except USER_ERRORS as error:
            ts = int(bars.ts[-1])
            raise user_error(error, self._strategy, symbol=symbol, ts=ts) from error
        return float(targets[-1])

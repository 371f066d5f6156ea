"""The strategy container: runs a strategy of either kind and publishes its signals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from admf.containers.bar_table import BarTable
from admf.containers.context import BarContext
from admf.containers.events import Signal
from admf.containers.lane_events import LaneEvents, LaneMember
from admf.containers.market import Market, Quotes
from admf.containers.market_data import Bars
from admf.containers.strategies.base import (
    BarStrategy,
    ColumnarStrategy,
    Targets,
    targets_by_piece,
)
from admf.containers.strategies.loading import user_error
from admf.containers.target_changes import ChangesByBlock, TargetChanges
from admf.engine.cancellation import CATCHABLE

__all__ = [
    "USER_ERRORS",
    "BarStrategyContainer",
    "ColumnarStrategyContainer",
    "StrategyContainer",
    "call_name",
    "changes_in",
]

USER_ERRORS: tuple[type[BaseException], ...] = (*CATCHABLE, SystemExit)
"""What ends the lane of a strategy that raises it, and nothing but that lane."""


PIECE = 262_144
"""Bars that a strategy which goes by pieces sees at once."""

BARS_PER_LOOK = 16
"""Bars that a strategy sees between two looks at the clock."""


class StrategyContainer(LaneMember, ABC):
    """What the lane needs of a strategy: when it wants to act, and its turn to do so.

    Args:
        container_id: Id, e.g. ``strategy_001``.
        events: The lane's events.
        market: The window's market data.
    """

    def __init__(
        self,
        container_id: str,
        *,
        events: LaneEvents,
        market: Market,
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, "strategy", events=events, depends_on=depends_on)
        self._market = market

    @abstractmethod
    def begin(self, table: BarTable) -> None:
        """Take in the next block of bars."""

    @abstractmethod
    def next_step(self, table: BarTable, step: int) -> int:
        """Return the next step from ``step`` on at which it may act; ``table.steps`` if none."""

    @abstractmethod
    def act(self, table: BarTable, row: int) -> bool:
        """Act on a closed bar; whether signals were published."""

    @abstractmethod
    def act_within(self, table: BarTable, start: int, stop: int) -> int:
        """Act on closed bars one after the other, until signals are published or time is up.

        Args:
            table: The block.
            start: First row.
            stop: The row after the last.

        Returns:
            The last row that was seen; ``stop`` if all were and no signal was published.
        """

    @property
    def targets(self) -> Mapping[str, float]:
        """The targets it asked for last, by symbol, if that is how it works."""
        return {}


class BarStrategyContainer(StrategyContainer):
    """Calls ``on_bar`` at every close.

    Args:
        container_id: Id.
        strategy: The user's strategy.
        context: What it is given.
        quotes: The lane's place in the bars, which moves with each of them.
        events: The lane's events.
        market: The window's market data.
    """

    def __init__(
        self,
        container_id: str,
        strategy: BarStrategy,
        context: BarContext,
        quotes: Quotes,
        *,
        events: LaneEvents,
        market: Market,
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, events=events, market=market, depends_on=depends_on)
        self._call(strategy)
        self._context = context
        self._quotes = quotes

    def _call(self, strategy: BarStrategy) -> None:
        """Have this strategy called from now on."""
        self._strategy = strategy
        self._on_bar = self.scope.timed(strategy.on_bar, call_name(self.id, strategy, "on_bar"))

    def begin(self, table: BarTable) -> None:
        """Go on to the block."""
        self._context.begin(table)

    def next_step(self, table: BarTable, step: int) -> int:  # noqa: ARG002 - every bar is seen
        """Return ``step``: every bar is seen."""
        return step

    def act(self, table: BarTable, row: int) -> bool:
        """Call the strategy with one bar."""
        self.act_within(table, row, row + 1)
        return self._context.acted

    def act_within(self, table: BarTable, start: int, stop: int) -> int:
        """Call the strategy with one bar after the other, until it acts."""
        context, row, look_at = self._context, start, start + BARS_PER_LOOK - 1
        on_bar, several = self._on_bar, bool(table.places)
        self._quotes.move_to(table, self._quotes.step, closed=True)
        context.acted = False
        try:
            while start < stop:
                first, bars = table.bars_around(start)
                end = min(first + len(bars), stop)
                for row in range(start, end):
                    context.bar = bar = bars[row - first]
                    context.place = row
                    if several:
                        context.move_to(row)
                    on_bar(bar, context)
                    if context.acted:
                        return row
                    if row == look_at:
                        if self.scope.must_rest:
                            return row
                        look_at += BARS_PER_LOOK
                start = end
        except USER_ERRORS as error:
            bar, self._quotes.step = context.bar, table.steps_of_rows[row]
            raise user_error(error, self._strategy, symbol=bar.symbol, ts=bar.ts) from error
        return stop


class ColumnarStrategyContainer(StrategyContainer):
    """Asks for the targets of the whole window once, and publishes their changes.

    A strategy that goes by pieces is asked for one piece after the other.

    Lanes of a window whose strategies are configured alike share the changes: the first one asks.

    Args:
        container_id: Id.
        strategy: The user's strategy.
        config: What the strategy was made of, as text.
        events: The lane's events.
        market: The window's market data.
        before: The target of each symbol before the window, NaN if it is not known.
    """

    def __init__(
        self,
        container_id: str,
        strategy: ColumnarStrategy,
        *,
        config: bytes,
        events: LaneEvents,
        market: Market,
        before: Mapping[str, float],
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, events=events, market=market, depends_on=depends_on)
        self._strategy = strategy
        self._config = config
        self._before = before
        self._changes: dict[str, ChangesByBlock] = {}
        self._rows = np.empty(0, dtype=np.int64)
        self._values = np.empty(0)
        self._due: _Due | None = None

    @property
    def targets(self) -> Mapping[str, float]:
        """The targets it asked for last, by symbol, where they are known."""
        last = {symbol: changes.last for symbol, changes in self._changes.items()}
        return {symbol: target for symbol, target in last.items() if not np.isnan(target)}

    def begin(self, table: BarTable) -> None:
        """Find the rows of the block at which a target changes."""
        if not self._changes:
            self._changes = {
                name: ChangesByBlock(self._changes_of(name), self._before[name])
                for name in self._market.symbols
            }
        self._due = None
        parts = [it.take(table.rows_of(name)) for name, it in self._changes.items()]
        self._rows, self._values = parts[0]
        if len(parts) > 1:
            rows, values = (np.concatenate(part) for part in zip(*parts, strict=True))
            order = np.argsort(rows)
            self._rows, self._values = rows[order], values[order]

    def changes(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the changes in the rows of the block from ``start`` to before ``stop``.

        Returns:
            int64 (k,), the rows at which a target changes, and float64 (k,), the new ones.
        """
        first, last = np.searchsorted(self._rows, (start, stop)).tolist()
        return self._rows[first:last], self._values[first:last]

    def next_step(self, table: BarTable, step: int) -> int:
        """Return the next step with a change."""
        due = self._due_here(table)
        index = bisect_left(due.steps, step)
        return due.steps[index] if index < len(due.steps) else table.steps

    def act(self, table: BarTable, row: int) -> bool:
        """Publish the change of a row, if there is one."""
        target = self._due_here(table).targets.get(row)
        if target is None:
            return False
        ts = int(table.block.ts[row])
        self.publish(Signal(ts, table.symbol[row], "target", target=target))
        return True

    def act_within(self, table: BarTable, start: int, stop: int) -> int:
        """Publish the first change in the rows, if there is one."""
        rows = self._due_here(table).rows
        index = bisect_left(rows, start)
        if index == len(rows) or rows[index] >= stop:
            return stop
        self.act(table, rows[index])
        return rows[index]

    def _due_here(self, table: BarTable) -> _Due:
        """Return the changes of the block for those who go from one to the next."""
        if self._due is None:
            rows = self._rows.tolist()
            steps = table.step_of_row[self._rows].tolist()
            self._due = _Due(rows, steps, dict(zip(rows, self._values.tolist(), strict=True)))
        return self._due

    def _changes_of(self, symbol: str) -> TargetChanges:
        shared = self._market.target_changes
        key = (self._config, symbol)
        if key not in shared:
            shared[key] = self._find_changes(symbol)
        return shared[key]

    def _find_changes(self, symbol: str) -> TargetChanges:
        bars = self._market.bars(symbol)
        if not len(bars):
            return TargetChanges.of(np.empty(0))
        try:
            piecewise = targets_by_piece(self._strategy)
            name = call_name(self.id, self._strategy, "targets")
            targets = self.scope.timed(piecewise or self._strategy.targets, name)
            if piecewise is None:
                return self._changes_in(bars, 0, targets)
            starts = range(0, len(bars), PIECE)
            pieces = [self._changes_in(bars[at : at + PIECE], at, targets) for at in starts]
        except USER_ERRORS as error:
            raise user_error(error, self._strategy, symbol=symbol) from error
        return pieces[0] if len(pieces) == 1 else TargetChanges.joined(pieces)

    def _changes_in(self, piece: Bars, first: int, targets: Targets) -> TargetChanges:
        """Return the changes in a piece of the window that begins at its bar ``first``."""
        features = self._market.feature_window(piece.symbol, first, first + len(piece))
        found = np.asarray(targets(piece, features), dtype=np.float64)
        changes = changes_in(found, len(piece))
        self._market.data.drop()
        return changes.later(first)


def call_name(container_id: str, strategy: BarStrategy | ColumnarStrategy, method: str) -> str:
    """Return what a strategy's method is called in a report of slow handlers."""
    return f"{container_id}.{type(strategy).__name__}.{method}"


class _Due(NamedTuple):
    """The changes of a block: their rows, their steps, and the new target by row."""

    rows: list[int]
    steps: list[int]
    targets: dict[int, float]


def changes_in(targets: NDArray[np.float64], bars: int) -> TargetChanges:
    """Return the changes in the targets of so many bars.

    Raises:
        ValueError: There is not one for each bar, or one is infinite.
    """
    if targets.shape != (bars,):
        raise ValueError(f"targets must have shape ({bars},), one per bar, got {targets.shape}")
    changes = TargetChanges.of(targets)
    if np.isinf(changes.values).any():
        raise ValueError("targets must be finite, or NaN to keep the last one")
    return changes

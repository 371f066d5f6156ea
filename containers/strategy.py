"""The strategy container: runs a strategy of either kind and publishes its signals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from admf.containers.bar_table import BarTable
from admf.containers.context import BarContext
from admf.containers.events import Bar, Signal
from admf.containers.market import Market
from admf.containers.strategies.base import BarStrategy, ColumnarStrategy
from admf.containers.strategies.loading import user_error
from admf.engine.bus import Bus
from admf.engine.cancellation import CATCHABLE
from admf.engine.container import Container

__all__ = [
    "USER_ERRORS",
    "BarStrategyContainer",
    "ColumnarStrategyContainer",
    "StrategyContainer",
]

USER_ERRORS: tuple[type[BaseException], ...] = (*CATCHABLE, SystemExit)
"""What ends the lane of a strategy that raises it, and nothing but that lane."""


class StrategyContainer(Container, ABC):
    """What the lane needs of a strategy: when it wants to act, and its turn to do so.

    Args:
        container_id: Id, e.g. ``strategy_001``.
        scope: The lane's scope.
        market: The window's market data.
    """

    def __init__(
        self, container_id: str, *, scope: Bus, market: Market, depends_on: Sequence[str] = ()
    ) -> None:
        super().__init__(container_id, "strategy", scope=scope, depends_on=depends_on)
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
        scope: The lane's scope.
        market: The window's market data.
    """

    def __init__(
        self,
        container_id: str,
        strategy: BarStrategy,
        context: BarContext,
        *,
        scope: Bus,
        market: Market,
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, scope=scope, market=market, depends_on=depends_on)
        self._strategy = strategy
        self._context = context
        self._bars: list[Bar] = []

    def begin(self, table: BarTable) -> None:
        """Have the block's bars made into single events, once for all lanes."""
        self._bars = table.bars

    def next_step(self, table: BarTable, step: int) -> int:  # noqa: ARG002 - every bar is seen
        """Return ``step``: every bar is seen."""
        return step

    def act(self, table: BarTable, row: int) -> bool:  # noqa: ARG002 - the block is known
        """Call the strategy with one bar."""
        bar = self._bars[row]
        self._context.move_to(bar)
        try:
            self._strategy.on_bar(bar, self._context)
        except USER_ERRORS as error:
            raise user_error(error, self._strategy, symbol=bar.symbol, ts=bar.ts) from error
        return self._context.acted


class ColumnarStrategyContainer(StrategyContainer):
    """Asks for the targets of the whole window once, and publishes their changes.

    Args:
        container_id: Id.
        strategy: The user's strategy.
        scope: The lane's scope.
        market: The window's market data.
        before: The target of each symbol before the window, NaN if it is not known.
    """

    def __init__(
        self,
        container_id: str,
        strategy: ColumnarStrategy,
        *,
        scope: Bus,
        market: Market,
        before: Mapping[str, float],
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, scope=scope, market=market, depends_on=depends_on)
        self._strategy = strategy
        self._before = before
        self._changes: dict[str, _Changes] = {}
        self._due: dict[int, float] = {}
        self._due_steps: list[int] = []

    @property
    def targets(self) -> Mapping[str, float]:
        """The targets it asked for last, by symbol, where they are known."""
        last = {symbol: changes.last for symbol, changes in self._changes.items()}
        return {symbol: target for symbol, target in last.items() if not np.isnan(target)}

    def begin(self, table: BarTable) -> None:
        """Find the rows of the block at which a target changes."""
        if not self._changes:
            self._changes = {name: self._changes_of(name) for name in self._market.symbols}
        self._due = {}
        for symbol, changes in self._changes.items():
            self._due.update(changes.take(table.rows_of(symbol)))
        rows = np.array(sorted(self._due), dtype=np.int64)
        self._due_steps = table.step_of_row[rows].tolist()

    def next_step(self, table: BarTable, step: int) -> int:
        """Return the next step with a change."""
        index = bisect_left(self._due_steps, step)
        return self._due_steps[index] if index < len(self._due_steps) else table.steps

    def act(self, table: BarTable, row: int) -> bool:
        """Publish the change of a row, if there is one."""
        target = self._due.get(row)
        if target is None:
            return False
        ts = int(table.block.ts[row])
        signal = Signal(ts, table.symbol[row], "target", target=target)
        self.scope.publish(signal, source=self.id)
        return True

    def _changes_of(self, symbol: str) -> _Changes:
        bars, features = self._market.bars(symbol), self._market.feature_window(symbol)
        before = self._before[symbol]
        if not len(bars):
            return _Changes(np.empty(0), before)
        try:
            targets = np.asarray(self._strategy.targets(bars, features), dtype=np.float64)
            _check_targets(targets, len(bars))
        except USER_ERRORS as error:
            raise user_error(error, self._strategy, symbol=symbol) from error
        return _Changes(targets, before)


class _Changes:
    """Where the targets of one symbol change, taken block by block.

    Args:
        targets: float64 (bars,), NaN where the last one stays.
        before: The target before them; NaN if it is not known, so that the first one is a change.

    Attributes:
        last: The target after them.
    """

    def __init__(self, targets: NDArray[np.float64], before: float) -> None:
        wanted = np.flatnonzero(~np.isnan(targets))
        values = targets[wanted]
        self.last = float(values[-1]) if len(values) else before
        changed = values != np.concatenate(([before], values[:-1]))
        self._bars = wanted[changed]
        self._values = values[changed]
        self._next_bar = 0

    def take(self, rows: NDArray[np.int64]) -> dict[int, float]:
        """Return row -> new target for the next bars of the symbol, which are in ``rows``."""
        edges = (self._next_bar, self._next_bar + len(rows))
        start, stop = np.searchsorted(self._bars, edges)
        at = rows[self._bars[start:stop] - self._next_bar]
        self._next_bar += len(rows)
        return dict(zip(at.tolist(), self._values[start:stop].tolist(), strict=True))


def _check_targets(targets: NDArray[np.float64], bars: int) -> None:
    if targets.shape != (bars,):
        raise ValueError(f"targets must have shape ({bars},), one per bar, got {targets.shape}")
    if np.isinf(targets).any():
        raise ValueError("targets must be finite, or NaN to keep the last one")

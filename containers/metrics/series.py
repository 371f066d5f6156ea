"""Keeps the whole course of a lane for ``series.json``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from admf.containers.events import PortfolioUpdate, PositionClose
from admf.containers.metrics.history import HELD_MARKS, HELD_TRADES, EquityHistory
from admf.containers.metrics.ratio import ratio
from admf.containers.series import TradeSeries
from admf.engine.block import Block
from admf.engine.events import Event
from admf.engine.overflow import OverflowFile, RecordList

__all__ = ["SeriesHistory"]


class SeriesHistory:
    """Every mark and every closed trade, without a limit.

    Args:
        file: Where the oldest of them go while it is active; None holds all in memory.
        marks: Marks that stay in memory then, and that a frame holds.
        trades: Likewise trades.
    """

    types: frozenset[type[Event]] = frozenset({PortfolioUpdate, PositionClose})

    def __init__(
        self,
        file: OverflowFile | None = None,
        *,
        marks: int = HELD_MARKS,
        trades: int = HELD_TRADES,
    ) -> None:
        self._marks = EquityHistory(also=("exposure", "benchmark"), file=file, held=marks)
        self._trades = RecordList(TradeSeries, trades, file=file)
        self._entry_equity: dict[str, float] = {}

    def entered(self, position_id: str, equity: float) -> None:
        """Take note of the equity just before a position was entered, quote currency."""
        self._entry_equity[position_id] = equity

    def fold(self, event: Event | Block[Any]) -> None:
        """Take a PORTFOLIO_UPDATE or a POSITION_CLOSE, or a block of them.

        Raises:
            StorageError: Older ones cannot be written; they and these stay in memory.
        """
        if isinstance(event, PositionClose):
            self._trades.append(self._trade(event))
        elif isinstance(event, Block) and event.cls is PositionClose:
            self._trades.extend([self._trade(close) for close in event])
        else:
            self._marks.fold(event)

    def columns(self) -> dict[str, Iterator[Any]]:
        """Return the fields of `LaneSeries` that this is about, up to now.

        What arrives meanwhile does not disturb them.

        Raises:
            StorageError: They cannot be read back.
        """
        names = ("ts", "equity", "exposure", "benchmark")
        return {
            "trades": iter(self._trades),
            **{name: self._marks.values(name) for name in names},
        }

    def size_bytes(self) -> int:
        """Estimate the memory of what is held."""
        return self._marks.size_bytes() + self._trades.size_bytes()

    def _trade(self, close: PositionClose) -> TradeSeries:
        equity = self._entry_equity.pop(close.position_id, math.nan)
        return TradeSeries(
            entry_ts=close.entry_ts,
            exit_ts=close.ts,
            side=close.side,
            return_fraction=close.return_fraction,
            equity_return=ratio(close.pnl, equity) if equity > 0.0 else None,
            bars_held=close.bars_held,
            pnl=close.pnl,
        )

"""Keeps the whole course of a lane for ``series.json``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from admf.containers.events import PortfolioUpdate, PositionClose, PositionSide
from admf.containers.metrics.history import HELD_MARKS, HELD_TRADES, EquityHistory
from admf.containers.metrics.ratio import ratio
from admf.containers.series import TradeSeries
from admf.engine.block import Block
from admf.engine.events import Event
from admf.engine.overflow import OverflowFile, RecordList

__all__ = ["SeriesHistory"]

_FIELDS = ("position_id", "pnl", "entry_ts", "ts", "side", "return_fraction", "bars_held")
"""Fields of POSITION_CLOSE that a `TradeSeries` is made of."""

_values = attrgetter(*_FIELDS)


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
            self._trades.append(self._trade(*_values(event)))
        elif isinstance(event, Block) and issubclass(event.cls, PositionClose):
            columns = [event.listed(name) for name in _FIELDS]
            self._trades.extend([self._trade(*row) for row in zip(*columns, strict=True)])
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

    def _trade(
        self,
        position_id: str,
        pnl: float,
        entry_ts: int,
        exit_ts: int,
        side: PositionSide,
        return_fraction: float,
        bars_held: int,
    ) -> TradeSeries:
        equity = self._entry_equity.pop(position_id, math.nan)
        return TradeSeries(
            entry_ts=entry_ts,
            exit_ts=exit_ts,
            side=side,
            return_fraction=return_fraction,
            equity_return=ratio(pnl, equity) if equity > 0.0 else None,
            bars_held=bars_held,
            pnl=pnl,
        )

"""Keeps the whole course of a lane for ``series.json``."""

from __future__ import annotations

import math
from typing import Any

from admf.containers.events import PortfolioUpdate, PositionClose
from admf.containers.metrics.history import EquityHistory
from admf.containers.metrics.ratio import ratio
from admf.containers.series import TradeSeries
from admf.engine.block import Block
from admf.engine.events import Event

__all__ = ["SeriesHistory"]


class SeriesHistory:
    """Every mark and every closed trade, without a limit."""

    types: frozenset[type[Event]] = frozenset({PortfolioUpdate, PositionClose})

    def __init__(self) -> None:
        self._marks = EquityHistory(also=("exposure", "benchmark"))
        self._trades: list[TradeSeries] = []
        self._entry_equity: dict[str, float] = {}

    def entered(self, position_id: str, equity: float) -> None:
        """Take note of the equity just before a position was entered, quote currency."""
        self._entry_equity[position_id] = equity

    def fold(self, event: Event | Block[Any]) -> None:
        """Take a PORTFOLIO_UPDATE or a POSITION_CLOSE, or a block of them."""
        if isinstance(event, PositionClose):
            equity = self._entry_equity.pop(event.position_id, math.nan)
            self._trades.append(_trade(event, equity))
        elif isinstance(event, Block) and event.cls is PositionClose:
            for single in event.events():
                self.fold(single)
        else:
            self._marks.fold(event)

    def columns(self) -> dict[str, object]:
        """Return the fields of `LaneSeries` that this is about, the marks as arrays."""
        return {
            "trades": self._trades,
            "ts": self._marks.ts,
            "equity": self._marks.equity,
            "exposure": self._marks.column("exposure"),
            "benchmark": self._marks.column("benchmark"),
        }


def _trade(close: PositionClose, equity: float) -> TradeSeries:
    return TradeSeries(
        entry_ts=close.entry_ts,
        exit_ts=close.ts,
        side=close.side,
        return_fraction=close.return_fraction,
        equity_return=ratio(close.pnl, equity) if equity > 0.0 else None,
        bars_held=close.bars_held,
        pnl=close.pnl,
    )

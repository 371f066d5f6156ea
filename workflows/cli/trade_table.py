"""Trades as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from admf.containers.metrics.history import Trade
from admf.workflows.cli.name_cell import NameCell
from admf.workflows.cli.rendering import metric_text, moment_text, table

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["trade_table"]

_NUMBERS = ("at", "at ", "P&L", "Return", "Bars")
_TIMES = ("Entry", "Exit")


def trade_table(trades: Sequence[Trade], owners: Sequence[int] = ()) -> Table:
    """Return a table with a line for each trade.

    Args:
        trades: The trades.
        owners: A number for the portfolio of each; empty if there is one portfolio alone.
    """
    times = {moment_text(time) for it in trades for time in (it.entry_time, it.exit_time)}
    is_short = not any("T" in time for time in times)
    columns = ("Trade", "Side", "Entry", "at", "Exit", "at ", "P&L", "Return", "Bars", "Reason")
    right = (*_NUMBERS, *_TIMES) if is_short else _NUMBERS  # a date alone is not to be wrapped
    made = table(*(("",) if owners else ()), *columns, right=("", *right), gap=1)
    last = 0
    for trade, owner in zip(trades, owners or [0] * len(trades), strict=True):
        shown = str(owner) if owner != last else ""
        made.add_row(*((shown,) if owners else ()), *_cells(trade))
        last = owner
    return made


def _cells(trade: Trade) -> list[str | NameCell]:
    return [
        trade.id,
        trade.side,
        _time(trade.entry_time),
        f"{trade.entry_price:,.2f}",
        _time(trade.exit_time),
        f"{trade.exit_price:,.2f}",
        metric_text(trade.pnl, "currency"),
        metric_text(trade.return_fraction, "fraction"),
        f"{trade.bars_held:,}",
        NameCell(trade.exit_reason),
    ]


def _time(iso: str) -> NameCell:
    """Return a time that may be wrapped between date and time of day."""
    return NameCell(moment_text(iso).replace("T", " "))

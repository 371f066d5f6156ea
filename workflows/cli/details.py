"""All that is kept of one portfolio, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from admf.containers.metrics.catalogue import METRICS
from admf.workflows.cli.phase_record import PortfolioRecord
from admf.workflows.cli.rendering import figure, grid, metric_label, table
from admf.workflows.cli.summary import facts, what_ran
from admf.workflows.cli.trade_table import trade_table

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["portfolio_details"]

_MOST_TRADES = 10
_SIDES = ("", "long_", "short_")


def portfolio_details(name: str, portfolio: PortfolioRecord) -> Iterator[RenderableType]:
    """Yield every metric of a portfolio, and its first trades.

    Args:
        name: What to call it.
        portfolio: Its results.
    """
    yield from what_ran(name, portfolio)
    if portfolio.error is not None:
        yield Text(portfolio.error, "red")
    yield Text("")
    yield _equity_metrics(portfolio.metrics)
    yield Text("")
    yield _trade_metrics(portfolio.metrics)
    yield Text("")
    yield facts(portfolio)
    if portfolio.trades:
        yield Text("")
        yield trade_table(portfolio.trades[:_MOST_TRADES])
    if len(portfolio.trades) > _MOST_TRADES:
        yield Text(f"and {len(portfolio.trades) - _MOST_TRADES:,} more")


def _equity_metrics(metrics: Mapping[str, float | None]) -> Table:
    """Return the metrics of the equity curve in two columns, each to be read downwards."""
    by_side = {side + name for name in _metrics_of_trades() for side in _SIDES}
    names = [info.name for info in METRICS if info.name not in by_side]
    half = (len(names) + 1) // 2
    rows = grid(2)
    for left, right in zip_longest(names[:half], names[half:]):
        cells = ("", "") if right is None else figure(metrics, right)
        rows.add_row(*figure(metrics, left), "", *cells)
    return rows


def _trade_metrics(metrics: Mapping[str, float | None]) -> Table:
    rows = table("Trades", "all", "long", "short", right=("all", "long", "short"))
    for name in _metrics_of_trades():
        values = [figure(metrics, side + name)[1] for side in _SIDES]
        rows.add_row(Text(metric_label(name), "dim"), *values)
    return rows


def _metrics_of_trades() -> list[str]:
    known = {info.name for info in METRICS}
    return [info.name for info in METRICS if f"long_{info.name}" in known]

"""What is said of a run that is over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from admf.containers.metrics.catalogue import METRICS, Unit
from admf.containers.portfolio import OpenPosition
from admf.workflows.cli.rendering import grid, metric_label, metric_text, moment_text, table
from admf.workflows.cli.stored import PortfolioRecord

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["facts", "figure", "head", "phase_summary", "portfolio_rows", "what_ran"]

_MOST_ROWS = 20
_PAIRS = (
    ("final_equity", "trade_count"),
    ("total_return", "win_rate"),
    ("cagr", "profit_factor"),
    ("sharpe_ratio", "average_trade"),
    ("max_drawdown", "total_commission"),
    ("exposure_time", "total_slippage"),
)
_BENCHMARK_PAIR = ("alpha", "beta")
_COLUMNS = ("final_equity", "total_return", "sharpe_ratio", "max_drawdown", "trade_count")
_UNITS: Mapping[str, Unit] = MappingProxyType({metric.name: metric.unit for metric in METRICS})
_STATUS_STYLES = MappingProxyType({"completed": "green", "failed": "red", "cancelled": "yellow"})


def head(run_id: str, status: str) -> Text:
    """Return the line that names a run and says how it ended."""
    return Text.assemble((run_id, "bold"), "  ", (status, _STATUS_STYLES.get(status, "")))


def phase_summary(name: str, portfolios: Sequence[PortfolioRecord]) -> Iterator[RenderableType]:
    """Yield what is said of a phase: the figures of one portfolio, a row for each of several."""
    if len(portfolios) != 1:
        yield from portfolio_rows(name, portfolios)
        return
    yield from what_ran(name, portfolios[0])
    yield Text("")
    yield _figures(portfolios[0].metrics)
    yield Text("")
    yield facts(portfolios[0])


def portfolio_rows(name: str, portfolios: Sequence[PortfolioRecord]) -> Iterator[RenderableType]:
    """Yield a table with a row for each portfolio."""
    labels = tuple(metric_label(column) for column in _COLUMNS)
    rows = table("Portfolio", "Parameters", *labels, right=labels)
    for portfolio in portfolios[:_MOST_ROWS]:
        values = [figure(portfolio.metrics, column)[1] for column in _COLUMNS]
        rows.add_row(portfolio.container_id, _settings(portfolio), *values)
    yield Text("")
    yield Text(f"{name}, {len(portfolios):,} portfolios", "bold")
    yield rows
    if len(portfolios) > _MOST_ROWS:
        yield Text(f"and {len(portfolios) - _MOST_ROWS:,} more")


def what_ran(name: str, portfolio: PortfolioRecord) -> Iterator[RenderableType]:
    """Yield which strategy ran, on what."""
    data, done = portfolio.data, portfolio.metrics["bars"]
    bars = f"{data.bars:,}" if done == data.bars else f"{done:,.0f} of {data.bars:,}"
    span = f"{moment_text(data.start)} to {moment_text(data.end)}, {bars} bars"
    yield Text("")
    yield Text.assemble((name, "bold"), f"  {portfolio.lane.strategy.type} {_settings(portfolio)}")
    yield Text(f"{' ' * len(name)}  {' '.join(data.symbols)} {data.timeframe or ''}, {span}")


def facts(portfolio: PortfolioRecord) -> Table:
    """Return what was refused, and what is still open."""
    rejects = [f"{count:,} {reason}" for reason, count in portfolio.rejects.items()]
    total = sum(portfolio.rejects.values())
    positions = [_position(position) for position in portfolio.open_positions]
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(style="dim")
    rows.add_row("Rejected orders", f"{total:,} ({', '.join(rejects)})" if rejects else "none")
    rows.add_row("Open positions", "\n".join(positions) or "none")
    return rows


def figure(metrics: Mapping[str, float | None], name: str) -> tuple[str, str]:
    """Return the label and the value of a metric."""
    return metric_label(name), metric_text(metrics.get(name), _UNITS[name])


def _figures(metrics: Mapping[str, float | None]) -> Table:
    """Return the figures that are looked at first."""
    pairs = [*_PAIRS, _BENCHMARK_PAIR] if metrics.get("beta") is not None else _PAIRS
    rows = grid(2)
    for left, right in pairs:
        rows.add_row(*figure(metrics, left), "", *figure(metrics, right))
    return rows


def _position(position: OpenPosition) -> str:
    return (
        f"{position.symbol} {position.side} {position.quantity:,.6g} "
        f"at {position.entry_price:,.2f}, now {position.last_price:,.2f}: "
        f"{position.unrealized_pnl:+,.2f}"
    )


def _settings(portfolio: PortfolioRecord) -> str:
    return " ".join(f"{name}={value}" for name, value in portfolio.parameters.items())

"""What is said of a run that is over, phase by phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from admf.containers.portfolio import OpenPosition
from admf.workflows.cli.phase_record import (
    LaneRecord,
    Metrics,
    PhaseOutcome,
    PhaseRecord,
    PortfolioRecord,
)
from admf.workflows.cli.rendering import (
    MOST_ROWS,
    fact_rows,
    figure,
    grid,
    moment_text,
    narrow_label,
    point_text,
    rows_and_rest,
    table,
)
from admf.workflows.cli.search_tables import search_tables
from admf.workflows.cli.sequence_tables import (
    KFold,
    MonteCarlo,
    WalkForward,
    k_fold_tables,
    monte_carlo_tables,
    report_of,
    walk_forward_tables,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["facts", "head", "phase_section", "portfolio_summary", "what_ran"]

_MOST_ERRORS = 5
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
_STATUS_STYLES = MappingProxyType(
    {"completed": "green", "failed": "red", "cancelled": "yellow", "skipped": "yellow"}
)


def head(run_id: str, status: str) -> Text:
    """Return the line that names a run and says how it ended."""
    return Text.assemble((run_id, "bold"), "  ", _status(status))


def phase_section(
    phase: PhaseRecord,
    portfolios: Sequence[PortfolioRecord],
    of_portfolio: Callable[[str, PortfolioRecord], Iterator[RenderableType]],
) -> Iterator[RenderableType]:
    """Yield what is said of a phase.

    Args:
        phase: The phase.
        portfolios: Those of its own window that are shown one by one, if it is one.
        of_portfolio: What is said of one of them, given the name of the phase.
    """
    if not len(phase.lanes) == len(portfolios) == 1:
        yield Text("")
        yield _title(phase)
        if phase.lanes:
            yield from _rows(phase.lanes)
        elif phase.outcome is not None:
            yield from _found(phase, phase.outcome)
    for portfolio in portfolios:
        yield from of_portfolio(phase.head.name, portfolio)
    yield from _remarks(phase, portfolios)


def portfolio_summary(name: str, portfolio: PortfolioRecord) -> Iterator[RenderableType]:
    """Yield the figures of a portfolio that are looked at first.

    Args:
        name: What to call it.
        portfolio: Its results.
    """
    yield from what_ran(name, portfolio)
    yield Text("")
    yield _figures(portfolio.metrics)
    yield Text("")
    yield facts(portfolio)


def what_ran(name: str, portfolio: PortfolioRecord) -> Iterator[RenderableType]:
    """Yield which strategy ran, on what."""
    data, done = portfolio.data, portfolio.metrics["bars"]
    bars = f"{data.bars:,}" if done == data.bars else f"{done:,.0f} of {data.bars:,}"
    span = f"{moment_text(data.start)} to {moment_text(data.end)}, {bars} bars"
    settings = point_text(portfolio.parameters)
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row(name, f"{portfolio.lane.strategy.type} {settings}")
    rows.add_row("", f"{' '.join(data.symbols)} {data.timeframe or ''}, {span}")
    yield Text("")
    yield rows


def facts(portfolio: PortfolioRecord) -> Table:
    """Return what was refused, and what is still open."""
    rejects = [f"{count:,} {reason}" for reason, count in portfolio.rejects.items()]
    total = sum(portfolio.rejects.values())
    positions = [_position(position) for position in portfolio.open_positions]
    rows = fact_rows()
    rows.add_row("Rejected orders", f"{total:,} ({', '.join(rejects)})" if rejects else "none")
    rows.add_row("Open positions", "\n".join(positions) or "none")
    return rows


def _title(phase: PhaseRecord) -> Text:
    """Return the name of a phase, what it ran, and how it ended if it did not end well."""
    name, status = phase.head.name, phase.head.status
    ending = ("",) if status == "completed" else ("  ", _status(status))
    if phase.lanes:
        return Text.assemble((f"{name}, {len(phase.lanes):,} portfolios", "bold"), *ending)
    count = phase.windows
    ran = [phase.outcome.sequence] if phase.outcome else []
    ran += [f"{count:,} execution window{'s' if count > 1 else ''}"] if count else []
    return Text.assemble((name, "bold"), f"  {', '.join(ran)}" if ran else "", *ending)


def _found(phase: PhaseRecord, found: PhaseOutcome) -> Iterator[RenderableType]:
    """Yield what the sequence of a phase found, in the manner of its kind."""
    match report_of(found):
        case WalkForward() as report:
            yield from walk_forward_tables(phase, found, report)
        case KFold() as report:
            yield from k_fold_tables(phase, found, report)
        case MonteCarlo() as report:
            yield from monte_carlo_tables(found, report)
        case _:
            yield from search_tables(phase, found)


def _rows(lanes: Sequence[LaneRecord]) -> Iterator[RenderableType]:
    """Yield a table with a row for each portfolio."""
    common = _common([lane.parameters for lane in lanes])
    if common:
        yield Text(f"all with {point_text(common)}")
    right = tuple(map(narrow_label, _COLUMNS))
    rows = table("Portfolio", "Parameters", *right, right=right)
    for lane in lanes[:MOST_ROWS]:
        own = {name: value for name, value in lane.parameters.items() if name not in common}
        values = [figure(lane.metrics, column)[1] for column in _COLUMNS]
        rows.add_row(lane.container_id, point_text(own), *values)
    yield from rows_and_rest(rows, len(lanes))


def _common(parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the parameters that are the same in all parameter sets."""
    first, *others = parameters
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }


def _remarks(phase: PhaseRecord, portfolios: Sequence[PortfolioRecord]) -> Iterator[RenderableType]:
    """Yield why there is nothing to see, and what went wrong; not what a portfolio tells itself."""
    it = phase.head
    if it.status == "skipped":
        yield Text(f"it did not run: {it.skipped}")
    elif not it.is_kept:
        yield Text("its results were kept in memory alone, so there is nothing to show")
    elif not (phase.windows or phase.lanes or phase.outcome or it.errors):
        yield Text("it ended before a window was complete, so there is nothing to show")
    told = [portfolio.error for portfolio in portfolios if portfolio.error]
    errors = [error for error in it.errors if not any(text in error for text in told)]
    for error in errors[:_MOST_ERRORS]:
        yield Text(error, "red")
    if len(errors) > _MOST_ERRORS:
        yield Text(f"and {len(errors) - _MOST_ERRORS:,} more", "red")


def _status(status: str) -> tuple[str, str]:
    return status, _STATUS_STYLES.get(status, "")


def _figures(metrics: Metrics) -> Table:
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

"""``admf results top`` and ``trades``: the best portfolios, and what they traded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from admf.containers.metrics.history import Trade
from admf.workflows.cli.frame_tables import (
    PLACE,
    common_text,
    own_parameters,
    parameter_columns,
    place_text,
    plain_rows,
    shared,
)
from admf.workflows.cli.name_cell import NameCell
from admf.workflows.cli.place import Place, open_place
from admf.workflows.cli.query_options import By, Limit, PhaseName, Where
from admf.workflows.cli.rendering import fact_rows, metric_of, narrow_label, rendered, table
from admf.workflows.cli.streams import say, write_json, write_out
from admf.workflows.cli.trade_table import trade_table
from admf.workflows.results.columns import TRADE_FIELDS

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["BestPortfolios", "Trades", "top", "trades"]

_COLUMNS = ("total_return", "sharpe_ratio", "max_drawdown", "trade_count")
_MORE_PORTFOLIOS = 8
"""Of so many times as many portfolios trades are read if there were too few."""

Row = Mapping[str, Any]


class BestPortfolios(msgspec.Struct, frozen=True):
    """What ``top --json`` writes.

    Args:
        path: Where the portfolios are.
        by: What they are sorted by, the best first.
        total: How many there are.
        rows: The first of them.
    """

    path: str
    by: str
    total: int
    rows: list[dict[str, Any]]


class Trades(msgspec.Struct, frozen=True):
    """What ``trades --json`` writes.

    Args:
        path: Where the portfolios are.
        by: What they are sorted by, the best first.
        complete: Whether these are all trades that there are.
        rows: The first trades.
    """

    path: str
    by: str
    complete: bool
    rows: list[dict[str, Any]]


def top(
    directory: Path,
    /,
    *,
    by: By = None,
    limit: Limit = 10,
    where: Where = None,
    phase: PhaseName = None,
    json: bool = False,
) -> None:
    """Show the best portfolios of a run, a phase or a window.

    Args:
        directory: The folder of a run, or one in it.
        by: The metric that decides; the leading objective if not given.
        limit: Show no more than this; 10 if not given.
        where: A condition in SQL, e.g. "sharpe_ratio > 1 AND fast < 20".
        phase: Only portfolios of this phase.
        json: Write a JSON document to standard output instead of a table.
    """
    place = open_place(directory).only(phase)
    by = by or place.leading_metric
    frame = place.metrics(where, by)
    if json:
        rows = plain_rows(frame.head(limit))
        write_json(BestPortfolios(place.path, by, frame.height, rows))
    elif frame.is_empty():
        _say_none(place, where, "portfolio")
    else:
        rows = frame.head(limit).rows(named=True)
        write_out(rendered(*_best(rows, parameter_columns(frame), by, frame.height)))


def trades(
    directory: Path,
    /,
    *,
    by: By = None,
    limit: Limit = 20,
    where: Where = None,
    phase: PhaseName = None,
    json: bool = False,
) -> None:
    """Show trades, those of the best portfolio first.

    Args:
        directory: The folder of a run, or one in it.
        by: The metric that says which portfolios come first; the leading objective if not given.
        limit: Show no more trades than this; 20 if not given.
        where: A condition in SQL, e.g. "pnl < 0 AND sharpe_ratio > 1".
        phase: Only trades of this phase.
        json: Write a JSON document to standard output instead of a table.
    """
    place = open_place(directory).only(phase)
    by = by or place.leading_metric
    found = _first_trades(place, where, by, limit)
    if json:
        write_json(found)
    elif not found.rows:
        _say_none(place, where, "trade")
    else:
        write_out(rendered(*_traded(found)))


def _say_none(place: Place, where: str | None, kind: str) -> None:
    total = place.metrics()
    if where is not None:
        say("note", f"no {kind} in {place.path} meets the condition")
    elif total.is_empty():
        say("note", place.emptiness)
    elif place.run.status == "running":
        say("note", f"{place.path} has no {kind} yet: the run has not ended")
    elif sum(total["trade_count"].drop_nulls()):
        say("note", f"no trade of {place.path} was kept: event_tracing needs POSITION_CLOSE")
    else:
        say("note", f"{place.path} has no trades; admf why-no-trades {place.path} says why")


def _best(
    rows: Sequence[Row], parameters: Sequence[str], by: str, total: int
) -> Iterator[RenderableType]:
    common = shared(rows, parameters)
    columns = list(dict.fromkeys((by, *_COLUMNS)))
    right = [narrow_label(name) for name in columns]
    made = table("", "Portfolio", "Parameters", *right, right=("", *right))
    for rank, row in enumerate(rows, 1):
        values = [metric_of(name, row[name]) for name in columns]
        own = own_parameters(row, parameters, common)
        made.add_row(str(rank), NameCell(place_text(row, common)), own, *values)
    yield Text(f"{len(rows):,} of {total:,} portfolios, by {by}")
    yield from common_text(common, parameters)
    yield Text("")
    yield made


def _first_trades(place: Place, where: str | None, by: str, limit: int) -> Trades:
    """Return trades of as many portfolios as are needed, so that not all files are read."""
    portfolios, total = 1, place.metrics().height
    while True:
        frame = place.trades(where, by, portfolios)
        if frame.height > limit or portfolios >= total:
            rows = plain_rows(frame.head(limit))
            return Trades(place.path, by, frame.height <= limit, rows)
        portfolios *= _MORE_PORTFOLIOS


def _traded(found: Trades) -> Iterator[RenderableType]:
    names = list(found.rows[0])
    parameters = names[len(PLACE) : names.index(TRADE_FIELDS[0])]
    common = shared(found.rows, parameters)
    owners = [_owner(row, parameters, common) for row in found.rows]
    numbers = {owner: number for number, owner in enumerate(dict.fromkeys(owners), 1)}
    if len(numbers) > 1:
        yield from common_text(common, parameters)
        legend = fact_rows()
        for owner, number in numbers.items():
            legend.add_row(str(number), owner)
        yield legend
    else:
        yield Text(f"all of {_owner(found.rows[0], parameters, {})}")
    yield Text("")
    fields = ({name: row[name] for name in TRADE_FIELDS} for row in found.rows)
    listed = [msgspec.convert(it, Trade) for it in fields]
    yield trade_table(listed, [numbers[it] for it in owners] if len(numbers) > 1 else ())
    if not found.complete:
        yield Text(f"and more: these are the first {len(found.rows):,}, see -n and --where")


def _owner(row: Row, parameters: Sequence[str], common: Row) -> str:
    parts = (place_text(row, common), own_parameters(row, parameters, common))
    return " ".join(filter(None, parts))

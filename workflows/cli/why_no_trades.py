"""``admf why-no-trades``: what became of signals and orders, and the likely reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from rich.text import Text

from admf.engine.errors import MissingFileError, TornFileError
from admf.workflows.cli.frame_tables import (
    PLACE,
    common_text,
    own_parameters,
    place_text,
    shared,
)
from admf.workflows.cli.inactivity import (
    Activity,
    Cause,
    PortfolioActivity,
    Totals,
    sentence,
    totals_of,
)
from admf.workflows.cli.name_cell import NameCell
from admf.workflows.cli.place import Place, open_place
from admf.workflows.cli.query_options import Limit, PhaseName, Where
from admf.workflows.cli.rendering import fact_rows, point_text, rendered, table
from admf.workflows.cli.streams import say, write_json, write_out
from admf.workflows.results import ContainerView

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Answer", "Explained", "why_no_trades"]

_COLUMNS = ("Signals", "Orders", "Rejects", "Cancels", "Fills", "Trades", "Open")


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """A portfolio without trades, or the only one that was asked for.

    Args:
        phase: Its phase.
        window: Its window; empty if the phase has no other.
        container: Its id.
        parameters: Of its strategy.
        cause: Why there are no trades, in a word; ``traded`` if there are.
        reason: The same in a sentence.
        activity: Its events.
        rejects: Refused orders by reason.
        trades: Positions that were closed.
        open_positions: Positions that were open at the end.
    """

    phase: str
    window: str
    container: str
    parameters: dict[str, object]
    cause: Cause
    reason: str
    activity: Activity
    rejects: dict[str, int]
    trades: int
    open_positions: int


class Answer(msgspec.Struct, frozen=True):
    """What ``why-no-trades --json`` writes.

    Args:
        path: Where the portfolios are.
        totals: All of them, summed up.
        reasons: Why there are no trades, for each cause of the totals.
        portfolios: The first of those without trades, or the only one that was asked for.
    """

    path: str
    totals: Totals
    reasons: dict[Cause, str]
    portfolios: list[Explained]


class _Portfolio(NamedTuple):
    view: ContainerView
    did: PortfolioActivity


def why_no_trades(
    directory: Path,
    /,
    *,
    phase: PhaseName = None,
    where: Where = None,
    limit: Limit = 20,
    json: bool = False,
) -> None:
    """Count signals, orders, refusals and fills, and say why there are no trades.

    Args:
        directory: The folder of a run, or one in it, or a portfolio.
        phase: Only portfolios of this phase.
        where: A condition in SQL on portfolios, e.g. "fast < 20".
        limit: Show no more portfolios than this one by one; 20 if not given.
        json: Write a JSON document to standard output instead of tables.
    """
    place = open_place(directory).only(phase)
    found = list(_portfolios(place, where))
    if not found and not json:
        none = f"{place.path} has no portfolios that meet the condition"
        say("note", none if where else place.emptiness)
        return
    answer = _answer(place, found, limit)
    if json:
        write_json(answer)
    else:
        write_out(rendered(*(_alone(found[0]) if len(found) == 1 else _several(answer))))


def _portfolios(place: Place, where: str | None) -> Iterator[_Portfolio]:
    for phase, window, container in place.metrics(where).select(PLACE).rows():
        view = place.run.phases[phase].windows[window].containers[container]
        yield _Portfolio(view, _activity(view))


def _activity(view: ContainerView) -> PortfolioActivity:
    try:
        return msgspec.convert(view.document(), PortfolioActivity)
    except MissingFileError:  # it could not be built
        return PortfolioActivity(status=view.status, error=view.error)
    except msgspec.ValidationError as error:
        raise TornFileError(
            f"the file of {_path(view)} was not written by this version: {error}"
        ) from error


def _answer(place: Place, found: Sequence[_Portfolio], limit: int) -> Answer:
    totals = totals_of([it.did for it in found])
    reasons: dict[Cause, str] = {
        cause: sentence(cause, [it.did for it in found if it.did.cause == cause])
        for cause in totals.causes
    }
    idle = [it for it in found if it.did.cause != "traded"]
    shown = found if len(found) == 1 else idle[:limit]
    return Answer(place.path, totals, reasons, [_explained(it) for it in shown])


def _explained(portfolio: _Portfolio) -> Explained:
    view, did = portfolio
    return Explained(
        phase=view.window.phase,
        window=view.window.window_id,
        container=view.container_id,
        parameters=dict(view.parameters),
        cause=did.cause,
        reason=sentence(did.cause, [did]),
        activity=did.activity,
        rejects=dict(did.rejects),
        trades=did.trades,
        open_positions=len(did.open_positions),
    )


def _alone(portfolio: _Portfolio) -> Iterator[RenderableType]:
    view, did = portfolio
    yield Text.assemble((_path(view), "bold"), f"  {point_text(view.parameters)}")
    yield from _counts(totals_of([did]))
    yield Text(sentence(did.cause, [did]))


def _several(answer: Answer) -> Iterator[RenderableType]:
    totals = answer.totals
    if totals.without_trades:
        yield Text(f"{totals.without_trades:,} of {totals.portfolios:,} portfolios made no trades")
    else:
        yield Text(f"all {totals.portfolios:,} portfolios made trades")
    yield from _counts(totals)
    for cause, count in totals.causes.items():
        yield Text(f"{count:,} because {answer.reasons[cause]}")
    if answer.portfolios:
        yield Text("")
        yield from _rows(answer)


def _counts(totals: Totals) -> Iterator[RenderableType]:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in totals.rejects.items())
    refused = sum(totals.rejects.values())
    rows = fact_rows()
    rows.add_row("Signals", f"{totals.signals:,}")
    rows.add_row("Orders", f"{totals.orders:,}")
    rows.add_row("Rejects", f"{refused:,} ({reasons})" if reasons else "0")
    rows.add_row("Cancels", f"{totals.cancels:,}")
    rows.add_row("Fills", f"{totals.fills:,}")
    rows.add_row("Trades", f"{totals.trades:,}")
    rows.add_row("Open positions", f"{totals.open_positions:,}")
    yield Text("")
    yield rows
    yield Text("")


def _rows(answer: Answer) -> Iterator[RenderableType]:
    names = list(dict.fromkeys(name for it in answer.portfolios for name in it.parameters))
    rows = [_row(it, names) for it in answer.portfolios]
    common = shared(rows, names)
    made = table("Portfolio", "Parameters", *_COLUMNS, "Cause", right=_COLUMNS)
    for row, it in zip(rows, answer.portfolios, strict=True):
        name, own = NameCell(place_text(row, common)), own_parameters(row, names, common)
        made.add_row(name, own, *_figures(it), it.cause)
    yield from common_text(common, names)
    yield made
    left = answer.totals.without_trades - len(answer.portfolios)
    if left:
        yield Text(f"and {left:,} more: see -n")


def _row(it: Explained, names: Sequence[str]) -> dict[str, object]:
    place = {"phase": it.phase, "window": it.window, "container": it.container}
    return {**place, **{name: it.parameters.get(name) for name in names}}


def _figures(it: Explained) -> list[str]:
    did = it.activity
    refused = sum(it.rejects.values())
    counts = (did.signals, did.orders, refused, did.cancels, did.fills, it.trades)
    return [f"{count:,}" for count in (*counts, it.open_positions)]


def _path(view: ContainerView) -> str:
    return "/".join(filter(None, (view.window.phase, view.window.window_id, view.container_id)))

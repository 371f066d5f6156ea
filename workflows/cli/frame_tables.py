"""Frames of results, as tables for people and as rows of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from admf.containers.metrics.catalogue import METRICS
from admf.workflows.cli.rendering import point_text

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "PLACE",
    "common_text",
    "metric_columns",
    "own_parameters",
    "parameter_columns",
    "place_text",
    "plain_rows",
    "plain_times",
    "shared",
]

PLACE = ("phase", "window", "container")
_NOT_PARAMETERS = frozenset([*PLACE, "status", "error"])

Row = Mapping[str, Any]


def plain_times(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with its times as text, as they stand in result files."""
    from polars import selectors

    return frame.with_columns(selectors.datetime().dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ"))


def plain_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame, ready for JSON."""
    return plain_times(frame).rows(named=True)


def metric_columns(frame: pl.DataFrame) -> list[str]:
    """Return the columns of a frame of portfolios that are metrics, in their order."""
    first = METRICS[0].name
    return frame.columns[frame.columns.index(first) :] if first in frame.columns else []


def parameter_columns(frame: pl.DataFrame) -> list[str]:
    """Return the columns of a frame of portfolios that are parameters, in their order."""
    metrics = set(metric_columns(frame))
    return [it for it in frame.columns if it not in metrics and it not in _NOT_PARAMETERS]


def shared(rows: Sequence[Row], parameters: Iterable[str]) -> dict[str, Any]:
    """Return what is the same in all of several rows: phase, window and parameters."""
    if len(rows) < 2:
        return {}
    first, *others = rows

    def is_shared(name: str) -> bool:
        return all(row[name] == first[name] for row in others)

    place = [it for it in ("phase", "window") if is_shared(it)]
    if place == ["window"]:  # equal ids in several phases are no common place
        place = []
    return {name: first[name] for name in (*place, *filter(is_shared, parameters))}


def common_text(common: Row, parameters: Iterable[str]) -> Iterator[Text]:
    """Yield a line that tells what is the same in all rows, if anything is."""
    told = {name: common[name] for name in parameters if common.get(name) is not None}
    place = place_text(common, {})
    parts = [f"in {place}"] if place else []
    parts += [f"with {point_text(told)}"] if told else []
    if parts:
        yield Text(f"all {' '.join(parts)}")


def own_parameters(row: Row, names: Iterable[str], common: Row) -> str:
    """Return the parameters of a row that are not common to all."""
    own = {it: row[it] for it in names if it not in common and row[it] is not None}
    return point_text(own)


def place_text(row: Row, common: Row) -> str:
    """Return where a portfolio is, without what is common to all rows."""
    told = (row.get(name) for name in PLACE if name not in common)
    return "/".join(it for it in told if it)

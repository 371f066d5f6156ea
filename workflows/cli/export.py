"""``admf results export``: metrics, trades or equity curves as a table for other programs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec
from cyclopts import CycloptsError, Parameter
from cyclopts.validators import Number

from admf.engine.errors import ResultExistsError, StorageError
from admf.engine.files import Draft, storage_error
from admf.engine.local_folder import call_system
from admf.workflows.cli.frame_tables import plain_rows, plain_times
from admf.workflows.cli.place import Place, open_place
from admf.workflows.cli.query_options import By, PhaseName, Where
from admf.workflows.cli.streams import say, write_json, write_out
from admf.workflows.results.run_folder import find_run

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Exported", "export"]

Format: TypeAlias = Literal["csv", "parquet", "json"]
What: TypeAlias = Literal["metrics", "trades", "equity"]

_ROWS_AT_ONCE = 10_000


class Exported(msgspec.Struct, frozen=True):
    """What ``export -o FILE --json`` writes to standard output."""

    output: str
    format: Format
    what: What
    rows: int


def export(
    directory: Path,
    /,
    *,
    format: Format = "csv",  # noqa: A002 - the name of the option
    what: What = "metrics",
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    overwrite: bool = False,
    where: Where = None,
    by: By = None,
    limit: Annotated[int | None, Parameter(name=("--limit", "-n"), validator=Number(gte=1))] = None,
    phase: PhaseName = None,
    json: bool = False,
) -> None:
    """Write metrics, trades or equity curves as a table for other programs.

    Args:
        directory: The folder of a run, or one in it.
        format: Parquet keeps the types, and needs a file to write to.
        what: A row for each portfolio, for each trade, or for each point of the equity curves.
        output: The file, written whole or not at all; standard output if not given.
        overwrite: Replace the file if there is one.
        where: A condition in SQL, e.g. "sharpe_ratio > 1".
        by: The metric by which portfolios are sorted, the best first.
        limit: Take so many of the best portfolios, and no more.
        phase: Only portfolios of this phase.
        json: Tell what was written as a JSON document; without a file, the same as --format json.
    """
    if output is None:
        format = "json" if json else format  # noqa: A001
        _check_text(format)
    else:
        _check_target(output, overwrite=overwrite)
    place = open_place(directory).only(phase)
    if by is None and limit is not None:
        by = place.leading_metric
    frame = _asked(place, what, where, by, limit)
    _explain_none(place, what, frame)
    if output is None:
        for text in _texts(frame, format):
            write_out(text)
        return
    _write(output, _content(frame, format))
    if json:
        write_json(Exported(str(output), format, what, frame.height))
    else:
        say("note", f"{output} has {frame.height:,} row{'' if frame.height == 1 else 's'}")


def _explain_none(place: Place, what: What, frame: pl.DataFrame) -> None:
    if not frame.is_empty():
        return
    if place.metrics().is_empty():
        say("note", place.emptiness)
    elif what == "equity":
        say("note", "no points of equity curves: event_tracing needs PORTFOLIO_UPDATE to keep them")


def _asked(
    place: Place, what: What, where: str | None, by: str | None, limit: int | None
) -> pl.DataFrame:
    if what == "metrics":
        return place.metrics(where, by, limit)
    if what == "trades":
        return place.trades(where, by, limit)
    return place.equity(where, by, limit)


def _check_text(kind: Format) -> None:
    if kind == "parquet":
        message = "parquet is not text: name a file for it with -o"
        raise CycloptsError(msg=message, command_chain=("results", "export"))


def _check_target(output: Path, *, overwrite: bool) -> None:
    """Refuse to replace a file unasked, or to write among the files of a run.

    Raises:
        StorageError: It must not be written.
    """
    found = _found(output)
    run = find_run(output) or find_run(output.parent.resolve())
    if run is not None:
        raise StorageError(f"{output} lies in the folder of a run, {run}: write it elsewhere")
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise StorageError(f"{output} is a folder: name a file in it")
    if found is not None and not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        raise StorageError(f"{output} is a device or the like: name a file")
    if found is not None and not overwrite:
        raise ResultExistsError(f"{output} exists: choose another name, or give --overwrite")


def _found(output: Path) -> os.stat_result | None:
    try:
        return output.lstat()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{str(output)[:200]!r} cannot be the name of a file: {error}"
        ) from error


def _content(frame: pl.DataFrame, kind: Format) -> Iterator[bytes]:
    if kind == "parquet":
        buffer = BytesIO()
        frame.write_parquet(buffer)
        yield buffer.getvalue()
        return
    for text in _texts(frame, kind):
        yield text.encode()


def _texts(frame: pl.DataFrame, kind: Format) -> Iterator[str]:
    return _csv(frame) if kind == "csv" else _json(frame)


def _csv(frame: pl.DataFrame) -> Iterator[str]:
    flat = plain_times(frame)
    yield flat.clear().write_csv()
    for rows in flat.iter_slices(_ROWS_AT_ONCE):
        yield rows.write_csv(include_header=False)


def _json(frame: pl.DataFrame) -> Iterator[str]:
    before = "["
    for rows in frame.iter_slices(_ROWS_AT_ONCE):
        for row in plain_rows(rows):
            yield f"{before}\n{msgspec.json.encode(row).decode()}"
            before = ","
    yield "[]\n" if frame.is_empty() else "\n]\n"


def _write(output: Path, content: Iterator[bytes]) -> None:
    """Write a file whole or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    draft = Draft(output, call_system)
    try:
        draft.open()
        for chunk in content:
            draft.write(chunk)
        draft.publish()
    except OSError as error:
        raise storage_error("write", str(output), error) from error
    finally:
        draft.abandon()

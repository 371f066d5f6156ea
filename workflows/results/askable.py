"""What can be asked of a run, a phase and a window alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from admf.engine.errors import did_you_mean
from admf.workflows.results.query import Query, Scope

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Askable", "unknown_name"]

_MOST_SHOWN = 10


class Askable:
    """What can be asked of a run, a phase and a window alike."""

    def __init__(self, query: Query, scope: Scope) -> None:
        self.query = query
        self.scope = scope

    def metrics(
        self, where: str | None = None, by: str | None = None, top: int | None = None
    ) -> pl.DataFrame:
        """Return a row for each portfolio.

        Args:
            where: A condition in SQL on the columns, e.g. ``sharpe_ratio > 1 AND fast < 20``. A
                name with a dot needs double quotes: ``"risk.stop_loss_pct" > 1``.
            by: The metric to sort by, best first; portfolios without it come last, and equals
                stay in the order of the tree. With `top` alone, the leading objective.
            top: Return no more rows than this.

        Returns:
            Columns ``phase``, ``window``, ``container``, ``status``, ``error``, one for each
            parameter, one (float64) for each metric. A parameter that has the name of another
            column is called ``parameter.<name>``; one that a portfolio does not have is null there.

        Raises:
            ConfigError: ``where``, ``by`` or ``top`` cannot be used.
            StorageError: A file cannot be read.
            TornFileError: A file is missing, or is not as it was written.
        """
        return self.query.metrics(self.scope, where, by, top)

    def trades(
        self, where: str | None = None, by: str | None = None, top: int | None = None
    ) -> pl.DataFrame:
        """Return a row for each closed trade that was kept.

        ``by`` and ``top`` choose portfolios, as in `metrics`, and only the files of these are read.
        So it is with the parts of ``where`` that name only portfolios' columns; the other parts
        may name both, and choose trades.

        Args:
            where: A condition in SQL on the columns, those of `metrics` included. Times compare
                with ``TIMESTAMP '2010-01-31 15:30:00'`` or ``DATE '2010-01-31'``, UTC.
            by: A metric.
            top: Take no more portfolios than this.

        Returns:
            Columns ``phase``, ``window``, ``container``, one for each parameter, and the fields of
            `admf.containers.metrics.history.Trade` as they are called in files; ``entry_time`` and
            ``exit_time`` as Datetime in nanoseconds, UTC. Portfolio after portfolio, trades in the
            order in which they closed.

        Raises:
            ConfigError: ``where``, ``by`` or ``top`` cannot be used.
            StorageError: A file cannot be read.
            TornFileError: A file is missing, or is not as it was written.
        """
        return self.query.trades(self.scope, where, by, top)

    def equity(
        self, where: str | None = None, by: str | None = None, top: int | None = None
    ) -> pl.DataFrame:
        """Return the equity curves, as far as they were kept; otherwise as `trades`.

        Returns:
            Columns ``phase``, ``window``, ``container``, one for each parameter, ``ts`` (Datetime
            in nanoseconds, UTC) and ``equity`` (quote currency).
        """
        return self.query.equity(self.scope, where, by, top)


def unknown_name(kind: str, name: str, known: Mapping[str, object]) -> str:
    """Say that there is nothing of a name, and what there is."""
    shown = ", ".join(repr(it) for it in list(known)[:_MOST_SHOWN]) or "none"
    more = f" and {len(known) - _MOST_SHOWN} more" if len(known) > _MOST_SHOWN else ""
    return f"there is no {kind} {name!r}{did_you_mean(name, known)}; there are: {shown}{more}"

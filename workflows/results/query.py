"""Answers questions about the portfolios of a run, reading no more of its files than needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from admf.containers.metrics.catalogue import METRICS
from admf.engine.errors import ConfigError, Problem, did_you_mean
from admf.sequences.config import ObjectiveConfig
from admf.workflows.results.columns import LANE_FIELDS, PLACE_FIELDS
from admf.workflows.results.index import Index, build_index, read_index
from admf.workflows.results.series import EQUITY, TRADES, SeriesKind
from admf.workflows.results.tree import RunTree
from admf.workflows.results.where import Condition, parse_condition

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Query", "Scope"]


class Scope(NamedTuple):
    """What a question is about; None stands for all."""

    phase: str | None = None
    window: str | None = None
    container: str | None = None

    def of(self, container_id: str) -> Scope:
        """Return the scope of a portfolio in it."""
        return self._replace(container=container_id)


class Query:
    """Answers questions about the portfolios of a run.

    Args:
        tree: The run's files.
    """

    def __init__(self, tree: RunTree) -> None:
        self._tree = tree
        self._kept: Index | None = None

    def rebuild(self) -> None:
        """Make the index anew; see `RunResults.rebuild_index`."""
        self._kept = build_index(self._tree)

    def metrics(
        self, scope: Scope, where: str | None, by: str | None, top: int | None
    ) -> pl.DataFrame:
        """Answer `RunResults.metrics`."""
        columns = self._columns(scope)
        condition = parse_condition(where, columns)
        return self._chosen(scope, condition, by, top).select(columns)

    def trades(
        self, scope: Scope, where: str | None, by: str | None, top: int | None
    ) -> pl.DataFrame:
        """Answer `RunResults.trades`."""
        return self._series(TRADES, scope, where, by, top)

    def equity(
        self, scope: Scope, where: str | None, by: str | None, top: int | None
    ) -> pl.DataFrame:
        """Answer `RunResults.equity`."""
        return self._series(EQUITY, scope, where, by, top)

    def _series(
        self, kind: SeriesKind, scope: Scope, where: str | None, by: str | None, top: int | None
    ) -> pl.DataFrame:
        import polars as pl

        lanes = self._columns(scope)
        condition = parse_condition(where, (*lanes, *kind.fields))
        of_lanes, of_rows = condition.split(lanes)
        chosen = self._chosen(scope, of_lanes, by, top)
        found = kind.read(self._tree, chosen.select(PLACE_FIELDS))
        head = [*PLACE_FIELDS, *self._parameters(scope)]
        needed = [*head, *(it for it in of_rows.names if it in lanes and it not in head)]
        owners = chosen.select(needed)[found["owner"]]
        whole = pl.concat([owners, found.drop("owner")], how="horizontal")
        return of_rows.rows_of(whole).select(*head, *kind.fields)

    def _chosen(
        self, scope: Scope, condition: Condition, by: str | None, top: int | None
    ) -> pl.DataFrame:
        """Return the rows of the portfolios that are asked for, the best first if ``by`` is so."""
        if top is not None and top < 1:
            raise ConfigError([Problem(f"must be at least 1, and is {top}", "top")])
        if top is not None or by is not None:
            by = self._metric(scope, by)
        rows = condition.rows_of(self._rows(scope))
        if by is not None:
            down = self._is_better_up(scope, by)
            rows = rows.sort(by, descending=down, nulls_last=True, maintain_order=True)
        return rows if top is None else rows.head(top)

    def _rows(self, scope: Scope) -> pl.DataFrame:
        import polars as pl

        wanted = zip(PLACE_FIELDS, scope, strict=True)
        terms = [pl.col(name) == value for name, value in wanted if value is not None]
        return self._index.frame.filter(*terms)

    @property
    def _index(self) -> Index:
        if self._kept is None:
            self._kept = read_index(self._tree)
        return self._kept

    def _columns(self, scope: Scope) -> tuple[str, ...]:
        return (*LANE_FIELDS, *self._parameters(scope), *self._index.metrics)

    def _parameters(self, scope: Scope) -> tuple[str, ...]:
        parameters = self._index.parameters
        phases = parameters if scope.phase is None else [scope.phase]
        return tuple(dict.fromkeys(it for phase in phases for it in parameters.get(phase, ())))

    def _metric(self, scope: Scope, by: str | None) -> str:
        """Return the metric to sort by.

        Raises:
            ConfigError: There is no such metric.
        """
        metrics = self._index.metrics
        if by is None:
            leading = {it.name for it in self._objectives(scope)}
            by = leading.pop() if len(leading) == 1 else ObjectiveConfig().name
        if by not in metrics:
            hint = did_you_mean(by, metrics) or f"; metrics: {', '.join(metrics)}"
            raise ConfigError([Problem(f"{by!r} is no metric{hint}", "by")])
        return by

    def _is_better_up(self, scope: Scope, metric: str) -> bool:
        for objective in self._objectives(scope):
            if objective.name == metric and objective.direction is not None:
                return objective.direction == "maximize"
        better_up = {info.name: info.higher_is_better for info in METRICS}
        return better_up.get(metric) is not False

    def _objectives(self, scope: Scope) -> Iterator[ObjectiveConfig]:
        """Yield the leading objectives of the phases that a question is about."""
        for name, phase in self._tree.run.phases.items():
            if scope.phase in (None, name):
                yield phase.objective

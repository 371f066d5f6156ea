"""A window of a run, and the portfolios in it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from admf.engine.container import Status
from admf.engine.errors import MissingFileError
from admf.engine.result_names import results_path
from admf.workflows.results.askable import Askable, unknown_name
from admf.workflows.results.query import Query, Scope
from admf.workflows.results.records import CommitRecord, LaneRow
from admf.workflows.results.tree import RunTree

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ContainerView", "WindowView"]


class WindowView(Askable):
    """One execution window.

    Args:
        tree: The run's files.
        query: Answers what is asked.
        phase: Name of its phase.
        window_id: Its id; empty if the phase has no other.
        record: Its commit record.
    """

    def __init__(
        self, tree: RunTree, query: Query, phase: str, window_id: str, record: CommitRecord
    ) -> None:
        super().__init__(query, Scope(phase=phase, window=window_id))
        self._tree = tree
        self._record = record
        self.phase = phase
        self.window_id = window_id

    @property
    def status(self) -> Status:
        """How it ended."""
        return self._record.status

    @cached_property
    def containers(self) -> Mapping[str, ContainerView]:
        """Its portfolios by id, in the order of their lanes.

        Raises:
            TornFileError: A file is missing, or is not as it was written.
        """
        rows = self._tree.rows(self.phase, self.window_id, self._record)
        return {row.container_id: ContainerView(self, row) for row in rows}

    def __getitem__(self, container_id: str) -> ContainerView:
        """Return a portfolio.

        Raises:
            KeyError: There is none of that id.
        """
        if container_id not in self.containers:
            raise KeyError(unknown_name("container", container_id, self.containers))
        return self.containers[container_id]

    def document(self, name: str) -> dict[str, Any]:
        """Return all of one of its files, e.g. of ``aggregate_results.json``.

        Raises:
            MissingFileError: The window has no such file.
            TornFileError: It is not as it was written.
        """
        found = self._tree.read(self.phase, self.window_id, self._record, name, dict[str, Any])
        if found is None:
            place = f"{self.phase}/{self.window_id}".rstrip("/")
            raise MissingFileError(f"{place} left no {name}")
        return found


class ContainerView:
    """One portfolio.

    Args:
        window: Its window.
        row: What the window's ``aggregate_results.json`` says of it.
    """

    def __init__(self, window: WindowView, row: LaneRow) -> None:
        self.window = window
        self._row = row

    def __repr__(self) -> str:
        return f"<results of {self.container_id}, {self.status}>"

    @property
    def container_id(self) -> str:
        """Its id."""
        return self._row.container_id

    @property
    def status(self) -> str:
        """``completed``, ``failed``, ``cancelled`` or ``pruned``."""
        return self._row.status

    @property
    def error(self) -> str | None:
        """Why it failed; None if it did not."""
        return self._row.error

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Parameters of the strategy, and the settings of the parameter space."""
        return self._row.parameters

    def metrics(self) -> Mapping[str, float | None]:
        """Return the metrics by name; None where undefined. Its own file is not read."""
        return self._row.metrics

    def trades(self) -> pl.DataFrame:
        """Return its closed trades; see `RunResults.trades`."""
        return self.window.query.trades(self._scope, None, None, None)

    def equity(self) -> pl.DataFrame:
        """Return its equity curve; see `RunResults.equity`."""
        return self.window.query.equity(self._scope, None, None, None)

    def document(self) -> dict[str, Any]:
        """Return all of its file.

        Raises:
            MissingFileError: It left none, as it could not be built.
            TornFileError: The file is not as it was written.
        """
        return self.window.document(results_path(self.container_id))

    @property
    def _scope(self) -> Scope:
        return self.window.scope.of(self.container_id)

"""A run as one walks through it, and its phases. All is read when it is first asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from admf.engine.errors import MissingFileError
from admf.engine.files import SystemCall
from admf.engine.local_folder import call_system
from admf.sequences.config import ObjectiveConfig
from admf.workflows.results.askable import Askable, unknown_name
from admf.workflows.results.query import Query, Scope
from admf.workflows.results.records import CommitRecord
from admf.workflows.results.tree import RunTree
from admf.workflows.results.window_view import WindowView

__all__ = ["PhaseResults", "RunResults", "open_run"]


def open_run(path: str | os.PathLike[str], *, call: SystemCall = call_system) -> RunResults:
    """Open the results of a run; only its ``run.json`` is read for now.

    A run that was killed, or is under way, can be opened too: what is shown are the windows that
    are complete. Frames are polars'; for pandas, ``pip install 'admf[pandas]'`` and call
    ``.to_pandas()`` on them.

    Args:
        path: The run's folder, e.g. ``results/goog``.
        call: How to reach the operating system.

    Raises:
        StorageError: It is not the folder of a run, or was written by a later version of admf.
        TornFileError: Its ``run.json`` is not as it was written.
    """
    return RunResults(RunTree(path, call))


class RunResults(Askable):
    """The results of a run.

    Args:
        tree: Its files.
    """

    def __init__(self, tree: RunTree) -> None:
        super().__init__(Query(tree), Scope())
        self._tree = tree

    def __repr__(self) -> str:
        return f"<results of {self.run_id}, {self.status}, in {self.path}>"

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self._tree.folder.root

    @property
    def run_id(self) -> str:
        """Names the run: its folder, and a fingerprint of experiment and data."""
        return self._tree.run.run_id

    @property
    def status(self) -> str:
        """How the run ended; ``running`` if it is under way, or was killed."""
        return self._tree.run.status

    @property
    def workflow(self) -> str:
        """The workflow."""
        return self._tree.run.workflow

    @property
    def started_at(self) -> str:
        """When it began, ISO 8601."""
        return self._tree.run.started_at

    @property
    def finished_at(self) -> str | None:
        """When it ended, ISO 8601; None while it has not."""
        return self._tree.run.finished_at

    @property
    def seed(self) -> int:
        """What the random numbers come from."""
        return self._tree.run.seed

    @property
    def versions(self) -> Mapping[str, str]:
        """The versions of Python, admf and libraries that it ran with."""
        return self._tree.run.versions

    @property
    def data(self) -> Mapping[str, Mapping[str, Any]]:
        """The market data of each phase: symbols, period, fingerprint."""
        return self._tree.run.data

    @property
    def experiment(self) -> Mapping[str, Any]:
        """The experiment as it was written."""
        return self._tree.run.experiment

    @property
    def overrides(self) -> tuple[str, ...]:
        """What was set on top of the experiment, ``a.b=value`` each."""
        return self._tree.run.overrides

    @cached_property
    def phases(self) -> Mapping[str, PhaseResults]:
        """The phases by name; of later iterations and of branches, ``iteration_002/<name>``."""
        names = self._tree.run.phases
        return {name: PhaseResults(self._tree, self.query, name) for name in names}

    def __getitem__(self, phase: str) -> PhaseResults:
        """Return a phase.

        Raises:
            KeyError: There is none of that name.
        """
        if phase not in self.phases:
            raise KeyError(unknown_name("phase", phase, self.phases))
        return self.phases[phase]

    def document(self) -> dict[str, Any]:
        """Return all of ``run.json``.

        Raises:
            TornFileError: It is not as it was written.
        """
        return self._tree.document()

    def rebuild_index(self) -> None:
        """Make the index anew from the files, and keep it if the run is over.

        That is never needed for right results: an index that does not fit the files is not used.

        Raises:
            StorageError: A file cannot be read.
            TornFileError: A file is missing, or is not as it was written.
        """
        self.query.rebuild()


class PhaseResults(Askable):
    """The results of a phase.

    Args:
        tree: The run's files.
        query: Answers what is asked.
        name: Name of the phase.
    """

    def __init__(self, tree: RunTree, query: Query, name: str) -> None:
        super().__init__(query, Scope(phase=name))
        self._tree = tree
        self.name = name

    @property
    def status(self) -> str:
        """How it ended: ``completed``, ``failed``, ``cancelled`` or ``skipped``.

        Of a run that has not ended, ``running`` if the phase is not over.
        """
        return self._tree.phase_status(self.name)

    @property
    def saved(self) -> bool:
        """Whether its results are files; what was only in memory is gone."""
        return self.name in self._tree.run.saved

    @property
    def errors(self) -> tuple[str, ...]:
        """What went wrong, the first cause first."""
        return self._tree.run.errors.get(self.name, ())

    @property
    def skipped(self) -> str:
        """Why it did not run; empty if it did."""
        return self._tree.run.skipped.get(self.name, "")

    @property
    def objective(self) -> ObjectiveConfig:
        """What it searched for first of all."""
        return self._tree.run.phases[self.name].objective

    @property
    def sequence(self) -> str:
        """Name of its sequence."""
        return self._tree.run.phases[self.name].sequence

    @cached_property
    def windows(self) -> Mapping[str, WindowView]:
        """Its complete windows by id, in the order of their numbers; ``""`` if it is a single one.

        Raises:
            TornFileError: A commit record is missing, or is not as it was written.
        """
        found = self._tree.windows(self.name)
        return {window_id: self._window(window_id, record) for window_id, record in found}

    def __getitem__(self, window_id: str) -> WindowView:
        """Return a window; only the commit records that lead to it are read.

        Raises:
            KeyError: There is none of that id.
        """
        try:
            return self._window(window_id, self._tree.window(self.name, window_id))
        except MissingFileError:
            raise KeyError(unknown_name("window", window_id, self.windows)) from None

    def _window(self, window_id: str, record: CommitRecord) -> WindowView:
        return WindowView(self._tree, self.query, self.name, window_id, record)

"""A place in results: a run, or a phase, a window or a portfolio of one, given by its path."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from admf.engine.errors import ConfigError, Problem, StorageError, did_you_mean
from admf.engine.result_names import CONTAINERS, container_of
from admf.sequences.config import ObjectiveConfig
from admf.workflows.results import ContainerView, PhaseResults, RunResults, WindowView, open_run
from admf.workflows.results.run_folder import find_run

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Place", "open_place"]

_MOST_NAMES = 10


class Place(NamedTuple):
    """A part of a run; an empty name stands for all of them.

    Args:
        path: How the user called it.
        run: The run.
        group: Folder of phases, e.g. ``iteration_002``.
        phase: Name of a phase.
        window: Folder below the phase's, that of a window or of several.
        container: Id of a portfolio.
    """

    path: str
    run: RunResults
    group: str = ""
    phase: str = ""
    window: str = ""
    container: str = ""

    @property
    def phases(self) -> tuple[PhaseResults, ...]:
        """The phases that it is about, in the order of the run."""
        if self.phase:
            return (self.run.phases[self.phase],)
        below = f"{self.group}/" if self.group else ""
        return tuple(it for name, it in self.run.phases.items() if name.startswith(below))

    @property
    def windows(self) -> Mapping[str, WindowView]:
        """The complete windows of its phase that it is about, by id."""
        known = self.run[self.phase].windows
        if not self.window:
            return known
        if self.window in known:
            return {self.window: known[self.window]}
        return {it: view for it, view in known.items() if it.startswith(f"{self.window}/")}

    @property
    def name(self) -> str:
        """Its path below the run's folder; empty if it is the run."""
        return "/".join(filter(None, (self.group, self.phase, self.window, self.container)))

    @property
    def leading_metric(self) -> str:
        """The leading objective, if all phases that it is about have the same."""
        names = {it.objective.name for it in self.phases}
        return names.pop() if len(names) == 1 else ObjectiveConfig().name

    @property
    def emptiness(self) -> str:
        """Says that it has no portfolios, and why if that is known."""
        told = f"{self.path} has no portfolios"
        if self.run.status == "running":
            return f"{told} yet: the run has not ended"
        if all(it.skipped for it in self.phases):
            return f"{told}: {self.phases[0].skipped}"
        if all(it.status == "completed" and not it.saved for it in self.phases):
            return f"{told}: its results were kept in memory alone"
        return told

    @property
    def portfolio(self) -> ContainerView:
        """The portfolio, if it is one."""
        return self.run[self.phase][self.window][self.container]

    def only(self, phase: str | None) -> Place:
        """Return the part of it that belongs to a phase; itself if none is given.

        Raises:
            ConfigError: It has no such phase.
        """
        if phase is None:
            return self
        names = [it.name for it in self.phases]
        if phase not in names:
            message = f"{self.path} has no phase {phase!r}{did_you_mean(phase, names)}"
            raise ConfigError([Problem(f"{message}; it has {', '.join(names)}", "phase")])
        return self if self.phase else self._replace(group="", phase=phase)

    def metrics(
        self, where: str | None = None, by: str | None = None, top: int | None = None
    ) -> pl.DataFrame:
        """Answer as `RunResults.metrics` does."""
        return self._view().metrics(self._condition(where), by, top)

    def trades(
        self, where: str | None = None, by: str | None = None, top: int | None = None
    ) -> pl.DataFrame:
        """Answer as `RunResults.trades` does."""
        return self._view().trades(self._condition(where), by, top)

    def equity(
        self, where: str | None = None, by: str | None = None, top: int | None = None
    ) -> pl.DataFrame:
        """Answer as `RunResults.equity` does."""
        return self._view().equity(self._condition(where), by, top)

    def _view(self) -> RunResults | PhaseResults | WindowView:
        if not self.phase:
            return self.run
        phase = self.run[self.phase]
        return phase[self.window] if self.window in phase.windows else phase

    def _condition(self, where: str | None) -> str | None:
        """Return a condition that also holds what no view of the run stands for."""
        terms = [] if where is None else [f"({where})"]
        if self.group:
            terms.append(_starts("phase", f"{self.group}/"))
        if self.window and self.window not in self.run[self.phase].windows:
            terms.append(_starts("window", f"{self.window}/"))
        if self.container:
            terms.append(f"container = '{self.container}'")
        return where if len(terms) == (where is not None) else " AND ".join(terms)


def open_place(path: Path) -> Place:
    """Open a run, or a part of one.

    Args:
        path: The folder of a run, a phase, a window or several windows; or a portfolio's file, with
            or without ``_results.json``.

    Raises:
        StorageError: There is no such place, or it is damaged.
    """
    folder = find_run(path)
    if folder is None:
        return Place(str(path), open_run(path))
    run = open_run(folder)
    below = Path(os.path.abspath(path)).relative_to(folder).parts  # noqa: PTH100
    return _part(Place(str(path), run), "/".join(below))


def _part(run: Place, below: str) -> Place:
    if not below:
        return run
    names = list(run.run.phases)
    found = [name for name in names if f"{below}/".startswith(f"{name}/")]
    if not found:
        if any(name.startswith(f"{below}/") for name in names):
            return run._replace(group=below)
        raise StorageError(_nowhere(run, "phase", below, names))
    phase = max(found, key=len)
    return _part_of_phase(run._replace(phase=phase), below[len(phase) + 1 :])


def _part_of_phase(place: Place, below: str) -> Place:
    *folders, last = below.split("/")
    if last == CONTAINERS:
        below, last = "/".join(folders), ""
    if not folders or folders[-1] != CONTAINERS:
        return _with_window(place, below)
    place = _with_window(place, "/".join(folders[:-1]))
    return _with_container(place, container_of(last) or last)


def _with_window(place: Place, window: str) -> Place:
    known = place.run[place.phase].windows
    if window and window not in known and not any(it.startswith(f"{window}/") for it in known):
        raise StorageError(_nowhere(place, "complete window", window, filter(None, known)))
    return place._replace(window=window)


def _with_container(place: Place, container: str) -> Place:
    window = place.run[place.phase].windows.get(place.window)
    known = [] if window is None else list(window.containers)
    if container not in known:
        raise StorageError(_nowhere(place, "portfolio", container, known))
    return place._replace(container=container)


def _nowhere(place: Place, kind: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    shown = ", ".join(names[:_MOST_NAMES]) or "none"
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    where = f" in {place.name}" if place.name else ""
    hint = did_you_mean(name, names)
    return f"{place.path}: there is no {kind} {name!r}{where}{hint}; there are {shown}{more}"


def _starts(column: str, text: str) -> str:
    return f"starts_with({column}, '{text}')"

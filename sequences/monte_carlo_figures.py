"""The figures of simulations, as many as there are, and nothing else of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.metrics.catalogue import HEADLINE_METRICS
from admf.sequences.config import MonteCarloConfig
from admf.sequences.outcome import TrialCounts
from admf.sequences.simulation import summarise

__all__ = ["Figures", "Simulated"]

Metrics: TypeAlias = Mapping[str, float | None]


class Simulated(NamedTuple):
    """What became of a simulation: its metrics, none if it failed, and why it did."""

    metrics: Metrics
    error: str = ""


class Figures:
    """Takes simulations in the order of their numbers, and keeps their headline metrics.

    Attributes:
        count: Simulations.
        failed: Those that have no metrics; no figure has them in it.
        error: Why the first of them failed; empty if none did.
    """

    def __init__(self) -> None:
        self.count = 0
        self.failed = 0
        self.error = ""
        self._columns: dict[str, array[float]] = {}

    def take(self, simulations: Iterable[Simulated]) -> None:
        """Take the next simulations."""
        for metrics, error in simulations:
            self.count += 1
            if metrics:
                self._add(metrics)
            else:
                self.failed += 1
                self.error = self.error or error

    @property
    def counts(self) -> TrialCounts:
        """How the simulations ended."""
        completed = self.count - self.failed
        return TrialCounts(total=self.count, completed=completed, failed=self.failed)

    def spread(self, config: MonteCarloConfig) -> dict[str, Any]:
        """Return percentiles and probabilities, see `summarise`; nothing if all failed."""
        return summarise(self.columns(), config) if self.failed < self.count else {}

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Return the headline metrics that there are, float64 (simulations,), NaN if undefined."""
        return {name: np.array(column) for name, column in self._columns.items()}

    def _add(self, metrics: Metrics) -> None:
        names = self._columns or [name for name in HEADLINE_METRICS if name in metrics]
        for name in names:
            value = metrics.get(name)
            column = self._columns.setdefault(name, array("d"))
            column.append(np.nan if value is None else value)

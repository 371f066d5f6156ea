"""The topology ``simulation``: one container that draws simulations from trades or returns."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Annotated, TypeAlias

import msgspec
import numpy as np
from anyio import to_thread
from msgspec import Meta
from numpy.typing import NDArray

from admf.containers.config import PositiveFloat, PositiveInt
from admf.engine.bus import Bus
from admf.engine.container import Container
from admf.engine.result_names import AGGREGATE_FILE, results_path
from admf.engine.results import Document, WindowResults
from admf.engine.topology import TopologyBuilder
from admf.sequences.config import MonteCarloConfig
from admf.sequences.monte_carlo_figures import Simulated
from admf.sequences.simulation import simulate, summarise

__all__ = [
    "SIMULATION_FILE",
    "Batch",
    "SimulationConfig",
    "SimulationContainer",
    "SimulationTopology",
]

Columns: TypeAlias = dict[str, NDArray[np.float64]]

_ID = "simulation"
SIMULATION_FILE = results_path(_ID)

_SLICE_VALUES = 1 << 18
"""Returns that are drawn between two looks at the event loop; a few milliseconds' work."""


class SimulationConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One batch of simulations, as plain data.

    Args:
        options: The method and its options.
        returns: Of trades or of periods, as fractions of equity.
        first: Number of the first simulation of the batch.
        count: Simulations in the batch.
        entropy: Root of the randomness: that of a `numpy.random.SeedSequence`.
        spawn_key: Its place below the root; a simulation adds its number.
        block_length: Mean length of a block, if blocks are drawn.
        returns_per_year: How many there are in a year of the run, for annualised metrics.
    """

    options: MonteCarloConfig
    returns: Annotated[tuple[float, ...], Meta(min_length=1)]
    first: PositiveInt
    count: PositiveInt
    entropy: int
    spawn_key: tuple[int, ...]
    block_length: float | None
    returns_per_year: PositiveFloat


class Batch(msgspec.Struct, frozen=True):
    """The part of a batch's results that others need: the metrics of each simulation, by name."""

    figures: dict[str, list[float | None]]

    def simulations(self) -> list[Simulated]:
        """Return the metrics by simulation."""
        columns = zip(*self.figures.values(), strict=True)
        return [Simulated(dict(zip(self.figures, row, strict=True))) for row in columns]


class SimulationTopology:
    """Draws a batch of simulations."""

    def build(self, builder: TopologyBuilder) -> None:
        """Add the container of a `SimulationConfig`, and the report of its window."""
        config = msgspec.json.decode(builder.spec.config, type=SimulationConfig)
        container = builder.add(SimulationContainer(_ID, config, scope=builder.bus))
        builder.add_report(container.report)


class SimulationContainer(Container):
    """Draws simulations in a thread, slice by slice, and keeps the metrics of each.

    Args:
        container_id: Id.
        config: The batch.
        scope: The bus it lives on.
    """

    def __init__(self, container_id: str, config: SimulationConfig, *, scope: Bus) -> None:
        super().__init__(container_id, "simulation", config, scope=scope)
        self._batch = config
        self._returns = np.array(config.returns)
        self._done = 0
        self._figures: dict[str, array[float]] = {}

    async def run(self) -> None:
        """Draw until all are drawn or the container is stopped."""
        step = max(1, _SLICE_VALUES // len(self._returns))
        while self._done < self._batch.count:
            await self.until_resumed()
            if not self.in_service:
                return
            stop = min(self._done + step, self._batch.count)
            drawn = await to_thread.run_sync(self._draw, range(self._done, stop))
            for name, values in drawn.items():
                self._figures.setdefault(name, array("d")).extend(values.tolist())
            self._done = stop

    def results(self) -> Document:
        """Return the metrics of each simulation, their percentiles, and where they come from."""
        options, done = self._batch.options, self._done
        columns = self._columns()
        return Document(
            self.id,
            {
                "role": self.role,
                "status": self.status,
                "error": None if self.error is None else str(self.error),
                **self._head(),
                **(summarise(columns, options) if done else {}),
                "seeds": {"entropy": self._batch.entropy, "spawn_key": self._batch.spawn_key},
                "first_number": self._batch.first,
                "figures": columns,
            },
        )

    async def report(self, results: WindowResults) -> Mapping[str, object]:
        """Write ``aggregate_results.json``, and return the figures for the commit record."""
        head = self._head()
        summary = summarise(self._columns(), self._batch.options) if self._done else {}
        await results.write(AGGREGATE_FILE, {**head, **summary})
        return head

    def _head(self) -> dict[str, object]:
        return {
            "method": self._batch.options.method,
            "simulations": self._done,
            "sample_size": len(self._returns),
            "block_length": self._batch.block_length,
        }

    def _columns(self) -> Columns:
        return {name: np.array(values) for name, values in self._figures.items()}

    def _draw(self, places: range) -> Columns:
        batch = self._batch
        seeds = [
            np.random.SeedSequence(batch.entropy, spawn_key=(*batch.spawn_key, batch.first + it))
            for it in places
        ]
        return simulate(
            batch.options.method,
            self._returns,
            seeds=seeds,
            config=batch.options,
            block_length=batch.block_length,
            returns_per_year=batch.returns_per_year,
        )

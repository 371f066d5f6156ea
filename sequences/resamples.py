"""Simulations that are drawn from the trades or the returns of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from admf.containers.bootstrap import optimal_block_length
from admf.sequences.monte_carlo_figures import Simulated
from admf.sequences.samples import Sample, draw_sample
from admf.sequences.simulation_topology import SIMULATION_FILE, Batch, SimulationConfig
from admf.sequences.stretch import PhaseRun, Stretch

__all__ = ["Resamples", "resamples"]


async def resamples(stretch: Stretch) -> Resamples:
    """Run what is simulated once, and return the simulations that are drawn from it.

    Raises:
        DataError: The run has too few trades or returns.
        WindowError: It failed.
    """
    sample = await draw_sample(stretch)
    config = stretch.settings.monte_carlo
    block_length = config.block_length
    if config.method != "return_block_bootstrap":
        block_length = None
    elif block_length is None:
        block_length = optimal_block_length(np.array(sample.returns))
    return Resamples(stretch, sample, block_length)


class Resamples:
    """Simulations without a market; a batch of them is one execution window.

    Args:
        stretch: Where they run.
        sample: What they are drawn from.
        block_length: Mean length of the blocks, if blocks are drawn.

    Attributes:
        source: What the real run has found.
        facts: What the report is to say of the draws.
    """

    def __init__(self, stretch: Stretch, sample: Sample, block_length: float | None) -> None:
        self.source = sample.source
        self.facts: Mapping[str, Any] = {
            "block_length": block_length,
            "sample_size": len(sample.returns),
            "left_out": sample.left_out,
        }
        self._stretch = stretch
        self._sample = sample
        self._block_length = block_length

    async def batch(self, name: str, numbers: range, run: PhaseRun) -> list[Simulated]:
        """Draw simulations in an execution window of this name."""
        spec = self._stretch.window(name, self._config(numbers), "simulation")
        results = await run.run_window(spec)
        drawn: list[Simulated] = []
        if await results.exists(SIMULATION_FILE):
            drawn = (await results.read(SIMULATION_FILE, Batch)).simulations()
        missing = len(numbers) - len(drawn)
        return drawn + [Simulated({}, f"window {results.location} failed")] * missing

    def _config(self, numbers: range) -> SimulationConfig:
        stretch = self._stretch
        return SimulationConfig(
            options=stretch.settings.monte_carlo,
            returns=self._sample.returns,
            first=numbers[0],
            count=len(numbers),
            entropy=stretch.settings.seed,
            spawn_key=stretch.simulation_key,
            block_length=self._block_length,
            returns_per_year=self._sample.returns_per_year,
        )

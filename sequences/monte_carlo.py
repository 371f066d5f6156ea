"""The sequence ``monte_carlo``: what chance could have made of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from admf.engine.errors import WindowError
from admf.sequences.config import MonteCarloConfig
from admf.sequences.jitter import costs_of
from admf.sequences.monte_carlo_figures import Figures, Simulated
from admf.sequences.outcome import Outcome
from admf.sequences.reruns import RERUN_METHODS, reruns
from admf.sequences.resamples import resamples
from admf.sequences.settings import PhaseSettings
from admf.sequences.side_by_side import side_by_side
from admf.sequences.splits import StepRange
from admf.sequences.stretch import PhaseRun, Stretch

__all__ = ["MonteCarlo"]


class _Simulations(Protocol):
    """Simulations by one of the methods.

    Attributes:
        source: What is known of the real run.
        facts: What the report is to say of the draws.
    """

    source: Outcome
    facts: Mapping[str, Any]

    async def batch(self, name: str, numbers: range, run: PhaseRun) -> list[Simulated]:
        """Run simulations in an execution window of this name, or in windows below it."""
        ...


class MonteCarlo:
    """Simulates a strategy, or another sequence, many times over.

    The simulations are divided into batches, each of which is an execution window (or windows below
    one folder) of its own, so that memory does not grow with their number but for the figures.
    Every simulation has its own randomness by its number, so that results depend neither on the
    batches nor on their order.
    """

    def check(
        self,
        settings: PhaseSettings,
        ts: NDArray[np.int64],  # noqa: ARG002 - as `CutsData` has it
        steps: StepRange,  # noqa: ARG002 - likewise
    ) -> None:
        """Look whether there is something to simulate; see `CutsData`."""
        searched = any(name.startswith("execution.") for name in settings.parameter_space)
        if settings.monte_carlo.method == "cost_jitter" and not searched:
            costs_of(settings.execution)

    async def run(self, stretch: Stretch) -> Outcome:
        """Run all batches, and say how what they found is spread.

        Raises:
            ConfigError: There is nothing that the method could change.
            DataError: The run that is resampled has too few trades or returns.
            WindowError: That run failed, or every simulation did.
        """
        config = stretch.settings.monte_carlo
        figures = Figures()
        simulations = await _simulations(stretch)

        async def take(found: list[Simulated]) -> None:
            figures.take(found)

        works = (partial(simulations.batch, name, numbers) for name, numbers in _batches(config))
        await side_by_side(stretch.run, works, take)
        if figures.failed == figures.count:
            raise WindowError(
                f"monte_carlo: all {figures.count} simulations failed; the first: {figures.error}"
            )
        return _outcome(stretch, simulations, figures)


async def _simulations(stretch: Stretch) -> _Simulations:
    if stretch.settings.monte_carlo.method in RERUN_METHODS:
        return await reruns(stretch)
    return await resamples(stretch)


def _batches(config: MonteCarloConfig) -> Iterator[tuple[str, range]]:
    """Yield the name of each batch, and the numbers of its simulations, from 1 on."""
    count = min(config.batches, config.simulations)
    width = max(3, len(str(count)))
    for batch in range(count):
        start, stop = (config.simulations * edge // count for edge in (batch, batch + 1))
        yield f"mc_{batch + 1:0{width}}", range(start + 1, stop + 1)


def _outcome(stretch: Stretch, simulations: _Simulations, figures: Figures) -> Outcome:
    config, source = stretch.settings.monte_carlo, simulations.source
    spread = figures.spread(config)
    return Outcome(
        best_parameters=source.best_parameters,
        best=source.out_of_sample or source.best,
        top_parameters=() if source.best_parameters is None else (source.best_parameters,),
        trials=figures.counts,
        out_of_sample={name: it["p50"] for name, it in spread["percentiles"].items()},
        report={
            "method": config.method,
            "simulations": figures.count,
            "failed": figures.failed,
            "batches": min(config.batches, config.simulations),
            **simulations.facts,
            **spread,
            "seeds": {
                "entropy": stretch.settings.seed,
                "spawn_key": stretch.simulation_key,
            },
        },
    )

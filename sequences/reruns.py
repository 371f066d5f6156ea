"""Simulations that run through the engine again, with other prices, costs or parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import msgspec
import numpy as np

from admf.containers.bootstrap import optimal_block_length
from admf.containers.price_path import PricePathConfig
from admf.containers.report import LaneReport
from admf.engine.errors import ConfigError, DataError, WindowError
from admf.sequences.jitter import costs_of, jittered, numbers_of, with_changes
from admf.sequences.lanes import make_lane
from admf.sequences.monte_carlo_figures import Figures, Simulated
from admf.sequences.outcome import Outcome, Point
from admf.sequences.side_by_side import side_by_side
from admf.sequences.stretch import Candidate, PhaseRun, Stretch

__all__ = ["RERUN_METHODS", "Reruns", "reruns"]

RERUN_METHODS = ("price_path", "cost_jitter", "parameter_jitter")
"""The methods that run through the engine again."""


class _Variation(msgspec.Struct, frozen=True, kw_only=True):
    """What is different in a simulation.

    Args:
        changes: Parameters, and settings by dotted name.
        options: Fields of `BacktestConfig`.
    """

    changes: Point = {}
    options: Mapping[str, object] = {}


Vary: TypeAlias = Callable[[np.random.SeedSequence], _Variation]


class Reruns:
    """Simulations that have an execution window each, or windows if another sequence is simulated.

    Where only parameters and settings differ, all simulations of a batch are lanes of one window.

    Args:
        stretch: Where they run.
        vary: Says what is different in a simulation, by its seeds.
        block_length: Of the price paths that are drawn, in time steps.

    Attributes:
        source: What is known of the real run: its parameter set.
        facts: What the report is to say of the draws.
    """

    def __init__(self, stretch: Stretch, vary: Vary, block_length: float | None = None) -> None:
        config = stretch.settings.monte_carlo
        point: Point | None = _given(stretch) if config.inner or stretch.points else {}
        self.source = Outcome(best_parameters=point)
        self.facts: Mapping[str, Any] = {"block_length": block_length}
        self._stretch = stretch
        self._vary = vary
        self._inner = config.inner
        self._paths = config.method == "price_path"
        self._width = max(3, len(str(config.simulations)))

    async def batch(self, name: str, numbers: Sequence[int], run: PhaseRun) -> list[Simulated]:
        """Run simulations in an execution window of this name, or in windows below it."""
        stretch = self._stretch.beside(run)
        if self._inner is None and not self._paths:
            return await self._lanes(stretch, name, numbers)
        if len(numbers) == 1:
            return [await self._run(stretch, name, numbers[0])]
        found: list[Simulated] = []

        async def simulate(folder: Stretch) -> Outcome:
            figures = Figures()

            async def take(simulated: Simulated) -> None:
                found.append(simulated)
                figures.take([simulated])

            works = (partial(self._run_beside, folder, number) for number in numbers)
            await side_by_side(folder.run, works, take)
            report = figures.spread(folder.settings.monte_carlo)
            return Outcome(trials=figures.counts, report=report)

        await run.run_part("monte_carlo", simulate, stretch.child(name, drawn_as=""))
        return found

    async def _lanes(self, stretch: Stretch, name: str, numbers: Sequence[int]) -> list[Simulated]:
        """Run simulations side by side; all share the randomness of the strategy."""
        point = _given(self._stretch) or {}
        candidates = [Candidate(it, {**point, **self._variation(it).changes}) for it in numbers]
        folder = stretch.child(name, drawn_as="")
        return [_simulated(it) for it in await folder.run_lanes("", candidates, role="trial")]

    async def _run_beside(self, parent: Stretch, number: int, run: PhaseRun) -> Simulated:
        return await self._run(parent.beside(run), self._name(number), number)

    async def _run(self, parent: Stretch, name: str, number: int) -> Simulated:
        """Run one simulation in windows of its own."""
        try:
            part = self._part(parent, name, number)
            if self._inner is not None:
                outcome = await part.run_sequence(self._inner)
                return Simulated(outcome.out_of_sample or outcome.best, "nothing was found")
            candidate = Candidate(1, _given(part) or {})
            (row,) = await part.run_lanes("", [candidate], role="trial")
            return _simulated(row)
        except (ConfigError, DataError, WindowError) as error:
            return Simulated({}, str(error))

    def _part(self, parent: Stretch, name: str, number: int) -> Stretch:
        variation, given = self._variation(number), _given(parent)
        points, settings = None, None
        if given is not None:
            points = [{**given, **variation.changes}]
        elif variation.changes:
            settings = with_changes(parent.settings, variation.changes)
        return parent.child(
            name,
            points=points,
            settings=settings,
            options=variation.options,
            drawn_as=self._name(number),
        )

    def _variation(self, number: int) -> _Variation:
        return self._vary(self._stretch.simulation_seeds(number))

    def _name(self, number: int) -> str:
        return f"{'path' if self._paths else 'sim'}_{number:0{self._width}}"


async def reruns(stretch: Stretch) -> Reruns:
    """Return the simulations of a stretch by one of the methods that run through the engine.

    Raises:
        ConfigError: There is nothing that the method could change.
    """
    method = stretch.settings.monte_carlo.method
    if method == "price_path":
        return _price_paths(stretch)
    if method == "cost_jitter":
        lane = make_lane(stretch.settings, 1, _given(stretch) or {}, "")
        return _jitter(stretch, costs_of(lane.execution))
    return _jitter(stretch, numbers_of(await _parameters(stretch)))


def _price_paths(stretch: Stretch) -> Reruns:
    steps, ts = stretch.steps, stretch.ts
    block_length = stretch.settings.monte_carlo.block_length or _block_length(stretch)

    def vary(seeds: np.random.SeedSequence) -> _Variation:
        path = PricePathConfig(
            block_length=block_length,
            entropy=stretch.settings.seed,
            spawn_key=tuple(seeds.spawn_key),
            start_ts=int(ts[steps.start]),
            end_ts=int(ts[steps.stop]) if steps.stop < len(ts) else None,
        )
        return _Variation(options={"price_path": path})

    return Reruns(stretch, vary, block_length)


def _block_length(stretch: Stretch) -> float:
    """Return what suits the returns of the first symbol within the stretch."""
    data, steps = stretch.data, stretch.steps
    rows = data.bar_range(data.symbols[0], steps.start, steps.stop)
    close = data.bars(data.symbols[0])[slice(*rows)].close
    returns = close[1:] / close[:-1] - 1.0
    return optimal_block_length(returns) if len(returns) > 1 else 1.0


def _jitter(stretch: Stretch, values: Mapping[str, float]) -> Reruns:
    share = stretch.settings.monte_carlo.jitter

    def vary(seeds: np.random.SeedSequence) -> _Variation:
        return _Variation(changes=jittered(values, share, np.random.default_rng(seeds)))

    return Reruns(stretch, vary)


async def _parameters(stretch: Stretch) -> Mapping[str, object]:
    """Return the parameters of what is simulated, defaults included.

    If the inner sequence searches them, they are those that it leaves as they are.
    """
    settings, given = stretch.settings, _given(stretch)
    if settings.monte_carlo.inner is not None and given is None:
        params = settings.strategy.params
        return {name: it for name, it in params.items() if name not in settings.parameter_space}
    source = stretch.child("source")
    (row,) = await source.run_lanes("", [Candidate(1, given or {})], role="aside")
    return row.parameters


def _simulated(row: LaneReport) -> Simulated:
    return Simulated(row.metrics if row.status == "completed" else {}, row.error or "")


def _given(stretch: Stretch) -> Point | None:
    return stretch.points[0] if stretch.points else None

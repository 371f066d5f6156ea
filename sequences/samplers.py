"""Samplers: in which order a search tries the combinations of a parameter space.

A sampler is asked for parameter sets and told how good they were. It never gives the same one
twice, nor one that the constraint excludes, and it depends on nothing but its seed, what it was
told, and how many parameter sets it was asked for at a time.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np

from admf.engine.errors import ConfigError, Problem
from admf.sequences.axes import Axis, Choices, Interval
from admf.sequences.config import Direction, Scalar, SearchConfig
from admf.sequences.outcome import Point
from admf.sequences.space import ParameterSpace

if TYPE_CHECKING:
    import optuna

__all__ = ["Objectives", "Sampler", "make_sampler"]

Objectives: TypeAlias = tuple[float, ...] | None
"""Values of the objectives of a trial, in their order; None if it failed."""

_Key: TypeAlias = tuple[Scalar, ...]

_DEFAULT_TRIALS: Final = 100
_SOBOL_BITS: Final = 53  # as many as a float has
_SOBOL_CHUNK: Final = 64
_PATIENCE: Final = 10_000
_COVERED: Final = 100_000
_SUGGESTIONS: Final = 10
_PRUNED_PER_COMPLETED: Final = 9


class Sampler(Protocol):
    """Says which parameter sets a search tries."""

    @property
    def learns(self) -> bool:
        """Whether what it gives depends on what it is told."""
        ...

    def ask(self, count: int) -> list[Point]:
        """Return new parameter sets.

        Args:
            count: How many at most.

        Returns:
            Parameter sets that were not given before; none if there are no more.
        """
        ...

    def tell(self, points: Sequence[Point], objectives: Sequence[Objectives]) -> None:
        """Take how trials ended.

        Args:
            points: Parameter sets that were given by `ask`.
            objectives: Values of their objectives, in the same order; None if a trial failed.
        """
        ...


def make_sampler(
    config: SearchConfig,
    space: ParameterSpace,
    *,
    seed: np.random.SeedSequence,
    directions: Sequence[Direction],
) -> Sampler:
    """Return the sampler of a search.

    Args:
        config: The search's settings; its own ``seed`` is not looked at.
        space: What is searched.
        seed: Seed of everything random; nothing is spawned from it.
        directions: Of the objectives, in their order; at least one.

    Raises:
        ConfigError: A grid has a parameter with no end of values, or a library is missing.
    """
    if config.method == "grid":
        return _Stream(space.grid(), config.max_trials)
    limit = config.max_trials or _DEFAULT_TRIALS
    if config.method == "bayesian":
        return _Bayesian(space, directions, seed, limit)
    # there is no Sobol sequence of no dimensions
    units = _sobol_units if config.method == "sobol" and space.names else _random_units
    rng = _generator(seed)
    return _Stream(_novel(space, units(len(space.names), rng), rng, set()), limit)


class _Stream:
    """Gives points one after the other, whatever it is told."""

    learns = False

    def __init__(self, points: Iterator[Point], limit: int | None) -> None:
        self._points = islice(points, limit)

    def ask(self, count: int) -> list[Point]:
        return list(islice(self._points, count))

    def tell(self, points: Sequence[Point], objectives: Sequence[Objectives]) -> None:
        """Learn nothing."""


class _Bayesian:
    """A tree-structured Parzen estimator.

    Failed trials, and suggestions that cannot be used, count as worse than every other, so that
    their surroundings are avoided. They do not count at all while there are too many of them: the
    estimator takes the best tenth of all for good, and that must not be them.

    Source: Bergstra et al. (2011), "Algorithms for hyper-parameter optimization", as in optuna.
    """

    learns = True

    def __init__(
        self,
        space: ParameterSpace,
        directions: Sequence[Direction],
        seed: np.random.SeedSequence,
        limit: int,
    ) -> None:
        self._study = _make_study(directions, int(seed.generate_state(1)[0]))
        self._space = space
        self._left = limit
        self._distributions = {
            name: _distribution(axis) for name, axis in zip(space.names, space.axes, strict=True)
        }
        self._given: set[_Key] = set()
        self._running: dict[_Key, optuna.Trial] = {}
        self._completed = self._pruned = 0
        rng = _generator(seed)
        self._others = _novel(space, _random_units(len(space.names), rng), rng, self._given)

    def ask(self, count: int) -> list[Point]:
        points: list[Point] = []
        while len(points) < count and self._left:
            point = self._suggestion()
            if point is None:
                point = self._other()
            if point is None:
                self._left = 0
            else:
                self._left -= 1
                points.append(point)
        return points

    def tell(self, points: Sequence[Point], objectives: Sequence[Objectives]) -> None:
        trials = [self._running.pop(_key(point)) for point in points]
        failed: list[optuna.Trial] = []
        for trial, values in zip(trials, objectives, strict=True):
            if values is None or not all(map(math.isfinite, values)):
                failed.append(trial)
            else:
                self._study.tell(trial, values)
                self._completed += 1
        # last and sorted, so that the order within a batch does not matter
        for trial in sorted(failed, key=lambda it: it.number):
            self._reject(trial)

    def _suggestion(self) -> Point | None:
        """Return what the estimator suggests, unless nothing of it is new."""
        for _ in range(_SUGGESTIONS):
            trial = self._study.ask(self._distributions)
            point = _point(self._space, trial.params)
            if _claim(point, self._space, self._given):
                self._running[_key(point)] = trial
                return point
            self._reject(trial)
        return None

    def _other(self) -> Point | None:
        """Return a random point that is new."""
        point = next(self._others, None)
        if point is not None:
            self._study.enqueue_trial(_params(self._space, point))
            self._running[_key(point)] = self._study.ask(self._distributions)
        return point

    def _reject(self, trial: optuna.Trial) -> None:
        from optuna.trial import TrialState

        if self._pruned < _PRUNED_PER_COMPLETED * self._completed:
            self._study.tell(trial, state=TrialState.PRUNED)
            self._pruned += 1
        else:
            self._study.tell(trial, state=TrialState.FAIL)


def _generator(seed: np.random.SeedSequence) -> np.random.Generator:
    """Return a generator from which may be spawned, as scipy does, without a trace in the seed."""
    return np.random.default_rng(seed.generate_state(4))


def _random_units(dimensions: int, rng: np.random.Generator) -> Iterator[list[float]]:
    return (rng.random(dimensions).tolist() for _ in repeat(None))


def _sobol_units(dimensions: int, rng: np.random.Generator) -> Iterator[list[float]]:
    qmc = _library("scipy.stats.qmc", "sobol")
    engine = qmc.Sobol(dimensions, scramble=True, bits=_SOBOL_BITS, seed=rng)
    return (unit for _ in repeat(None) for unit in engine.random(_SOBOL_CHUNK).tolist())


def _novel(
    space: ParameterSpace,
    units: Iterator[Sequence[float]],
    rng: np.random.Generator,
    given: set[_Key],
) -> Iterator[Point]:
    """Yield new points: drawn, while that finds any, then all that remain of a small space."""
    size = space.size
    missed, patience = 0, min(_PATIENCE, size or _PATIENCE)
    while missed < patience:
        point = space.at(next(units))
        missed += 1
        if _claim(point, space, given):
            missed = 0
            yield point
    if size is not None and size <= _COVERED:
        for index in rng.permutation(size):
            point = space.point(int(index))
            if _claim(point, space, given):
                yield point


def _claim(point: Point, space: ParameterSpace, given: set[_Key]) -> bool:
    """Whether a point is new and admitted; from then on it is not new."""
    key = _key(point)
    if key in given or not space.admits(point):
        return False
    given.add(key)
    return True


def _key(point: Point) -> _Key:
    return tuple(point.values())


def _make_study(directions: Sequence[Direction], seed: int) -> optuna.Study:
    library = _library("optuna", "bayesian")
    with _silenced(library.exceptions.ExperimentalWarning):
        study: optuna.Study = library.create_study(
            study_name="search",  # or it would be called by a random name
            sampler=library.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
            directions=list(directions),
        )
    return study


@contextmanager
def _silenced(category: type[Warning]) -> Generator[None]:
    """Keep optuna quiet while a study is made, which is when it speaks."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category)
            yield
    finally:
        logger.setLevel(level)


def _distribution(axis: Axis) -> optuna.distributions.BaseDistribution:
    """Return what optuna samples for a parameter: positions, or the numbers of an interval."""
    from optuna import distributions

    if isinstance(axis, Interval):
        if axis.whole:
            return distributions.IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        return distributions.FloatDistribution(axis.low, axis.high, log=axis.log)
    if isinstance(axis, Choices) and not axis.ordered:
        return distributions.CategoricalDistribution(range(axis.count))
    return distributions.IntDistribution(0, axis.count - 1)


def _point(space: ParameterSpace, params: Mapping[str, Any]) -> Point:
    return {
        name: params[name] if isinstance(axis, Interval) else axis.value(params[name])
        for name, axis in zip(space.names, space.axes, strict=True)
    }


def _params(space: ParameterSpace, point: Point) -> dict[str, Scalar]:
    return {
        name: point[name] if isinstance(axis, Interval) else axis.index(point[name])
        for name, axis in zip(space.names, space.axes, strict=True)
    }


def _library(name: str, method: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        message = f"{method} needs {error.name}; install it with: pip install 'admf[search]'"
        raise ConfigError([Problem(message, "search.method")]) from error

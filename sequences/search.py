"""A search: parameter sets are asked for in batches, tried side by side, and judged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
from anyio import to_thread

from admf.containers.config import LanePruning
from admf.containers.report import LaneReport
from admf.engine.errors import ConfigError, DataError, WindowError
from admf.sequences.config import SearchPruningConfig
from admf.sequences.expressions import Expression
from admf.sequences.lanes import lane_id
from admf.sequences.outcome import Outcome, Point
from admf.sequences.overfitting_report import BLOCKS, OverfittingBook
from admf.sequences.repeats import Repeats
from admf.sequences.samplers import Sampler, make_sampler
from admf.sequences.settings import PhaseSettings
from admf.sequences.side_by_side import Work, side_by_side
from admf.sequences.space import ParameterSpace
from admf.sequences.stretch import Candidate, PhaseRun, Stretch
from admf.sequences.trials import Judge, Leaders, Trial, TrialRecord

__all__ = ["Evaluate", "optimise", "search", "search_windows", "sequence_windows", "space_of"]

Evaluate: TypeAlias = Callable[[int, Sequence[Candidate], PhaseRun], Awaitable[list[LaneReport]]]
"""Tries a batch of parameter sets, by its number from 1 on, and returns a report for each set."""


async def optimise(stretch: Stretch, inner: str | None = None) -> Outcome:
    """Find the best parameter sets of a stretch.

    Args:
        stretch: Where to search.
        inner: Sequence that does it, in place of one pass over the stretch.
    """
    if inner is not None:
        return await stretch.run_sequence(inner)
    return await search(stretch, search_windows(stretch))


async def search(stretch: Stretch, evaluate: Evaluate) -> Outcome:
    """Try the parameter sets of a stretch, batch by batch; what repeats another does not run.

    Args:
        stretch: Says which they are, and what is good.
        evaluate: Tries a batch.
    """
    settings = stretch.settings
    judge = Judge(settings)
    leaders = Leaders(settings.search.top_k, len(judge.objectives))
    sampler, repeats = _sampler(stretch, judge), Repeats(stretch.points)
    with closing(OverfittingBook(stretch.annualisation.periods_per_year)) as overfitting:

        async def take(batch: _Batch) -> None:
            trials = _judged(batch, judge, repeats)
            points = [it.point for it in batch.candidates]
            sampler.tell(points, [it.objectives if it.losses else None for it in trials])
            leaders.take(trials)
            overfitting.take([it.row for it in trials if it.repeats is None])
            for trial in trials:
                stretch.run.record(_record(stretch, trial))

        works = _batches(sampler, settings.search.at_once, partial(_tried, evaluate, repeats))
        if sampler.learns:
            async for work in works:
                await take(await work(stretch.run))
        else:
            await side_by_side(stretch.run, works, take)
        best = leaders.best
        return _outcome(leaders, overfitting.report(best[0].row if best else None))


class _Batch(NamedTuple):
    """Parameter sets that were tried side by side, and the reports of those that are new."""

    candidates: Sequence[Candidate]
    reports: Mapping[int, LaneReport]


_Try: TypeAlias = Callable[[int, Sequence[Candidate], PhaseRun], Awaitable[_Batch]]


async def _batches(sampler: Sampler, at_once: int, tried: _Try) -> AsyncIterator[Work[_Batch]]:
    """Yield what tries each batch of the parameter sets that a sampler asks for."""
    number, batch = 1, 0
    while points := await to_thread.run_sync(sampler.ask, at_once):
        candidates = [Candidate(number + row, point) for row, point in enumerate(points)]
        number += len(candidates)
        batch += 1
        yield partial(tried, batch, candidates)


async def _tried(
    evaluate: Evaluate,
    repeats: Repeats,
    batch: int,
    candidates: Sequence[Candidate],
    run: PhaseRun,
) -> _Batch:
    new = [it for it in candidates if repeats.first_of(it.number) is None]
    rows = await evaluate(batch, new, run) if new else []
    return _Batch(candidates, {it.number: row for it, row in zip(new, rows, strict=True)})


def _judged(batch: _Batch, judge: Judge, repeats: Repeats) -> list[Trial]:
    rows = repeats.reports([it.number for it in batch.candidates], batch.reports)
    return [
        judge.trial(it.number, it.point, row, repeats.first_of(it.number))
        for it, row in zip(batch.candidates, rows, strict=True)
    ]


def search_windows(stretch: Stretch) -> Evaluate:
    """Return what tries a batch in an execution window; several batches get a window each."""
    single = _expected_trials(stretch) <= stretch.settings.search.at_once

    async def evaluate(
        batch: int, candidates: Sequence[Candidate], run: PhaseRun
    ) -> list[LaneReport]:
        name = "" if single else f"batch_{batch:03}"
        options = _options(stretch.settings)
        here = stretch.beside(run)
        return await here.run_lanes(name, candidates, role="trial", options=options)

    return evaluate


def sequence_windows(stretch: Stretch, inner: str) -> Evaluate:
    """Return what judges each parameter set by a sequence, that is, by its result out of sample."""

    async def judged(candidate: Candidate, run: PhaseRun) -> LaneReport:
        name = f"trial_{candidate.number:03}"
        trial = stretch.beside(run).child(name, points=(candidate.point,))
        try:
            outcome = await trial.run_sequence(inner)
        except (ConfigError, DataError, WindowError) as error:
            return _judged_by(candidate, Outcome(), str(error))
        complete = outcome.trials.completed > 0
        return _judged_by(candidate, outcome, None if complete else "no trial in it is eligible")

    async def evaluate(
        _batch: int, candidates: Sequence[Candidate], run: PhaseRun
    ) -> list[LaneReport]:
        rows: list[LaneReport] = []

        async def take(row: LaneReport) -> None:
            rows.append(row)

        await side_by_side(run, (partial(judged, it) for it in candidates), take)
        return rows

    return evaluate


def space_of(settings: PhaseSettings) -> ParameterSpace:
    """Return the parameter space of a phase.

    Raises:
        ConfigError: It cannot be used.
    """
    constraint = None
    if settings.constraint is not None:
        constraint = Expression.parse(settings.constraint, "constraint")
    return ParameterSpace(settings.parameter_space, constraint, fixed=settings.strategy.params)


class _FixedPoints:
    """The `Sampler` of parameter sets that are known beforehand."""

    learns = False

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = list(points)

    def ask(self, count: int) -> list[Point]:
        asked, self._points = self._points[:count], self._points[count:]
        return asked

    def tell(self, points: Sequence[Point], objectives: Sequence[tuple[float, ...] | None]) -> None:
        """Learn nothing."""


def _judged_by(candidate: Candidate, outcome: Outcome, error: str | None) -> LaneReport:
    """Return a report of a parameter set that a sequence has judged."""
    return LaneReport(
        container_id="",
        lane_id=lane_id(candidate.number),
        status="completed" if error is None else "failed",
        error=error,
        parameters=candidate.point,
        metrics=outcome.out_of_sample or outcome.best,
    )


def _sampler(stretch: Stretch, judge: Judge) -> Sampler:
    if stretch.points is not None:
        return _FixedPoints(stretch.points)
    config = stretch.settings.search
    seeds = stretch.seeds
    if config.seed is not None:
        seeds = np.random.SeedSequence(config.seed, spawn_key=seeds.spawn_key)
    return make_sampler(config, space_of(stretch.settings), seed=seeds, directions=judge.directions)


def _expected_trials(stretch: Stretch) -> float:
    if stretch.points is not None:
        return len(stretch.points)
    config = stretch.settings.search
    size = space_of(stretch.settings).size or float("inf")
    default = size if config.method == "grid" else 100
    return min(config.max_trials or default, size)


def _options(settings: PhaseSettings) -> dict[str, object]:
    options: dict[str, object] = {"return_blocks": BLOCKS}
    if settings.pruning is not None:
        options["pruning"] = _lane_pruning(settings, settings.pruning)
    return options


def _lane_pruning(settings: PhaseSettings, config: SearchPruningConfig) -> LanePruning:
    judge = Judge(settings)
    return LanePruning(
        max_drawdown_pct=config.max_drawdown_pct,
        metric=None if config.objective is None else judge.objectives[0].name,
        threshold=config.objective,
        maximize=judge.directions[0] == "maximize",
        after_bars=config.after_bars,
        every_bars=config.every_bars,
    )


def _record(stretch: Stretch, trial: Trial) -> TrialRecord:
    return TrialRecord(
        stretch.path,
        trial.number,
        trial.point,
        trial.status,
        trial.objectives,
        trial.row.error or None,
        trial.repeats,
    )


def _outcome(leaders: Leaders, overfitting: dict[str, object] | None) -> Outcome:
    best = leaders.best
    found = Outcome(
        top_parameters=tuple(trial.point for trial in best),
        pareto_front=tuple(trial.point for trial in leaders.front),
        trials=leaders.counts,
        overfitting=overfitting,
    )
    if not best:
        return found
    leader = best[0]
    return msgspec.structs.replace(
        found,
        best_parameters=leader.point,
        best_objective=leader.objectives[0] if leader.objectives else None,
        best=leader.row.metrics,
    )

"""Looks whether the strategy of an experiment knows what only the future can tell.

A window over the first part of the data is run twice: once as it is, and once with every bar after
its end corrupted; no byte of its results may change. And it is compared with a run over all of the
data: up to the end of the window both have to decide the same, close the same trades and be worth
the same, since ``targets`` could otherwise use later bars of the window it is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
from anyio import to_thread

from admf.containers.catalog import DataCatalog, UserModules
from admf.containers.config import LaneConfig
from admf.containers.market_data import MarketData
from admf.containers.times import iso_utc
from admf.engine.errors import ConfigError, DataError, Problem
from admf.engine.registry import Registry
from admf.sequences.config import SearchConfig
from admf.sequences.lanes import make_lane
from admf.sequences.outcome import Point
from admf.sequences.phase import ResolvedPhase
from admf.sequences.ranges import steps_of
from admf.sequences.samplers import make_sampler
from admf.sequences.search import space_of
from admf.sequences.settings import PhaseSettings
from admf.sequences.splits import StepRange
from admf.workflows.loading import LoadedExperiment
from admf.workflows.lookahead_findings import (
    LookaheadFinding,
    Runs,
    first_difference,
    when,
)
from admf.workflows.lookahead_runs import CheckedRuns, Ran
from admf.workflows.phase_checks import PARAMETERS
from admf.workflows.plugins import installed_plugins
from admf.workflows.references import parse_reference
from admf.workflows.resolution import resolve_phases

__all__ = [
    "LookaheadCheck",
    "LookaheadCut",
    "LookaheadReport",
    "check_lookahead",
]
_Found: TypeAlias = tuple[str, LookaheadFinding]

SHARES = (0.5, 0.7, 0.9)
"""Where the data is cut, as shares of its time steps."""

_DECISIONS = 2
_MOST_SETS = 3
_LEAST_STEPS = 3
_CHANCE = (
    "two runs on the same bars differ, so nothing can be said: take what is random from ctx.rng, "
    "or give it a fixed seed"
)


class LookaheadCut(msgspec.Struct, frozen=True, kw_only=True):
    """A window over the first part of the data, and what was found there.

    Args:
        last: Time of its last bars, ISO 8601.
        steps: Its time steps.
        parameters: The parameter set that does not pass; None if all do.
        finding: What differs; None if nothing does.
    """

    last: str
    steps: int
    parameters: Point | None = None
    finding: LookaheadFinding | None = None


class LookaheadCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one strategy with its settings.

    Args:
        phases: The phases that have these settings.
        strategy: Its name, or ``package.module:Class``.
        symbols: What it trades.
        steps: Time steps of the data.
        parameter_sets: The parameter sets that were run, the searched values by name.
        cuts: The windows, in the order of their ends.
    """

    phases: tuple[str, ...]
    strategy: str
    symbols: tuple[str, ...]
    steps: int
    parameter_sets: tuple[Point, ...]
    cuts: tuple[LookaheadCut, ...]


class LookaheadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of an experiment."""

    clean: bool
    checks: tuple[LookaheadCheck, ...]


async def check_lookahead(
    loaded: LoadedExperiment,
    *,
    registry: Registry | None = None,
    frames: Mapping[str, Any] | None = None,
    shares: Sequence[float] = SHARES,
) -> LookaheadReport:
    """Look whether a decision of the experiment's strategy depends on bars that come after it.

    Phases that have the same settings are looked at once. Of a parameter space a few parameter sets
    are drawn. The data is cut at each of ``shares``, and next after the strategy decided something:
    that is where one that looks a single bar ahead shows itself. The option ``close_at_end`` is
    left out, since what it does depends on the end by its nature.

    Args:
        loaded: The experiment.
        registry: The plug-ins; those that are installed, if not given.
        frames: Data frames by symbol, for experiments with ``source: frames``.
        shares: Where to cut the data, as shares of its time steps.

    Raises:
        ConfigError: The experiment has mistakes, or no phase whose windows are backtests.
        DataError: The data cannot be used, or has fewer than 3 time steps.
        WindowError: The strategy fails on the real bars.
    """
    registry = registry or installed_plugins()
    phases = resolve_phases(loaded, loaded.workflow)
    groups = _grouped(phases)
    if not groups:
        raise ConfigError([Problem("no phase has windows of topology backtest", "workflow")])
    catalog, modules = DataCatalog(frames), UserModules(loaded.folder)
    checks = [
        await _check(group, points, catalog, registry=registry, modules=modules, shares=shares)
        for group, points in groups
    ]
    clean = all(cut.finding is None for check in checks for cut in check.cuts)
    return LookaheadReport(clean=clean, checks=tuple(checks))


def _grouped(
    phases: Iterable[ResolvedPhase],
) -> list[tuple[list[ResolvedPhase], list[Point]]]:
    """Return the phases by what a strategy could depend on, each group with its parameter sets."""
    groups: dict[bytes, tuple[list[ResolvedPhase], list[Point]]] = {}
    sets: dict[str, list[Point]] = {}
    for phase in phases:
        handed_over = phase.input.get(PARAMETERS)
        if handed_over is None:
            sets[phase.name] = _drawn(phase.settings)
        else:
            sets[phase.name] = sets[parse_reference(handed_over).phase]
        if phase.topology == "backtest":
            points = sets[phase.name]
            key = msgspec.json.encode((_influences(phase.settings), points))
            groups.setdefault(key, ([], points))[0].append(phase)
    return list(groups.values())


def _influences(settings: PhaseSettings) -> list[object]:
    names = ("data", "data_range", "strategy", "portfolio", "risk", "execution", "benchmark")
    return [getattr(settings, name) for name in (*names, "seed", "periods_per_year")]


def _drawn(settings: PhaseSettings) -> list[Point]:
    """Return a few parameter sets of a phase."""
    config = SearchConfig(method="random", max_trials=_MOST_SETS)
    seeds = np.random.SeedSequence(settings.seed)
    sampler = make_sampler(config, space_of(settings), seed=seeds, directions=["maximize"])
    return list(sampler.ask(_MOST_SETS))


async def _check(
    phases: Sequence[ResolvedPhase],
    points: Sequence[Point],
    catalog: DataCatalog,
    *,
    registry: Registry,
    modules: UserModules,
    shares: Sequence[float],
) -> LookaheadCheck:
    settings = phases[0].settings
    data = await to_thread.run_sync(catalog.load, settings.data, settings.benchmark)
    market = data.market_data
    steps = steps_of(settings, market.ts)
    if len(steps) < _LEAST_STEPS:
        raise DataError(f"there are {len(steps)} time steps, too few to cut them in two")
    lanes = [_lane(settings, number, point) for number, point in enumerate(points, 1)]
    runs = CheckedRuns(phases[0], lanes, market, registry=registry, modules=modules)
    whole = await runs.real(steps.start, steps.stop)
    cuts = [
        await _cut(runs, whole, market, range(steps.start, stop), points)
        for stop in _stops(whole, market, steps, shares)
    ]
    return LookaheadCheck(
        phases=tuple(phase.name for phase in phases),
        strategy=settings.strategy.type,
        symbols=market.symbols,
        steps=len(steps),
        parameter_sets=tuple(points[int(lane_id) - 1] for lane_id in whole.trails),
        cuts=tuple(cuts),
    )


def _lane(settings: PhaseSettings, number: int, point: Point) -> LaneConfig:
    lane = make_lane(settings, number, point, "check")
    execution = msgspec.structs.replace(lane.execution, close_at_end=False)
    return msgspec.structs.replace(lane, execution=execution)


def _stops(whole: Ran, data: MarketData, steps: StepRange, shares: Sequence[float]) -> list[int]:
    """Return the steps after those with which the windows end."""
    decided = {it.ts for trail in whole.trails.values() for it in trail.decisions}
    ends = np.searchsorted(data.ts, np.array(sorted(decided), dtype=np.int64)) + 1
    ends = ends[ends < steps.stop]  # a window needs bars after its end
    stops: set[int] = set()
    for share in shares:
        cut = steps.start + max(1, math.floor(len(steps) * share))
        stops.update((min(cut, steps.stop - 1), *ends[ends >= cut][:_DECISIONS].tolist()))
    return sorted(stops)


async def _cut(
    runs: CheckedRuns, whole: Ran, data: MarketData, steps: range, points: Sequence[Point]
) -> LookaheadCut:
    """Run a window, and compare it with what it has to agree with."""
    last_ts = int(data.ts[steps.stop - 1])
    real = await runs.real(steps.start, steps.stop)
    names = Runs(f"if the data ends {when(last_ts)}", "if later bars follow")
    found = _first(real, whole, last_ts, names)
    for changed in await runs.with_later_bars_corrupted(steps.start, steps.stop):
        found = _changed(real, changed, last_ts) or found
    if found is not None and await runs.real(steps.start, steps.stop) != real:
        found = (found[0], LookaheadFinding(kind="chance", time="", message=_CHANCE))
    cut = LookaheadCut(last=iso_utc(last_ts), steps=len(steps))
    if found is None:
        return cut
    lane_id, finding = found
    return msgspec.structs.replace(cut, parameters=points[int(lane_id) - 1], finding=finding)


def _changed(real: Ran, changed: Ran, last_ts: int) -> _Found | None:
    """Return what the bars after a window change in its decisions or results.

    The decisions at its last bars come to nothing in it, and stand in no file.
    """
    names = Runs("with the real bars", "if the later ones are changed")
    for lane_id, trail in changed.trails.items():
        if trail.error:
            message = f"the strategy fails {names.second}: {trail.error}"
            return lane_id, LookaheadFinding(kind="failure", time="", message=message)
    found = _first(real, changed, last_ts, names)
    paths = [it for it in real.files if real.files[it] != changed.files.get(it)]
    if found is not None or not paths:
        return found
    message = f"{paths[0]} is not the same {names.first} and {names.second}"
    return next(iter(real.trails)), LookaheadFinding(kind="file", time="", message=message)


def _first(first: Ran, second: Ran, last_ts: int, names: Runs) -> _Found | None:
    """Return the earliest difference between the lanes of two runs, and the lane it is in."""
    found = [
        (difference, lane_id)
        for lane_id, trail in first.trails.items()
        if (difference := first_difference(trail, second.trails[lane_id], last_ts, names))
    ]
    if not found:
        return None
    (_, finding), lane_id = min(found, key=lambda it: it[0][0])
    return lane_id, finding

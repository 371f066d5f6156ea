"""Trades and returns of a run, as the simulations that shuffle or resample them need them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from admf.containers.metrics.annualisation import Annualisation
from admf.containers.series import LaneSeries
from admf.containers.times import DAY_NS
from admf.engine.errors import DataError, WindowError
from admf.sequences.outcome import Outcome, Point
from admf.sequences.stretch import Candidate, Stretch

__all__ = ["Sample", "draw_sample", "period_returns"]

_LEAST = 2


class Sample(NamedTuple):
    """What simulations are made of.

    Attributes:
        returns: Of trades or of periods, in the order of the run, as fractions of equity.
        returns_per_year: How many of them there are in a year of the run.
        left_out: Trades whose equity before the entry is not known, or was not positive.
        source: What the run has found.
    """

    returns: tuple[float, ...]
    returns_per_year: float
    left_out: int
    source: Outcome


async def draw_sample(stretch: Stretch) -> Sample:
    """Run what is simulated once, and take its trades or its returns.

    With an inner sequence these are the trades or returns of all its tests, one after the other.

    Raises:
        DataError: There are too few.
        WindowError: The run failed.
    """
    config = stretch.settings.monte_carlo
    source = stretch.child("source")
    outcome = await _run(source, config.inner)
    of_periods = config.method == "return_block_bootstrap"
    returns: list[float] = []
    periods = left_out = 0
    async for series in _series(source):
        periods += stretch.annualisation.return_count(np.array(series.ts, dtype=np.int64))
        if of_periods:
            returns += period_returns(series, stretch.annualisation).tolist()
        else:
            known = [it.equity_return for it in series.trades if it.equity_return is not None]
            left_out += len(series.trades) - len(known)
            returns += known
    if len(returns) < _LEAST:
        kind = "returns" if of_periods else "closed trades"
        raise DataError(
            f"monte_carlo: method {config.method} needs at least {_LEAST} {kind}, and the run has "
            f"{len(returns)}: use more data, other parameters or method price_path"
        )
    per_year = len(returns) / periods * stretch.annualisation.periods_per_year
    return Sample(tuple(returns), per_year, left_out, outcome)


def period_returns(series: LaneSeries, annualisation: Annualisation) -> NDArray[np.float64]:
    """Return what the ratio metrics of a run are made of: a return per mark, or per UTC day.

    Raises:
        DataError: Equity was not positive, so that a return on it has no meaning.
    """
    ts, equity = np.array(series.ts, dtype=np.int64), np.array(series.equity)
    if annualisation.interval == "day":
        days = ts // DAY_NS
        equity = equity[np.flatnonzero(np.diff(days, append=np.iinfo(np.int64).max))]
    levels = np.concatenate(([series.initial_capital], equity))
    if levels.min() <= 0.0:
        raise DataError(
            f"monte_carlo: the run lost all it had ({levels.min():g} left), so that it has no "
            "returns to draw from: use method price_path"
        )
    return levels[1:] / levels[:-1] - 1.0


async def _run(source: Stretch, inner: str | None) -> Outcome:
    if inner is not None:
        return await source.run_sequence(inner)
    point: Point = source.points[0] if source.points else {}
    options = {"series": True}
    (row,) = await source.run_lanes("", [Candidate(1, point)], options=options)
    if row.status != "completed":
        raise WindowError(f"monte_carlo: the run to be simulated {row.status}: {row.error}")
    return Outcome(best_parameters=point, best=row.metrics, out_of_sample=row.metrics)


async def _series(source: Stretch) -> AsyncIterator[LaneSeries]:
    """Yield the first lane of each window that tested something, in the order of the run."""
    for window in source.run.series_windows(source.path):
        for series in (await source.series(window.removeprefix(source.path).strip("/")))[:1]:
            yield series

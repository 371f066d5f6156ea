"""How far around a test trades were really held, so that training can keep away from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from admf.containers.report import LaneReport
from admf.sequences.folds import Purge
from admf.sequences.search import search
from admf.sequences.splits import StepRange
from admf.sequences.stretch import Candidate, PhaseRun, Stretch

__all__ = ["held_across"]


async def held_across(stretch: Stretch) -> Purge:
    """Run every parameter set over the whole stretch, and see which trades cross a border.

    Returns:
        For the folds of a test, the number of steps before it in which a trade was held that went
        on into it, and the steps after it in which one was still held that began before its end.
    """
    aside = stretch.child("holding")
    holdings = _Holdings(stretch)

    async def evaluate(
        batch: int, candidates: Sequence[Candidate], run: PhaseRun
    ) -> list[LaneReport]:
        here, name = aside.beside(run), f"batch_{batch:03}"
        rows = await here.run_lanes(name, candidates, role="aside", options={"series": True})
        for series in await here.series(name):
            for trade in series.trades:
                holdings.take(trade.entry_ts, trade.exit_ts)
        return rows

    await search(aside, evaluate)
    return holdings.around


class _Holdings:
    """For each time step, how far a trade that was held over it reaches back and ahead."""

    def __init__(self, stretch: Stretch) -> None:
        self._ts = stretch.ts
        self._first = np.arange(len(stretch.ts))
        self._last = np.arange(len(stretch.ts))

    def take(self, entry_ts: int, exit_ts: int) -> None:
        start, stop = np.searchsorted(self._ts, (entry_ts, exit_ts)).tolist()
        held = slice(start, stop + 1)
        self._first[held] = np.minimum(self._first[held], start)
        self._last[held] = np.maximum(self._last[held], stop)

    def around(self, test: StepRange) -> tuple[int, int]:
        before = test.start - int(self._first[test.start])
        after = int(self._last[test.stop - 1]) - (test.stop - 1)
        return before, after

"""The sequence ``k_fold``: every fold of the data is a test, and the others train for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from admf.containers.report import LaneReport
from admf.sequences.folds import Purge, combinatorial_paths, k_fold_splits
from admf.sequences.k_fold_report import KFoldReport, merged_report
from admf.sequences.outcome import Outcome
from admf.sequences.purging import held_across
from admf.sequences.search import Evaluate, search, search_windows, sequence_windows
from admf.sequences.settings import PhaseSettings
from admf.sequences.side_by_side import side_by_side
from admf.sequences.splits import Split, StepRange
from admf.sequences.stitching import StitchedEquity
from admf.sequences.stretch import Candidate, PhaseRun, Stretch

__all__ = ["KFold"]


class KFold:
    """Purged k-fold cross-validation, plain or combinatorial.

    The data that trains for a test lies before, between and after its folds, in stretches that are
    a window each. A parameter set is judged by the mean of its stretches' metrics, weighted by
    their length.

    Source: Lopez de Prado (2018), "Advances in Financial Machine Learning", chapters 7 and 12.
    """

    def check(
        self,
        settings: PhaseSettings,
        ts: NDArray[np.int64],  # noqa: ARG002 - folds are cut in steps
        steps: StepRange,
    ) -> None:
        """Look whether there is a window; see `CutsData`."""
        next(k_fold_splits(steps, settings.k_fold))

    async def run(self, stretch: Stretch) -> Outcome:
        """Run all splits, and stitch the tests to one path or, combinatorially, to several."""
        config = stretch.settings.k_fold
        purged = await held_across(stretch) if config.purge == "trades" else None
        report = KFoldReport(stretch)

        async def take(done: _Done) -> None:
            report.take(done.part, done.split, done.found, done.rows)

        works = (
            partial(_do, stretch.child(_split_name(number)), split)
            for number, split in enumerate(_splits(stretch, purged), 1)
        )
        await side_by_side(stretch.run, works, take)
        paths = [await _stitched(stretch, path) for path in _paths(stretch)]
        return report.outcome(paths)


class _Done(NamedTuple):
    """A split, what its training found, and how that did in its tests."""

    part: Stretch
    split: Split
    found: Outcome
    rows: list[LaneReport]


async def _do(part: Stretch, split: Split, run: PhaseRun) -> _Done:
    here = part.beside(run)
    found = await search(here, _evaluate(here, split))
    rows: list[LaneReport] = []
    if found.best_parameters is not None:
        rows = await _test(here, split, Candidate(1, found.best_parameters))
    return _Done(part, split, found, rows)


def _splits(stretch: Stretch, purged: Purge | None) -> Iterator[Split]:
    return k_fold_splits(stretch.steps, stretch.settings.k_fold, purged)


def _split_name(number: int) -> str:
    return f"split_{number:03}"


def _evaluate(part: Stretch, split: Split) -> Evaluate:
    """Return what tries parameter sets on each stretch of training data, and merges the reports."""
    inner = part.settings.k_fold.inner
    stretches = [
        part.child(f"train_{number}", steps=steps) for number, steps in enumerate(split.train, 1)
    ]
    judges = [
        search_windows(it) if inner is None else sequence_windows(it, inner) for it in stretches
    ]
    lengths = [len(steps) for steps in split.train]

    async def evaluate(
        batch: int, candidates: Sequence[Candidate], run: PhaseRun
    ) -> list[LaneReport]:
        by_stretch: list[list[LaneReport]] = []

        async def take(rows: list[LaneReport]) -> None:
            by_stretch.append(rows)

        await side_by_side(run, (partial(judge, batch, candidates) for judge in judges), take)
        return [merged_report(rows, lengths) for rows in zip(*by_stretch, strict=True)]

    return evaluate


async def _test(part: Stretch, split: Split, candidate: Candidate) -> list[LaneReport]:
    rows: list[LaneReport] = []

    async def test(number: int, steps: StepRange, run: PhaseRun) -> list[LaneReport]:
        here = part.beside(run).child(f"test_{number}", steps=steps)
        return await here.run_lanes("", [candidate], role="test", options={"series": True})

    async def take(found: list[LaneReport]) -> None:
        rows.extend(found)

    works = (partial(test, number, steps) for number, steps in enumerate(split.test, 1))
    await side_by_side(part.run, works, take)
    return rows


def _paths(stretch: Stretch) -> list[list[str]]:
    """Return the windows of the tests that make a path through all folds, for each path."""
    config = stretch.settings.k_fold
    if config.method == "purged":
        return [[f"{_split_name(fold)}/test_1" for fold in range(1, config.folds + 1)]]
    tested = list(combinations(range(config.folds), config.test_folds))
    return [
        [
            f"{_split_name(split + 1)}/test_{tested[split].index(fold) + 1}"
            for fold, split in enumerate(path)
        ]
        for path in combinatorial_paths(config)
    ]


async def _stitched(stretch: Stretch, path: Sequence[str]) -> dict[str, float | None]:
    """Return the metrics of a path; those of its folds that had no test are passed over."""
    capital = stretch.settings.portfolio.initial_capital
    with closing(StitchedEquity(capital, stretch.annualisation)) as stitched:
        for window in path:
            for series in await stretch.series(window):
                stitched.add(series)
        return stitched.metrics() if stitched.tests else {}

"""The sequence ``walk_forward``: search on a window of the data, test on the next, move on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.containers.config import CarriedAccount
from admf.containers.report import LaneReport
from admf.sequences.outcome import Outcome, Point
from admf.sequences.search import optimise
from admf.sequences.settings import PhaseSettings
from admf.sequences.splits import Split, StepRange, walk_forward_splits
from admf.sequences.stitching import StitchedEquity
from admf.sequences.stretch import Candidate, Stretch
from admf.sequences.walk_forward_report import WINDOWS_FILE, WalkForwardReport

__all__ = ["WalkForward"]


class WalkForward:
    """Finds the best parameters of each training window, and tests them on the bars that follow.

    The containers of a window are gone before those of the next exist, so memory does not grow
    with their number.
    """

    def check(self, settings: PhaseSettings, ts: NDArray[np.int64], steps: StepRange) -> None:
        """Look whether there is a window; see `CutsData`."""
        next(_splits(settings, ts, steps))

    async def run(self, stretch: Stretch) -> Outcome:
        """Run all windows, and stitch the tests together."""
        splits = partial(_splits, stretch.settings, stretch.ts, stretch.steps)
        width = max(3, len(str(sum(1 for _ in splits()))))
        settings = stretch.settings
        carried: CarriedAccount | None = None
        capital = settings.portfolio.initial_capital
        with (
            closing(WalkForwardReport(stretch)) as report,
            closing(StitchedEquity(capital, stretch.annualisation)) as stitched,
        ):
            for number, split in enumerate(splits(), 1):
                window = stretch.child(f"wf_{number:0{width}}", options=_options(stretch))
                found = await _train(window, split)
                row = None
                if found.best_parameters is not None:
                    row = await _test(window, split, found.best_parameters, carried, stitched)
                    carried = row.account if settings.walk_forward.carry_positions else None
                report.take(window, split, found, row)
            return await _finish(stretch, report, stitched)


def _splits(settings: PhaseSettings, ts: NDArray[np.int64], steps: StepRange) -> Iterator[Split]:
    return walk_forward_splits(ts, settings.walk_forward, settings.timezone, within=steps)


def _options(stretch: Stretch) -> dict[str, object]:
    warmup = stretch.settings.walk_forward.warmup
    return {} if warmup is None else {"warmup": warmup}


async def _train(window: Stretch, split: Split) -> Outcome:
    (train,) = split.train
    return await optimise(window.child("train", steps=train), window.settings.walk_forward.inner)


async def _test(
    window: Stretch,
    split: Split,
    point: Point,
    carried: CarriedAccount | None,
    stitched: StitchedEquity,
) -> LaneReport:
    (steps,) = split.test
    test = window.child("test", steps=steps)
    candidate = Candidate(1, point, carried)
    (row,) = await test.run_lanes("", [candidate], role="test", options={"series": True})
    for series in await test.series():
        stitched.add(series)
    return row


async def _finish(stretch: Stretch, report: WalkForwardReport, stitched: StitchedEquity) -> Outcome:
    await stretch.write(WINDOWS_FILE, {"windows": report.windows()})
    metrics = stitched.metrics() if stitched.tests else {}
    body = {"metrics": metrics, "equity_curve": stitched.curve()}
    await stretch.write("out_of_sample.json", body)
    return msgspec.structs.replace(report.outcome(), out_of_sample=metrics)

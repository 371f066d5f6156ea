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
from admf.sequences.outcome import Outcome
from admf.sequences.search import optimise
from admf.sequences.settings import PhaseSettings
from admf.sequences.side_by_side import side_by_side
from admf.sequences.splits import Split, StepRange, walk_forward_splits
from admf.sequences.stitching import StitchedEquity
from admf.sequences.stretch import Candidate, PhaseRun, Stretch
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
        capital = stretch.settings.portfolio.initial_capital
        with (
            closing(WalkForwardReport(stretch)) as report,
            closing(StitchedEquity(capital, stretch.annualisation)) as stitched,
        ):
            parts = (
                _Part(stretch.child(f"wf_{number:0{width}}", options=_options(stretch)), split)
                for number, split in enumerate(splits(), 1)
            )
            await side_by_side(stretch.run, (part.run for part in parts), _Tests(report, stitched))
            return await _finish(stretch, report, stitched)


class _Part:
    """One window: the training data, and the data that follow.

    Attributes:
        window: Its stretch.
        split: Which data train, and which test.
        found: What the training has found.
        row: What the test gave; None if there was none, or it has yet to run.
    """

    def __init__(self, window: Stretch, split: Split) -> None:
        self.window = window
        self.split = split
        self.found = Outcome()
        self.row: LaneReport | None = None

    async def run(self, run: PhaseRun) -> _Part:
        """Train, and test unless the test waits for that of the window before."""
        window = self.window.beside(run)
        (train,) = self.split.train
        inner = window.settings.walk_forward.inner
        self.found = await optimise(window.child("train", steps=train), inner)
        if not self.window.settings.walk_forward.carry_positions:
            await self.test(run, None)
        return self

    async def test(self, run: PhaseRun, carried: CarriedAccount | None) -> None:
        """Test what was found, if anything was."""
        if self.found.best_parameters is None:
            return
        (steps,) = self.split.test
        test = self.window.beside(run).child("test", steps=steps)
        candidate = Candidate(1, self.found.best_parameters, carried)
        (self.row,) = await test.run_lanes("", [candidate], role="test", options={"series": True})


class _Tests:
    """Takes the windows in their order, and joins their tests.

    Args:
        report: Is told of each.
        stitched: The equity over all tests.
    """

    def __init__(self, report: WalkForwardReport, stitched: StitchedEquity) -> None:
        self._report = report
        self._stitched = stitched
        self._carried: CarriedAccount | None = None

    async def __call__(self, part: _Part) -> None:
        """Take a window; if positions are carried from one to the next, its test runs now."""
        window = part.window
        if window.settings.walk_forward.carry_positions:
            await part.test(window.run, self._carried)
            if part.row is not None:
                self._carried = part.row.account
        if part.row is not None:
            for series in await window.child("test").series():
                self._stitched.add(series)
        self._report.take(window, part.split, part.found, part.row)


def _splits(settings: PhaseSettings, ts: NDArray[np.int64], steps: StepRange) -> Iterator[Split]:
    return walk_forward_splits(ts, settings.walk_forward, settings.timezone, within=steps)


def _options(stretch: Stretch) -> dict[str, object]:
    warmup = stretch.settings.walk_forward.warmup
    return {} if warmup is None else {"warmup": warmup}


async def _finish(stretch: Stretch, report: WalkForwardReport, stitched: StitchedEquity) -> Outcome:
    await stretch.write(WINDOWS_FILE, {"windows": report.windows()})
    metrics = stitched.metrics() if stitched.tests else {}
    body = {"metrics": metrics, "equity_curve": stitched.curve()}
    await stretch.write("out_of_sample.json", body)
    return msgspec.structs.replace(report.outcome(), out_of_sample=metrics)

"""The sequence ``train_test``: search on the first part of the data, test on the rest."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.sequences.outcome import Outcome
from admf.sequences.search import optimise
from admf.sequences.settings import PhaseSettings
from admf.sequences.splits import StepRange, train_test_split
from admf.sequences.stretch import Candidate, Stretch

__all__ = ["TrainTest"]


class TrainTest:
    """Tries every parameter set on the training part, and the best on the test part."""

    def check(self, settings: PhaseSettings, ts: NDArray[np.int64], steps: StepRange) -> None:
        """Look whether there is a window; see `CutsData`."""
        train_test_split(ts, settings.train_test, settings.timezone, within=steps)

    async def run(self, stretch: Stretch) -> Outcome:
        """Run the windows of both parts; without an eligible trial there is no test."""
        config = stretch.settings.train_test
        split = train_test_split(
            stretch.ts, config, stretch.settings.timezone, within=stretch.steps
        )
        (train,), (test,) = split.train, split.test
        found = await optimise(stretch.child("train", steps=train), config.inner)
        found = msgspec.structs.replace(found, held_out=stretch.span(test))
        if not found.top_parameters:
            return found
        candidates = [Candidate(rank, point) for rank, point in enumerate(found.top_parameters, 1)]
        rows = await stretch.child("test", steps=test).run_lanes(
            "", candidates, role="test", options={"series": True}
        )
        return msgspec.structs.replace(found, out_of_sample=rows[0].metrics)

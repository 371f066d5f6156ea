"""The sequence ``parameter_sweep``: the parameter space, searched over all of the data."""

from __future__ import annotations

from admf.sequences.outcome import Outcome
from admf.sequences.search import search, search_windows, sequence_windows
from admf.sequences.stretch import Stretch

__all__ = ["ParameterSweep"]


class ParameterSweep:
    """Tries every parameter set on all of the data; nothing is held out."""

    async def run(self, stretch: Stretch) -> Outcome:
        """Search, judging each parameter set by a pass over the data or by the inner sequence."""
        inner = stretch.settings.parameter_sweep.inner
        if inner is not None:
            return await search(stretch, sequence_windows(stretch, inner))
        sweep = stretch.child("sweep")
        return await search(sweep, search_windows(sweep))

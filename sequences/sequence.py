"""What a sequence is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from admf.engine.registry import Registry
from admf.sequences.outcome import Outcome
from admf.sequences.settings import PhaseSettings
from admf.sequences.splits import StepRange
from admf.sequences.stretch import Stretch

__all__ = ["CutsData", "Sequence", "sequence_of"]


class Sequence(Protocol):
    """A pattern that works on a stretch of data by running execution windows."""

    async def run(self, stretch: Stretch) -> Outcome:
        """Run the windows, one of which may depend on those before it, and say what was found."""
        ...


@runtime_checkable
class CutsData(Protocol):
    """A sequence that can say beforehand whether its windows fit into the data."""

    def check(self, settings: PhaseSettings, ts: NDArray[np.int64], steps: StepRange) -> None:
        """Look whether there is a window.

        Args:
            settings: The phase's settings.
            ts: int64 (steps,), the time line of the data, ns UTC.
            steps: The time steps that the phase uses.

        Raises:
            ConfigError: Its options contradict each other.
            DataError: The data is too short.
        """
        ...


def sequence_of(registry: Registry, name: str) -> Sequence:
    """Return a new sequence of a registered name.

    Raises:
        RegistryError: Nothing has this name.
    """
    plugin = registry.get("sequences", name)
    sequence: Sequence = plugin() if isinstance(plugin, type) else plugin
    return sequence

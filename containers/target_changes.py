"""Where the targets of a columnar strategy change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from admf.containers.strategies.exposure import first_known

__all__ = ["ChangesByBlock", "TargetChanges"]


class TargetChanges(NamedTuple):
    """The bars of a symbol at which its target changes, the first known one among them.

    Attributes:
        bars: int64 (k,), places in the symbol's bars of the window.
        values: float64 (k,), the new targets.
    """

    bars: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, targets: NDArray[np.float64]) -> TargetChanges:
        """Find them in the target of each bar, float64 (bars,), NaN where the last one stays."""
        first = first_known(targets)
        if first >= 0:
            values, bars = targets[first:], None
        else:
            bars = np.flatnonzero(~np.isnan(targets))
            values, first = targets[bars], 0
        changed = np.flatnonzero(values[1:] != values[:-1]) + 1
        if len(values):
            changed = np.concatenate(([0], changed))
        return cls(changed + first if bars is None else bars[changed], values[changed])

    @classmethod
    def joined(cls, pieces: Iterable[TargetChanges]) -> TargetChanges:
        """Join those of consecutive pieces, whose bars all count from the window's beginning."""
        bars, values = (np.concatenate(columns) for columns in zip(*pieces, strict=True))
        kept = np.ones(len(values), dtype=np.bool_)
        kept[1:] = values[1:] != values[:-1]
        return cls(bars[kept], values[kept])

    def later(self, bars: int) -> TargetChanges:
        """Return them so many bars later."""
        return TargetChanges(self.bars + bars, self.values)

    def after(self, target: float) -> TargetChanges:
        """Return those that are changes after a target; NaN if that is not known."""
        repeats = len(self.values) > 0 and self.values[0] == target
        return TargetChanges(self.bars[1:], self.values[1:]) if repeats else self


class ChangesByBlock:
    """The changes of one symbol, taken block by block.

    Args:
        changes: All of the window's.
        before: The target before the window; NaN if it is not known.

    Attributes:
        last: The target after the window.
    """

    def __init__(self, changes: TargetChanges, before: float) -> None:
        self.last = float(changes.values[-1]) if len(changes.values) else before
        self._bars, self._values = changes.after(before)
        self._next_bar = 0

    def take(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return rows and new targets for the next bars of the symbol, which are in ``rows``."""
        edges = (self._next_bar, self._next_bar + len(rows))
        start, stop = np.searchsorted(self._bars, edges).tolist()
        at = rows[self._bars[start:stop] - self._next_bar]
        self._next_bar += len(rows)
        return at, self._values[start:stop]

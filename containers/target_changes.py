"""Where the targets of a columnar strategy change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
        bars = _changed(targets)
        values = targets[bars]
        unknown = np.isnan(values)
        count = int(np.count_nonzero(unknown))
        if unknown[count:].any() or (count and bars[count - 1] != count - 1):  # not only before all
            known = np.flatnonzero(~np.isnan(targets))
            bars = known[_changed(targets[known])]
            return cls(bars, targets[bars])
        return cls(bars[count:], values[count:])

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


def _changed(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the places of the first value and of those that differ from the one before."""
    changed = (values[1:] != values[:-1]).nonzero()[0]
    places = np.empty(len(changed) + bool(len(values)), dtype=np.int64)
    places[:1] = 0
    np.add(changed, 1, out=places[1:])
    return places


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

"""From comparisons of columns to the exposure a strategy wants, bar by bar."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "TIE",
    "Between",
    "Crossing",
    "Holder",
    "Mode",
    "Trigger",
    "between",
    "crossing",
    "hold",
    "long_and_short",
    "side",
]

Mode: TypeAlias = Literal["long_flat", "long_short"]
Trigger: TypeAlias = Literal["cross", "state"]

TIE = 1e-12
"""Values closer than this fraction of their scale are equal.

TA-Lib's averages keep running sums, so values that are equal on paper differ in their last digits
(seen: 2e-13 of the price after a million bars and a fall to a thousandth). Quoted prices cannot
make two different averages this close.
"""


_AT_ONCE = 16_384
"""Rows that are compared at once, so that what is in between stays in the processor's cache."""


def side(
    left: NDArray[np.float64],
    right: NDArray[np.float64] | float,
    scale: NDArray[np.float64] | float,
) -> NDArray[np.float64]:
    """Return 1 where ``left`` is above ``right``, -1 below, 0 on a tie, NaN where unknown.

    Args:
        left: float64 (n,).
        right: float64 (n,), or one value for all bars.
        scale: The magnitude that a tie is judged by, such as the close.
    """
    sides = np.empty(len(left))
    for start in range(0, len(left), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        difference = left[rows] - (right[rows] if isinstance(right, np.ndarray) else right)
        found = np.sign(difference, out=sides[rows])
        magnitude = scale[rows] if isinstance(scale, np.ndarray) else scale
        distance = np.abs(difference, out=difference)
        if not distance.min() > TIE * np.max(magnitude):  # so that there may be ties
            found[distance <= TIE * magnitude] = 0.0
    return sides


def _first_known(values: NDArray[np.float64]) -> int:
    """Return where the values begin that are known, if all are from there on; -1 if not."""
    known = values == values
    first = int(known.argmax()) if len(values) else 0
    return first if known[first:].all() else -1


def hold(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``values`` with each NaN replaced by the last known value before it, if any."""
    if _first_known(values) >= 0:
        return values
    rows = np.where(np.isnan(values), 0, np.arange(len(values)))
    return values[np.maximum.accumulate(rows)]


class Holder:
    """Replaces each NaN by the last known value before it, piece by piece."""

    def __init__(self) -> None:
        self._last = np.nan

    def take(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the next values, float64 (n,), NaN only before the first that is known."""
        held = hold(values)
        if not len(held):
            return held
        if np.isnan(held[0]) and not np.isnan(self._last):
            held = np.where(np.isnan(held), self._last, held)
        self._last = held[-1]
        return held

    def note(self, last: float) -> None:
        """Go on as if values had been taken of which the last is this one."""
        self._last = last


class Crossing:
    """The exposure that follows a line from one side of another to the other side.

    A tie belongs to the side before it, so below, tie, above is one cross, at ``above``.

    Args:
        mode: ``long_flat`` is flat on the lower side, ``long_short`` is short there.
        trigger: ``cross`` acts only where the side changes, so that a first known side starts
            nothing; ``state`` takes the first known side as well.
    """

    def __init__(self, mode: Mode, trigger: Trigger) -> None:
        self._mode = mode
        self._trigger = trigger
        self._holder = Holder()
        self._before = np.full(1, np.nan)

    def follow(
        self,
        left: NDArray[np.float64],
        right: NDArray[np.float64],
        scale: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the exposure at the next bars from the lines themselves: `take` of their `side`.

        Most rows have neither a tie nor an unknown value near them, and are compared at once.

        Args:
            left: float64 (n,).
            right: float64 (n,).
            scale: float64 (n,), see `side`.
        """
        if self._trigger == "cross" or self._mode == "long_short":
            return self.take(side(left, right, scale))
        exposure = np.empty(len(left))
        for start in range(0, len(left), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            exposure[rows] = self._follow(left[rows], right[rows], scale[rows])
        return exposure

    def _follow(
        self,
        left: NDArray[np.float64],
        right: NDArray[np.float64],
        scale: NDArray[np.float64],
    ) -> NDArray[Any]:
        distance = np.subtract(left, right)
        np.abs(distance, out=distance)
        if not distance.min() > TIE * scale.max():  # so that there may be ties or unknown values
            return self.take(side(left, right, scale))
        above = np.greater(left, right)
        self._holder.note(1.0 if above[-1] else -1.0)
        return above

    def take(self, sides: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the exposure at the next bars.

        Args:
            sides: float64 (n,), as `side` returns them.
        """
        ties = sides == 0.0
        settled = self._holder.take(np.where(ties, np.nan, sides) if ties.any() else sides)
        if self._trigger == "cross":
            line = np.concatenate((self._before, settled))
            before, self._before = line[:-1], line[-1:]
            changed = (settled != before) & ~np.isnan(before)
            settled = np.where(changed, settled, np.nan)
        return settled if self._mode == "long_short" else np.maximum(settled, 0.0)


def crossing(sides: NDArray[np.float64], mode: Mode, trigger: Trigger) -> NDArray[np.float64]:
    """Return what a `Crossing` makes of all sides at once, float64 (n,)."""
    return Crossing(mode, trigger).take(sides)


class Between:
    """1 from a bar that enters up to the bar before one that leaves, and 0 elsewhere.

    A bar that does both enters.
    """

    def __init__(self) -> None:
        self._holder = Holder()

    def take(self, enter: NDArray[np.bool_], leave: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the exposure at the next bars, float64 (n,)."""
        marks = np.where(enter, 1.0, np.where(leave, 0.0, np.nan))
        return np.nan_to_num(self._holder.take(marks))


def between(enter: NDArray[np.bool_], leave: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return what a `Between` makes of all bars at once, float64 (n,)."""
    return Between().take(enter, leave)


def long_and_short(
    long: NDArray[np.float64], short: NDArray[np.float64], mode: Mode
) -> NDArray[np.float64]:
    """Return one exposure from a long and a short one; ``long_flat`` leaves the short one out."""
    return long - short if mode == "long_short" else long

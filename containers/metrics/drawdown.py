"""How far and for how long equity was below its peak."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from admf.containers.metrics.chunks import Floats, run_edges, running_sum
from admf.containers.metrics.ratio import ratio

__all__ = ["DrawdownAccumulator"]


_SPAN = 256
"""Marks that are looked at together for a new peak; a chunk has a whole number of them."""


class DrawdownAccumulator:
    """Running peak, depth and length of the drawdowns of an equity curve.

    The drawdown of a mark is ``equity / peak - 1`` with the running peak starting at the initial
    capital. A drawdown lasts from the first mark below a peak to the last one below it; one that
    is open at the end counts as it stands.

    Args:
        initial_capital: Equity before the first mark, quote currency.
    """

    def __init__(self, initial_capital: float) -> None:
        self._peak = initial_capital
        self._marks = 0
        self._squares = 0.0
        self._largest_loss = 0.0
        self._ended = 0
        self._ended_depths = 0.0
        self._deepest = 0.0
        self._deepest_length = 0
        self._longest = 0
        self._depth = 0.0
        self._length = 0

    def fold(self, equity: Floats) -> None:
        """Take float64 (n,) marks: whole chunks, or one incomplete chunk."""
        self._marks += len(equity)
        high = equity.max()
        fold = self._fold_one if high < self._peak else self._fold_several
        depths = fold(equity, high)
        self._squares = running_sum(self._squares, np.multiply(depths, depths, out=depths))

    def _fold_one(self, equity: Floats, _high: float) -> Floats:
        """Take marks of which all are below the peak before them, and return their depths."""
        peak = self._peak
        losses = equity - peak
        loss = float(equity.min()) - peak  # the smallest, since what is rounded keeps its order
        self._largest_loss = min(self._largest_loss, loss)
        self._depth, self._length = min(loss / peak, self._depth), self._length + len(equity)
        return np.divide(losses, peak, out=losses)

    def _fold_several(self, equity: Floats, high: float) -> Floats:
        """Take marks, the highest of which is given, and return their depths."""
        if high <= self._peak:
            losses = equity - self._peak
            loss, below = losses.min(), losses < 0.0
            depths = np.divide(losses, self._peak, out=losses)
        else:  # a peak, or not a number
            self._peak, loss, below, depths = _below_peaks(self._peak, equity)
        self._largest_loss = min(self._largest_loss, float(loss))
        self._fold_drawdowns(below, depths)
        return depths

    def finish(self) -> None:
        """Count the open drawdown, if there is one, as ended."""
        if self._length:
            self._end(self._depth, self._length)
        self._depth, self._length = 0.0, 0

    def max_drawdown(self) -> float | None:
        """Smallest ``equity / peak - 1``, negative; 0 if equity never fell below a peak.

        Null: without marks. Source: Magdon-Ismail and Atiya (2004); empyrical ``max_drawdown``.
        """
        return self._deepest if self._marks else None

    def max_drawdown_duration(self) -> int | None:
        """Marks of the deepest drawdown (the first of equals), from peak to recovery.

        Null: without marks.
        """
        return self._deepest_length if self._marks else None

    def longest_drawdown_duration(self) -> int | None:
        """Marks of the longest drawdown. Null: without marks."""
        return self._longest if self._marks else None

    def avg_drawdown(self) -> float | None:
        """Mean of the greatest depth of each drawdown, negative.

        Null: without drawdowns. Source: ffn ``avg_drawdown``.
        """
        return ratio(self._ended_depths, self._ended)

    def ulcer_index(self) -> float | None:
        """Root mean square of the drawdowns of all marks (ddof 0), as a fraction.

        Null: without marks. Source: Martin and McCann (1989).
        """
        return math.sqrt(self._squares / self._marks) if self._marks else None

    def largest_loss(self) -> float:
        """Greatest fall from a peak in quote currency, negative, or 0."""
        return self._largest_loss

    def _fold_drawdowns(self, below: NDArray[np.bool_], depths: Floats) -> None:
        edges = run_edges(below)
        first = 0 if below[0] else 1
        if first:
            self.finish()
        if len(edges) - 1 == first:
            return
        lows = np.minimum.reduceat(depths, edges[:-1])[first::2].tolist()
        lengths = (edges[1:] - edges[:-1])[first::2].tolist()
        lows[0] = min(lows[0], self._depth)
        lengths[0] += self._length
        self._depth, self._length = (lows.pop(), lengths.pop()) if below[-1] else (0.0, 0)
        for low, length in zip(lows, lengths, strict=True):
            self._end(low, length)

    def _end(self, low: float, length: int) -> None:
        self._ended += 1
        self._ended_depths += low
        self._longest = max(self._longest, length)
        if low < self._deepest:
            self._deepest, self._deepest_length = low, length


def _below_peaks(peak: float, equity: Floats) -> tuple[float, float, NDArray[np.bool_], Floats]:
    """Return the last peak, and how far each mark is below the highest up to it.

    Most marks of a portfolio are no new peak, and to see that takes less than to follow each.

    Args:
        peak: The highest before.
        equity: float64 (n,).

    Returns:
        The highest of all; the greatest distance in money, not above 0; bool (n,) which marks are
        below; and float64 (n,) the distances as fractions.
    """
    spans = equity.reshape(-1, _SPAN if len(equity) % _SPAN == 0 else len(equity))
    highs = spans.max(axis=1)
    before = np.maximum.accumulate(np.concatenate(([peak], highs)))
    until = before[:-1, np.newaxis]
    losses = spans - until
    rising = (~(highs <= before[:-1])).nonzero()[0]
    peaks = np.maximum.accumulate(spans[rising], axis=1)
    np.maximum(peaks, until[rising], out=peaks)
    found = losses[rising] = spans[rising] - peaks
    loss, below = float(losses.min()), losses < 0.0
    depths = np.divide(losses, until, out=losses)
    depths[rising] = found / peaks
    return float(before[-1]), loss, below.ravel(), depths.ravel()

"""Sums of returns over consecutive groups, from which whole searches can be judged."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from admf.containers.metrics.chunks import Floats, by_chunk
from admf.containers.metrics.duplicate import duplicate

__all__ = ["ReturnBlock", "ReturnBlocks"]

ReturnBlock: TypeAlias = tuple[int, float, float]
"""Count, sum and sum of squares of the returns of one group."""


class ReturnBlocks:
    """Count, sum and sum of squares of returns in groups of (nearly) equal size.

    Return i of T belongs to group i * groups // T. Combinations of groups give the Sharpe ratios of
    parts of a window without another run, as cross-validation of a whole search needs them.

    Args:
        groups: Number of groups; 0 keeps nothing.
        returns: T, how many returns the window will have; there may be fewer in the end, but never
            more.

    Source:
        Bailey, Borwein, Lopez de Prado and Zhu (2017), "The probability of backtest overfitting".
    """

    def __init__(self, groups: int = 0, returns: int = 0) -> None:
        self._groups = groups
        self._returns = returns
        self._folded = 0
        self._counts = np.zeros(groups, dtype=np.int64)
        self._sums = np.zeros(groups)
        self._squares = np.zeros(groups)

    def fold(self, returns: Floats) -> None:
        """Take float64 (n,) returns: whole chunks, or one incomplete chunk."""
        if not self._groups:
            return
        for chunk in by_chunk(returns):
            places = np.arange(self._folded, self._folded + len(chunk))
            groups = places * self._groups // self._returns
            self._folded += len(chunk)
            self._counts += np.bincount(groups, minlength=self._groups)
            self._sums += np.bincount(groups, chunk, self._groups)
            self._squares += np.bincount(groups, chunk * chunk, self._groups)

    def values(self) -> tuple[ReturnBlock, ...]:
        """Return the groups in their order, those without returns as zeros."""
        columns = (self._counts.tolist(), self._sums.tolist(), self._squares.tolist())
        return tuple(zip(*columns, strict=True))

    def copied(self) -> ReturnBlocks:
        """Return the same groups with the same returns, which go on by themselves."""
        if not self._groups:
            return self
        copied = duplicate(self)
        copied._counts = self._counts.copy()
        copied._sums = self._sums.copy()
        copied._squares = self._squares.copy()
        return copied

    def emptied(self) -> ReturnBlocks:
        """Return the same groups without any returns."""
        return ReturnBlocks(self._groups, self._returns)

"""What a search says of its own luck: statistics that need every trial, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admf.containers.report import LaneReport
from admf.engine.spool import Spool
from admf.sequences.overfitting import (
    BLOCKS,
    SharpeSample,
    deflated_sharpe_ratio,
    probabilistic_sharpe_ratio,
    probability_of_backtest_overfitting,
)
from admf.sequences.spread import Spread

__all__ = ["BLOCKS", "OverfittingBook"]


class OverfittingBook:
    """Takes the trials of one search.

    Trials whose lane did not come to its end, or whose Sharpe ratio is null, are left out.

    Args:
        returns_per_year: Periods a year that the trials' Sharpe ratios are annualised with.
    """

    def __init__(self, returns_per_year: float) -> None:
        self._scale = math.sqrt(returns_per_year)
        self._spread = Spread()
        self._blocks = Spool()

    def close(self) -> None:
        """Let go of the trials."""
        self._blocks.close()

    def take(self, rows: Sequence[LaneReport]) -> None:
        """Take the next trials."""
        complete = [row for row in rows if row.status == "completed"]
        for row in complete:
            sharpe = row.metrics.get("sharpe_ratio")
            if sharpe is not None:
                self._spread.fold(sharpe / self._scale)
        blocks = [row.return_blocks for row in complete if row.return_blocks]
        if blocks:
            self._blocks.append(np.array(blocks, dtype=np.float64).tobytes())

    def report(self, best: LaneReport | None) -> dict[str, Any] | None:
        """Return the statistics of the search and of its best trial; None without one."""
        if best is None:
            return None
        sample = self._sample(best)
        found = probability_of_backtest_overfitting(self._read_blocks)
        return {
            "trials": self._spread.count,
            "sharpe_variance": self._spread.variance,
            "probabilistic_sharpe_ratio": sample and probabilistic_sharpe_ratio(sample),
            "deflated_sharpe_ratio": sample
            and deflated_sharpe_ratio(sample, self._spread.count, self._spread.variance or 0.0),
            "probability_of_backtest_overfitting": found and found.probability,
        }

    def _sample(self, best: LaneReport) -> SharpeSample | None:
        metrics = [best.metrics.get(name) for name in ("sharpe_ratio", "skew", "kurtosis")]
        known = [value for value in metrics if value is not None]
        if len(known) < len(metrics) or best.return_count < 2:
            return None
        sharpe, skew, kurtosis = known
        return SharpeSample(sharpe / self._scale, best.return_count, skew, kurtosis)

    def _read_blocks(self) -> Iterator[NDArray[np.float64]]:
        for record in self._blocks:
            yield np.frombuffer(record, dtype=np.float64).reshape(-1, BLOCKS, 3)

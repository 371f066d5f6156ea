"""All metrics of one portfolio, folded from its events."""

from __future__ import annotations

import msgspec

from admf.containers.metrics.annualisation import Annualisation, Interval
from admf.containers.metrics.catalogue import METRICS
from admf.containers.metrics.equity import EquityMetrics
from admf.containers.metrics.fills import FillMetrics
from admf.containers.metrics.ratio import finite, ratio
from admf.containers.metrics.return_blocks import ReturnBlock, ReturnBlocks
from admf.containers.metrics.trades import TradeMetrics

__all__ = ["MetricsResult", "PortfolioMetrics"]


class MetricsResult(msgspec.Struct, frozen=True):
    """The metrics of a portfolio at one moment.

    Args:
        values: Every metric of `METRICS` by name, in that order; None where it is undefined.
        approximate: Names of those that are estimates.
        periods_per_year: Returns in a year, as used.
        interval: Whether a return is taken per bar or per day.
        return_count: Number of those returns, 0 after ruin.
        return_blocks: Count, sum and sum of squares of groups of them, if that was asked for.
    """

    values: dict[str, float | None]
    approximate: tuple[str, ...]
    periods_per_year: float
    interval: Interval
    return_count: int
    return_blocks: tuple[ReturnBlock, ...] = ()


class PortfolioMetrics:
    """Folds FILL, POSITION_CLOSE and PORTFOLIO_UPDATE in one pass and bounded memory.

    Args:
        initial_capital: Equity before the first mark, quote currency, positive.
        annualisation: Which returns are taken, and how many make a year.
        return_blocks: Groups of returns to sum up; none by default.

    Attributes:
        fills: What trading moved and cost.
        sinks: The accumulators that events are to be folded into.
    """

    def __init__(
        self,
        initial_capital: float,
        annualisation: Annualisation,
        return_blocks: ReturnBlocks | None = None,
    ) -> None:
        self._annualisation = annualisation
        self._equity = EquityMetrics(initial_capital, annualisation, return_blocks)
        self._trades = TradeMetrics()
        self.fills = FillMetrics()
        self.sinks = (self._equity, self.fills, self._trades)

    def result(self) -> MetricsResult:
        """Return the metrics up to now; later events go on as if nobody had asked."""
        equity = self._equity.finished()
        mean_equity = equity.mean_equity()
        values = equity.values() | self._trades.values()
        values |= {
            "turnover": self._turnover(mean_equity),
            "total_commission": self.fills.commission,
            "total_slippage": self.fills.slippage,
        }
        return MetricsResult(
            values={info.name: finite(values[info.name]) for info in METRICS},
            approximate=equity.approximate(),
            periods_per_year=self._annualisation.periods_per_year,
            interval=self._annualisation.interval,
            return_count=equity.return_count(),
            return_blocks=equity.return_blocks(),
        )

    def value(self, name: str) -> float | None:
        """Return one metric up to now, if possible without the work that the others take.

        Raises:
            KeyError: There is no such metric.
        """
        if name in self._equity.computations():
            return finite(self._equity.value(name))
        return self.result().values[name]

    def _turnover(self, mean_equity: float | None) -> float | None:
        """sum(|quantity * price|) of all fills / mean equity, over the whole period, two-sided.

        Null: without marks, or if mean equity is not positive.
        """
        if mean_equity is None or mean_equity <= 0.0:
            return None
        return ratio(self.fills.traded_value, mean_equity)

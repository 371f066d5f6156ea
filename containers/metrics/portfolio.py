"""All metrics of one portfolio, folded from its events."""

from __future__ import annotations

import msgspec

from admf.containers.metrics.annualisation import Annualisation, Interval
from admf.containers.metrics.catalogue import METRICS
from admf.containers.metrics.equity import EquityMetrics
from admf.containers.metrics.fills import FillMetrics
from admf.containers.metrics.ratio import finite, ratio
from admf.containers.metrics.trades import TradeMetrics

__all__ = ["MetricsResult", "PortfolioMetrics"]


class MetricsResult(msgspec.Struct, frozen=True):
    """The metrics of a portfolio at one moment.

    Args:
        values: Every metric of `METRICS` by name, in that order; None where it is undefined.
        approximate: Names of those that are estimates.
        periods_per_year: Returns in a year, as used.
        interval: Whether a return is taken per bar or per day.
    """

    values: dict[str, float | None]
    approximate: tuple[str, ...]
    periods_per_year: float
    interval: Interval


class PortfolioMetrics:
    """Folds FILL, POSITION_CLOSE and PORTFOLIO_UPDATE in one pass and bounded memory.

    Args:
        initial_capital: Equity before the first mark, quote currency, positive.
        annualisation: Which returns are taken, and how many make a year.

    Attributes:
        sinks: The accumulators that events are to be folded into.
    """

    def __init__(self, initial_capital: float, annualisation: Annualisation) -> None:
        self._annualisation = annualisation
        self._equity = EquityMetrics(initial_capital, annualisation)
        self._fills = FillMetrics()
        self._trades = TradeMetrics()
        self.sinks = (self._equity, self._fills, self._trades)

    def result(self) -> MetricsResult:
        """Return the metrics up to now; later events go on as if nobody had asked."""
        equity = self._equity.finished()
        mean_equity = equity.mean_equity()
        values = equity.values() | self._trades.values()
        values |= {
            "turnover": self._turnover(mean_equity),
            "total_commission": self._fills.commission,
            "total_slippage": self._fills.slippage,
        }
        return MetricsResult(
            values={info.name: finite(values[info.name]) for info in METRICS},
            approximate=equity.approximate(),
            periods_per_year=self._annualisation.periods_per_year,
            interval=self._annualisation.interval,
        )

    def _turnover(self, mean_equity: float | None) -> float | None:
        """sum(|quantity * price|) of all fills / mean equity, over the whole period, two-sided.

        Null: without marks, or if mean equity is not positive.
        """
        if mean_equity is None or mean_equity <= 0.0:
            return None
        return ratio(self._fills.traded_value, mean_equity)

"""The tracer of portfolios: metrics, the equity curve and the trades."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from admf.containers.events import PortfolioUpdate, PositionClose
from admf.containers.metrics.annualisation import Annualisation
from admf.containers.metrics.history import EquityCurve, EquityHistory, Trade, TradeHistory
from admf.containers.metrics.portfolio import MetricsResult, PortfolioMetrics
from admf.containers.metrics.return_blocks import ReturnBlocks
from admf.containers.metrics.series import SeriesHistory
from admf.engine.events import Envelope, Event
from admf.engine.retention import RetentionPolicy, TracingConfig
from admf.engine.tracer import EventTracer, Sink, TracerSummary

__all__ = ["MetricsEventTracer", "PortfolioResults", "history_limit"]


class PortfolioResults(msgspec.Struct, frozen=True):
    """What a portfolio's tracer contributes to the result of its container.

    Args:
        metrics: The metrics up to now.
        trades: The closed trades that are kept.
        equity_curve: The marks that are kept; None if they are not.
        tracer: What became of the traced events.
    """

    metrics: MetricsResult
    trades: list[Trade]
    equity_curve: EquityCurve | None
    tracer: TracerSummary


class MetricsEventTracer(EventTracer):
    """Folds every FILL, POSITION_CLOSE and PORTFOLIO_UPDATE, traced or not, into metrics.

    The equity curve is kept if PORTFOLIO_UPDATE is traced, the trades if POSITION_CLOSE is.

    Args:
        traced: Event classes to trace, each with its subclasses.
        policy: Keeps or drops the traced events.
        initial_capital: Equity before the first mark, quote currency, positive.
        annualisation: Which returns are taken, and how many make a year.
        history: Keep this many of the last marks and trades, see `history_limit`; None keeps all.
        policy_name: Name of the policy in the summary; the name of its class by default.
        return_blocks: Groups of returns to sum up; none by default.
        series: Keep every mark and every trade for `series`, whatever is traced.
    """

    def __init__(
        self,
        traced: Iterable[type[Event]],
        policy: RetentionPolicy,
        *,
        initial_capital: float,
        annualisation: Annualisation,
        history: int | None = None,
        policy_name: str = "",
        return_blocks: ReturnBlocks | None = None,
        series: bool = False,
    ) -> None:
        traced = tuple(traced)
        self._initial_capital = initial_capital
        self._metrics = PortfolioMetrics(initial_capital, annualisation, return_blocks)
        self._found: MetricsResult | None = None
        self._series = SeriesHistory() if series else None
        self._equity = EquityHistory(history) if _keeps(PortfolioUpdate, traced, history) else None
        self._trades = TradeHistory(history) if _keeps(PositionClose, traced, history) else None
        histories = (self._equity, self._trades, self._series)
        kept: list[Sink] = [sink for sink in histories if sink is not None]
        super().__init__(traced, policy, [*self._metrics.sinks, *kept], policy_name=policy_name)

    def record(self, envelope: Envelope) -> None:
        """Take an event or a block; what the metrics were before is forgotten."""
        self._found = None
        super().record(envelope)

    def entered(self, position_id: str, equity: float) -> None:
        """Take note of the equity just before a position was entered, which no event tells."""
        if self._series is not None:
            self._series.entered(position_id, equity)

    def metrics(self) -> MetricsResult:
        """Return the metrics up to now."""
        if self._found is None:
            self._found = self._metrics.result()
        return self._found

    def metric(self, name: str) -> float | None:
        """Return one metric up to now.

        Raises:
            KeyError: There is no such metric.
        """
        return self._metrics.value(name)

    def trades(self) -> list[Trade]:
        """Return the closed trades that are kept."""
        return [] if self._trades is None else self._trades.trades()

    def series(self) -> dict[str, object]:
        """Return the fields of `LaneSeries`, the marks as arrays.

        Raises:
            LookupError: They are not kept.
        """
        if self._series is None:
            raise LookupError("this tracer keeps no series")
        fills = self._metrics.fills
        return {
            "initial_capital": self._initial_capital,
            "commission": fills.commission,
            "slippage": fills.slippage,
            "traded_value": fills.traded_value,
            **self._series.columns(),
        }

    def results(self) -> PortfolioResults:
        """Return the results up to now; later events go on as if nobody had asked."""
        return PortfolioResults(
            metrics=self.metrics(),
            trades=self.trades(),
            equity_curve=None if self._equity is None else self._equity.curve(),
            tracer=self.summary(),
        )


def history_limit(tracing: TracingConfig) -> int | None:
    """Return how many of the last marks and trades a policy keeps; None for all.

    ``minimal`` keeps none and ``sliding_window`` its size; every other policy keeps all.
    """
    limits = {"minimal": 0, "sliding_window": tracing.sliding_window_size}
    return limits.get(tracing.retention_policy)


def _keeps(cls: type[Event], traced: tuple[type[Event], ...], history: int | None) -> bool:
    return history != 0 and issubclass(cls, traced)

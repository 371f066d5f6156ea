"""The tracer of portfolios: metrics, the equity curve and the trades."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import msgspec

from admf.containers.events import PortfolioUpdate, PositionClose
from admf.containers.metrics.activity import ActivityCounts
from admf.containers.metrics.annualisation import Annualisation
from admf.containers.metrics.history import EquityHistory, Trade, TradeHistory
from admf.containers.metrics.portfolio import MetricsResult, PortfolioMetrics
from admf.containers.metrics.return_blocks import ReturnBlocks
from admf.containers.metrics.series import SeriesHistory
from admf.engine.batch import Batch
from admf.engine.errors import StateError
from admf.engine.events import Envelope, Event
from admf.engine.overflow import Overflow, OverflowFile
from admf.engine.retention import RetentionPolicy, TracingConfig
from admf.engine.trace_log import EventLog
from admf.engine.tracer import EventTracer, Sink, TracerSummary

__all__ = ["MetricsEventTracer", "PortfolioResults", "history_limit"]


class PortfolioResults(msgspec.Struct, frozen=True):
    """What a portfolio's tracer contributes to the result of its container.

    Args:
        metrics: The metrics up to now.
        trades: The closed trades that are kept, to be read once.
        equity_curve: The fields of `EquityCurve`, each to be read once; None if no mark is kept.
        tracer: What became of the traced events.
        rejects: Refused orders by reason.
        activity: How many signals, orders, cancels and fills there were.
    """

    metrics: MetricsResult
    trades: Iterator[Trade]
    equity_curve: Mapping[str, Iterator[Any]] | None
    tracer: TracerSummary
    rejects: Mapping[str, int]
    activity: Mapping[str, int]

    def figures(self) -> dict[str, object]:
        """Return the fields that are small, by their names in the file."""
        return {
            "periods_per_year": self.metrics.periods_per_year,
            "return_interval": self.metrics.interval,
            "tracer": self.tracer,
            "metrics": self.metrics.values,
            "approximate": self.metrics.approximate,
            "rejects": self.rejects,
            "activity": self.activity,
        }

    def histories(self) -> dict[str, object]:
        """Return the other fields, by their names in the file."""
        return {"trades": self.trades, "equity_curve": self.equity_curve}


class MetricsEventTracer(EventTracer):
    """Folds every FILL, POSITION_CLOSE and PORTFOLIO_UPDATE, traced or not, into metrics.

    Signals, orders, cancels, fills and rejects are counted.
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
        overflow: Takes marks and trades out of memory, into files ``equity``, ``trades`` and
            ``series``; None holds all in memory.
        log: As for `EventTracer`.
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
        overflow: Overflow | None = None,
        log: EventLog | None = None,
    ) -> None:
        traced = tuple(traced)
        self._initial_capital = initial_capital
        metrics = PortfolioMetrics(initial_capital, annualisation, return_blocks)
        self._metrics: PortfolioMetrics | None = metrics
        self._fills = metrics.fills
        self._activity = ActivityCounts()
        self._found: MetricsResult | None = None
        self._files = _files(overflow)
        self._series = self._equity = self._trades = None
        if _keeps(PortfolioUpdate, traced, history):
            self._equity = EquityHistory(history, file=self._files.get("equity"))
        if _keeps(PositionClose, traced, history):
            self._trades = TradeHistory(history, file=self._files.get("trades"))
        if series:
            self._series = SeriesHistory(self._files.get("series"))
        found = (self._equity, self._trades, self._series)
        self._histories = [history for history in found if history is not None]
        sinks: list[Sink] = [*metrics.sinks, self._activity, *self._histories]
        super().__init__(traced, policy, sinks, policy_name=policy_name, log=log)

    def record(self, envelope: Envelope) -> None:
        """Take an event or a block; what the metrics were before is forgotten."""
        self._forget()
        super().record(envelope)

    def record_batch(self, batch: Batch, first: int, cause: int) -> None:
        """Take a batch; what the metrics were before is forgotten."""
        self._forget()
        super().record_batch(batch, first, cause)

    @property
    def keeps_series(self) -> bool:
        """Whether it makes use of what `entered` tells."""
        return self._series is not None

    def entered(self, position_id: str, equity: float) -> None:
        """Take note of the equity just before a position was entered, which no event tells."""
        if self._series is not None:
            self._series.entered(position_id, equity)

    def metrics(self) -> MetricsResult:
        """Return the metrics up to now."""
        if self._found is None:
            self._found = self._accumulators.result()
        return self._found

    def conclude(self) -> None:
        """Settle the metrics, and let go of all that they were folded from.

        What a thousand lanes fold takes more memory than what they report, so each lets go of it as
        its results are made. Events that come later change no metric.
        """
        self.metrics()
        self._metrics = None
        self.drop_sinks()

    def metric(self, name: str) -> float | None:
        """Return one metric up to now.

        Raises:
            KeyError: There is no such metric.
        """
        return self._accumulators.value(name)

    def rejects(self) -> dict[str, int]:
        """Return the refused orders by reason, up to now."""
        return self._activity.rejects()

    def activity(self) -> dict[str, int]:
        """Return how many signals, orders, cancels and fills there were up to now."""
        return self._activity.values()

    def trades(self) -> Iterator[Trade]:
        """Return the closed trades that are kept, up to now.

        Raises:
            StorageError: They cannot be read back.
        """
        return iter(()) if self._trades is None else self._trades.trades()

    def series(self) -> dict[str, object]:
        """Return the fields of `LaneSeries` up to now, the marks and trades to be read once.

        Raises:
            LookupError: They are not kept.
            StorageError: They cannot be read back.
        """
        if self._series is None:
            raise LookupError("this tracer keeps no series")
        fills = self._fills
        return {
            "initial_capital": self._initial_capital,
            "commission": fills.commission,
            "slippage": fills.slippage,
            "traded_value": fills.traded_value,
            **self._series.columns(),
        }

    def results(self) -> PortfolioResults:
        """Return the results up to now; later events go on as if nobody had asked.

        Raises:
            StorageError: Marks or trades cannot be read back.
        """
        return PortfolioResults(
            metrics=self.metrics(),
            trades=self.trades(),
            equity_curve=None if self._equity is None else self._equity.curve(),
            tracer=self.summary(),
            rejects=self.rejects(),
            activity=self.activity(),
        )

    @property
    def _accumulators(self) -> PortfolioMetrics:
        if self._metrics is None:
            raise StateError("the metrics were concluded, and are not followed any more")
        return self._metrics

    def _forget(self) -> None:
        """Forget the metrics that were found, if they can be found once more."""
        if self._metrics is not None:
            self._found = None

    def size_bytes(self) -> int:
        """Estimate the memory of what is kept, at a cost that does not grow with it."""
        return super().size_bytes() + sum(it.size_bytes() for it in self._histories)

    def release(self) -> None:
        """Remove the files that are no results, once the results are written; idempotent.

        Raises:
            StorageError: A file cannot be removed; the others are all the same.
        """
        with ExitStack() as stack:
            stack.callback(super().release)
            for file in self._files.values():
                stack.callback(file.discard)


def history_limit(tracing: TracingConfig) -> int | None:
    """Return how many of the last marks and trades a policy keeps; None for all.

    ``minimal`` keeps none and ``sliding_window`` its size; every other policy keeps all.
    """
    limits = {"minimal": 0, "sliding_window": tracing.sliding_window_size}
    return limits.get(tracing.retention_policy)


def _files(overflow: Overflow | None) -> dict[str, OverflowFile]:
    """Return the files of marks and trades; each is made when it is first written to."""
    if overflow is None:
        return {}
    return {name: OverflowFile(overflow, name) for name in ("equity", "trades", "series")}


def _keeps(cls: type[Event], traced: tuple[type[Event], ...], history: int | None) -> bool:
    return history != 0 and issubclass(cls, traced)

"""Tests that follow one another, stitched to one equity curve with its metrics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from admf.containers.events import Fill, PortfolioUpdate, PositionClose
from admf.containers.metrics.annualisation import Annualisation
from admf.containers.metrics.portfolio import PortfolioMetrics
from admf.containers.series import LaneSeries, TradeSeries
from admf.containers.times import iso_utc_list
from admf.engine.block import Block
from admf.engine.events import Event
from admf.engine.spool import Spool

__all__ = ["StitchedEquity"]


class StitchedEquity:
    """What one portfolio would have made that goes from test to test and reinvests all it has.

    Each test's equity is scaled to begin where the test before it ended; money of trades and costs
    is scaled alike. What lies between two tests is passed over.

    Args:
        initial_capital: Where the first test begins, quote currency.
        annualisation: Which returns are taken, and how many make a year.
    """

    def __init__(self, initial_capital: float, annualisation: Annualisation) -> None:
        self._equity = initial_capital
        self._metrics = PortfolioMetrics(initial_capital, annualisation)
        self._curve = Spool()
        self.tests = 0

    def add(self, series: LaneSeries) -> None:
        """Take the next test."""
        scale = self._equity / series.initial_capital
        for trade in series.trades:
            self._fold(_close(trade, scale))
        self._fold(_fills(series, scale))
        if series.ts:
            self._mark(series, scale)
        self.tests += 1

    def metrics(self) -> dict[str, float | None]:
        """Return the metrics of all tests up to now."""
        return self._metrics.result().values

    def curve(self) -> dict[str, Iterator[object]]:
        """Return ``ts`` (ISO 8601 UTC) and ``equity`` (quote currency) of every mark, lazily."""
        return {
            "ts": (text for ts, _ in self._marks() for text in iso_utc_list(ts)),
            "equity": (value for _, equity in self._marks() for value in equity.tolist()),
        }

    def close(self) -> None:
        """Let go of the curve."""
        self._curve.close()

    def _mark(self, series: LaneSeries, scale: float) -> None:
        ts = np.array(series.ts, dtype=np.int64)
        equity = np.array(series.equity) * scale
        columns = {
            "ts": ts,
            "equity": equity,
            "cash": equity,
            "exposure": np.array(series.exposure) * scale,
            "benchmark": np.array(series.benchmark, dtype=np.float64),
        }
        self._fold(Block(PortfolioUpdate, columns))
        self._curve.append(ts.tobytes() + equity.tobytes())
        self._equity = float(equity[-1])

    def _marks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        for record in self._curve:
            middle = len(record) // 2
            yield (
                np.frombuffer(record[:middle], dtype=np.int64),
                np.frombuffer(record[middle:], dtype=np.float64),
            )

    def _fold(self, event: Event | Block[Event]) -> None:
        cls = event.cls if isinstance(event, Block) else type(event)
        for sink in self._metrics.sinks:
            if cls in sink.types:
                sink.fold(event)


def _close(trade: TradeSeries, scale: float) -> PositionClose:
    """Return the event that the metrics of trades are made of; prices play no part in them."""
    return PositionClose(
        ts=trade.exit_ts,
        symbol="",
        position_id="",
        side=trade.side,
        quantity=0.0,
        entry_ts=trade.entry_ts,
        entry_price=0.0,
        exit_price=0.0,
        pnl=trade.pnl * scale,
        return_fraction=trade.return_fraction,
        commission=0.0,
        bars_held=trade.bars_held,
        mae=0.0,
        mfe=0.0,
        exit_reason="",
    )


def _fills(series: LaneSeries, scale: float) -> Fill:
    """Return one fill that stands for all of a test in turnover and costs."""
    return Fill(
        ts=series.ts[-1] if series.ts else 0,
        symbol="",
        order_id=0,
        position_id="",
        side="buy",
        quantity=series.traded_value * scale,
        price=1.0,
        commission=series.commission * scale,
        slippage=series.slippage * scale,
        moment="close",
        reason="",
    )

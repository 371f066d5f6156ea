"""The last bars of a live session, which all of its windows share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.events import Bar
from admf.containers.features import FeatureSpec
from admf.containers.indicators import BAR_COLUMNS, Indicator
from admf.containers.market_data import Bars, MarketData
from admf.containers.metrics.annualisation import Annualisation
from admf.engine.errors import ConfigError, Problem

__all__ = ["BarHistory"]

Outputs: TypeAlias = tuple[NDArray[np.float64], ...]


class _Columns:
    """The last bars of one symbol, in arrays that are copied once in as many bars as they keep."""

    def __init__(self, symbol: str, keep: int, before: Bars | None) -> None:
        self.symbol = symbol
        self.keep = keep
        self.live = 0
        self._ts = np.empty(2 * keep, dtype=np.int64)
        self._prices = np.empty((len(BAR_COLUMNS), 2 * keep))
        self._stop = 0
        if before is not None:
            self._fill(before[-keep:])

    def _fill(self, bars: Bars) -> None:
        self._stop = len(bars)
        self._ts[: self._stop] = bars.ts
        for row, name in enumerate(BAR_COLUMNS):
            self._prices[row, : self._stop] = getattr(bars, name)

    def append(self, bar: Bar) -> None:
        """Add a bar; views of earlier ones stay as they are."""
        if self._stop == len(self._ts):
            self._begin_anew()
        self._ts[self._stop] = bar.ts
        self._prices[:, self._stop] = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        self._stop += 1
        self.live = min(self.live + 1, self.keep)

    def bars(self, count: int) -> Bars:
        """Return the last bars, as many as asked for or kept."""
        start = max(self._stop - min(count, self.keep), 0)
        rows = slice(start, self._stop)
        return Bars(self.symbol, self._ts[rows], *self._prices[:, rows])

    @property
    def last_close(self) -> float | None:
        """The latest close; None before the first bar."""
        return float(self._prices[3, self._stop - 1]) if self._stop else None

    def _begin_anew(self) -> None:
        ts, prices = self._ts[-self.keep :], self._prices[:, -self.keep :]
        self._ts, self._prices = np.empty_like(self._ts), np.empty_like(self._prices)
        self._ts[: self.keep], self._prices[:, : self.keep] = ts, prices
        self._stop = self.keep


class BarHistory:
    """The last bars of each symbol of a live session, and the indicators made of them.

    It holds a bounded number of bars however long the session lasts. What it gives depends on the
    bars alone, and not on where windows end.

    Args:
        symbols: The traded symbols.
        keep: Bars of each symbol that are kept.
        before: Bars before the session, for indicators to begin with.

    Attributes:
        symbols: The traded symbols.
        steps: Time steps of the session so far.
        last_ts: Time of the last step, or of the last bar before the session; None without any.
        taken_until: Likewise of the last step that a window has taken, handled or not.
        closes_before: Each symbol's last close before the last step.

    Raises:
        ConfigError: Bars before the session lack a symbol.
    """

    def __init__(
        self, symbols: Sequence[str], *, keep: int, before: MarketData | None = None
    ) -> None:
        self.symbols = tuple(symbols)
        _check(self.symbols, before)
        self._columns = {
            symbol: _Columns(symbol, keep, None if before is None else before.bars(symbol))
            for symbol in self.symbols
        }
        self._outputs: dict[str, dict[Indicator, Outputs]] = {it: {} for it in self.symbols}
        self.steps = 0
        self.last_ts = None if before is None else int(before.ts[-1])
        self.taken_until = self.last_ts
        self.closes_before: dict[str, float] = {}
        self.annualisation = Annualisation() if before is None else before.annualisation_for(None)
        self.bars_per_day = 1.0 if before is None else before.steps / before.day_count

    def append(self, bars: Sequence[Bar]) -> None:
        """Add the bars of a time step, which lies behind all others."""
        closes = {symbol: self.last_close(symbol) for symbol in self.symbols}
        self.closes_before = {name: close for name, close in closes.items() if close is not None}
        for bar in bars:
            self._columns[bar.symbol].append(bar)
            self._outputs[bar.symbol].clear()
        self.steps += 1
        self.last_ts = bars[0].ts

    def bars(self, symbol: str) -> Bars:
        """Return the bars that are kept, those before the session among them."""
        columns = self._columns[symbol]
        return columns.bars(columns.keep)

    def live_bars(self, symbol: str) -> Bars:
        """Return the bars of the session that are kept."""
        columns = self._columns[symbol]
        return columns.bars(columns.live)

    def last_close(self, symbol: str) -> float | None:
        """Return a symbol's latest close; None before its first bar."""
        return self._columns[symbol].last_close

    def column(self, symbol: str, spec: FeatureSpec) -> NDArray[np.float64]:
        """Return an indicator over the bars that are kept, float64 (n,), read-only.

        Raises:
            ConfigError: There is no such indicator, or it does not take these arguments.
        """
        indicator, output = spec.resolve()
        known = self._outputs[symbol]
        outputs = known.get(indicator)
        if outputs is None:
            bars = self.bars(symbol)
            outputs = indicator.compute({name: getattr(bars, name) for name in BAR_COLUMNS})
            for column in outputs:
                column.flags.writeable = False
            known[indicator] = outputs
        return outputs[output]


def _check(symbols: tuple[str, ...], before: MarketData | None) -> None:
    if before is None:
        return
    for symbol in symbols:
        if symbol not in before.symbols:
            message = f"the bars before the session have no {symbol!r}"
            raise ConfigError([Problem(message, "symbols")])

"""What is kept besides the metrics: the equity curve and the list of trades."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.containers.events import PortfolioUpdate, PositionClose, PositionSide
from admf.containers.metrics.chunks import Floats
from admf.containers.times import iso_utc_list
from admf.engine.block import Block
from admf.engine.events import Event

__all__ = ["EquityCurve", "EquityHistory", "Trade", "TradeHistory"]

_FIRST_CAPACITY = 1024


class EquityCurve(msgspec.Struct, frozen=True):
    """An equity curve as it stands in a result file.

    Args:
        ts: ISO 8601 UTC.
        equity: Quote currency, one for each time.
    """

    ts: list[str]
    equity: list[float]


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """A closed trade as it stands in a result file.

    Args:
        quantity: Units entered in total.
        entry_time: Time of the entry bar, ISO 8601 UTC.
        exit_time: Time of the exit bar, ISO 8601 UTC.
        entry_price: Quantity-weighted mean of the entry fills.
        exit_price: Quantity-weighted mean of the exit fills.
        pnl: Quote currency, after commission and slippage.
        return_fraction: ``pnl`` / entry value; named ``return`` in files.
        commission: Quote currency, of all its fills.
        bars_held: Bars from the entry bar to the exit bar.
        mae: Maximum adverse excursion, fraction of the entry price, <= 0.
        mfe: Maximum favourable excursion, fraction of the entry price, >= 0.
    """

    id: str
    symbol: str
    side: PositionSide
    quantity: float
    entry_time: str
    exit_time: str
    entry_price: float
    exit_price: float
    pnl: float
    return_fraction: float = msgspec.field(name="return")
    commission: float
    bars_held: int
    mae: float
    mfe: float
    exit_reason: str


class EquityHistory:
    """Time and equity of the marks, and more of them if wanted, in arrays that grow.

    Args:
        limit: Keep this many of the last marks; None keeps all.
        also: Further fields of PORTFOLIO_UPDATE to keep.
    """

    types: frozenset[type[Event]] = frozenset({PortfolioUpdate})

    def __init__(self, limit: int | None = None, also: Sequence[str] = ()) -> None:
        self._limit = limit
        self._length = 0
        self._ts: NDArray[np.int64] = np.empty(_FIRST_CAPACITY, dtype=np.int64)
        self._columns: dict[str, Floats] = {
            name: np.empty(_FIRST_CAPACITY) for name in ("equity", *also)
        }

    @property
    def ts(self) -> NDArray[np.int64]:
        """int64 (n,), ns UTC, of the kept marks."""
        return self._ts[self._first : self._length]

    @property
    def equity(self) -> Floats:
        """float64 (n,), quote currency, of the kept marks."""
        return self.column("equity")

    def column(self, name: str) -> Floats:
        """Return a field of the kept marks, float64 (n,)."""
        return self._columns[name][self._first : self._length]

    def fold(self, event: Event | Block[Any]) -> None:
        """Take one PORTFOLIO_UPDATE, or a block of them."""
        if isinstance(event, Block):
            skipped = 0 if self._limit is None else max(0, len(event) - self._limit)
            values = {name: event.column(name)[skipped:] for name in self._columns}
            self._append(event.ts[skipped:], values, len(event) - skipped)
        elif isinstance(event, PortfolioUpdate):
            self._append(event.ts, {name: getattr(event, name) for name in self._columns}, 1)

    def curve(self) -> EquityCurve:
        """Return the kept marks as text and plain numbers."""
        return EquityCurve(iso_utc_list(self.ts), self.equity.tolist())

    @property
    def _first(self) -> int:
        return 0 if self._limit is None else max(0, self._length - self._limit)

    def _append(
        self, ts: NDArray[np.int64] | int, values: Mapping[str, Floats | float], count: int
    ) -> None:
        if self._length + count > len(self._ts):
            self._grow(count)
        rows = slice(self._length, self._length + count)
        self._ts[rows] = ts
        for name, column in values.items():
            self._columns[name][rows] = column
        self._length = rows.stop

    def _grow(self, count: int) -> None:
        """Move what is kept into arrays twice as large as is needed now."""
        kept = {name: self.column(name) for name in self._columns}
        ts = self.ts
        self._length = len(ts)
        capacity = max(_FIRST_CAPACITY, 2 * (self._length + count))
        self._ts = np.empty(capacity, dtype=np.int64)
        self._ts[: self._length] = ts
        for name, column in kept.items():
            self._columns[name] = np.empty(capacity)
            self._columns[name][: self._length] = column


class TradeHistory:
    """The closed trades.

    Args:
        limit: Keep this many of the last trades; None keeps all.
    """

    types: frozenset[type[Event]] = frozenset({PositionClose})

    def __init__(self, limit: int | None = None) -> None:
        self._closes: deque[PositionClose] = deque(maxlen=limit)

    def fold(self, event: Event | Block[Any]) -> None:
        """Take one POSITION_CLOSE, or a block of them."""
        if isinstance(event, Block):
            self._closes.extend(event.events())
        elif isinstance(event, PositionClose):
            self._closes.append(event)

    def trades(self) -> list[Trade]:
        """Return the kept trades in the order in which they closed."""
        times = [(close.entry_ts, close.ts) for close in self._closes]
        texts = iter(iso_utc_list(np.array(times, dtype=np.int64).ravel()))
        return [_trade(*row) for row in zip(self._closes, texts, texts, strict=True)]


def _trade(close: PositionClose, entry_time: str, exit_time: str) -> Trade:
    return Trade(
        id=close.position_id,
        symbol=close.symbol,
        side=close.side,
        quantity=close.quantity,
        entry_time=entry_time,
        exit_time=exit_time,
        entry_price=close.entry_price,
        exit_price=close.exit_price,
        pnl=close.pnl,
        return_fraction=close.return_fraction,
        commission=close.commission,
        bars_held=close.bars_held,
        mae=close.mae,
        mfe=close.mfe,
        exit_reason=close.exit_reason,
    )

"""What ``series.json`` holds of the lanes of a window: every mark and every trade, as numbers.

Read it with ``msgspec.json.decode(content, type=WindowSeries)``.
"""

from __future__ import annotations

import msgspec

from admf.containers.events import PositionSide

__all__ = ["SERIES_FILE", "LaneSeries", "TradeSeries", "WindowSeries"]

SERIES_FILE = "series.json"


class TradeSeries(msgspec.Struct, frozen=True, kw_only=True):
    """A closed trade.

    Args:
        entry_ts: Time of the entry bar, ns UTC.
        exit_ts: Time of the exit bar, ns UTC.
        side: Long or short.
        return_fraction: ``pnl`` / entry value; named ``return`` in the file.
        equity_return: ``pnl`` / equity just before the entry fill; None if that was not positive,
            or is not known of a position that was carried into the window.
        bars_held: Bars from the entry bar to the exit bar.
        pnl: Quote currency, after commission and slippage.
    """

    entry_ts: int
    exit_ts: int
    side: PositionSide
    return_fraction: float = msgspec.field(name="return")
    equity_return: float | None
    bars_held: int
    pnl: float


class LaneSeries(msgspec.Struct, frozen=True, kw_only=True):
    """One lane, whatever of it was traced or retained.

    Args:
        container_id: Id of its portfolio.
        initial_capital: Equity before the first mark, quote currency.
        commission: Of all fills, quote currency.
        slippage: Of all fills, quote currency.
        traded_value: sum(|quantity * price|) of all fills, quote currency.
        trades: In the order in which they closed.
        ts: Time of each mark, ns UTC.
        equity: Quote currency, one for each mark.
        exposure: sum(|position| * close), quote currency, one for each mark.
        benchmark: Last close of the benchmark, one for each mark; None where there is none.
    """

    container_id: str
    initial_capital: float
    commission: float
    slippage: float
    traded_value: float
    trades: tuple[TradeSeries, ...]
    ts: tuple[int, ...]
    equity: tuple[float, ...]
    exposure: tuple[float, ...]
    benchmark: tuple[float | None, ...]


class WindowSeries(msgspec.Struct, frozen=True):
    """The lanes of a window in their order; a lane that could not be built has none."""

    lanes: tuple[LaneSeries, ...]

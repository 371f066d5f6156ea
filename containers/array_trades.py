"""The trades that fills by turns of the opening and the closing kind make, as arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.account import Position
from admf.containers.array_legs import Legs
from admf.containers.events import FillMoment
from admf.containers.market_data import Bars

__all__ = ["Trades", "position_after", "trades_of"]

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]
Spans: TypeAlias = NDArray[np.int32]
Flags: TypeAlias = NDArray[np.bool_]


class Trades(NamedTuple):
    """Closed trades, in the order in which they close; see `PositionClose`.

    Args:
        direction: float64 (n,), 1 for long and -1 for short.
        quantity: float64 (n,), units entered in total.
        entry_ts: int64 (n,), ns UTC.
        entry_price: float64 (n,), mean price of the entries.
        exit_price: float64 (n,), mean price of the exits.
        pnl: float64 (n,), quote currency, after commission.
        return_fraction: float64 (n,).
        commission: float64 (n,), quote currency.
        bars_held: int64 (n,).
        excursions: Returns two columns, float64 (n,) each, fractions of the entry price: MAE, which
            is not positive, and MFE, which is not negative.
    """

    direction: Floats
    quantity: Floats
    entry_ts: Rows
    entry_price: Floats
    exit_price: Floats
    pnl: Floats
    return_fraction: Floats
    commission: Floats
    bars_held: Rows
    excursions: Callable[[], tuple[Floats, Floats]]


def trades_of(
    legs: Legs, held: Position | None, bars: Bars, first_bar: int, moment: FillMoment
) -> Trades:
    """Return the trades that fills close.

    Args:
        legs: The fills, of which at least one closes a position.
        held: The position before them, if there is one, which the first fill closes.
        bars: All bars of the symbol.
        first_bar: Index among them of the bar that the fills call row 0.
        moment: When in their bars they were made.
    """
    row = legs.row + first_bar
    exit_bar, exit_price = row[legs.closing], legs.price[legs.closing].copy()
    exited = legs.quantity[legs.closing].copy()
    exit_value = exited * exit_price
    entries = _entries(legs, row, held, bars, moment)
    if held is not None:
        exit_value[0] += held.exit_value
        exited[0] += held.exited
    commission = entries.commission + legs.commission[legs.closing]
    direction = -legs.sign[legs.closing]
    entry_price = entries.value / entries.quantity
    pnl = direction * (exit_value - entries.value) - commission
    first = np.maximum(entries.bar + entries.late, 0)  # a position may be older than the data
    spans = np.column_stack((first, exit_bar + (moment == "close")))
    kept = spans.astype(np.int32)  # it may be kept for as long as the trades are
    excursions = partial(_excursions, bars, kept, direction > 0.0, entry_price, exit_price)
    return Trades(
        direction=direction,
        quantity=entries.quantity,
        entry_ts=entries.ts,
        entry_price=entry_price,
        exit_price=exit_value / exited,
        pnl=pnl,
        return_fraction=pnl / entries.value,
        commission=commission,
        bars_held=exit_bar - entries.bar,
        excursions=cache(excursions),  # which few ask for, and take longer than all the others
    )


def position_after(
    legs: Legs, position_id: str, symbol: str, ts: int, moment: FillMoment
) -> Position:
    """Return the position that the last fill has opened, at a time in ns UTC."""
    price, quantity = float(legs.price[-1]), float(legs.quantity[-1])
    return Position(
        position_id,
        symbol,
        int(legs.sign[-1]),
        ts,
        moment,
        price,
        quantity=quantity,
        entered=quantity,
        entry_value=quantity * price,
        commission=float(legs.commission[-1]),
        entry_equity=float(legs.cash[-2]),
    )


class _Entries(NamedTuple):
    """The entries of trades, of each as one.

    Args:
        bar: int64 (n,), index of the bar; -1 if it is older than the data.
        ts: int64 (n,), ns UTC.
        late: bool (n,), whether it was at the close, so that the range of its bar does not count.
        quantity: float64 (n,), units.
        value: float64 (n,), quote currency.
        commission: float64 (n,), quote currency, that of a part that was left before included.
    """

    bar: Rows
    ts: Rows
    late: NDArray[np.bool_]
    quantity: Floats
    value: Floats
    commission: Floats


def _entries(
    legs: Legs, row: Rows, held: Position | None, bars: Bars, moment: FillMoment
) -> _Entries:
    """Return the entries of the trades that fills close.

    Args:
        legs: The fills.
        row: int64, their bars.
        held: The position before them, if there is one.
        bars: All bars of the symbol.
        moment: When in their bars the fills were made.
    """
    count = len(row[legs.closing])
    bar, quantity, price, commission = (
        _of_entries(values[legs.opening], count, after_first=held is not None)
        for values in (row, legs.quantity, legs.price, legs.commission)
    )
    late = np.full(count, moment == "close")
    entries = _Entries(bar, bars.ts[bar], late, quantity, quantity * price, commission)
    if held is not None:
        bar[0] = np.searchsorted(bars.ts, held.entry_ts, side="right") - 1
        entries.ts[0] = held.entry_ts
        late[0] = held.entry_moment == "close"
        quantity[0], entries.value[0], commission[0] = (
            held.entered,
            held.entry_value,
            held.commission,
        )
    return entries


def _of_entries(values: NDArray[Any], count: int, *, after_first: bool) -> NDArray[Any]:
    """Return what belongs to the entries of ``count`` trades; that of a first one is yet to come.

    Args:
        values: What belongs to the fills that open a position.
        count: Trades that close.
        after_first: Whether the first trade was opened by none of them.
    """
    if not after_first:
        return values[:count].copy()
    entries = np.zeros(count, dtype=values.dtype)
    entries[1:] = values[: count - 1]
    return entries


def _excursions(
    bars: Bars, spans: Spans, is_long: Flags, entry_price: Floats, exit_price: Floats
) -> tuple[Floats, Floats]:
    """Return MAE and MFE of trades, as fractions of the entry price.

    Args:
        bars: All bars of the symbol.
        spans: int32 (n, 2), for each trade the first bar whose range counts, and the one after the
            last; no bar counts for two trades.
        is_long: bool (n,), whether a trade is long.
        entry_price: float64 (n,), mean price of the entries.
        exit_price: float64 (n,), price of the last exit.
    """
    low = np.minimum(_extremes(np.minimum, bars.low, spans, np.inf), exit_price)
    high = np.maximum(_extremes(np.maximum, bars.high, spans, -np.inf), exit_price)
    down, up = low / entry_price - 1, high / entry_price - 1
    adverse = np.where(is_long, down, -up)
    favourable = np.where(is_long, up, -down)
    # as min() and max() do, which keep the sign of a zero
    return np.where(adverse <= 0.0, adverse, 0.0), np.where(favourable >= 0.0, favourable, 0.0)


def _extremes(extreme: np.ufunc, values: Floats, spans: Spans, empty: float) -> Floats:
    """Return the extreme of each span of values; ``empty`` of one without values."""
    first, stop = int(spans[0, 0]), int(spans[-1, 1])
    if first == stop:
        return np.full(len(spans), empty)
    edges = spans.ravel()[:-1] - first
    found: Floats = extreme.reduceat(values[first:stop], edges)[::2]
    if spans[0, 0] == spans[0, 1]:  # only a position that was held before can be as short
        found[0] = empty
    return found

"""Price paths that might have been: bars made of blocks of the real ones."""

from __future__ import annotations

from typing import Annotated, NamedTuple, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from admf.containers.bootstrap import stationary_indices
from admf.containers.market_data import Bars, MarketData
from admf.engine.errors import DataError

__all__ = ["PricePathConfig", "resampled"]

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]


class PricePathConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which path to draw, as plain data; equal configs give the same path of the same data.

    Args:
        block_length: Mean length of a block, in time steps.
        entropy: Root of the draw: that of a `numpy.random.SeedSequence`.
        spawn_key: Its place below the root.
        start_ts: First time step that is drawn, ns UTC, inclusive; None for the data's first.
        end_ts: End of those drawn, ns UTC, exclusive; None for the data's end.
    """

    block_length: Annotated[float, Meta(ge=1)]
    entropy: int
    spawn_key: tuple[int, ...] = ()
    start_ts: int | None = None
    end_ts: int | None = None


def resampled(data: MarketData, config: PricePathConfig) -> MarketData:
    """Return market data whose bars within a range are drawn from the real ones of that range.

    For each time step of the range a real one is drawn, in blocks of consecutive steps, and the
    bars of all symbols come from that step together: a symbol that has no bar there has none on the
    path either. A bar keeps its moves: open against the close of the symbol's bar before it; high,
    low and close against its open; and its volume. A path goes on from the symbol's last close
    before the range, or begins at its first open. The first bar of a symbol, which no other one
    precedes, opens where the bar before it on the path closed.

    An extra symbol (a benchmark) moves by its last bar up to each time step. The time line, and all
    bars outside the range, stay as they are; nothing after the range has any influence on it.

    Args:
        data: The real bars.
        config: The draw.

    Returns:
        Market data of the same symbols and time line.

    Raises:
        DataError: The range has no time steps, or prices leave the range of numbers.

    Source: Politis and Romano (1994), "The stationary bootstrap"; blocks wrap around at the end of
    the range.
    """
    start, stop = data.step_range(config.start_ts, config.end_ts)
    if start == stop:
        raise DataError("a price path needs at least one time step to draw from")
    seeds = np.random.SeedSequence(config.entropy, spawn_key=config.spawn_key)
    span = stop - start
    drawn = stationary_indices(span, span, config.block_length, np.random.default_rng(seeds))
    part = _Range(data.ts, start, stop, start + drawn)
    return MarketData(
        [_drawn_bars(data.bars(symbol), part) for symbol in data.symbols],
        extras=[_drawn_bars(data.bars(symbol), part) for symbol in data.extra_symbols],
        timeframe=data.timeframe,
    )


class _Range(NamedTuple):
    """The time steps from ``start`` to before ``stop``, and the step drawn for each of them."""

    ts: Indices
    start: int
    stop: int
    drawn: Indices


def _drawn_bars(bars: Bars, part: _Range) -> Bars:
    """Return the bars of one symbol, those of the range replaced."""
    rows = _rows_at_steps(bars.ts, part.ts)
    row = rows[part.drawn]
    ts = part.ts[part.start : part.stop][row >= 0]
    row = row[row >= 0]
    first, last = int(part.ts[part.start]), int(part.ts[part.stop - 1])
    before = bars[: int(np.searchsorted(bars.ts, first))]
    after = bars[int(np.searchsorted(bars.ts, last, side="right")) :]
    if not len(row):
        return _joined(bars.symbol, [before, after])
    drawn = _moved(bars, ts, row, _gaps(bars, rows[rows >= 0]), _anchor(bars, before))
    return _joined(bars.symbol, [before, drawn, after])


def _rows_at_steps(times: Indices, ts: Indices) -> Indices:
    """Return the row of the last bar that is new at each time step; -1 where there is none."""
    rows = np.searchsorted(times, ts, side="right") - 1
    return np.where(np.diff(rows, prepend=-1) > 0, rows, -1)


def _gaps(bars: Bars, rows: Indices) -> Floats:
    """Return open / close of the bar before, float64 (n_bars,), for those rows that are used."""
    gaps = np.ones(len(bars))
    gaps[rows[1:]] = bars.open[rows[1:]] / bars.close[rows[:-1]]
    return gaps


def _anchor(bars: Bars, before: Bars) -> float:
    """Return the price that a path goes on from."""
    return float(before.close[-1] if len(before) else bars.open[0])


def _moved(bars: Bars, ts: Indices, row: Indices, gaps: Floats, anchor: float) -> Bars:
    """Return bars with the moves of some rows, one after the other."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        growth = np.cumprod(gaps[row] * (bars.close[row] / bars.open[row]))
        opens = anchor * np.concatenate(([1.0], growth[:-1])) * gaps[row]
        # against the open, so that rounding keeps high and low around open and close
        high, low, close = (
            opens * (column[row] / bars.open[row]) for column in (bars.high, bars.low, bars.close)
        )
    if not (low.min() > 0.0 and high.max() < np.inf):
        raise DataError(
            f"a price path of {bars.symbol} runs out of the range of numbers, from {low.min():g} "
            f"to {high.max():g}: its bars move too far for so long a path"
        )
    return Bars(bars.symbol, ts, opens, high, low, close, bars.volume[row])


def _joined(symbol: str, parts: list[Bars]) -> Bars:
    names = ("ts", "open", "high", "low", "close", "volume")
    return Bars(symbol, *(np.concatenate([getattr(it, name) for it in parts]) for name in names))

"""Loads market data: finds it, checks it, cuts it to a range and resamples it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from admf.containers.bar_checks import checked_bars
from admf.containers.config import DataConfig
from admf.containers.long_bars import long_bars
from admf.containers.long_tables import LongTable
from admf.containers.market_data import Bars, MarketData
from admf.containers.resampling import Timeframe, infer_timeframe, resample
from admf.containers.scratch import Scratch
from admf.containers.sources import symbol_tables
from admf.containers.tables import Table
from admf.containers.times import iso_utc
from admf.containers.timestamps import parse_bound
from admf.containers.zones import check_timezone, day_starts, local_days
from admf.engine.errors import ConfigError, DataError, Problem

__all__ = ["load_market_data"]


class _Cut(NamedTuple):
    """The part ``[start_ns, stop_ns)`` of the source, in bars of ``timeframe``."""

    start_ns: int | None
    stop_ns: int | None
    timeframe: Timeframe | None
    timezone: str


def load_market_data(
    config: DataConfig,
    *,
    frames: Mapping[str, Any] | None = None,
    extra_symbols: Sequence[str] = (),
) -> MarketData:
    """Load the bars of an experiment. Blocks; call it in a thread where that matters.

    Times without an offset belong to ``config.timezone``, as do the days of ``start`` and ``end``
    and the calendar of ``timeframe``. A resampled bar carries the time at which its bin begins;
    bars that have the wanted size already keep the times of their source.

    Args:
        config: Where the bars come from, and which part of them is used.
        frames: Symbol -> polars, pandas or pyarrow table, for ``source: frames``.
        extra_symbols: Symbols to look at but not to trade, such as a benchmark.

    Raises:
        ConfigError: A setting cannot be understood.
        DataError: Data is missing or malformed, coarser than the timeframe, or not in the range.
            The message names the file, the line, the column and the value.
    """
    extras = [each for each in dict.fromkeys(extra_symbols) if each not in config.symbols]
    symbols = (*config.symbols, *extras)
    if len(set(symbols)) < len(symbols):
        raise ConfigError([Problem("names a symbol more than once", field="data.symbols")])
    cut = _cut(config)
    scratch = Scratch()
    found = [
        _read(symbol, table, cut, scratch)
        for symbol, table in symbol_tables(config, frames, symbols)
    ]
    bars = [it.bars for it in found]
    timeframes = (cut.timeframe, *(it.timeframe for it in found))
    timeframe = next(filter(None, timeframes), None)
    traded = len(config.symbols)
    return MarketData(
        bars[:traded],
        extras=bars[traded:],
        timeframe=str(timeframe) if timeframe else None,
        scratch=scratch if scratch.in_use else None,
    )


class _Read(NamedTuple):
    """The bars of a symbol, and the size of those of its source."""

    bars: Bars
    timeframe: Timeframe | None


def _read(symbol: str, table: Table | LongTable, cut: _Cut, scratch: Scratch) -> _Read:
    if isinstance(table, LongTable):
        long = None if cut.timeframe else long_bars(table, cut.timezone, scratch)
        if long is not None:
            return _Read(_in_range(long.bars, cut, table.source), long.timeframe)
        table = table.whole()
    source = checked_bars(symbol, table, cut.timezone)
    bars = _resampled(_in_range(source, cut, table.source), source, cut, table.source)
    return _Read(bars, infer_timeframe(source.ts))


def _cut(config: DataConfig) -> _Cut:
    timezone = config.timezone or "UTC"
    check_timezone(timezone)
    timeframe = Timeframe.parse(config.timeframe) if config.timeframe else None
    start = stop = None
    if config.start is not None:
        start, _ = parse_bound(config.start, timezone, "data.start")
    if config.end is not None:
        end, is_day = parse_bound(config.end, timezone, "data.end")
        stop = _next_midnight(end, timezone) if is_day else end + 1
    return _Cut(start, stop, timeframe, timezone)


def _next_midnight(ts: int, timezone: str) -> int:
    day = local_days(np.array([ts], dtype=np.int64), timezone)
    return int(day_starts(day + 1, timezone)[0])


def _in_range(bars: Bars, cut: _Cut, source: str) -> Bars:
    start = 0 if cut.start_ns is None else int(np.searchsorted(bars.ts, cut.start_ns))
    stop = len(bars) if cut.stop_ns is None else int(np.searchsorted(bars.ts, cut.stop_ns))
    if start >= stop:
        begin = "its beginning" if cut.start_ns is None else iso_utc(cut.start_ns)
        end = "its end" if cut.stop_ns is None else f"before {iso_utc(cut.stop_ns)}"
        raise DataError(
            f"{source}: has no bars of {bars.symbol} from {begin} to {end}; "
            f"its bars reach from {iso_utc(int(bars.ts[0]))} to {iso_utc(int(bars.ts[-1]))}"
        )
    return bars[start:stop]


def _resampled(bars: Bars, whole: Bars, cut: _Cut, source: str) -> Bars:
    if cut.timeframe is None:
        return bars
    given = infer_timeframe(whole.ts)
    if given and given.longest_ns > cut.timeframe.longest_ns:
        raise DataError(
            f"{source}: holds bars of {given}, which cannot be made into bars of {cut.timeframe}; "
            f"ask for a timeframe of {given} or more"
        )
    larger = resample(bars, cut.timeframe, cut.timezone)
    return bars if given == cut.timeframe and len(larger) == len(bars) else larger

"""Trades and equity curves of portfolios, read from the files that are the least to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from admf.containers.metrics.history import EquityCurve, Trade
from admf.engine.result_names import TRADES_FILE, results_path
from admf.workflows.results.columns import EQUITY_FIELDS, TRADE_FIELDS
from admf.workflows.results.records import CommitRecord
from admf.workflows.results.tree import RunTree

if TYPE_CHECKING:
    import polars as pl

__all__ = ["EQUITY", "TRADES", "SeriesKind"]

Owners: TypeAlias = Mapping[str, int]
"""Numbers of the portfolios of a window, by their id."""

_BATCH = 50_000
"""Rows that are Python objects at a time."""

_TIMES = frozenset(["entry_time", "exit_time"])
_TEXTS = frozenset(["id", "symbol", "side", "exit_reason"])
_COUNTS = frozenset(["bars_held"])


class SeriesKind(NamedTuple):
    """A kind of rows of which a portfolio has many.

    Attributes:
        fields: Their columns.
        read: Reads those of portfolios, given as a frame of phase, window and container; adds a
            column ``owner``, the number of the portfolio in that frame, by which they are sorted.
    """

    fields: tuple[str, ...]
    read: Callable[[RunTree, pl.DataFrame], pl.DataFrame]


class _Window(NamedTuple):
    """A window of which portfolios are wanted."""

    tree: RunTree
    phase: str
    window_id: str
    record: CommitRecord

    def size(self, name: str) -> int:
        """Return the bytes of a file, 0 if there is none."""
        file = self.record.file(name)
        return 0 if file is None else file.size


class _LaneTrade(Trade, frozen=True, kw_only=True):
    container_id: str


class _WindowTrades(msgspec.Struct, frozen=True):
    trades: list[_LaneTrade]


class _LaneTrades(msgspec.Struct, frozen=True):
    trades: list[Trade]


class _LaneEquity(msgspec.Struct, frozen=True):
    equity_curve: EquityCurve | None = None


def _read_trades(tree: RunTree, lanes: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    windows = _windows(tree, lanes)
    owned = chain.from_iterable(_window_trades(window, owners) for window, owners in windows)
    frames = [_trade_frame([])]
    while batch := list(islice(owned, _BATCH)):
        frames.append(_trade_frame(batch))
    return pl.concat(frames).sort("owner", maintain_order=True)


def _read_equity(tree: RunTree, lanes: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    frames = [_equity_frame([])]
    batch: list[tuple[int, EquityCurve]] = []
    points = 0
    for owner, curve in _curves(tree, lanes):
        batch.append((owner, curve))
        points += len(curve.ts)
        if points >= _BATCH:
            frames.append(_equity_frame(batch))
            batch, points = [], 0
    frames.append(_equity_frame(batch))
    return pl.concat(frames).sort("owner", maintain_order=True)


TRADES = SeriesKind(TRADE_FIELDS, _read_trades)
EQUITY = SeriesKind(EQUITY_FIELDS, _read_equity)


def _windows(tree: RunTree, lanes: pl.DataFrame) -> Iterator[tuple[_Window, Owners]]:
    groups: dict[tuple[str, str], dict[str, int]] = {}
    for owner, (phase, window_id, container_id) in enumerate(lanes.iter_rows()):
        groups.setdefault((phase, window_id), {})[container_id] = owner
    for (phase, window_id), owners in groups.items():
        yield _Window(tree, phase, window_id, tree.window(phase, window_id)), owners


def _window_trades(window: _Window, owners: Owners) -> Iterator[tuple[int, Trade]]:
    """Yield trades and the numbers of their portfolios, from one file or from those of each."""
    paths = {results_path(container_id): owner for container_id, owner in owners.items()}
    if 0 < window.size(TRADES_FILE) <= sum(map(window.size, paths)):
        every = window.tree.read(*window[1:], TRADES_FILE, _WindowTrades)
        listed = every.trades if every else []
        yield from ((owners[it.container_id], it) for it in listed if it.container_id in owners)
        return
    for path, owner in paths.items():
        found = window.tree.read(*window[1:], path, _LaneTrades)
        yield from ((owner, trade) for trade in (found.trades if found else ()))


def _trade_frame(owned: Sequence[tuple[int, Trade]]) -> pl.DataFrame:
    import polars as pl

    columns = [pl.Series("owner", [owner for owner, _ in owned], pl.UInt32)]
    for field in msgspec.structs.fields(Trade):
        values: list[Any] = [getattr(trade, field.name) for _, trade in owned]
        columns.append(_column(field.encode_name, values))
    return pl.DataFrame(columns)


def _column(name: str, values: list[Any]) -> pl.Series:
    import polars as pl

    if name in _TIMES:
        return _times(name, values)
    if name in _TEXTS:
        return pl.Series(name, values, pl.String)
    return pl.Series(name, values, pl.Int64 if name in _COUNTS else pl.Float64)


def _curves(tree: RunTree, lanes: pl.DataFrame) -> Iterator[tuple[int, EquityCurve]]:
    """Yield the curves that were kept and the numbers of their portfolios."""
    for window, owners in _windows(tree, lanes):
        for container_id, owner in owners.items():
            found = tree.read(*window[1:], results_path(container_id), _LaneEquity)
            if found is not None and found.equity_curve is not None:
                yield owner, found.equity_curve


def _equity_frame(owned: Sequence[tuple[int, EquityCurve]]) -> pl.DataFrame:
    import polars as pl

    owners = [owner for owner, curve in owned for _ in curve.ts]
    times = [time for _, curve in owned for time in curve.ts]
    equity = [value for _, curve in owned for value in curve.equity]
    columns = [pl.Series("owner", owners, pl.UInt32), _times("ts", times)]
    return pl.DataFrame([*columns, pl.Series("equity", equity, pl.Float64)])


def _times(name: str, texts: Sequence[str]) -> pl.Series:
    import polars as pl

    return pl.Series(name, texts, pl.String).str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.fZ", time_unit="ns", time_zone="UTC"
    )

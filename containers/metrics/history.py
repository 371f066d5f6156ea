"""What is kept besides the metrics: the equity curve and the list of trades."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.containers.events import PortfolioUpdate, PositionClose, PositionSide
from admf.containers.metrics.chunks import Floats
from admf.containers.times import iso_utc_list
from admf.engine.block import Block
from admf.engine.events import Event
from admf.engine.overflow import OverflowFile, plain_number

__all__ = ["HELD_MARKS", "HELD_TRADES", "EquityCurve", "EquityHistory", "Trade", "TradeHistory"]

HELD_MARKS = 4_096
"""Marks of a lane that stay in memory: 64 to 128 KiB, so that a thousand lanes can stay as well."""

HELD_TRADES = 256
"""Trades of a lane that stay in memory: about 160 KiB."""

_SINGLE_TRADES = 64
"""Trades that come one by one and are not in columns yet."""

_TRADE_BYTES = 64
"""Estimate of what a trade takes beside its columns: the text that identifies it."""

_TRADE_FIELDS = (
    "position_id",
    "symbol",
    "side",
    "quantity",
    "entry_ts",
    "ts",
    "entry_price",
    "exit_price",
    "pnl",
    "return_fraction",
    "commission",
    "bars_held",
    "mae",
    "mfe",
    "exit_reason",
)
"""Fields of POSITION_CLOSE in the order of those of `Trade`."""

_FIRST_CAPACITY = 1024

_PIECE = 4_096
"""Marks of a block that is kept as it is."""

_PART = 1024


class EquityCurve(msgspec.Struct, frozen=True):
    """An equity curve as it stands in a result file.

    Args:
        ts: ISO 8601 UTC.
        equity: Quote currency, one for each time.
    """

    ts: list[str]
    equity: list[float]


class Trade(msgspec.Struct, frozen=True, gc=False):
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
    """Time and equity of the marks, and more of them if wanted.

    Blocks of many marks are kept as they came; others are collected in arrays that grow.

    Args:
        limit: Keep this many of the last marks, in memory; None keeps all.
        also: Further fields of PORTFOLIO_UPDATE to keep.
        file: Where the oldest marks go while it is active; None holds all in memory.
        held: Marks that stay in memory then, and that a frame holds.
    """

    types: frozenset[type[Event]] = frozenset({PortfolioUpdate})

    def __init__(
        self,
        limit: int | None = None,
        also: Sequence[str] = (),
        *,
        file: OverflowFile | None = None,
        held: int = HELD_MARKS,
    ) -> None:
        self._limit = limit
        self._file = None if limit is not None else file
        self._held = held
        self._first = self._stop = 0
        self._columns: dict[str, NDArray[Any]] = {
            "ts": np.empty(0, dtype=np.int64),
            **{name: np.empty(0) for name in ("equity", *also)},
        }
        self._places: list[tuple[int, ...]] = []
        self._pieces: list[dict[str, NDArray[Any]]] = []

    def fold(self, event: Event | Block[Any]) -> None:
        """Take one PORTFOLIO_UPDATE, or a block of them.

        Raises:
            StorageError: Older marks cannot be written; they and these stay in memory.
        """
        if isinstance(event, Block) and self._keeps_whole(len(event)):
            self._collect()
            self._pieces.append({name: event.column(name) for name in self._columns})
        elif isinstance(event, Block):
            skipped = 0 if self._limit is None else max(0, len(event) - self._limit)
            values = {name: event.column(name)[skipped:] for name in self._columns}
            self._append(values, len(event) - skipped)
        elif isinstance(event, PortfolioUpdate):
            self._append({name: getattr(event, name) for name in self._columns}, 1)

    def chunks(self, name: str) -> Iterator[NDArray[Any]]:
        """Return a field of the marks there are now, a chunk at a time; ``ts`` as int64, ns UTC.

        Marks that arrive meanwhile do not disturb it.

        Raises:
            StorageError: They cannot be read back.
        """
        column = list(self._columns).index(name)
        places = tuple(places[column] for places in self._places)
        pieces = [piece[name] for piece in self._pieces]
        return chain(map(partial(self._read, name), places), pieces, (self._kept(name),))

    def values(self, name: str) -> Iterator[Any]:
        """Return a field of the marks there are now as plain numbers; otherwise as `chunks`."""
        return chain.from_iterable(part.tolist() for part in _parts(self.chunks(name)))

    def curve(self) -> dict[str, Iterator[Any]]:
        """Return the fields of `EquityCurve` of the marks there are now; otherwise as `chunks`."""
        times = (iso_utc_list(part) for part in _parts(self.chunks("ts")))
        return {"ts": chain.from_iterable(times), "equity": self.values("equity")}

    def size_bytes(self) -> int:
        """Return the memory of the arrays."""
        parts = (self._columns, *self._pieces)
        return sum(column.nbytes for part in parts for column in part.values())

    def _keeps_whole(self, count: int) -> bool:
        spills = self._file is not None and self._file.active
        return count >= _PIECE and self._limit is None and not spills

    def _collect(self) -> None:
        """Make a piece of what was collected."""
        if self._stop:
            self._pieces.append({name: self._kept(name).copy() for name in self._columns})
            self._first = self._stop = 0
            self._columns = {name: it[:0].copy() for name, it in self._columns.items()}

    def _kept(self, name: str) -> NDArray[Any]:
        return self._columns[name][self._first : self._stop]

    def _append(self, values: Mapping[str, Floats | float], count: int) -> None:
        if self._stop + count > len(self._columns["ts"]):
            self._resize(count)
        rows = slice(self._stop, self._stop + count)
        for name, column in values.items():
            self._columns[name][rows] = column
        self._stop = rows.stop
        if self._limit is not None:
            self._first = max(0, self._stop - self._limit)
        elif self._pieces or self._stop - self._first > self._held:
            self._move()

    def _move(self) -> None:
        """Move whole frames of the oldest marks to the file, if that is wanted now."""
        file = self._file
        if file is None or not file.active:
            return
        self._rejoin()
        while self._stop - self._first > self._held:
            rows = slice(self._first, self._first + self._held)
            columns = [column[rows].tobytes() for column in self._columns.values()]
            self._places.append(file.append(*columns))
            self._first = rows.stop
        self._resize(0)

    def _rejoin(self) -> None:
        """Put the pieces before what is collected."""
        if self._pieces:
            self._collect()
            pieces, self._pieces = self._pieces, []
            for name in self._columns:
                self._columns[name] = np.concatenate([piece[name] for piece in pieces])
            self._stop = len(self._columns["ts"])

    def _resize(self, count: int) -> None:
        """Move what is kept into new arrays, twice as large as is needed now.

        The old ones are left as they are, since whoever reads may look at them.
        """
        kept = {name: self._kept(name) for name in self._columns}
        self._first, self._stop = 0, len(kept["ts"])
        capacity = max(_FIRST_CAPACITY, 2 * (self._stop + count))
        for name, column in kept.items():
            self._columns[name] = np.empty(capacity, dtype=column.dtype)
            self._columns[name][: self._stop] = column

    def _read(self, name: str, place: int) -> NDArray[Any]:
        content = cast("OverflowFile", self._file).read(place)
        return np.frombuffer(content, dtype=self._columns[name].dtype)


class TradeHistory:
    """The closed trades, in columns.

    Args:
        limit: Keep this many of the last trades, in memory; None keeps all.
        file: Where the oldest trades go while it is active; None holds all in memory.
        held: Trades that stay in memory then, and that a frame holds.
    """

    types: frozenset[type[Event]] = frozenset({PositionClose})

    def __init__(
        self,
        limit: int | None = None,
        *,
        file: OverflowFile | None = None,
        held: int = HELD_TRADES,
    ) -> None:
        self._limit = limit
        self._file = None if limit is not None else file
        self._held = held
        self._pieces: deque[Block[PositionClose]] = deque()
        self._single: list[PositionClose] = []
        self._count = 0
        self._places: list[int] = []

    def fold(self, event: Event | Block[Any]) -> None:
        """Take one POSITION_CLOSE, or a block of them.

        Raises:
            StorageError: Older trades cannot be written; they and these stay in memory.
        """
        if isinstance(event, Block):
            self._collect()
            self._pieces.append(event.compact())
            self._count += len(event)
            if self._file is not None and self._file.active:
                _ = self._pieces[-1].columns  # what is computed later may hold on to bars till then
        elif isinstance(event, PositionClose):
            self._single.append(event)
            self._count += 1
            if len(self._single) == _SINGLE_TRADES:
                self._collect()
        if self._limit is not None:
            if self._surplus > self._limit // 8:  # since to drop some copies the others
                self._drop(self._surplus)
        elif self._count > self._held:
            self._move()

    def trades(self) -> Iterator[Trade]:
        """Return the trades there are now, in the order in which they closed.

        Trades that are closed meanwhile do not disturb it.

        Raises:
            StorageError: They cannot be read back.
        """
        self._collect()
        read_back = (self._read(place) for place in tuple(self._places))
        held = map(_columns, tuple(self._pieces))
        trades = chain.from_iterable(map(_trades, chain(read_back, held)))
        return islice(trades, self._surplus, None)

    def size_bytes(self) -> int:
        """Estimate the memory of what is held, by the first piece."""
        if not self._pieces:
            return _TRADE_BYTES * self._count
        first = self._pieces[0]
        return (first.size_bytes // max(len(first), 1) + _TRADE_BYTES) * self._count

    @property
    def _surplus(self) -> int:
        """How many trades there are beyond the limit."""
        return 0 if self._limit is None else max(0, self._count - self._limit)

    def _collect(self) -> None:
        """Put single trades into columns."""
        if self._single:
            self._pieces.append(Block.of(self._single))
            self._single = []

    def _drop(self, count: int) -> None:
        """Drop the oldest trades."""
        if not self._pieces:
            self._collect()
        self._count -= count
        while count:
            oldest = self._pieces.popleft()
            if len(oldest) > count:
                self._pieces.appendleft(oldest.slice(count, len(oldest)).copy())
            count -= min(count, len(oldest))
            if count and not self._pieces:
                self._collect()

    def _move(self) -> None:
        """Move whole frames of the oldest trades to the file, if that is wanted now."""
        file = self._file
        if file is None or not file.active:
            return
        self._collect()
        while self._count > self._held:
            columns = [list(chain.from_iterable(it)) for it in zip(*self._oldest(), strict=True)]
            self._places.extend(file.append(msgspec.msgpack.encode(columns, enc_hook=plain_number)))
            self._drop(self._held)

    def _oldest(self) -> Iterator[list[list[Any]]]:
        """Yield the columns of the trades that a frame takes, piece by piece."""
        wanted = self._held
        for piece in self._pieces:
            yield _columns(piece.slice(0, min(wanted, len(piece))))
            wanted -= len(piece)
            if wanted <= 0:
                return

    def _read(self, place: int) -> list[list[Any]]:
        file = cast("OverflowFile", self._file)
        return msgspec.msgpack.decode(file.read(place), type=list[list[Any]])


def _parts(chunks: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Cut chunks into parts that take little memory as Python's own objects."""
    for chunk in chunks:
        for start in range(0, len(chunk), _PART):
            yield chunk[start : start + _PART]


def _columns(closes: Block[PositionClose]) -> list[list[Any]]:
    """Return what trades are made of, a list for each field of `_TRADE_FIELDS`."""
    return [closes.listed(name) for name in _TRADE_FIELDS]


def _trades(columns: list[list[Any]]) -> list[Trade]:
    ids, symbols, sides, quantities, entries, exits, *others = columns
    times = (iso_utc_list(np.array(it, dtype=np.int64)) for it in (entries, exits))
    rows = zip(ids, symbols, sides, quantities, *times, *others, strict=True)
    return [Trade(*row) for row in rows]

"""Market data that several processes look at, and that none of them copies."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.containers.market_data import Bars, MarketData
from admf.containers.scratch import Scratch

__all__ = ["SharedData", "SharedDataAddress", "open_shared_data"]

_COLUMNS = ("ts", "open", "high", "low", "close", "volume")
_AT_ONCE = 1 << 20
_DESCRIPTORS = Path("/proc/self/fd")


class _Part(msgspec.Struct, frozen=True):
    """Where the bars of a symbol stand: six columns of 8 bytes a row, one after the other."""

    symbol: str
    start: int
    rows: int
    traded: bool


class SharedDataAddress(msgspec.Struct, frozen=True):
    """What a process needs to look at the data of another.

    Args:
        path: A file.
        parts: Where in it the bars stand.
        timeframe: Bar size, e.g. ``1d``.
        long: Whether the data are too long to be held in memory.
    """

    path: str
    parts: tuple[_Part, ...]
    timeframe: str | None
    long: bool


class SharedData:
    """Market data in a file without a name, which is gone with the last process that uses it.

    Where processes cannot look at each other's files, it has a name until it is closed.

    Args:
        data: The bars.
    """

    def __init__(self, data: MarketData) -> None:
        nameless = _DESCRIPTORS.is_dir()
        make = tempfile.TemporaryFile if nameless else tempfile.NamedTemporaryFile
        self._file: IO[bytes] = make(prefix="admf-")
        parts = _write(self._file, data)
        path = str(self._file.name)
        if nameless:
            path = f"/proc/{os.getpid()}/fd/{self._file.fileno()}"
        long = data.scratch is not None
        self.address = SharedDataAddress(path, parts, data.timeframe, long)

    def close(self) -> None:
        """Let go of the file; whoever has opened it keeps it."""
        self._file.close()


def open_shared_data(address: SharedDataAddress) -> MarketData:
    """Return market data whose arrays are read-only views of a shared file."""
    with Path(address.path).open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    bars = {part.symbol: _bars(content, part) for part in address.parts}
    scratch = None
    if address.long:
        scratch = Scratch()
        scratch.adopt(content)
    return MarketData(
        [bars[part.symbol] for part in address.parts if part.traded],
        extras=[bars[part.symbol] for part in address.parts if not part.traded],
        timeframe=address.timeframe,
        scratch=scratch,
    )


def _write(file: IO[bytes], data: MarketData) -> tuple[_Part, ...]:
    parts: list[_Part] = []
    start = 0
    for symbol in (*data.symbols, *data.extra_symbols):
        bars = data.bars(symbol)
        for name in _COLUMNS:
            column: NDArray[Any] = getattr(bars, name)
            for first in range(0, len(column), _AT_ONCE):
                file.write(column[first : first + _AT_ONCE].data)
                data.drop()
        parts.append(_Part(symbol, start, len(bars), symbol in data.symbols))
        start += len(_COLUMNS) * 8 * len(bars)
    if not start:
        file.write(bytes(1))
    file.flush()
    return tuple(parts)


def _bars(content: mmap.mmap, part: _Part) -> Bars:
    columns = [
        np.frombuffer(
            content,
            np.int64 if name == "ts" else np.float64,
            part.rows,
            part.start + number * 8 * part.rows,
        )
        for number, name in enumerate(_COLUMNS)
    ]
    return Bars(part.symbol, *columns)

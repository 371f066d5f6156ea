"""A ring buffer of events that also takes blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import cast

from admf.engine.block import Block
from admf.engine.events import Event
from admf.engine.footprint import estimate_bytes

__all__ = ["Ring"]

# A smaller block weighs more than its events do: each of its columns is an array with a header.
_SMALLEST_KEPT_BLOCK = 8


class Ring:
    """The last events of one type: single ones as they came, blocks as copies of their rows.

    Trimming skips rows of the oldest block; they are cut off once they exceed an eighth of
    ``size``, so that trimming stays cheap and the memory within that eighth of the bound.

    Args:
        size: Events to keep, at least one.

    Attributes:
        count: Events kept.
    """

    __slots__ = ("_pieces", "_size", "_skipped", "count")

    def __init__(self, size: int) -> None:
        self._size = size
        self._pieces: deque[Event | Block[Event]] = deque()
        self._skipped = 0
        self.count = 0

    def __iter__(self) -> Iterator[Event]:
        skipped = self._skipped
        for piece in self._pieces:
            if isinstance(piece, Block):
                # Unrolling a slice, because a block remembers the events it was unrolled to.
                yield from piece.slice(skipped, len(piece)).events()
            else:
                yield piece
            skipped = 0

    def append(self, event: Event) -> None:
        """Add one event, pushing out the oldest if the ring is full."""
        if self.count == self._size:
            self._drop(1)
        self._pieces.append(event)
        self.count += 1

    def extend(self, block: Block[Event]) -> None:
        """Add the rows of a block, pushing out the oldest events beyond ``size``."""
        if len(block) > self._size:
            block = block.slice(len(block) - self._size, len(block))
        if len(block) < _SMALLEST_KEPT_BLOCK:
            for event in block.events():
                self.append(event)
            return
        self._drop(max(0, self.count + len(block) - self._size))
        self._pieces.append(block.copy())
        self.count += len(block)

    def size_bytes(self) -> int:
        """Estimate the memory of the kept events and blocks."""
        return estimate_bytes(self._pieces, self.count + self._skipped)

    def _drop(self, rows: int) -> None:
        self.count -= rows
        while rows:
            front = self._pieces[0]
            length = len(front) - self._skipped if isinstance(front, Block) else 1
            if length > rows:
                self._skipped += rows
                break
            self._pieces.popleft()
            self._skipped = 0
            rows -= length
        if self._skipped > self._size // 8:
            block = cast("Block[Event]", self._pieces[0])
            self._pieces[0] = block.slice(self._skipped, len(block)).copy()
            self._skipped = 0

"""Columnar batches of events of several types, in the order in which they happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admf.engine.block import Block
from admf.engine.events import Envelope, Event

__all__ = ["Batch"]


class Batch:
    """Consecutive events of several types: one block for each type, and the order among them.

    Args:
        blocks: The events of each type, in their order; no type twice.
        order: uint8 (n,), for each event the index of the block that it is the next one of.
        causes: int64 (n,), for each event the index of the one in the batch that it follows from;
            -1 if it is none of them. -1 for all by default.
        sources: Id of the publisher of each block; empty by default.

    Raises:
        ValueError: The order does not fit the blocks.
    """

    __slots__ = ("blocks", "causes", "order", "sources")

    def __init__(
        self,
        blocks: Sequence[Block[Any]],
        order: NDArray[np.uint8],
        *,
        causes: NDArray[np.int64] | None = None,
        sources: Sequence[str] = (),
    ) -> None:
        self.blocks = tuple(blocks)
        self.order = order
        self.causes = causes
        self.sources: tuple[str, ...] = tuple(sources) or ("",) * len(self.blocks)
        lengths = [len(block) for block in self.blocks]
        if np.bincount(order, minlength=len(lengths)).tolist() != lengths:
            raise ValueError(f"the order of a batch does not fit its blocks: {self.blocks}")

    def __len__(self) -> int:
        return len(self.order)

    def __repr__(self) -> str:
        return f"<Batch of {', '.join(map(repr, self.blocks))}>"

    def __iter__(self) -> Iterator[Event]:
        """Yield the single events in their order."""
        streams: list[Iterator[Event]] = [iter(block) for block in self.blocks]
        codes: list[int] = self.order.tolist()
        return (next(streams[code]) for code in codes)

    def envelopes(self, first: int, cause: int) -> Iterator[Envelope]:
        """Yield the single events as a bus would number them.

        Args:
            first: Sequence number of the first.
            cause: Sequence number of what caused those that follow from none in the batch.
        """
        causes = [-1] * len(self) if self.causes is None else self.causes.tolist()
        codes: list[int] = self.order.tolist()
        rows = zip(self, codes, causes, strict=True)
        for seq, (event, code, before) in enumerate(rows, first):
            told = cause if before < 0 else first + before
            yield Envelope(seq, told, self.sources[code], event)

    def by_appearance(self) -> list[Block[Any]]:
        """Return the blocks in the order in which their first events come."""
        codes, firsts = np.unique(self.order, return_index=True)
        found: list[int] = codes[np.argsort(firsts)].tolist()
        return [self.blocks[code] for code in found]

    def of(self, types: tuple[type[Event], ...]) -> Batch | None:
        """Return the events of these types and their subclasses; None if there are none.

        What caused them is left out.
        """
        chosen = [i for i, block in enumerate(self.blocks) if issubclass(block.cls, types)]
        if not chosen:
            return None
        if len(chosen) == len(self.blocks):
            return self
        codes = np.full(len(self.blocks), len(chosen), dtype=np.uint8)
        codes[chosen] = np.arange(len(chosen))
        order = codes[self.order]
        sources = [self.sources[i] for i in chosen]
        return Batch([self.blocks[i] for i in chosen], order[order < len(chosen)], sources=sources)

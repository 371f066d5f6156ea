"""Columnar batches of events of several types, in the order in which they happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from admf.engine.block import Block
from admf.engine.events import Envelope, Event

__all__ = ["Arrangement", "Batch"]


class Arrangement(NamedTuple):
    """The order among the events of a batch; see `Batch`.

    Args:
        order: uint8 (n,).
        causes: int64 (n,), or None.
    """

    order: NDArray[np.uint8]
    causes: NDArray[np.int64] | None


class Batch:
    """Consecutive events of several types: one block for each type, and the order among them.

    Args:
        blocks: The events of each type, in their order; no type twice.
        order: uint8 (n,), for each event the index of the block that it is the next one of.
        causes: int64 (n,), for each event the index of the one in the batch that it follows from;
            -1 if it is none of them. -1 for all by default.
        sources: Id of the publisher of each block; empty by default.

    Attributes:
        in_turn: Whether it is known that all events of a correlation come before those of the next,
            the one that closes it last, and that the ids of correlations are columns over the same
            values, in this order and no others.

    Raises:
        ValueError: The order does not fit the blocks.
    """

    __slots__ = ("_arrange", "_arrangement", "_length", "blocks", "in_turn", "sources")

    def __init__(
        self,
        blocks: Sequence[Block[Any]],
        order: NDArray[np.uint8],
        *,
        causes: NDArray[np.int64] | None = None,
        sources: Sequence[str] = (),
    ) -> None:
        self._arrange: Callable[[], Arrangement] | None = None
        self._arrangement = Arrangement(order, causes)
        self._take(blocks, sources, in_turn=False)
        lengths = [len(block) for block in self.blocks]
        if np.bincount(order, minlength=len(lengths)).tolist() != lengths:
            raise ValueError(f"the order of a batch does not fit its blocks: {self.blocks}")

    @classmethod
    def arranged_later(
        cls,
        blocks: Sequence[Block[Any]],
        arrange: Callable[[], Arrangement],
        *,
        sources: Sequence[str] = (),
        in_turn: bool = False,
    ) -> Batch:
        """Return a batch whose order is computed only if somebody wants to know it.

        Args:
            blocks: As for `Batch`.
            arrange: Returns an order that fits them.
            sources: As for `Batch`.
            in_turn: Likewise.
        """
        batch: Batch = object.__new__(cls)
        batch._arrange = arrange
        batch._take(blocks, sources, in_turn=in_turn)
        return batch

    def _take(self, blocks: Sequence[Block[Any]], sources: Sequence[str], *, in_turn: bool) -> None:
        self.blocks = tuple(blocks)
        self.sources: tuple[str, ...] = tuple(sources) or ("",) * len(self.blocks)
        self.in_turn = in_turn
        self._length = sum(map(len, self.blocks))

    @property
    def order(self) -> NDArray[np.uint8]:
        """uint8 (n,), for each event the index of the block that it is the next one of."""
        return self._arranged().order

    @property
    def causes(self) -> NDArray[np.int64] | None:
        """int64 (n,), for each event the index of the one that it follows from, or -1."""
        return self._arranged().causes

    def _arranged(self) -> Arrangement:
        if self._arrange is not None:
            self._arrangement, self._arrange = self._arrange(), None
        return self._arrangement

    def __len__(self) -> int:
        return self._length

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
        order, known = self._arranged()
        causes = [-1] * len(self) if known is None else known.tolist()
        codes: list[int] = order.tolist()
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

        def arrange() -> Arrangement:
            codes = np.full(len(self.blocks), len(chosen), dtype=np.uint8)
            codes[chosen] = np.arange(len(chosen))
            order = codes[self.order]
            return Arrangement(order[order < len(chosen)], None)

        return Batch.arranged_later(
            [self.blocks[i] for i in chosen],
            arrange,
            sources=[self.sources[i] for i in chosen],
            in_turn=self.in_turn,
        )

"""Counts of what led to fills, and of what was refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

from admf.containers.events import Cancel, Fill, Order, Reject, Signal
from admf.engine.block import Block
from admf.engine.events import Event

__all__ = ["ActivityCounts"]


class ActivityCounts:
    """Counts signals, orders, cancels and fills, and the rejects by reason."""

    types: frozenset[type[Event]] = frozenset({Signal, Order, Cancel, Fill, Reject})

    def __init__(self) -> None:
        self._counts: dict[type[Any], int] = {Signal: 0, Order: 0, Cancel: 0, Fill: 0}
        self._rejects: Counter[str] = Counter()

    def fold(self, event: Event | Block[Any]) -> None:
        """Take an event, or a block of events."""
        if isinstance(event, Reject):
            self._rejects[event.reason] += 1
        elif not isinstance(event, Block):
            self._count(type(event), 1)
        elif issubclass(event.cls, Reject):
            self._rejects.update(event.column("reason").tolist())
        else:
            self._count(event.cls, len(event))

    def values(self) -> dict[str, int]:
        """Return how many events there were of each kind but rejects."""
        names = ("signals", "orders", "cancels", "fills")
        return dict(zip(names, self._counts.values(), strict=True))

    def rejects(self) -> dict[str, int]:
        """Return the refused orders by reason."""
        return dict(sorted(self._rejects.items()))

    def _count(self, cls: type[Any], events: int) -> None:
        if cls not in self._counts:
            cls = next(base for base in self._counts if issubclass(cls, base))
        self._counts[cls] += events

from __future__ import annotations

from admf.containers.events import Cancel, Fill, Order, Reject, Signal
from admf.containers.metrics.activity import ActivityCounts
from admf.engine.block import Block


class Nudge(Signal, frozen=True, gc=False, tag="NUDGE"):
    """A signal of another kind."""


FILL = Fill(1, "A", 1, "p1", "buy", 1.0, 10.0, 0.0, 0.0, "open", "signal")
EVENTS = [
    Signal(1, "A", "close"),
    Signal(2, "A", "close"),
    Nudge(3, "A", "close"),
    Order(3, "A", 1, "buy"),
    Cancel(4, "A", 1, "expired"),
    FILL,
    Reject(5, "A", 2, "max_position"),
    Reject(6, "A", 3, "max_leverage"),
    Reject(7, "B", 4, "max_position"),
]


def test_events_are_counted_by_kind_and_rejects_by_reason() -> None:
    counts = ActivityCounts()
    for event in EVENTS:
        counts.fold(event)
    assert counts.values() == {"signals": 3, "orders": 1, "cancels": 1, "fills": 1}
    assert list(counts.rejects().items()) == [("max_leverage", 1), ("max_position", 2)]


def test_a_block_counts_as_its_events_do() -> None:
    counts = ActivityCounts()
    counts.fold(Block.of([Reject(1, "A", 1, "a"), Reject(2, "A", 2, "b")]))
    counts.fold(Block.of([FILL, FILL]))
    assert counts.rejects() == {"a": 1, "b": 1}
    assert counts.values()["fills"] == 2


def test_nothing_is_counted_as_zero() -> None:
    counts = ActivityCounts()
    assert counts.values() == {"signals": 0, "orders": 0, "cancels": 0, "fills": 0}
    assert counts.rejects() == {}

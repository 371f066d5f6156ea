from __future__ import annotations

from collections import deque
from typing import Any, ClassVar, get_args

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.block import Block
from admf.engine.errors import QueueFullError
from admf.engine.events import Envelope, Event
from admf.engine.queues import BoundedQueue, Overflow, bounded_queue, weight


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    key_field: ClassVar[str | None] = "symbol"

    symbol: str = "A"


def envelope(seq: int, symbol: str = "A") -> Envelope:
    return Envelope(seq, 0, "", Tick(seq, symbol))


def block(seq: int, length: int) -> Envelope:
    return Envelope(seq, 0, "", Block(Tick, {"ts": np.arange(length), "symbol": "A"}))


def drain(queue: BoundedQueue) -> list[int]:
    seqs: list[int] = []
    while (head := queue.take()) is not None:
        seqs.append(head.seq)
        queue.done()
    return seqs


def test_the_head_stays_until_it_is_done():
    queue = bounded_queue(2, "fail")
    first, second = envelope(1), envelope(2)
    queue.put(first)
    queue.put(second)
    assert queue.take() is queue.take() is first
    assert (queue.size, queue.full) == (2, False)
    queue.done()
    assert (queue.size, queue.take()) == (1, second)
    queue.done()
    queue.done()
    assert (queue.size, queue.take()) == (0, None)


def test_the_head_in_hand_is_neither_dropped_nor_in_the_way():
    queue = bounded_queue(1, "drop_oldest")
    for seq in (1, 2, 3):
        queue.put(envelope(seq))
        queue.take()
    assert drain(queue) == [1, 3]


def test_blocks_weigh_what_they_hold():
    queue = bounded_queue(2, "drop_oldest")
    queue.put(block(1, 3))
    queue.put(block(4, 5))
    assert (weight(block(1, 3).event), weight(Tick(1)), queue.size) == (3, 1, 8)
    dropped = queue.put(envelope(9))
    assert dropped is not None
    assert (dropped.seq, queue.dropped, queue.size) == (1, 3, 6)
    queue.take()
    queue.clear()
    assert (queue.dropped, queue.size) == (4, 5)
    assert drain(queue) == [4]


@pytest.mark.parametrize("overflow", ["block", "fail"])
def test_a_full_queue_that_may_not_drop_raises_and_stays_as_it_was(overflow: Overflow):
    queue = bounded_queue(1, overflow)
    queue.put(envelope(1))
    with pytest.raises(QueueFullError):
        queue.put(envelope(2))
    assert (queue.size, queue.dropped) == (1, 0)
    assert drain(queue) == [1]


@pytest.mark.parametrize(("maxsize", "overflow"), [(0, "block"), (-1, "fail"), (1, "keep_all")])
def test_impossible_settings_are_refused(maxsize: int, overflow: Any):
    with pytest.raises(ValueError, match="must be"):
        bounded_queue(maxsize, overflow)


@pytest.mark.anyio
@pytest.mark.parametrize("wait", ["wait_for_room", "wait_for_item"])
@pytest.mark.parametrize("wake", ["change", "close"])
async def test_all_who_wait_wake_up(wait: str, wake: str):
    queue = bounded_queue(1, "block")
    if wait == "wait_for_room":
        queue.put(envelope(1))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(getattr(queue, wait))
            await anyio.wait_all_tasks_blocked()
            if wake == "close":
                queue.close()
            elif wait == "wait_for_room":
                queue.take()
            else:
                queue.put(envelope(1))
        await getattr(queue, wait)()


@pytest.mark.anyio
async def test_who_finds_the_queue_full_again_waits_on():
    queue = bounded_queue(1, "block")
    queue.put(envelope(1))
    done: list[str] = []

    async def wait() -> None:
        await queue.wait_for_room()
        done.append("room")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        queue.take()
        queue.put(envelope(2))
        await anyio.wait_all_tasks_blocked()
        assert done == []
        queue.done()
        queue.take()
    assert done == ["room"]


MOVES = st.lists(
    st.one_of(st.sampled_from("ABC"), st.just("take"), st.just("done"), st.just("block")),
    max_size=60,
)


@given(maxsize=st.integers(1, 4), overflow=st.sampled_from(get_args(Overflow)), moves=MOVES)
def test_any_use_matches_a_naive_queue(maxsize: int, overflow: Overflow, moves: list[str]):
    queue = bounded_queue(maxsize, overflow)
    waiting: deque[Envelope] = deque()
    head: Envelope | None = None
    put = dropped = done = 0
    for seq, move in enumerate(moves, start=1):
        if move == "take":
            head = head or (waiting.popleft() if waiting else None)
            assert queue.take() is head
        elif move == "done":
            done += weight(head.event) if head else 0
            head = None
            queue.done()
        else:
            new = block(seq, 2) if move == "block" else envelope(seq, move)
            fitted, lost = naive_put(waiting, maxsize, overflow, new)
            if fitted:
                assert queue.put(new) is lost
            else:
                with pytest.raises(QueueFullError):
                    queue.put(new)
            put += weight(new.event) if fitted else 0
            dropped += weight(lost.event) if lost else 0
        assert len(waiting) <= maxsize
        assert queue.dropped == dropped
        assert put == done + dropped + queue.size
    assert drain(queue) == [item.seq for item in ([head] if head else []) + [*waiting]]


def naive_put(
    waiting: deque[Envelope], maxsize: int, overflow: Overflow, new: Envelope
) -> tuple[bool, Envelope | None]:
    """Return whether it fits, and what was dropped for it."""
    if overflow == "coalesce" and isinstance(new.event, Tick):
        same = [
            e for e in waiting if isinstance(e.event, Tick) and e.event.symbol == new.event.symbol
        ]
        if same:
            waiting.remove(same[0])
            waiting.append(new)
            return True, same[0]
    if len(waiting) < maxsize:
        waiting.append(new)
        return True, None
    if overflow in ("fail", "block"):
        return False, None
    if overflow == "drop_newest":
        return True, new
    waiting.append(new)
    return True, waiting.popleft()


def test_a_queue_that_a_failure_closed_keeps_that_error_when_it_is_closed_again() -> None:
    queue = bounded_queue(1, "fail")
    error = QueueFullError("full")
    queue.close(error)
    queue.close()
    assert queue.error is error

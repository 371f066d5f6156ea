from __future__ import annotations

from collections.abc import Callable

import anyio
import numpy as np
import pytest

from admf.engine.events import Event, SourceConnected
from admf.engine.sources.backoff import Backoff
from admf.engine.sources.connected import ConnectedSource, describe
from tests.engine.sources.feed import PromptClock

pytestmark = pytest.mark.anyio


class Wire(ConnectedSource[None]):
    """A source whose connection is torn when a test says so."""

    def __init__(self) -> None:
        super().__init__("wire", Backoff(), PromptClock(), None)
        self.torn = anyio.Event()

    async def _connect(self) -> None:
        pass

    async def _read(self) -> None:
        await self.torn.wait()
        raise ConnectionError("torn")

    async def _disconnect(self) -> None:
        pass

    def _is_transient(self, error: Exception) -> bool:
        return True


async def test_a_connection_that_is_torn_while_the_source_is_closed_is_not_told() -> None:
    wire = Wire()
    seen: list[Event] = []

    async def read() -> None:
        async for event in wire:
            seen.append(event)  # noqa: PERF401 - seen while it is read

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        wire.torn.set()
        await wire.aclose()
    assert seen == [SourceConnected(7, "wire", 1)]


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (10_000, 30.0)]
)
async def test_waits_double_up_to_the_cap_and_are_partly_random(
    failures: int, longest: float
) -> None:
    jitter = np.random.default_rng(3)
    waits = [Backoff().wait_s(failures, jitter) for _ in range(200)]
    assert longest / 2 <= min(waits) < longest * 0.6
    assert longest * 0.9 < max(waits) <= longest
    assert Backoff(jitter=0).wait_s(failures, jitter) == longest


@pytest.mark.parametrize(
    ("most", "over"), [(None, []), (1, [1, 2, 3]), (3, [3])], ids=["never", "at once", "later"]
)
async def test_failures_in_a_row_are_limited_only_if_they_are_to_be(
    most: int | None, over: list[int]
) -> None:
    backoff = Backoff(max_failures=most)
    assert [failures for failures in (1, 2, 3) if backoff.is_over(failures)] == over


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ValueError("no\n  good"), "ValueError: no good"),
        (TimeoutError, "TimeoutError"),
        (lambda: KeyError("x" * 1_000), f"KeyError: '{'x' * 489}..."),
    ],
)
async def test_an_error_is_described_on_one_line(make: Callable[[], Exception], text: str) -> None:
    assert describe(make()) == text

from __future__ import annotations

import anyio
import pytest
import structlog
from structlog.contextvars import get_contextvars, merge_contextvars
from structlog.testing import LogCapture

from admf.engine.events import Event
from admf.engine.observers import LogContext
from admf.engine.observing import Observers
from tests.engine.conftest import Ping

pytestmark = pytest.mark.anyio


@pytest.fixture
def lines() -> list[dict[str, object]]:
    """The lines of a host that merges context variables into them."""
    capture = LogCapture()
    structlog.configure(processors=[merge_contextvars, capture])
    return capture.entries


async def test_lines_of_handlers_and_the_line_of_the_window_carry_the_ids(
    make_window, chain, lines
):
    async def say(_: Event) -> None:
        structlog.get_logger().info("seen")
        async with anyio.create_task_group() as group:
            group.start_soon(say_more)

    async def say_more() -> None:
        structlog.get_logger().info("more")

    def build(builder):
        chain()(builder)
        builder.bus.subscribe(Ping, say)

    observers = [LogContext()]
    with Observers(observers).activity("run", "r1"), Observers(observers).activity("phase", "p1"):
        async with make_window(build, observers=observers) as window:
            await window.run()
        structlog.get_logger().info("between")
    ids = {"run_id": "r1", "phase": "p1"}
    said = [(line["event"], {k: line.get(k) for k in (*ids, "window_id")}) for line in lines]
    within = ids | {"window_id": "w1"}
    assert said == [
        *[("seen", within), ("more", within)] * 3,
        ("window_closed", within | {"phase": "phase"}),  # which says by itself what it is about
        ("between", ids | {"window_id": None}),
    ]
    assert get_contextvars() == {}


async def test_the_hosts_other_tasks_see_nothing_of_it(make_window, chain, lines):
    seen: list[dict[str, object]] = []

    async def look(_: Event) -> None:
        inside.set()
        await looked.wait()

    def build(builder):
        chain()(builder)
        builder.bus.subscribe(Ping, look)

    async def run() -> None:
        async with make_window(build, observers=[LogContext()]) as window:
            await window.run()

    inside, looked = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await inside.wait()
        seen.append(get_contextvars())
        looked.set()
    assert seen == [{}]

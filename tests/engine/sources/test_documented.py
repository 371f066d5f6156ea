"""What the chapter on sources shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from admf.engine.bus import Bus
from admf.engine.events import Event, SourceConnected
from admf.engine.testing import RecordingContainer
from tests.engine.sources.feed import says, served
from tests.engine.sources.server import RedisServer

pytestmark = pytest.mark.anyio

GUIDE = Path(__file__).parents[3] / "docs" / "embedding.md"
TICK = '{"event": "TICK", "ts": 1767225600000000000, "number": 1, "price": 42.0}'


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """What the code of the chapter defines."""
    text = GUIDE.read_text(encoding="utf-8")
    (chapter,) = re.findall(r"^## Sources\n(.*?)(?=^## |\Z)", text, flags=re.DOTALL | re.MULTILINE)
    assert TICK in chapter
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", chapter, flags=re.DOTALL):
        exec(compile(code, "embedding.md", "exec"), names)  # noqa: S102 - our own documents
    return names


@pytest.fixture
def bus_and_seen() -> tuple[Bus, list[Event]]:
    bus = Bus()
    seen: list[Event] = []
    bus.subscribe(Event, seen.append)
    return bus, seen


async def test_the_websocket_example_follows_a_feed(shown, bus_and_seen) -> None:
    bus, seen = bus_and_seen
    async with served(says(TICK)) as url:
        await shown["follow"](url, bus)
    assert shown["Tick"](1767225600000000000, 1, 42.0) in seen


async def test_the_redis_examples_publish_and_consume(
    shown, bus_and_seen, make_window, client: Redis, shared_server: RedisServer
) -> None:
    bus, seen = bus_and_seen
    tick = shown["Tick"](5, 1, 42.0)

    def build(builder) -> None:
        shown["publish"](builder, shared_server.url)
        data = RecordingContainer("data", scope=builder.bus, publishes=[tick])
        builder.add(data)

    async with make_window(build) as window:
        await window.run()
    await shown["consume"](shared_server.url, bus, 2)
    assert isinstance(seen[0], SourceConnected)
    assert seen[1:] == [tick]
    assert (await client.xpending("ticks", "desk"))["pending"] == 0

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import msgspec
import numpy as np
import pytest
from redis.asyncio import Redis

from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.errors import QueueFullError, SourceError
from admf.engine.events import Event, WindowEnd, WindowStart
from admf.engine.sources import (
    Backoff,
    RedisPublisher,
    RedisPublisherSettings,
    RedisStreamSettings,
    RedisStreamSource,
)
from admf.engine.storage import MemoryStorage
from admf.engine.testing import RecordingContainer
from tests.engine.sources.feed import Note, PromptClock, Tick
from tests.engine.sources.server import RedisServer

pytestmark = pytest.mark.anyio

SETTINGS = RedisPublisherSettings(stream="out", flush_timeout_s=5)


class Odd(Event, frozen=True, gc=False, tag="ODD"):
    value: Any


class Publishing:
    """A window in which one container publishes events and another passes them to Redis."""

    def __init__(self, make_window: Callable[..., Any], redis: Redis | str, *events: Any) -> None:
        self.storage = MemoryStorage()
        self._make_window = make_window
        self._redis = redis
        self._events = events

    async def run(self, settings=SETTINGS, types=(Tick, Note, Odd), **options: Any) -> Any:
        def build(builder) -> None:
            self.publisher = builder.add(
                RedisPublisher("out", self._redis, types, settings, scope=builder.bus, **options)
            )
            builder.add(
                RecordingContainer(
                    "data", scope=builder.bus, publishes=self._events, depends_on=["out"]
                )
            )

        window = self._make_window(build, self.storage)
        async with window:
            await window.run()
        self.summary = window.summary
        files = await self.storage.list_files("phase/w1")
        [path] = [it for it in files if "containers/out" in it]
        return json.loads(await self.storage.read(path))


@pytest.fixture
def publishing(make_window, client: Redis) -> Callable[..., Publishing]:
    return lambda *events: Publishing(make_window, client, *events)


def numbers(entries: list[Any]) -> list[int]:
    return [json.loads(fields[b"event"])["number"] for _, fields in entries]


async def test_the_selected_events_of_a_window_are_published_in_order(publishing, client) -> None:
    events = [Tick(number, number) for number in range(300)]
    results = await publishing(*events, Note(9, "x")).run(types=[Tick])
    entries = await client.xrange("out")
    assert numbers(entries) == [*range(300)]
    assert [fields[b"ts"] for _, fields in entries[:2]] == [b"0", b"1"]
    assert results | {"sent": 300, "dropped": 0, "unsendable": 0, "unsent": 0} == results


async def test_what_the_window_says_at_its_end_is_published_too(publishing, client) -> None:
    await publishing().run(types=[WindowStart, WindowEnd])
    names = [json.loads(fields[b"event"])["event"] for _, fields in await client.xrange("out")]
    assert names == ["WINDOW_START", "WINDOW_END"]


async def test_the_events_of_a_block_are_published_one_by_one(publishing, client) -> None:
    await publishing(Block.of([Tick(0, number) for number in range(9)])).run()
    assert numbers(await client.xrange("out")) == [*range(9)]


async def test_a_source_reads_what_was_published(publishing, client) -> None:
    events = [Tick(5, 1), Note(6, "x")]
    await publishing(*events).run()
    settings = RedisStreamSettings(streams=("out",), group="g", consumer="c", block_ms=10)
    source = RedisStreamSource(client, [Tick, Note], settings)
    await anext(source)
    assert [await anext(source), await anext(source)] == events
    await source.aclose()


async def test_the_stream_is_kept_to_its_length(publishing, client) -> None:
    settings = msgspec.structs.replace(SETTINGS, max_length=50)
    await publishing(*(Tick(0, number) for number in range(1_000))).run(settings)
    assert await client.xlen("out") < 400


async def test_numpy_values_are_published_and_what_has_no_json_form_is_counted(
    publishing, client
) -> None:
    values = [np.float64(0.5), np.arange(3), object(), np.datetime64("2026-01-01"), 1]
    results = await publishing(*(Odd(0, value) for value in values)).run()
    found = [json.loads(fields[b"event"])["value"] for _, fields in await client.xrange("out")]
    assert found == [0.5, [0, 1, 2], "2026-01-01", 1]
    assert (results["sent"], results["unsendable"]) == (4, 1)


async def test_without_a_server_the_bus_goes_on_and_the_results_tell_the_loss(
    make_window, keeping_server: RedisServer
) -> None:
    keeping_server.kill()
    settings = RedisPublisherSettings(
        stream="out", maxsize=10, batch=5, flush_timeout_s=0.02, backoff=Backoff(first_s=60)
    )
    events = [Tick(0, number) for number in range(100)]
    results = await Publishing(make_window, keeping_server.url, *events).run(settings)
    assert results["status"] == "completed"
    assert results["sent"] == 0
    assert results["dropped"] + results["unsent"] == 100
    assert 10 <= results["unsent"] <= 15


async def test_what_failed_is_sent_once_the_server_is_back(
    make_window, keeping_server: RedisServer
) -> None:
    class RevivingClock(PromptClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if len(self.waits) == 2:
                keeping_server.start()

    keeping_server.kill()
    publishing = Publishing(make_window, keeping_server.url, *(Tick(0, it) for it in range(30)))
    results = await publishing.run(clock=RevivingClock())
    assert results["sent"] == 30
    async with Redis.from_url(keeping_server.url) as client:
        assert numbers(await client.xrange("out")) == [*range(30)]


async def test_a_publisher_that_gives_up_fails_and_holds_nobody(
    make_window, keeping_server: RedisServer
) -> None:
    keeping_server.kill()
    settings = RedisPublisherSettings(
        stream="out", maxsize=3, overflow="block", batch=2, backoff=Backoff(max_failures=2)
    )
    publishing = Publishing(make_window, keeping_server.url, *(Tick(0, it) for it in range(30)))
    results = await publishing.run(settings, clock=PromptClock())
    assert results["status"] == "failed"
    assert isinstance(publishing.publisher.error, SourceError)
    assert "attempt 2" in str(publishing.publisher.error)


async def test_a_queue_that_may_not_overflow_fails_the_publisher_when_it_does(publishing) -> None:
    settings = RedisPublisherSettings(stream="out", maxsize=3, overflow="fail")
    publishing = publishing(Block.of([Tick(0, number) for number in range(50)]))
    results = await publishing.run(settings)
    assert results["status"] == "failed"
    assert isinstance(publishing.publisher.error, QueueFullError)


async def test_what_is_no_stream_fails_the_publisher(publishing, client) -> None:
    await client.set("out", "x")
    work = publishing(Tick(0, 1))
    results = await work.run()
    assert (results["status"], results["unsent"]) == ("failed", 1)
    assert "WRONGTYPE" in str(work.publisher.error)


async def test_a_publisher_that_never_started_is_released_all_the_same(client) -> None:
    async def write(document) -> None:
        raise AssertionError

    bus = Bus()
    publisher = RedisPublisher("out", client, Tick, SETTINGS, scope=bus)
    publisher.fail(ValueError("never started"))
    await publisher.cleanup(write)
    assert publisher.results().body["sent"] == 0
    await bus.aclose()


async def test_a_cancelled_window_publishes_what_was_on_the_bus(make_window, client) -> None:
    ready = anyio.Event()

    class Endless(RecordingContainer):
        async def run(self) -> None:
            self.scope.publish(Tick(0, 1), self.id)
            ready.set()
            await anyio.sleep_forever()

    def build(builder) -> None:
        builder.add(RedisPublisher("out", client, Tick, SETTINGS, scope=builder.bus))
        builder.add(Endless("data", scope=builder.bus, depends_on=["out"]))

    window = make_window(build)
    async with anyio.create_task_group() as group, window:
        group.start_soon(window.run)
        await ready.wait()
    assert numbers(await client.xrange("out")) == [1]
    assert window.summary.status == "cancelled"

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

import anyio
import msgspec
import pytest
import redis.asyncio
from redis.asyncio import Redis

from admf.engine.bus import Bus
from admf.engine.errors import ConfigError, SourceError, StateError
from admf.engine.events import (
    Event,
    SourceConnected,
    SourceEvent,
    SourceHeld,
    SourceLost,
    SourceRejected,
)
from admf.engine.retention import SlidingWindow
from admf.engine.sources import (
    AcknowledgedSource,
    Backoff,
    RedisPosition,
    RedisStreamSettings,
    RedisStreamSource,
)
from admf.engine.tracer import EventTracer
from tests.engine.sources.feed import Note, PromptClock, Tick, json
from tests.engine.sources.server import RedisServer

pytestmark = pytest.mark.anyio

QUICK = RedisStreamSettings(
    streams=("feed",), group="desk", consumer="one", block_ms=20, batch=7, claim_idle_s=None
)


def source_of(redis: Redis | str, settings: RedisStreamSettings = QUICK, **options):
    options.setdefault("events", [Tick, Note])
    options.setdefault("clock", PromptClock())
    return RedisStreamSource(redis, settings=settings, **options)


def with_(**changes: object) -> RedisStreamSettings:
    return msgspec.structs.replace(QUICK, **changes)


async def add(client: Redis, *numbers: int, stream: str = "feed") -> None:
    for number in numbers:
        await client.xadd(stream, {"event": json(Tick(0, number))})


async def take(source: RedisStreamSource, count: int) -> list[Event]:
    """Return the next events of the stream, but not those about the source itself."""
    found: list[Event] = []
    with anyio.fail_after(10):
        while len(found) < count:
            event = await anext(source)
            if not isinstance(event, SourceEvent):
                found.append(event)
    return found


async def told(source: RedisStreamSource, kind: type[SourceEvent]) -> SourceEvent:
    """Return the next event of a kind that the source tells about itself."""
    with anyio.fail_after(10):
        while not isinstance(event := await anext(source), kind):
            pass
    return event


async def pending(client: Redis, stream: str = "feed") -> int:
    return (await client.xpending(stream, "desk"))["pending"]


def numbers(events: list[Event]) -> list[int]:
    return [event.number for event in events if isinstance(event, Tick)]


@asynccontextmanager
async def gone(source: RedisStreamSource) -> AsyncIterator[RedisStreamSource]:
    """Let a source vanish, as with its process: what it has not acknowledged stays so."""
    async with aclosing(source):
        yield source


async def test_entries_become_events_in_their_order(client: Redis) -> None:
    await add(client, *range(20))
    async with aclosing(source_of(client)) as source:
        assert isinstance(source, AcknowledgedSource)
        first = await anext(source)
        assert first == SourceConnected(7, "feed", 1)
        assert numbers(await take(source, 20)) == [*range(20)]
        await add(client, 20)
        assert numbers(await take(source, 1)) == [20]


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": 2},
        {"protocol": 3},
        {"protocol": 3, "legacy_responses": False},
        {"decode_responses": True},
    ],
)
async def test_any_client_will_do(
    client: Redis, shared_server: RedisServer, options: dict[str, object]
) -> None:
    await add(client, 1, 2)
    settings = with_(claim_idle_s=0)
    async with Redis.from_url(shared_server.url, **options) as other:
        async with aclosing(source_of(other, settings)) as source:
            assert numbers(await take(source, 2)) == [1, 2]
            await source.acknowledge(source.position)
        assert await other.ping()  # a client stays its owner's
    assert await pending(client) == 0


async def test_what_is_acknowledged_is_done_and_the_rest_stays_pending(client: Redis) -> None:
    await add(client, *range(5))
    async with aclosing(source_of(client)) as source:
        await take(source, 2)
        position = source.position
        second = (await client.xrange("feed"))[1][0].decode()
        assert position == RedisPosition(2, "feed", second)
        await take(source, 2)
        await source.acknowledge(position)
        assert await pending(client) == 3  # the fifth has been read with the others
        assert source.unacknowledged == 3
        await source.acknowledge(position)
        await source.acknowledge(source.position)
        assert await pending(client) == 1


async def test_a_position_that_it_never_had_is_refused(client: Redis) -> None:
    async with aclosing(source_of(client)) as source:
        for position in (RedisPosition(1, "feed", "1-0"), 0):
            with pytest.raises(StateError, match="give it a position that it had"):
                await source.acknowledge(position)


async def test_after_a_restart_the_unacknowledged_comes_first(client: Redis) -> None:
    await add(client, *range(30))
    async with gone(source_of(client)) as before:
        await take(before, 5)
        await before.acknowledge(before.position)
        await take(before, 15)
    await add(client, 30)
    async with aclosing(source_of(client)) as after:
        assert numbers(await take(after, 26)) == [*range(5, 31)]
        await after.acknowledge(after.position)
    assert await pending(client) == 0


async def test_the_entries_of_a_dead_consumer_are_taken_over(client: Redis) -> None:
    await add(client, *range(20))
    async with gone(source_of(client, with_(consumer="dead"))) as dead:
        await take(dead, 20)
    settings = with_(claim_idle_s=0)
    async with aclosing(source_of(client, settings)) as source:
        assert numbers(await take(source, 20)) == [*range(20)]
        await source.acknowledge(source.position)
    assert await pending(client) == 0


async def test_the_dead_are_looked_for_again_as_time_goes_by(client: Redis) -> None:
    clock = PromptClock()
    async with aclosing(source_of(client, with_(claim_idle_s=0), clock=clock)) as source:
        await add(client, 1)
        await take(source, 1)
        async with gone(source_of(client, with_(consumer="dead"))) as dead:
            await add(client, 2)
            await take(dead, 1)
        await add(client, 3)
        assert numbers(await take(source, 1)) == [3]  # it is not time yet
        clock.waits.append(1.0)
        assert numbers(await take(source, 1)) == [2]


async def test_its_own_entries_are_not_yielded_again_when_they_are_idle(client: Redis) -> None:
    clock = PromptClock()
    async with aclosing(source_of(client, with_(claim_idle_s=0), clock=clock)) as source:
        for number in range(4):
            await add(client, number)
            assert numbers(await take(source, 1)) == [number]
            clock.waits.append(1.0)


async def test_several_streams_are_read_side_by_side(client: Redis) -> None:
    await add(client, 1, 2, stream="a")
    await add(client, 3, 4, stream="b")
    async with aclosing(source_of(client, with_(streams=("a", "b")))) as source:
        assert sorted(numbers(await take(source, 4))) == [1, 2, 3, 4]
        await source.acknowledge(source.position)
    assert [await pending(client, it) for it in "ab"] == [0, 0]


@pytest.mark.parametrize(("start", "expected"), [("0", [1, 2]), ("$", [2])])
async def test_a_new_group_begins_where_it_is_told_to(
    client: Redis, start: str, expected: list[int]
) -> None:
    await add(client, 1)
    async with aclosing(source_of(client, with_(start=start))) as source:
        await told(source, SourceConnected)
        await add(client, 2)
        assert numbers(await take(source, len(expected))) == expected


async def test_an_entry_with_several_events_is_done_when_all_are_yielded(client: Redis) -> None:
    def decode(payload: bytes) -> list[Tick]:
        return [Tick(0, int(part)) for part in payload.split()]

    for payload in ("1 2 3", "", "4"):
        await client.xadd("feed", {"event": payload})
    async with aclosing(source_of(client, events=decode)) as source:
        await take(source, 2)
        assert source.position == RedisPosition()
        assert numbers(await take(source, 1)) == [3]
        assert source.position.entries == 1
        assert numbers(await take(source, 1)) == [4]
        assert source.position.entries == 3  # of the second there was nothing to yield


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"event": "{"}, "DecodeError"),
        ({"event": '{"event":"OTHER","ts":1}'}, "Invalid value 'OTHER'"),
        ({"price": "1"}, "it has no field 'event', only price"),
    ],
)
async def test_an_entry_that_gives_no_event_is_told_counted_and_acknowledged(
    client: Redis, fields: dict[str, str], error: str
) -> None:
    await client.xadd("feed", fields)
    await add(client, 1)
    async with aclosing(source_of(client)) as source:
        rejected = await told(source, SourceRejected)
        assert error in rejected.error
        assert (rejected.total, source.rejected) == (1, 1)
        assert numbers(await take(source, 1)) == [1]
        await source.acknowledge(source.position)
    assert await pending(client) == 0


async def test_an_entry_that_gives_no_event_can_go_to_a_stream_for_the_dead(client: Redis) -> None:
    entry_id = await client.xadd("feed", {"event": "{", "by": "me"})
    async with aclosing(source_of(client, with_(dead_letter_stream="dead"))) as source:
        await told(source, SourceRejected)
    [(_, fields)] = await client.xrange("dead")
    assert fields.pop(b"error").startswith(b"DecodeError: ")
    assert fields == {b"event": b"{", b"by": b"me", b"stream": b"feed", b"id": entry_id}


async def test_pending_entries_that_were_removed_are_told(client: Redis) -> None:
    await add(client, 1, 2)
    async with gone(source_of(client)) as before:
        await take(before, 2)
    await client.xtrim("feed", maxlen=0)
    async with aclosing(source_of(client)) as source:
        for total in (1, 2):
            rejected = await told(source, SourceRejected)
            assert "removed while it was pending" in rejected.error
            assert rejected.total == total
        await source.acknowledge(source.position)
    assert await pending(client) == 0


async def test_entries_of_the_dead_that_were_removed_are_told(client: Redis) -> None:
    await add(client, 1)
    async with gone(source_of(client, with_(consumer="dead"))) as dead:
        await take(dead, 1)
    await client.xtrim("feed", maxlen=0)
    async with aclosing(source_of(client, with_(claim_idle_s=0))) as source:
        rejected = await told(source, SourceRejected)
    assert "removed while it was pending" in rejected.error
    assert await pending(client) == 0


async def test_it_reads_no_more_while_too_much_is_unacknowledged(client: Redis) -> None:
    await add(client, *range(30))
    async with aclosing(source_of(client, with_(max_unacknowledged=10))) as source:
        taken: list[Event] = []
        while not isinstance(event := await anext(source), SourceHeld):
            taken.append(event)
        assert numbers(taken) == [*range(14)]  # two batches of seven
        assert event == SourceHeld(7, "feed", 14)
        rest: list[Event] = []

        async def read() -> None:
            rest.extend(await take(source, 16))

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            assert rest == []
            await source.acknowledge(source.position)
            while len(rest) < 16:
                await anyio.lowlevel.checkpoint()
                await source.acknowledge(source.position)
        assert numbers(rest) == [*range(14, 30)]


async def test_an_iteration_that_is_cancelled_again_and_again_loses_nothing(client: Redis) -> None:
    async with aclosing(source_of(client, with_(dead_letter_stream="dead"))) as source:
        seen: list[Event] = []
        for number in range(60):
            await add(client, number)
            if number % 5 == 0:
                await client.xadd("feed", {"event": "{"})
            task = asyncio.ensure_future(anext(source))
            for _ in range(number % 13):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                seen.append(await task)
        seen += await take(source, 60 - len(numbers(seen)))
        await source.acknowledge(source.position)
    assert sorted(numbers(seen)) == [*range(60)]
    assert await pending(client) == source.unacknowledged


async def test_a_reply_that_is_lost_on_its_way_is_asked_for_again(client: Redis) -> None:
    """The server has delivered, and the client never learns of it."""
    await add(client, *range(10))
    real, calls = client.xreadgroup, []

    async def lossy(*args, **options):
        reply = await real(*args, **options)
        calls.append(options)
        if len(calls) == 3:
            raise redis.exceptions.ConnectionError("cut")
        return reply

    client.xreadgroup = lossy
    async with aclosing(source_of(client)) as source:
        assert numbers(await take(source, 7)) == [*range(7)]
        assert "cut" in (await told(source, SourceLost)).reason
        assert numbers(await take(source, 3)) == [7, 8, 9]


async def test_what_is_delivered_late_to_a_connection_that_is_gone_is_asked_for(client) -> None:
    """The server learns of the end of a connection after the source has asked what it missed."""
    real, calls = client.xreadgroup, []

    async def late(group, consumer, streams, **options):
        calls.append(streams)
        if streams == {"feed": ">"} and calls.count(streams) == 1:
            raise redis.exceptions.ConnectionError("cut")
        reply = await real(group, consumer, streams, **options)
        if len(calls) == 3:  # the first asked for what was there at the start
            await add(client, 1)
            await real(group, consumer, {"feed": ">"})  # and nobody hears the answer
        return reply

    client.xreadgroup = late
    async with aclosing(source_of(client)) as source:
        assert numbers(await take(source, 1)) == [1]


async def test_a_claim_whose_reply_is_lost_is_made_up_for(client: Redis) -> None:
    await add(client, 1, 2)
    async with gone(source_of(client, with_(consumer="dead"))) as dead:
        await take(dead, 2)
    real, calls = client.xautoclaim, []

    async def lossy(*args, **options):
        reply = await real(*args, **options)
        calls.append(options)
        if len(calls) == 1:
            raise redis.exceptions.TimeoutError("too late")
        return reply

    client.xautoclaim = lossy
    async with aclosing(source_of(client, with_(claim_idle_s=0))) as source:
        assert numbers(await take(source, 2)) == [1, 2]


async def test_a_group_that_is_destroyed_is_made_again_and_everything_comes(client: Redis) -> None:
    await add(client, 1, 2)
    async with aclosing(source_of(client)) as source:
        await take(source, 2)
        await source.acknowledge(source.position)
        await client.xgroup_destroy("feed", "desk")
        assert "NOGROUP" in (await told(source, SourceLost)).reason
        assert numbers(await take(source, 2)) == [1, 2]


async def test_what_is_no_stream_is_named_and_not_tried_again(client: Redis) -> None:
    await client.set("feed", "x")
    source = source_of(client)
    with pytest.raises(SourceError, match=r"WRONGTYPE.*trying again would not help"):
        await anext(source)
    assert await anext(source, None) is None


async def test_a_wrong_password_is_not_tried_again(client: Redis) -> None:
    await client.config_set("requirepass", "right")
    try:
        url = str(client.connection_pool.connection_kwargs["port"])
        source = source_of(f"redis://:wrong@127.0.0.1:{url}")
        with pytest.raises(SourceError, match="trying again would not help"):
            await anext(source)
        await source.aclose()
    finally:
        await client.config_set("requirepass", "")


async def test_without_a_server_it_gives_up_after_so_many_failures(keeping_server) -> None:
    keeping_server.kill()
    backoff = Backoff(first_s=1, jitter=0, max_failures=3)
    clock = PromptClock()
    source = source_of(keeping_server.url, with_(backoff=backoff), clock=clock)
    assert [type(await anext(source)) for _ in range(3)] == [SourceLost] * 3
    with pytest.raises(SourceError, match="3 attempts in a row"):
        await anext(source)
    assert clock.waits == [1, 2]
    await source.aclose()


async def test_an_acknowledgement_is_tried_until_the_server_has_it(keeping_server) -> None:
    class RevivingClock(PromptClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if len(self.waits) == 2:
                keeping_server.start()

    backoff = Backoff(first_s=1, jitter=0)
    clock = RevivingClock()
    source = source_of(keeping_server.url, with_(backoff=backoff), clock=clock)
    async with aclosing(source), Redis.from_url(keeping_server.url) as client:
        await add(client, 1)
        await take(source, 1)
        keeping_server.kill()
        await source.acknowledge(source.position)
        assert clock.waits == [1, 2]
        await client.connection_pool.disconnect()
        assert await pending(client) == 0


async def test_an_acknowledgement_that_fails_too_often_is_an_error(keeping_server) -> None:
    backoff = Backoff(first_s=1, jitter=0, max_failures=2)
    source = source_of(keeping_server.url, with_(backoff=backoff))
    async with aclosing(source), Redis.from_url(keeping_server.url) as client:
        await add(client, 1)
        await take(source, 1)
        keeping_server.kill()
        with pytest.raises(SourceError, match="at attempt 2"):
            await source.acknowledge(source.position)
        assert source.unacknowledged == 1


async def test_a_closed_source_acknowledges_nothing(client: Redis) -> None:
    await add(client, 1)
    source = source_of(client)
    await take(source, 1)
    await source.aclose()
    with pytest.raises(SourceError, match="is closed"):
        await source.acknowledge(source.position)


async def test_a_server_that_is_killed_and_started_again_costs_no_event(keeping_server) -> None:
    total, seen = 200, []
    source = source_of(keeping_server.url, with_(block_ms=5, batch=10))

    async def publish() -> None:
        async with Redis.from_url(keeping_server.url) as client:
            for number in range(total):
                if number in (70, 140):
                    keeping_server.kill()
                    keeping_server.start()
                    await client.connection_pool.disconnect()
                await add(client, number)

    async with aclosing(source), anyio.create_task_group() as group:
        group.start_soon(publish)
        while len(set(numbers(seen))) < total:
            seen += await take(source, 1)
            if len(seen) % 30 == 0:
                await source.acknowledge(source.position)
        await source.acknowledge(source.position)
    assert sorted(set(numbers(seen))) == [*range(total)]
    assert len(seen) == total  # nothing came twice either: the server had kept all
    async with Redis.from_url(keeping_server.url) as client:
        assert await pending(client) == 0


async def test_the_trace_of_a_bus_has_every_event(client: Redis) -> None:
    await add(client, *range(5))
    bus = Bus()
    tracer = EventTracer([Tick, SourceConnected], SlidingWindow(100))
    bus.attach_tracer(tracer)
    async with aclosing(source_of(client)) as source:
        for event in [await anext(source), *await take(source, 5)]:
            bus.publish(event, source.name)
            await bus.drain()
        await source.acknowledge(source.position)
    await bus.aclose()
    assert tracer.summary().by_type == {"SOURCE_CONNECTED": 1, "TICK": 5}


async def test_its_name_shows_where_it_reads_and_no_secret() -> None:
    source = source_of("redis://me:secret@host:1/0", with_(streams=("a", "b")))
    assert source.name == "host:1/0:a,b"
    await source.aclose()


async def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigError, match=r"pip install 'admf\[redis\]'"):
        source_of("redis://127.0.0.1")


@pytest.mark.parametrize("events", [[], [Tick, type("Other", (Tick,), {}, tag="TICK")]])
async def test_event_classes_that_do_not_fit_together_are_refused(events) -> None:
    with pytest.raises(ConfigError, match="event classes"):
        source_of("redis://127.0.0.1", events=events)


@pytest.mark.parametrize("streams", [(), "feed"])
async def test_streams_have_to_be_named_one_by_one(streams) -> None:
    with pytest.raises(ValueError, match=r"streams must be names such as \('feed',\), not "):
        with_(streams=streams)

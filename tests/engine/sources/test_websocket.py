from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing

import anyio
import msgspec
import numpy as np
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection

from admf.engine.bus import Bus
from admf.engine.errors import ConfigError, DataError, SourceError
from admf.engine.events import (
    Event,
    EventRegistry,
    SourceConnected,
    SourceEvent,
    SourceGap,
    SourceLost,
    SourceRejected,
)
from admf.engine.retention import SlidingWindow
from admf.engine.sources import Backoff, WebSocketSettings, WebSocketSource
from admf.engine.tracer import EventTracer
from tests.engine.sources.feed import (
    Note,
    PromptClock,
    Tick,
    breaks_off,
    json,
    says,
    served,
    stays,
    ticks,
)

pytestmark = pytest.mark.anyio

ONCE = WebSocketSettings(sequence_field="number", end_on_close=True)
QUICK = Backoff(first_s=0, max_failures=3)


def source_of(
    url: str, settings: WebSocketSettings = ONCE, *, clock: PromptClock | None = None, **options
) -> WebSocketSource:
    options.setdefault("events", [Tick, Note])
    return WebSocketSource(
        url,
        settings=settings,
        name="feed",
        clock=clock or PromptClock(),
        jitter=np.random.default_rng(1),
        proxy=None,
        **options,
    )


async def all_of(source: WebSocketSource) -> list[Event]:
    async with aclosing(source):
        return [event async for event in source]


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def numbers(events: list[Event]) -> list[int]:
    return [event.number for event in events if isinstance(event, Tick)]


async def test_messages_become_events_of_the_classes_that_their_tags_name() -> None:
    async with served(says(*ticks(1), json(Note(3, "x")), json(Tick(4, 2)).encode())) as url:
        events = await all_of(source_of(url))
    assert events[0] == SourceConnected(7, "feed", 1)
    assert events[1:-1] == [Tick(0, 1), Note(3, "x"), Tick(4, 2)]
    assert isinstance(events[-1], SourceLost)


async def test_a_registry_names_the_event_classes() -> None:
    registry = EventRegistry([Note])
    async with served(says(json(Note(3, "x")))) as url:
        assert Note(3, "x") in await all_of(source_of(url, events=registry))


async def test_a_function_decodes_to_one_event_or_several_or_none() -> None:
    def decode(message: bytes) -> list[Tick] | Tick | None:
        values = [int(part) for part in message.split()]
        found = [Tick(0, value) for value in values]
        return found if len(found) > 1 else next(iter(found), None)

    async with served(says("1", "", "2 3 4")) as url:
        source = source_of(url, events=decode)
        assert numbers(await all_of(source)) == [1, 2, 3, 4]
    assert source.stats.messages == 3
    assert source.stats.events == 4


async def test_after_a_cut_it_connects_again_drops_what_it_had_and_names_what_is_missing() -> None:
    scripts = breaks_off(*ticks(1, 2, 3)), says(*ticks(2, 3, 6, 7, 7))
    async with served(*scripts) as url:
        source = source_of(url)
        events = await all_of(source)
    assert kinds(events) == [
        *("SourceConnected", "Tick", "Tick", "Tick", "SourceLost"),
        *("SourceConnected", "SourceGap", "Tick", "Tick", "SourceLost"),
    ]
    assert numbers(events) == [1, 2, 3, 6, 7]
    assert SourceGap(7, "feed", 4, 6) in events
    assert source.stats == msgspec.structs.replace(
        source.stats, messages=8, events=5, duplicates=3, gaps=1, missing=2, connects=2, rejected=0
    )


async def test_numbers_that_begin_anew_with_each_connection_are_not_compared_across_them() -> None:
    settings = msgspec.structs.replace(ONCE, numbered_by="connection")
    async with served(breaks_off(*ticks(1, 2)), says(*ticks(1, 3))) as url:
        events = await all_of(source_of(url, settings))
    assert numbers(events) == [1, 2, 1, 3]
    assert [event for event in events if isinstance(event, SourceGap)] == [
        SourceGap(7, "feed", 2, 3)
    ]


async def test_without_a_sequence_field_every_event_is_taken() -> None:
    settings = msgspec.structs.replace(ONCE, sequence_field="")
    async with served(says(*ticks(5, 5, 1))) as url:
        assert numbers(await all_of(source_of(url, settings))) == [5, 5, 1]


async def test_what_to_subscribe_to_is_sent_on_each_connection() -> None:
    heard: list[list[str | bytes]] = []

    async def script(connection: ServerConnection) -> None:
        heard.append([await connection.recv(), await connection.recv()])
        await (says if len(heard) > 1 else breaks_off)(*ticks(len(heard)))(connection)

    async with served(script) as url:
        await all_of(source_of(url, subscribe=["all", b"please"]))
    assert heard == [["all", b"please"]] * 2


async def test_a_function_may_subscribe_from_the_last_number_on() -> None:
    heard: list[str | bytes] = []

    async def script(connection: ServerConnection) -> None:
        heard.append(await connection.recv())
        await (says if len(heard) > 1 else breaks_off)(*ticks(len(heard)))(connection)

    async with served(script) as url:
        await all_of(source_of(url, subscribe=lambda last: [f"from {last}"]))
    assert heard == ["from None", "from 1"]


async def test_what_came_is_read_though_the_server_did_not_wait_for_the_subscription() -> None:
    async with served(says(*ticks(1, 2))) as url:
        events = await all_of(source_of(url, subscribe=["x"] * 200))
    assert kinds(events) == ["SourceConnected", "Tick", "Tick", "SourceLost"]


async def test_a_failing_subscription_cuts_the_connection_and_is_raised() -> None:
    def subscribe(last: int | None) -> list[str]:
        raise ValueError("no ticket")

    async with served(stays()) as url:
        with pytest.raises(SourceError, match="no ticket; trying again would not help"):
            await all_of(source_of(url, subscribe=subscribe))


@pytest.mark.parametrize(
    "garbage",
    ["", "{", "[]", '{"event":"TICK"}', '{"event":"OTHER","ts":1}', b"\xff\xfe", b"\x00" * 9],
)
async def test_a_message_that_gives_no_event_is_counted_and_told(garbage: str | bytes) -> None:
    async with served(says(*ticks(1), garbage, *ticks(2), garbage)) as url:
        source = source_of(url)
        events = await all_of(source)
    assert numbers(events) == [1, 2]
    assert [it.total for it in events if isinstance(it, SourceRejected)] == [1, 2]
    assert source.stats.rejected == 2


async def test_a_strict_source_raises_on_a_message_that_gives_no_event() -> None:
    settings = msgspec.structs.replace(ONCE, strict=True)
    async with served(stays(*ticks(1), "{", *ticks(2))) as url:
        source = source_of(url, settings)
        assert [await anext(source), await anext(source)][1] == Tick(0, 1)
        with pytest.raises(DataError, match=r"message 2 gives no event: .*without strict"):
            await anext(source)
        assert await anext(source, None) is None


async def test_a_message_that_is_too_large_ends_the_connection_not_the_source() -> None:
    settings = msgspec.structs.replace(ONCE, max_message_bytes=100)
    async with served(says(*ticks(1), "x" * 101), says(*ticks(2))) as url:
        events = await all_of(source_of(url, settings))
    assert numbers(events) == [1, 2]
    lost = [event.reason for event in events if isinstance(event, SourceLost)]
    assert "1009" in lost[0]


@pytest.mark.parametrize(("code", "ends"), [(1000, True), (1001, True), (1011, False)])
async def test_only_a_normal_close_ends_a_source_that_is_told_to_end_with_one(
    code: int, ends: bool
) -> None:
    async with served(says(*ticks(1), code=code), says(*ticks(2))) as url:
        events = await all_of(source_of(url))
    assert numbers(events) == ([1] if ends else [1, 2])


async def test_without_being_told_it_goes_on_after_a_normal_close() -> None:
    settings = WebSocketSettings(sequence_field="number", backoff=QUICK)
    async with served(says(*ticks(1)), says(*ticks(2)), stays(*ticks(3))) as url:
        source = source_of(url, settings)
        seen: list[Event] = []
        async for event in source:
            seen.append(event)
            if event == Tick(0, 3):
                await source.aclose()
    assert numbers(seen) == [1, 2, 3]


async def test_a_server_that_says_nothing_for_too_long_is_left() -> None:
    settings = msgspec.structs.replace(ONCE, idle_timeout_s=0.02)
    async with served(stays(*ticks(1)), says(*ticks(2))) as url:
        events = await all_of(source_of(url, settings))
    assert numbers(events) == [1, 2]
    assert "0.02 s (idle_timeout_s)" in events[2].reason


async def test_it_gives_up_after_so_many_failures_in_a_row_and_waits_longer_each_time() -> None:
    async with served(stays()) as url:
        pass  # nobody listens there any more
    clock = PromptClock()
    settings = WebSocketSettings(backoff=Backoff(first_s=1, cap_s=3, jitter=0, max_failures=4))
    source = source_of(url, settings, clock=clock)
    assert kinds([await anext(source) for _ in range(4)]) == ["SourceLost"] * 4
    with pytest.raises(SourceError, match=r"'feed': 4 attempts in a row .* max_failures"):
        await anext(source)
    assert clock.waits == [1, 2, 3]
    assert [event async for event in source] == []


async def test_connections_that_bring_nothing_count_as_failures_those_that_do_begin_anew() -> None:
    clock = PromptClock()
    backoff = Backoff(first_s=1, cap_s=8, jitter=0, max_failures=3)
    settings = WebSocketSettings(sequence_field="number", backoff=backoff)
    scripts = breaks_off(), breaks_off(*ticks(1)), breaks_off(*ticks(1))
    async with served(*scripts) as url:
        with pytest.raises(SourceError, match="3 attempts in a row"):
            await all_of(source_of(url, settings, clock=clock))
    assert clock.waits == [1, 1, 2]


async def test_a_refusal_that_will_not_pass_is_raised_at_once() -> None:
    async def refuses(connection, request):
        return connection.respond(403, "no")

    from websockets.asyncio.server import serve

    async with serve(lambda _: None, "127.0.0.1", 0, process_request=refuses) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(SourceError, match="403"):
            await all_of(source_of(f"ws://127.0.0.1:{port}"))


async def test_closing_ends_an_iteration_that_waits_for_a_message() -> None:
    async with served(stays(*ticks(1))) as url:
        source = source_of(url)
        seen: list[Event] = []
        first = anyio.Event()

        async def read() -> None:
            async for event in source:
                seen.append(event)
                if isinstance(event, Tick):
                    first.set()

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await first.wait()
            await source.aclose()
            await source.aclose()
        assert numbers(seen) == [1]
        assert [event async for event in source] == []


async def test_closing_ends_the_wait_between_two_attempts() -> None:
    waits = anyio.Event()

    class SlowClock(PromptClock):
        async def sleep(self, seconds: float) -> None:
            waits.set()
            await anyio.sleep_forever()

    async with served(breaks_off()) as url:
        source = source_of(url, clock=SlowClock())
        async with anyio.create_task_group() as group:
            group.start_soon(all_of, source)
            await waits.wait()
            await source.aclose()


async def test_closing_while_it_connects_leaves_no_connection() -> None:
    asked, gone = anyio.Event(), anyio.Event()

    async def script(connection: ServerConnection) -> None:
        await connection.wait_closed()
        gone.set()

    def subscribe(last: int | None) -> list[str]:
        asked.set()
        return ["x"] * 3

    async with served(script) as url:
        source = source_of(url, subscribe=subscribe)
        async with anyio.create_task_group() as group:
            group.start_soon(all_of, source)
            await asked.wait()
            await source.aclose()
        await gone.wait()


async def test_an_iteration_that_is_cancelled_loses_nothing() -> None:
    seen: list[Event] = []
    async with served(says(*ticks(*range(50)))) as url:
        source = source_of(url)
        done = False
        while not done:
            task = asyncio.ensure_future(anext(source, None))
            await asyncio.sleep(0)
            task.cancel()
            try:
                event = await task
            except asyncio.CancelledError:
                event = await anext(source, None)
            done = event is None
            seen.append(event)
    assert numbers(seen) == [*range(50)]


async def test_the_trace_of_a_bus_tells_what_happened() -> None:
    bus = Bus()
    tracer = EventTracer([Tick, SourceEvent], SlidingWindow(100))
    bus.attach_tracer(tracer)
    seen: list[Event] = []
    bus.subscribe(Event, seen.append)
    async with served(breaks_off(*ticks(1)), says(*ticks(3), "{")) as url:
        async for event in source_of(url):
            bus.publish(event, "feed")
            await bus.drain()
    await bus.aclose()
    assert tracer.summary().by_type == {
        "SOURCE_CONNECTED": 2,
        "TICK": 2,
        "SOURCE_LOST": 2,
        "SOURCE_GAP": 1,
        "SOURCE_REJECTED": 1,
    }
    assert kinds(seen)[:3] == ["SourceConnected", "Tick", "SourceLost"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
FRAMES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40),
    JSON.map(lambda value: msgspec.json.encode(value, enc_hook=str).decode()),
    st.integers(-3, 9).map(lambda number: json(Tick(0, number))),
    st.integers().map(lambda number: f'{{"event":"TICK","ts":0,"number":{number}}}'),
)


def decodable(frame: str | bytes) -> Tick | None:
    try:
        return msgspec.json.decode(frame, type=Tick)
    except (msgspec.MsgspecError, UnicodeError):
        return None


def expected_of(frames: list[str | bytes]) -> tuple[list[int], int, int]:
    """Return the numbers to be yielded, the count of duplicates and that of what is missing."""
    seen: list[int] = []
    duplicates = missing = 0
    for tick in filter(None, map(decodable, frames)):
        if seen and tick.number <= seen[-1]:
            duplicates += 1
        else:
            missing += tick.number - seen[-1] - 1 if seen else 0
            seen.append(tick.number)
    return seen, duplicates, missing


@given(st.lists(FRAMES, max_size=12))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_comes_the_source_lives_and_its_counts_are_exact(
    frames: list[str | bytes],
) -> None:
    async with served(says(*frames)) as url:
        source = source_of(url, events=[Tick])
        events = await all_of(source)
    seen, duplicates, missing = expected_of(frames)
    stats = source.stats
    assert numbers(events) == seen
    assert (stats.duplicates, stats.missing) == (duplicates, missing)
    assert stats.messages == len(frames)
    assert stats.messages == stats.events + stats.duplicates + stats.rejected
    assert stats.rejected == sum(isinstance(event, SourceRejected) for event in events)
    assert stats.gaps == sum(isinstance(event, SourceGap) for event in events)


@given(st.binary(max_size=60))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_bytes_that_are_no_frames_cost_the_connection_at_most(data: bytes) -> None:
    async def script(connection: ServerConnection) -> None:
        connection.transport.write(data)
        connection.transport.close()
        await connection.wait_closed()

    async with served(script, says(*ticks(1))) as url:
        source = source_of(url)
        events = await all_of(source)
    stats = source.stats
    assert stats.messages == stats.events + stats.duplicates + stats.rejected
    assert stats.connects == kinds(events).count("SourceConnected")
    assert numbers(events) == [1] or stats.connects == 1  # they may be a close with code 1000


@pytest.mark.parametrize("answer", [b"", b"\x00\xff\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_what_is_no_websocket_server_is_given_up(answer: bytes) -> None:
    async def respond(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - of anyio, not of Django
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, respond)
        with pytest.raises(SourceError):
            await all_of(source_of(f"ws://127.0.0.1:{port}", WebSocketSettings(backoff=QUICK)))
        group.cancel_scope.cancel()
    await listener.aclose()


async def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)
    with pytest.raises(ConfigError, match=r"pip install 'admf\[websocket\]'"):
        WebSocketSource("ws://127.0.0.1", [Tick])


@pytest.mark.parametrize(
    ("url", "name"),
    [("ws://me:secret@host:1/feed?token=x", "host:1/feed"), ("wss://host", "host")],
)
async def test_its_name_shows_where_it_is_connected_and_no_secret(url: str, name: str) -> None:
    source = WebSocketSource(url, [Tick])
    assert source.name == name
    assert repr(source) == f"<WebSocketSource {name!r}>"

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
import structlog
from anyio.lowlevel import checkpoint
from structlog.testing import capture_logs

from admf.engine import handler_watch
from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.errors import HandlerError
from admf.engine.events import Event
from admf.engine.handler_watch import SECONDS_BETWEEN_LINES
from admf.engine.subscription import Mailbox
from admf.engine.testing import RecordingObserver
from tests.engine.conftest import Ping

pytestmark = pytest.mark.anyio


class Clock:
    """A clock that moves when a handler says that it takes time."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(handler_watch, "perf_counter", clock)
    return clock


def test_a_bus_without_a_limit_calls_handlers_as_they_are():
    def handler(_: Event) -> None: ...

    bus = Bus(observers=[RecordingObserver()])
    assert bus.subscribe(Ping, handler).handler is handler
    assert bus.timed(handler, "name") is handler


async def test_a_handler_that_takes_as_long_as_the_limit_is_named_and_a_shorter_one_is_not(clock):
    def handler(event: Ping) -> None:
        clock.now += event.ts / 1000

    observer = RecordingObserver()
    bus = Bus("root", observers=[observer], slow_handler_ms=50)
    bus.scope("lane").subscribe(Ping, handler, name="portfolio.on_ping")
    for milliseconds in (49, 51, 2):
        bus.publish(Ping(milliseconds))
    await bus.drain()
    (slow,) = observer.slow
    assert (slow.bus, slow.handler, slow.event) == ("root.lane", "portfolio.on_ping", "PING")
    assert (slow.seconds, slow.limit_s) == (pytest.approx(0.051), 0.05)
    assert slow.held_loop
    assert slow.activity is None


async def test_an_async_handler_is_timed_to_its_end_in_a_mailbox_too(clock):
    async def handler(_: Event) -> None:
        await checkpoint()
        clock.now += 1.0

    observer = RecordingObserver()
    bus = Bus(observers=[observer], slow_handler_ms=50)
    bus.subscribe(Ping, handler, name="inline")
    bus.subscribe(Ping, handler, name="mailbox", mailbox=Mailbox())
    bus.publish(Ping(1))
    await bus.drain()
    assert sorted(it.handler for it in observer.slow) == ["inline", "mailbox"]
    assert not any(it.held_loop for it in observer.slow)


async def test_what_a_plain_handler_returns_to_be_awaited_is_timed_as_well(clock):
    async def work(seconds: float, _: Event) -> None:
        clock.now += seconds

    observer = RecordingObserver()
    bus = Bus(observers=[observer], slow_handler_ms=50)
    bus.subscribe(Ping, lambda event: work(1.0, event), name="lambda")
    bus.subscribe(Ping, partial(work, 2.0), name="partial")
    bus.publish(Ping(1))
    await bus.drain()
    told = [(it.handler, it.seconds, it.held_loop) for it in observer.slow]
    assert told == [("lambda", 1.0, False), ("partial", 2.0, False)]


async def test_a_callable_object_may_be_async(clock):
    class Handler:
        async def __call__(self, _: Event) -> None:
            clock.now += 1.0

    observer = RecordingObserver()
    bus = Bus(observers=[observer], slow_handler_ms=50)
    subscription = bus.subscribe(Ping, Handler(), name="object")
    assert subscription.is_async
    bus.publish(Ping(1))
    await bus.drain()
    assert not observer.slow[0].held_loop


async def test_a_slow_handler_that_raises_is_slow_and_has_raised(clock):
    def handler(_: Event) -> None:
        clock.now += 1.0
        raise ValueError("wrong")

    observer = RecordingObserver()
    bus = Bus(observers=[observer], slow_handler_ms=50)
    bus.subscribe(Ping, handler, name="odd")
    bus.publish(Ping(1))
    with pytest.raises(HandlerError, match="wrong"):
        await bus.drain()
    assert observer.journal == ["slow_handler odd", "handler_failed odd"]


async def test_a_block_is_named_by_its_events_and_what_is_no_event_by_its_class(clock):
    def handler(*_: object) -> None:
        clock.now += 1.0

    observer = RecordingObserver()
    bus = Bus(observers=[observer], slow_handler_ms=50)
    bus.subscribe(Ping, handler, blocks=True)
    bus.publish(Block.of([Ping(1), Ping(2)]))
    await bus.drain()
    bus.timed(handler, "strategy.on_bars")([1.0], "more")
    assert [it.event for it in observer.slow] == ["PING", "list"]


async def test_a_handler_that_is_slow_all_the_time_leaves_a_line_a_minute(clock):
    def handler(_: Event) -> None:
        clock.now += SECONDS_BETWEEN_LINES / 4

    bus = Bus("root", slow_handler_ms=50)
    bus.subscribe(Ping, handler, name="odd")
    with capture_logs() as lines:
        for ts in range(5):
            bus.publish(Ping(ts))
        await bus.drain()
    assert lines == [
        {
            "event": "slow_handler",
            "log_level": "warning",
            "handler": "odd",
            "event_type": "PING",
            "bus": "root",
            "ms": 15_000.0,
            "limit_ms": 50.0,
            "held_loop": True,
            "unlogged": unlogged,
        }
        for unlogged in (0, 3)
    ]


async def test_nothing_is_printed_while_the_host_has_no_log(clock, capsys):
    structlog.reset_defaults()
    bus = Bus(slow_handler_ms=0)
    bus.subscribe(Ping, lambda _: None)
    bus.publish(Ping(1))
    await bus.drain()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("policy", ["propagate", "isolate"])
async def test_timing_changes_no_account_and_no_number(policy):
    def handler(event: Ping) -> None:
        if event.ts == 2:
            raise ValueError("wrong")

    async def later(_: Event) -> None:
        await checkpoint()

    def accounts(bus: Bus) -> list[object]:
        first = bus.subscribe(Ping, handler, on_error=policy)
        second = bus.subscribe(Ping, later, mailbox=Mailbox(maxsize=1))
        for ts in range(5):
            bus.publish(Ping(ts))
        return [first, second]

    async def run(bus: Bus) -> list[object]:
        subscriptions = accounts(bus)
        for _ in range(2):
            with suppress(HandlerError):
                await bus.drain()
        return [it.stats for it in subscriptions]

    assert await run(Bus(slow_handler_ms=0)) == await run(Bus())


def test_a_negative_limit_is_refused():
    with pytest.raises(ValueError, match=r"must not be negative, got -1"):
        Bus(slow_handler_ms=-1)

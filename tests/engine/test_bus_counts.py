from __future__ import annotations

import pytest

from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.bus_counts import Accounts, BusCounts, Deliveries
from admf.engine.events import Envelope, Event
from admf.engine.subscription import Mailbox, Subscription
from tests.engine.conftest import Ping

pytestmark = pytest.mark.anyio


def fail(_: Event) -> None:
    raise ValueError("wrong")


def ignore(_: Event) -> None: ...


def booked(*subscriptions: Subscription) -> Deliveries:
    """Return the sum of the accounts that the subscriptions themselves give."""
    stats = [it.stats for it in subscriptions]
    return Deliveries(
        handled=sum(it.handled for it in stats),
        dropped=sum(it.dropped for it in stats),
        dead_lettered=sum(it.dead_lettered for it in stats),
        queued=sum(it.queued for it in stats),
    )


async def publish(bus: Bus, count: int) -> None:
    for ts in range(count):
        bus.publish(Ping(ts))
    await bus.drain()


async def test_deliveries_are_those_of_the_subscriptions_by_their_kind():
    bus = Bus()
    inline = [
        bus.subscribe(Ping, ignore),
        bus.subscribe(Ping, fail, on_error="isolate"),
        bus.scope("lane").subscribe(Ping, ignore),
    ]
    mailbox = bus.subscribe(Ping, ignore, mailbox=Mailbox(maxsize=2, overflow="drop_oldest"))
    with bus.stream(Ping, maxsize=3):
        await publish(bus, 10)
        counts = bus.counts
        assert counts.deliveries["inline"] == booked(*inline)
        assert counts.deliveries["inline"].dead_lettered == 10
        assert counts.deliveries["mailbox"] == booked(mailbox)
        assert counts.deliveries["mailbox"].handled + counts.deliveries["mailbox"].dropped == 10
        assert counts.deliveries["stream"] == Deliveries(dropped=7, queued=3)


async def test_events_count_once_for_the_bus_and_once_for_each_scope_that_sees_them():
    bus = Bus()
    lanes = [bus.scope("a"), bus.scope("b")]
    bus.publish(Block.of([Ping(1), Ping(2)]))
    lanes[0].publish(Ping(3))
    assert bus.counts.waiting == 3
    await bus.drain()
    counts = bus.counts
    assert (counts.published, counts.in_scopes, counts.waiting) == (2, 5, 0)


async def test_what_a_plain_run_has_yet_to_book_is_counted_without_being_booked():
    bus = Bus()
    subscription = bus.subscribe(Ping, ignore)
    bus.subscribe(Ping, ignore)
    await publish(bus, 1_000)
    assert bus.counts.deliveries["inline"].handled == 2_000
    assert subscription.handled < 1_000  # the account itself was not touched
    assert bus.counts.deliveries["inline"] == Deliveries(handled=2_000)
    assert subscription.stats.handled == 1_000
    assert bus.counts.deliveries["inline"] == Deliveries(handled=2_000)


async def test_counts_never_fall_when_subscribers_and_scopes_go():
    bus = Bus()
    lane = bus.scope("lane")
    gone = [bus.subscribe(Ping, ignore), lane.subscribe(Ping, ignore)]
    stream = bus.stream(Ping, maxsize=2)
    await publish(bus, 5)
    before = bus.counts
    for subscription in gone:
        subscription.cancel()
        subscription.cancel()
    bus.unsubscribe(gone[0])
    stream.close()
    await lane.aclose()
    after = bus.counts
    assert after == BusCounts(
        before.published,
        before.in_scopes,
        0,
        before.deliveries | {"stream": Deliveries(dropped=3)},  # who reads on is not waited for
    )
    await bus.aclose()
    assert bus.counts == after


async def test_a_mailbox_that_is_left_is_counted_until_it_is_empty():
    bus = Bus()
    kept: list[Event] = []

    def leave(event: Event) -> None:
        kept.append(event)
        mailbox.cancel()

    mailbox = bus.subscribe(Ping, leave, mailbox=Mailbox())
    other = bus.subscribe(Ping, ignore, mailbox=Mailbox())
    await publish(bus, 4)
    other.cancel()
    assert len(kept) == 4
    assert bus.counts.deliveries["mailbox"] == Deliveries(handled=8)


async def test_a_failing_scope_leaves_its_counts_behind():
    bus = Bus()
    lane = bus.scope("lane", contain_failures=True)
    inner = lane.scope("inner")
    inner.subscribe(Ping, ignore)
    lane.subscribe(Ping, fail)
    await publish(bus, 3)
    assert lane.failure is not None
    counts = bus.counts
    assert counts.deliveries["inline"].dead_lettered == 1
    assert counts.published == 3
    assert counts.in_scopes >= 3
    await bus.aclose()
    assert bus.counts.in_scopes == counts.in_scopes


def test_who_leaves_with_mail_counts_on_until_it_is_handled():
    bus, accounts = Bus(), Accounts()
    leaving, other = (bus.subscribe(Ping, ignore, mailbox=Mailbox()) for _ in range(2))
    leaving.queue.put(Envelope(1, 0, "", Ping(1)))
    accounts.retire(leaving)
    assert accounts.sum((), 0)["mailbox"] == Deliveries(queued=1)
    leaving.queue.take()
    leaving.queue.done()
    leaving.count_handled(Ping(1))
    assert accounts.sum((), 0)["mailbox"] == Deliveries(handled=1)
    accounts.retire(other)
    assert accounts.sum((), 0)["mailbox"] == Deliveries(handled=1)

"""Prints a digest of everything a varied program puts on the bus; run by test_bus."""

from __future__ import annotations

import hashlib
import sys
from typing import Any, ClassVar

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.events import Envelope, Event
from admf.engine.subscription import Mailbox, Overflow


class Quote(Event, frozen=True, gc=False, tag="QUOTE"):
    key_field: ClassVar[str | None] = "symbol"

    symbol: str
    price: float


class Remark(Event, frozen=True, gc=False, tag="REMARK"):
    text: str


class Digest:
    types = frozenset({Event})

    def __init__(self) -> None:
        self.sum = hashlib.sha256()

    def record(self, envelope: Envelope) -> None:
        item: Any = envelope.event
        events = item.events() if isinstance(item, Block) else [item]
        head = (envelope.seq, envelope.cause, envelope.source)
        self.sum.update(msgspec.json.encode((head, events)))


def wire(bus: Bus, digest: Digest) -> None:
    bus.attach_tracer(digest)
    policies: tuple[Overflow, ...] = ("block", "drop_oldest", "drop_newest", "coalesce", "fail")
    for symbol in ("A", "B", "C", "D"):
        lane = bus.scope(symbol, exports=Remark)
        lane.attach_tracer(digest)

        def say(event: Quote, lane: Bus = lane) -> None:
            lane.publish(Remark(event.ts, f"{lane.name} {event.price}"), lane.name)

        async def slow(event: Quote) -> None:
            await checkpoint()
            if event.ts % 7 == 0:
                raise ValueError(event.symbol)

        lane.subscribe(Quote, say, key=symbol)
        for policy in policies:
            lane.subscribe(Quote, slow, name=policy, mailbox=Mailbox(2, policy), on_error="isolate")


async def main() -> None:
    # With mailboxes, a trace may depend on where the drain yields; here it does not, until the end.
    bus, digest = Bus(max_block_ms=60_000), Digest()
    wire(bus, digest)
    for start in range(0, 120, 20):
        quotes = [Quote(ts, "ABCD"[ts * 7 % 4], ts / 3) for ts in range(start, start + 20)]
        bus.publish(Block.of(quotes[:10]))
        for quote in quotes[10:]:
            bus.publish(quote, "source")
        await bus.drain()
    sys.stdout.write(digest.sum.hexdigest())


anyio.run(main)

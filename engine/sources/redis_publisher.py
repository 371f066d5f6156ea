"""A container that publishes events to a Redis stream; needs the library redis, and asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np

from admf.engine.bus import Bus, EventTypes
from admf.engine.clock import Clock
from admf.engine.container import Container, WriteDocument
from admf.engine.errors import AdmfError
from admf.engine.events import Event
from admf.engine.results import Document
from admf.engine.sources.backoff import Jitter
from admf.engine.sources.redis_link import RedisLink
from admf.engine.sources.redis_settings import RedisPublisherSettings
from admf.engine.stream import EventStream

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["RedisPublisher"]


class RedisPublisher(Container):
    """Publishes events of its scope to a Redis stream, for other processes.

    An entry has the fields ``event``, which is JSON with the event's name in its field ``event``,
    and ``ts``. A `RedisStreamSource` reads it. The events wait in a bounded queue and are sent by a
    task of its own, so the bus never waits for the server, unless ``overflow`` is ``block``. What
    is left at the end is sent before the results are written, which say what became of all events.
    An event is published at least once, as long as the server takes it; after a failure in the
    midst of a batch some come twice.

    Args:
        container_id: As for `Container`.
        redis: A client of ``redis.asyncio``, which stays its owner's to close, or a URL.
        types: Event classes, subclasses included.
        settings: Where it publishes, and how.
        scope: The bus it lives on.
        clock: Waits between attempts.
        jitter: Random generator for these waits.
        depends_on: As for `Container`.

    Attributes:
        sent: Events that the server has taken.
        unsendable: Events that have no JSON form.
    """

    def __init__(
        self,
        container_id: str,
        redis: Redis | str,
        types: EventTypes,
        settings: RedisPublisherSettings,
        *,
        scope: Bus,
        clock: Clock | None = None,
        jitter: Jitter | None = None,
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, "publisher", settings, scope=scope, depends_on=depends_on)
        who = f"a RedisPublisher ({container_id})"
        self._link = RedisLink(redis, who, settings.backoff, clock=clock, jitter=jitter)
        self._types = types
        self._settings = settings
        self._encode = msgspec.json.Encoder(enc_hook=_plain).encode
        self._stream: EventStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._in_hand: list[dict[str, bytes | int]] = []
        self.sent = 0
        self.unsendable = 0

    async def on_start(self) -> None:
        """Begin to publish."""
        settings = self._settings
        self._stream = self.scope.stream(self._types, settings.maxsize, settings.overflow)
        self._task = asyncio.create_task(self._work(self._stream), name=self.id)

    async def flush(self, write: WriteDocument) -> None:
        """Send what is left, as far as the server takes it in time, then write the results."""
        if self._stream is not None and self._task is not None:
            self._stream.close()
            await asyncio.wait([self._task], timeout=self._settings.flush_timeout_s)
        await super().flush(write)

    def results(self) -> Document:
        """Return what became of the events."""
        stream = self._stream
        return Document(
            self.id,
            {
                "status": self.status,
                "stream": self._settings.stream,
                "sent": self.sent,
                "dropped": stream.dropped if stream else 0,
                "unsendable": self.unsendable,
                "unsent": len(self._in_hand) + (stream.waiting if stream else 0),
            },
        )

    async def on_release(self) -> None:
        """Let go of the stream and the connection."""
        if self._stream is not None:
            self._stream.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._link.aclose()

    async def _work(self, stream: EventStream) -> None:
        try:
            async for envelope in stream:
                self._take(envelope.event)
                while len(self._in_hand) < self._settings.batch and (more := stream.take()):
                    self._take(more.event)
                await self._link.insist(self._send)
                self._in_hand.clear()
        except AdmfError as error:  # the server refuses, or the queue is full and may not be
            stream.close()  # nobody is to wait for room in it
            self.fail(error)

    def _take(self, event: Event) -> None:
        try:
            self._in_hand.append({"event": self._encode(event), "ts": event.ts})
        except (TypeError, ValueError, OverflowError):
            self.unsendable += 1

    async def _send(self) -> None:
        settings = self._settings
        pipeline = self._link.client.pipeline(transaction=False)
        for fields in self._in_hand:
            pipeline.xadd(settings.stream, fields, maxlen=settings.max_length, approximate=True)
        await pipeline.execute()
        self.sent += len(self._in_hand)


def _plain(value: object) -> object:
    if isinstance(value, (np.generic, np.ndarray)):
        return cast("object", value.tolist())
    raise TypeError(f"objects of type {type(value).__name__} have no JSON form")

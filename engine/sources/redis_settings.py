"""How the Redis bridge behaves."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from admf.engine.queues import Overflow
from admf.engine.sources.backoff import Backoff

__all__ = ["RedisPublisherSettings", "RedisStreamSettings"]

Positive = Annotated[int, Meta(ge=1)]


class RedisStreamSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a `RedisStreamSource` reads, and how.

    Args:
        streams: Names of the streams.
        group: Consumer group; it is made where it is missing, and the stream with it. The members
            of a group share the entries among them.
        consumer: Its own name in the group. After a restart the same name gets back what it had
            not acknowledged.
        start: The id behind which a new group begins: ``0`` for all entries, ``$`` for those to
            come.
        field: Field of an entry that holds the event.
        batch: Entries that are read at once.
        block_ms: How long the server waits for new entries before it answers that there are none.
            The time limit of a client's socket must be longer.
        claim_idle_s: Take over what others have read and not acknowledged for so long, in seconds:
            they are dead. Give it more time than the longest window and its flush take, or the
            living are robbed. None takes nothing over.
        max_unacknowledged: Read no more while so many entries are not acknowledged (up to a batch
            more may be).
        dead_letter_stream: Where an entry that gives no event is copied to, with the error; if
            empty, it is only counted.
        backoff: When to connect again, and when to give up.

    Raises:
        ValueError: No stream is named, or they are one text.
    """

    streams: Annotated[tuple[str, ...], Meta(min_length=1)]
    group: str
    consumer: str
    start: str = "0"
    field: str = "event"
    batch: Positive = 100
    block_ms: Positive = 1_000
    claim_idle_s: Annotated[float, Meta(ge=0)] | None = 600.0
    max_unacknowledged: Positive = 10_000
    dead_letter_stream: str = ""
    backoff: Backoff = Backoff()

    def __post_init__(self) -> None:
        given: object = self.streams
        if not given or isinstance(given, str):
            raise ValueError(f"streams must be names such as ('feed',), not {self.streams!r}")


class RedisPublisherSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a `RedisPublisher` publishes, and how.

    Args:
        stream: Name of the stream.
        max_length: Entries that the stream keeps, roughly; older ones are removed. None keeps all.
        maxsize: Events that wait for the server at most.
        overflow: What happens beyond that; ``block`` loses nothing and makes the bus wait.
        batch: Events that are sent at once.
        flush_timeout_s: How long the flush waits for the server to take what is left.
        backoff: When to send again, and when to give up.
    """

    stream: str
    max_length: Positive | None = 100_000
    maxsize: Positive = 10_000
    overflow: Overflow = "drop_oldest"
    batch: Positive = 100
    flush_timeout_s: Annotated[float, Meta(gt=0)] = 5.0
    backoff: Backoff = Backoff()

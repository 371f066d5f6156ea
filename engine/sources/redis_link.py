"""A Redis server as the sources and publishers see it; needs the library redis, and asyncio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import msgspec
import numpy as np

from admf.engine.clock import Clock, WallClock
from admf.engine.errors import SourceError
from admf.engine.sources.backoff import Backoff, Jitter
from admf.engine.sources.connected import describe, library

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Entry", "Fields", "RedisLink", "entries_of", "entry_of", "text_of"]

T = TypeVar("T")

Fields: TypeAlias = Mapping[str, bytes]

ANSWER_S = 10.0
"""Longest time that a server may take to answer, beyond what it is told to wait, in seconds."""

_WILL_PASS = {
    "BusyLoadingError",
    "ClusterDownError",
    "MasterDownError",
    "OutOfMemoryError",
    "ReadOnlyError",
    "TryAgainError",
}

_GROUP_IS_GONE = ("NOGROUP", "UNBLOCKED")


class Entry(msgspec.Struct, frozen=True):
    """An entry of a stream.

    Args:
        stream: Name of the stream.
        entry_id: Its id there.
        fields: What it holds; nothing if it was removed from the stream while it was pending.
    """

    stream: str
    entry_id: str
    fields: Fields


class RedisLink:
    """A client, and what to do when a call fails.

    Args:
        redis: A client, which stays its owner's, or a URL, for which one is made.
        who: What needs it, for errors.
        backoff: When to try again, and when to give up.
        block_s: The longest that the server is told to wait before it answers, in seconds.
        clock: Waits between two attempts.
        jitter: Makes these waits random.
    """

    def __init__(
        self,
        redis: Redis | str,
        who: str,
        backoff: Backoff,
        *,
        block_s: float = 0.0,
        clock: Clock | None = None,
        jitter: Jitter | None = None,
    ) -> None:
        asynchronous = library("redis.asyncio", who, "redis")
        self._errors = library("redis.exceptions", who, "redis")
        self._who = who
        self._backoff = backoff
        self._clock: Clock = clock or WallClock()
        self._jitter: Jitter = jitter or np.random.default_rng()
        self._is_own = isinstance(redis, str)
        self.closed = False
        self.client: Any = redis
        if self._is_own:
            retry = library("redis.asyncio.retry", who, "redis").Retry
            no_backoff = library("redis.backoff", who, "redis").NoBackoff
            self.client = asynchronous.Redis.from_url(
                redis, socket_timeout=block_s + ANSWER_S, retry=retry(no_backoff(), 0)
            )

    async def insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call until it succeeds.

        Raises:
            SourceError: It failed for a reason that will not pass, or too often; or the link is
                closed.
        """
        failures = 0
        while not self.closed:
            try:
                return await call()
            except Exception as error:
                failures += 1
                if not self.is_transient(error) or self._backoff.is_over(failures):
                    text = f"{self._who}: {describe(error)}, at attempt {failures}"
                    raise SourceError(text) from error
            await self._clock.sleep(self._backoff.wait_s(failures, self._jitter))
        raise SourceError(f"{self._who} is closed")

    def is_transient(self, error: Exception) -> bool:
        """Whether another attempt may succeed."""
        known = self._errors
        if isinstance(error, (known.AuthenticationError, known.AuthorizationError)):
            return False
        if isinstance(error, (known.ConnectionError, known.TimeoutError, OSError)):
            return True
        return type(error).__name__ in _WILL_PASS or self.is_group_gone(error)

    def is_group_gone(self, error: Exception) -> bool:
        """Whether a stream or its group was removed."""
        return isinstance(error, self._errors.ResponseError) and str(error).startswith(
            _GROUP_IS_GONE
        )

    def is_group_there(self, error: Exception) -> bool:
        """Whether a group could not be made since there is one."""
        return str(error).startswith("BUSYGROUP")

    async def aclose(self) -> None:
        """Close the client, unless it is its owner's."""
        self.closed = True
        if self._is_own:
            await self.client.aclose()


def entries_of(reply: object) -> Iterator[Entry]:
    """Yield the entries in a reply to XREADGROUP, whichever protocol it came by."""
    if isinstance(reply, Mapping):  # RESP3, which has one more list around the entries
        for stream, lists in cast("Mapping[object, Any]", reply).items():
            for row in lists[0] if lists and isinstance(lists[0], list) else lists:
                yield entry_of(stream, row)
        return
    for stream, rows in cast("list[tuple[object, Any]]", reply or []):
        for row in rows:
            yield entry_of(stream, row)


def entry_of(stream: object, row: tuple[Any, Mapping[Any, Any] | None]) -> Entry:
    """Return an entry from what the client makes of it."""
    entry_id, fields = row
    plain = {text_of(name): _bytes_of(value) for name, value in (fields or {}).items()}
    return Entry(text_of(stream), text_of(entry_id), plain)


def text_of(value: object) -> str:
    """Return what a client gives as bytes, or as text if it was told to decode its replies."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _bytes_of(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()

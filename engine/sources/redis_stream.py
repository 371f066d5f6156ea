"""Events from Redis streams, read as a member of a consumer group; needs redis, and asyncio."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from admf.engine.clock import Clock
from admf.engine.errors import StateError
from admf.engine.events import Event, SourceHeld, SourceRejected
from admf.engine.sources.backoff import Jitter
from admf.engine.sources.connected import ConnectedSource, describe, place_of
from admf.engine.sources.decoding import Events, decode_of
from admf.engine.sources.ledger import Key, Ledger, RedisPosition
from admf.engine.sources.redis_link import Entry, RedisLink, entries_of, entry_of, text_of
from admf.engine.sources.redis_settings import RedisStreamSettings

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["RedisStreamSource"]

BEGINNING = "0-0"
ACKNOWLEDGED_AT_ONCE = 1_000


class RedisStreamSource(ConnectedSource[Key]):
    """Yields the events in Redis streams, each at least once.

    An entry counts as done when it is acknowledged, which whoever uses the events does once they
    are safe: `acknowledge` with the `position` that the source had after the last of them. What is
    not acknowledged comes again: after a restart to the same consumer, or after ``claim_idle_s`` to
    another. Within its life a source yields no entry twice, unless the server forgets what was
    acknowledged.

    First come the consumer's own entries of before, then those of dead consumers, then new ones.
    An entry that gives no event is yielded as SOURCE_REJECTED, and acknowledged like others.
    SOURCE_CONNECTED, SOURCE_LOST and SOURCE_HELD tell what else happened. The source ends with
    `aclose`, and with a `SourceError` when it has to give up. It needs asyncio.

    Args:
        redis: A client of ``redis.asyncio``, which stays its owner's to close, or a URL.
        events: Event classes, or a function that decodes the field of an entry.
        settings: What it reads, and how.
        name: Names the source in its own events; by default the streams, and the place of a URL.
        clock: Stamps its own events, waits between attempts, and says when to look for the dead.
        jitter: Random generator for the waits.

    Raises:
        ConfigError: The library is not installed, or the event classes do not fit together.
    """

    def __init__(
        self,
        redis: Redis | str,
        events: Events,
        settings: RedisStreamSettings,
        *,
        name: str = "",
        clock: Clock | None = None,
        jitter: Jitter | None = None,
    ) -> None:
        place = f"{place_of(redis)}:" if isinstance(redis, str) else ""
        name = name or place + ",".join(settings.streams)
        super().__init__(name, settings.backoff, clock, jitter)
        self._link = RedisLink(
            redis,
            f"a RedisStreamSource ({name})",
            settings.backoff,
            block_s=settings.block_ms / 1_000,
            clock=self._clock,
            jitter=self._jitter,
        )
        self._decode = decode_of(events)
        self._settings = settings
        self._ledger = Ledger()
        self._own: dict[str, str] = dict.fromkeys(settings.streams, BEGINNING)
        self._doubted: dict[str, str] = {}
        self._others: dict[str, str] = {}
        self._newest: dict[str, str] = {}
        self._next_claim = self._clock.monotonic()
        self._room = anyio.Event()
        self._held = False
        self.rejected = 0

    @property
    def position(self) -> RedisPosition:
        """What stands for all events that it has yielded so far."""
        return self._ledger.position

    @property
    def unacknowledged(self) -> int:
        """Entries that were read and are not acknowledged."""
        return len(self._ledger)

    async def acknowledge(self, position: object) -> None:
        """Tell the server that all entries up to a position are done; tries until it knows.

        Raises:
            StateError: The position is not one that this source had.
            SourceError: The server refused, or failed too often; or the source is closed.
        """
        now = self._ledger.position
        if not isinstance(position, RedisPosition) or position.entries > now.entries:
            raise StateError(
                f"source {self.name!r} cannot acknowledge {position!r}: it stands at {now!r}; give "
                "it a position that it had"
            )
        group = self._settings.group
        for stream, ids in self._ledger.up_to(position).items():
            for start in range(0, len(ids), ACKNOWLEDGED_AT_ONCE):
                part = ids[start : start + ACKNOWLEDGED_AT_ONCE]
                await self._link.insist(partial(self._link.client.xack, stream, group, *part))
        self._ledger.settle(position)
        self._room.set()

    # -- the connection ---------------------------------------------------------------------------

    async def _connect(self) -> None:
        for stream in self._settings.streams:
            # what a group that was lost had not finished is not known: all comes again
            start = BEGINNING if self._connects else self._settings.start
            try:
                await self._link.client.xgroup_create(
                    stream, self._settings.group, id=start, mkstream=True
                )
            except Exception as error:
                if not self._link.is_group_there(error):
                    raise
            else:
                self._newest.pop(stream, None)

    async def _disconnect(self) -> None:
        if self._closed:  # until then there may be something to acknowledge
            await self._link.aclose()

    def _is_transient(self, error: Exception) -> bool:
        return self._link.is_transient(error)

    # -- reading ----------------------------------------------------------------------------------

    async def _read(self) -> None:
        if self.unacknowledged >= self._settings.max_unacknowledged:
            await self._hold()
        elif self._own:
            await self._read_own()
        elif self._claims():
            await self._claim()
        else:
            await self._read_new()
        self._failures = 0

    async def _hold(self) -> None:
        """Say that it waits, then wait, for room."""
        if self._held:
            await self._room.wait()
            self._held = False
        else:
            self._held = True
            self._room = anyio.Event()
            self._report(SourceHeld(self._clock.now_ns(), self.name, self.unacknowledged))

    async def _read_own(self) -> None:
        """Read what was delivered to this consumer, but perhaps never arrived."""
        stream, cursor = next(iter(self._own.items()))
        entries = await self._entries({stream: cursor}, block=None)
        for entry in entries:
            await self._take(entry)
            self._own[stream] = entry.entry_id
        if not entries:
            del self._own[stream]

    async def _read_new(self) -> None:
        try:
            new = dict.fromkeys(self._settings.streams, ">")
            for entry in await self._entries(new, block=self._settings.block_ms):
                await self._take(entry)
                self._newest[entry.stream] = entry.entry_id
        except BaseException:  # the server may have delivered what did not arrive
            newest = self._newest
            self._own = {it: newest.get(it, BEGINNING) for it in self._settings.streams}
            self._doubted = dict(self._own)
            raise
        # by now it knows of the end of that connection, which it may not have when it was asked
        self._own, self._doubted = self._doubted, {}

    async def _entries(self, cursors: dict[str, str], block: int | None) -> Sequence[Entry]:
        settings = self._settings
        reply: object = await self._link.client.xreadgroup(
            settings.group, settings.consumer, cursors, count=settings.batch, block=block
        )
        return list(entries_of(reply))

    def _claims(self) -> bool:
        """Whether there are streams to be searched for entries of dead consumers."""
        idle_s = self._settings.claim_idle_s
        if idle_s is None:
            return False
        now = self._clock.monotonic()
        if not self._others and now >= self._next_claim:
            self._next_claim = now + max(idle_s / 4, self._settings.block_ms / 1_000)
            self._others = dict.fromkeys(self._settings.streams, BEGINNING)
        return bool(self._others)

    async def _claim(self) -> None:
        stream, cursor = next(iter(self._others.items()))
        try:
            cursor, rows, gone = await self._claimed(stream, cursor)
            for entry_id in gone:  # the server has done with them
                self._reject(f"{stream} {entry_id}: it was removed while it was pending", None)
            for row in rows:
                await self._take(entry_of(stream, row))
        except BaseException:
            self._own[stream] = BEGINNING
            raise
        if cursor == BEGINNING:
            del self._others[stream]
        else:
            self._others[stream] = cursor

    async def _claimed(self, stream: str, cursor: str) -> tuple[str, list[Any], list[str]]:
        settings = self._settings
        reply: list[Any] = await self._link.client.xautoclaim(
            stream,
            settings.group,
            settings.consumer,
            round((settings.claim_idle_s or 0) * 1_000),
            start_id=cursor,
            count=settings.batch,
        )
        gone = [text_of(it) for it in reply[2]] if len(reply) > 2 else []
        return text_of(reply[0]), reply[1], gone

    # -- entries ----------------------------------------------------------------------------------

    async def _take(self, entry: Entry) -> None:
        """Make an entry's events ready; nothing of it is noted before the last wait."""
        key = (entry.stream, entry.entry_id)
        if key in self._ledger:
            return
        try:
            events = self._decode(self._payload(entry))
        except Exception as error:  # noqa: BLE001 - the function may be the user's
            await self._bury(entry, describe(error))
            self._ledger.enter(key)
            self._reject(f"{entry.stream} {entry.entry_id}: {describe(error)}", key)
            return
        self._ledger.enter(key)
        before: tuple[Event, ...] = events[:-1]
        self._ready.extend((event, None) for event in before)
        self._ready.append((events[-1] if events else None, key))

    def _payload(self, entry: Entry) -> bytes:
        field = self._settings.field
        if field in entry.fields:
            return entry.fields[field]
        if not entry.fields:
            raise LookupError("it was removed while it was pending")
        raise LookupError(f"it has no field {field!r}, only {', '.join(entry.fields)}")

    def _reject(self, error: str, key: Key | None) -> None:
        self.rejected += 1
        rejected = SourceRejected(self._clock.now_ns(), self.name, error, self.rejected)
        self._ready.append((rejected, key))

    async def _bury(self, entry: Entry, error: str) -> None:
        stream = self._settings.dead_letter_stream
        if stream:
            origin = {"error": error, "stream": entry.stream, "id": entry.entry_id}
            await self._link.client.xadd(stream, {**entry.fields, **origin})

    def _passed_on(self, message: Key) -> None:
        self._ledger.deliver(message)

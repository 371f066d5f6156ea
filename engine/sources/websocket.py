"""Events from a WebSocket server; needs the library websockets, and asyncio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import anyio
import msgspec
from msgspec import Meta

from admf.engine.clock import Clock
from admf.engine.errors import DataError
from admf.engine.events import Event, SourceGap, SourceRejected
from admf.engine.sources.backoff import Backoff, Jitter
from admf.engine.sources.connected import ConnectedSource, describe, library, place_of
from admf.engine.sources.decoding import Events, decode_of
from admf.engine.sources.numbering import Numbering

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

__all__ = ["Subscribe", "WebSocketSettings", "WebSocketSource", "WebSocketStats"]

Message: TypeAlias = "str | bytes"

Subscribe: TypeAlias = "Sequence[Message] | Callable[[int | None], Sequence[Message]]"
"""What to send on each connection; a function is given the last number seen, from which a server
may be able to go on."""

Seconds: TypeAlias = Annotated[float, Meta(gt=0)]


class WebSocketSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a `WebSocketSource` behaves.

    Args:
        sequence_field: Field of the events that numbers them; empty if none does.
        numbered_by: Whether the numbers go on over connections (``feed``), so that what comes again
            after a reconnect is dropped and what is missing is noticed, or start afresh with each
            (``connection``).
        end_on_close: End when the server closes the connection with code 1000 or 1001, instead of
            connecting again.
        strict: Raise on a message that gives no event, instead of counting it.
        max_message_bytes: A longer message ends the connection.
        open_timeout_s: Longest time to connect, in seconds.
        ping_interval_s: Time between two pings; None sends none.
        ping_timeout_s: Longest time until the answer to a ping.
        idle_timeout_s: Longest time without a message; None waits for ever.
        backoff: When to connect again, and when to give up.
    """

    sequence_field: str = ""
    numbered_by: Literal["feed", "connection"] = "feed"
    end_on_close: bool = False
    strict: bool = False
    max_message_bytes: Annotated[int, Meta(ge=1)] = 1 << 20
    open_timeout_s: Seconds = 10.0
    ping_interval_s: Seconds | None = 20.0
    ping_timeout_s: Seconds = 20.0
    idle_timeout_s: Seconds | None = None
    backoff: Backoff = Backoff()


class WebSocketStats(msgspec.Struct, frozen=True):
    """What a source has met with so far.

    Args:
        messages: Messages received.
        rejected: Those that gave no event since they could not be decoded.
        events: Events in the others, duplicates left out.
        duplicates: Events dropped since their number had been there.
        gaps: How often numbers were missing.
        missing: How many numbers were.
        connects: Connections there have been.
    """

    messages: int
    rejected: int
    events: int
    duplicates: int
    gaps: int
    missing: int
    connects: int


class WebSocketSource(ConnectedSource[None]):
    """Yields the events that a WebSocket server sends, and connects again when it is cut off.

    Each event is yielded at most once. What the server sends while there is no connection is lost,
    unless it sends it again: then ``subscribe`` can ask for it, and with a ``sequence_field`` the
    source drops what it has seen and yields SOURCE_GAP before an event that does not follow the one
    before. SOURCE_CONNECTED, SOURCE_LOST and SOURCE_REJECTED tell what else happened.

    The source ends with `aclose`; with ``end_on_close``, when the server has closed the connection;
    and with a `SourceError` when it has to give up. It needs asyncio.

    Args:
        url: ``ws://`` or ``wss://``.
        events: Event classes, or a function that decodes a message.
        settings: How it behaves.
        subscribe: Messages to send on each connection.
        name: Names the source in its own events; by default host, port and path.
        clock: Stamps its own events, and waits between attempts.
        jitter: Random generator for these waits.
        **options: Passed on to `websockets.asyncio.client.connect`: ``additional_headers``,
            ``ssl``, ``proxy`` and so on.

    Raises:
        ConfigError: The library is not installed, or the event classes do not fit together.
    """

    def __init__(
        self,
        url: str,
        events: Events,
        settings: WebSocketSettings | None = None,
        *,
        subscribe: Subscribe = (),
        name: str = "",
        clock: Clock | None = None,
        jitter: Jitter | None = None,
        **options: Any,
    ) -> None:
        settings = settings or WebSocketSettings()
        super().__init__(name or place_of(url), settings.backoff, clock, jitter)
        self._library = library("websockets.asyncio.client", "a WebSocketSource", "websocket")
        self._errors = library("websockets.exceptions", "a WebSocketSource", "websocket")
        self._url = url
        self._decode = decode_of(events)
        self._settings = settings
        self._subscribe = subscribe
        self._options = options
        self._connection: ClientConnection | None = None
        self._numbering = Numbering(settings.sequence_field)
        self._messages = 0
        self._rejected = 0
        self._events = 0

    @property
    def stats(self) -> WebSocketStats:
        """What the source has met with so far."""
        return WebSocketStats(
            messages=self._messages,
            rejected=self._rejected,
            events=self._events,
            duplicates=self._numbering.duplicates,
            gaps=self._numbering.gaps,
            missing=self._numbering.missing,
            connects=self._connects,
        )

    async def _connect(self) -> None:
        settings = self._settings
        connection: ClientConnection = await self._library.connect(
            self._url,
            max_size=settings.max_message_bytes,
            open_timeout=settings.open_timeout_s,
            ping_interval=settings.ping_interval_s,
            ping_timeout=settings.ping_timeout_s,
            **self._options,
        )
        self._connection = connection
        try:
            await self._send_subscription(connection)
        except BaseException:
            await self._disconnect()
            raise
        if settings.numbered_by == "connection":
            self._numbering.forget()

    async def _send_subscription(self, connection: ClientConnection) -> None:
        subscribe = self._subscribe
        messages = subscribe(self._numbering.last) if callable(subscribe) else subscribe
        with suppress(self._errors.ConnectionClosed):  # what came before can still be read
            for message in messages:
                await connection.send(message)

    async def _read(self) -> None:
        connection = self._connection
        assert connection is not None  # noqa: S101 - there is one while `_connected`
        idle_s = self._settings.idle_timeout_s
        limit = nullcontext() if idle_s is None else anyio.fail_after(idle_s)
        try:
            with limit:
                message = await connection.recv(decode=False)
        except TimeoutError:
            await self._lose(f"no message came for {idle_s} s (idle_timeout_s)")
        except self._errors.ConnectionClosedOK as error:
            self._ended = self._settings.end_on_close
            await self._lose(describe(error))
        else:
            self._take(message)

    def _take(self, message: bytes) -> None:
        self._messages += 1
        try:
            events = self._decode(message)
        except Exception as error:  # noqa: BLE001 - the function may be the user's
            self._reject(error)
            return
        for event in events:
            self._take_event(event)

    def _take_event(self, event: Event) -> None:
        missing = self._numbering.missing_before(event)
        if missing is None:
            return
        if missing:
            now_ns = self._clock.now_ns()
            self._report(SourceGap(now_ns, self.name, missing.start, missing.stop))
        self._failures = 0
        self._events += 1
        self._report(event)

    def _reject(self, error: Exception) -> None:
        self._rejected += 1
        text = describe(error)
        if self._settings.strict:
            raise DataError(
                f"source {self.name!r}: message {self._messages} gives no event: {text}; "
                "without strict it would be counted and left out"
            ) from error
        self._report(SourceRejected(self._clock.now_ns(), self.name, text, self._rejected))

    async def _disconnect(self) -> None:
        """Cut the connection: a server that is told so may take its time to answer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.transport.abort()
            await connection.wait_closed()

    def _is_transient(self, error: Exception) -> bool:
        closed = isinstance(error, self._errors.ConnectionClosed)
        return closed or self._library.process_exception(error) is None

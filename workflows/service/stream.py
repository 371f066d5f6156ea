"""A run's events as they happen: server-sent events."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from admf.engine.clock import Clock
from admf.workflows.service.channel import END, Channel, message

__all__ = ["EventStream", "ending", "follow"]

_BEAT = b": heartbeat\n\n"
_OPENING = b"retry: 2000\n\n"
"""A client whose connection breaks comes back after two seconds."""
_IDENTITY = re.compile(r"([0-9a-f]{8})-([0-9]{1,15})")


class EventStream(StreamingResponse):
    """Sends messages until there are no more, or the client has left.

    Args:
        messages: The messages, encoded.
        on_close: Called when it is over, however that comes about.
    """

    media_type = "text/event-stream"

    def __init__(
        self, messages: AsyncGenerator[bytes], on_close: Callable[[], None] = lambda: None
    ) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(messages, headers=headers)
        self._messages = messages
        self._on_close = on_close

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; nothing of it is left afterwards."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._end_with_client, receive, group.cancel_scope)
                await self.stream_response(send)
                group.cancel_scope.cancel()
        except* OSError:  # that is how some servers say that the client has left
            pass
        finally:
            self._on_close()
            with anyio.CancelScope(shield=True):
                await self._messages.aclose()

    async def _end_with_client(self, receive: Receive, scope: anyio.CancelScope) -> None:
        await self.listen_for_disconnect(receive)
        scope.cancel()


async def ending(status: str) -> AsyncGenerator[bytes]:
    """Yield the end of a run that is over."""
    yield message(END, {"status": status, "dropped": 0}, END)


async def follow(
    channel: Channel,
    last: str | None,
    *,
    clock: Clock,
    heartbeat_s: float,
    status: Callable[[], str],
) -> AsyncGenerator[bytes]:
    """Yield the messages of a channel to one client.

    Args:
        channel: The messages on a run.
        last: Id of the last message that the client has had; None if it comes for the first time,
            and gets the latest progress and then what is new.
        clock: Measures the heartbeat.
        heartbeat_s: Seconds after which a comment shows that the stream is alive.
        status: Returns how the run is.
    """
    yield _OPENING
    position = channel.newest
    if last is not None:
        position, missed = _position(channel, last)
        if missed:
            yield message("lost", {"count": None})
    elif channel.latest_progress is not None:
        yield message("progress", channel.latest_progress)
    while True:
        found = channel.read(position)
        position = found.position
        if found.lost:
            yield message("lost", {"count": found.lost})
        if found.messages:
            yield b"".join(found.messages)
        elif channel.is_over:
            yield message(END, {"status": status(), "dropped": channel.dropped}, END)
            return
        elif channel.is_closed:
            return
        elif not await _changed(channel, clock, heartbeat_s):
            yield _BEAT


def _position(channel: Channel, last: str) -> tuple[int, bool]:
    """Return where a client goes on, and whether nobody can tell how much it has missed."""
    match = _IDENTITY.fullmatch(last)
    if match is None or match[1] != channel.tag or int(match[2]) > channel.newest:
        return channel.oldest, True
    return int(match[2]), False


async def _changed(channel: Channel, clock: Clock, seconds: float) -> bool:
    """Return whether something came within a time."""
    came = False

    async def wait(scope: anyio.CancelScope) -> None:
        nonlocal came
        await channel.changed()
        came = True
        scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(wait, group.cancel_scope)
        await clock.sleep(seconds)
        group.cancel_scope.cancel()
    return came

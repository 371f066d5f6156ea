"""A WebSocket server that does what a test tells it, and a clock that takes no time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import msgspec
from anyio.lowlevel import checkpoint
from websockets.asyncio.server import ServerConnection, serve

from admf.engine.events import Event

Script = Callable[[ServerConnection], Awaitable[None]]


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    number: int


class Note(Event, frozen=True, gc=False, tag="NOTE"):
    text: str


def json(event: Event) -> str:
    return msgspec.json.encode(event).decode()


def ticks(*numbers: int) -> list[str]:
    return [json(Tick(0, number)) for number in numbers]


class PromptClock:
    """Waits for nothing, and takes note of how long it was to wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def now_ns(self) -> int:
        return 7

    def monotonic(self) -> float:
        return sum(self.waits)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await checkpoint()


def says(*messages: str | bytes, code: int = 1000) -> Script:
    """Return what sends messages, then closes."""

    async def script(connection: ServerConnection) -> None:
        for message in messages:
            await connection.send(message)
        await connection.close(code)

    return script


def breaks_off(*messages: str | bytes) -> Script:
    """Return what sends messages, and is gone without a word."""

    async def script(connection: ServerConnection) -> None:
        for message in messages:
            await connection.send(message)
        await connection.pong()  # what was sent has left
        connection.transport.close()
        await connection.wait_closed()

    return script


def stays(*messages: str | bytes) -> Script:
    """Return what sends messages, then nothing more until the client leaves."""

    async def script(connection: ServerConnection) -> None:
        for message in messages:
            await connection.send(message)
        await connection.wait_closed()

    return script


@asynccontextmanager
async def served(*scripts: Script) -> AsyncIterator[str]:
    """Yield the URL of a server that plays one script for each connection, the last again."""
    left = list(scripts)

    async def handler(connection: ServerConnection) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(connection)

    async with serve(handler, "127.0.0.1", 0, close_timeout=0.2) as server:
        host, port = next(iter(server.sockets)).getsockname()[:2]
        with anyio.fail_after(10):
            yield f"ws://{host}:{port}"

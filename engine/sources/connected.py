"""What sources have in common that hold a connection, lose it and get it back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from importlib import import_module
from typing import Any, Generic, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

import anyio
import numpy as np

from admf.engine.clock import Clock, WallClock
from admf.engine.errors import AdmfError, ConfigError, SourceError
from admf.engine.events import Event, SourceConnected, SourceLost
from admf.engine.sources.backoff import Backoff, Jitter

__all__ = ["ConnectedSource", "describe", "library", "place_of"]

T = TypeVar("T")

LONGEST_REASON = 500
"""Characters: whoever raises may have put a whole message into the text."""


def library(module: str, who: str, extra: str) -> Any:
    """Import what only one kind of source needs.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{who} needs {error.name}; install it with: pip install 'admf[{extra}]'"
        ) from error


def describe(error: BaseException) -> str:
    """Return the kind and the text of an error, on one line that is not too long."""
    line = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}..."


def place_of(url: str) -> str:
    """Return host, port and path of a URL: what can be shown, since there is no secret in it."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


class ConnectedSource(ABC, Generic[T]):
    """Yields events for as long as it is open, whatever becomes of its connection.

    Its state is kept by the source, not by an iteration: one that is left or cancelled loses
    nothing, and the next goes on where it stopped. One task iterates at a time.

    Args:
        name: Names the source in the events about itself.
        backoff: When to try again, and when to give up.
        clock: Stamps the source's own events, and waits.
        jitter: Makes the waits random; by default a generator of its own.
    """

    def __init__(
        self, name: str, backoff: Backoff, clock: Clock | None, jitter: Jitter | None
    ) -> None:
        self.name = name
        self._backoff = backoff
        self._clock: Clock = clock or WallClock()
        self._jitter: Jitter = jitter or np.random.default_rng()
        self._ready: deque[tuple[Event | None, T | None]] = deque()
        self._connected = False
        self._connects = 0
        self._failures = 0
        self._last_reason = ""
        self._closed = False
        self._ended = False
        self._wait: anyio.CancelScope | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        Raises:
            SourceError: The source has to give up.
        """
        while not self._closed:
            while self._ready:
                event, message = self._ready.popleft()
                if message is not None:
                    self._passed_on(message)
                if event is not None:
                    return event
            if self._ended:
                break
            with anyio.CancelScope() as self._wait:  # `aclose` cancels it
                await self._step()
        await self._disconnect()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the iteration, wherever it waits, and close the connection."""
        if self._closed:
            return
        self._closed = True
        if self._wait is not None:
            self._wait.cancel()
        await self._disconnect()

    # -- what a kind of source has to say ---------------------------------------------------------

    @abstractmethod
    async def _connect(self) -> None:
        """Get a connection."""

    @abstractmethod
    async def _read(self) -> None:
        """Wait for messages and make them `_ready`; an interruption must lose nothing."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """Let go of the connection, if there is one."""

    @abstractmethod
    def _is_transient(self, error: Exception) -> bool:
        """Whether another attempt may succeed."""

    def _passed_on(self, message: T) -> None:
        """Take note that all events of a message have been yielded."""

    # -- the loop ---------------------------------------------------------------------------------

    async def _step(self) -> None:
        try:
            if self._connected:
                await self._read()
                return
            if self._failures:
                await self._pause()
            await self._connect()
        except Exception as error:  # noqa: BLE001 - raised again, or one to try again after
            if self._closed:  # which cut off what was under way
                return
            if not self._is_transient(error):
                await self._give_up(error)
            await self._lose(describe(error))
        else:
            self._connected = True
            self._connects += 1
            self._report(SourceConnected(self._clock.now_ns(), self.name, self._connects))

    async def _pause(self) -> None:
        if self._backoff.is_over(self._failures):
            raise SourceError(
                f"source {self.name!r}: {self._failures} attempts in a row have failed; look "
                f"whether its server runs and can be reached, or allow more with max_failures. "
                f"The last one: {self._last_reason}"
            )
        await self._clock.sleep(self._backoff.wait_s(self._failures, self._jitter))

    async def _lose(self, reason: str) -> None:
        self._connected = False
        self._failures += 1
        self._last_reason = reason
        self._report(SourceLost(self._clock.now_ns(), self.name, reason))
        await self._disconnect()

    async def _give_up(self, error: Exception) -> NoReturn:
        self._ended = True
        await self._disconnect()
        if isinstance(error, AdmfError):
            raise error
        raise SourceError(
            f"source {self.name!r}: {describe(error)}; trying again would not help"
        ) from error

    def _report(self, event: Event) -> None:
        self._ready.append((event, None))

"""The messages on a run for all clients that follow the same of it."""

from __future__ import annotations

import secrets
from collections import deque
from itertools import islice
from typing import NamedTuple

import anyio
import msgspec
from msgspec.structs import replace

from admf.engine.clock import Clock
from admf.engine.events import Event, HandlerFailed, event_name
from admf.workflows.held_results import plain
from admf.workflows.progress import RunProgress
from admf.workflows.run import Run
from admf.workflows.run_events import RunEvent, RunEvents
from admf.workflows.service.limits import ServiceLimits
from admf.workflows.service.problems import Redaction

__all__ = ["END", "Channel", "Found", "message"]

END = "end"
"""Name and id of the message that a run is over."""

_AT_ONCE = 100


def message(name: str, content: object, identity: str = "") -> bytes:
    """Return a server-sent event.

    Args:
        name: Its name, a plain word.
        content: Its data; becomes one line of JSON.
        identity: Its id; a client that comes back tells the latest one.
    """
    head = f"id: {identity}\n" if identity else ""
    data = msgspec.json.encode(content, enc_hook=plain)
    return f"{head}event: {name}\ndata: ".encode() + data + b"\n\n"


class Found(NamedTuple):
    """What a client is sent next.

    Args:
        messages: Encoded, some at a time.
        position: Number of the last message that it then has had.
        lost: Messages that it will never get, as they are not held any more.
    """

    messages: list[bytes]
    position: int
    lost: int


class Channel:
    """Holds the latest messages on a run, each of them numbered, for clients to read at their pace.

    A client that is too slow, or comes back too late, has lost what is not held any more: nobody
    waits for it. The channel goes on for a while when the last client has left, as it may come
    back.

    Args:
        run: The run; it is followed from now on.
        types: Classes of the events that are told.
        limits: ``messages``, ``replay_s`` and ``progress_s`` of them.
        clock: Measures these times.
        redaction: For what went wrong.

    Raises:
        StateError: The run's events cannot be followed.
    """

    def __init__(
        self,
        run: Run,
        types: frozenset[type[Event]],
        *,
        limits: ServiceLimits,
        clock: Clock,
        redaction: Redaction,
    ) -> None:
        self.tag = secrets.token_hex(4)
        self.is_over = False
        self.is_closed = False
        self.newest = 0
        self.latest_progress: RunProgress | None = None
        self._run = run
        self._limits = limits
        self._clock = clock
        self._redaction = redaction
        self._events: RunEvents | None = None
        if types:
            room = max(limits.messages // 2, 1)  # so that what comes at once does not fill the ring
            self._events = run.events(types, maxsize=room, overflow="drop_oldest")
        self._held: deque[bytes] = deque(maxlen=limits.messages)
        self._changed: anyio.Event | None = None  # made only when somebody waits
        self._clients = 0
        self._crowd = anyio.Event()  # set when there are no clients any more, or some again

    @property
    def dropped(self) -> int:
        """Events that came too many at once, and were never told."""
        return 0 if self._events is None else self._events.dropped

    @property
    def is_idle(self) -> bool:
        """Whether it has no clients."""
        return not self._clients

    @property
    def oldest(self) -> int:
        """The position before the oldest message that is held."""
        return self.newest - len(self._held)

    def enter(self) -> None:
        """Have one client more."""
        self._clients += 1
        self._tell_crowd()

    def leave(self) -> None:
        """Have one client less."""
        self._clients -= 1
        if not self._clients:
            self._tell_crowd()

    def read(self, position: int) -> Found:
        """Return the messages after a position, some at a time."""
        first = self.oldest
        lost = max(first - position, 0)
        begin = max(position - first, 0)
        messages = list(islice(self._held, begin, begin + _AT_ONCE))
        return Found(messages, first + begin + len(messages), lost)

    async def changed(self) -> None:
        """Wait for a message, or the end."""
        self._changed = self._changed or anyio.Event()
        await self._changed.wait()

    async def follow(self) -> None:
        """Take in what there is to tell of the run until it is over, or nobody listens any more."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._close_when_deserted, group.cancel_scope)
                async with anyio.create_task_group() as both:
                    both.start_soon(self._follow_progress)
                    if self._events is not None:
                        both.start_soon(self._follow_events, self._events)
                self.is_over = True
                group.cancel_scope.cancel()
        finally:
            self.close()

    def close(self) -> None:
        """Tell no more."""
        self.is_closed = True
        if self._events is not None:
            self._events.close()
        self._wake()

    async def _follow_progress(self) -> None:
        async for update in self._run.progress():
            self.latest_progress = update
            self._add("progress", update)
            if self._limits.progress_s and not self._run.is_over:
                await self._clock.sleep(self._limits.progress_s)

    async def _follow_events(self, events: RunEvents) -> None:
        dropped = 0
        async for event in events:
            if events.dropped > dropped:
                self._add("dropped", {"count": events.dropped - dropped})
                dropped = events.dropped
            cls: type[Event] = event.event.__class__
            self._add(event_name(cls), self._shown(event))

    def _shown(self, event: RunEvent) -> RunEvent:
        """Return an event as clients may see it: what failed can name files of the server."""
        told = event.event
        if not isinstance(told, HandlerFailed):
            return event
        error = self._redaction.text(told.error)
        return replace(event, event=replace(told, error=error))

    async def _close_when_deserted(self, scope: anyio.CancelScope) -> None:
        while True:
            await self._crowd.wait()
            self._crowd = anyio.Event()
            if not self._clients:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._give_back, group.cancel_scope)
                    await self._clock.sleep(self._limits.replay_s)
                    scope.cancel()

    async def _give_back(self, scope: anyio.CancelScope) -> None:
        await self._crowd.wait()
        scope.cancel()

    def _add(self, name: str, content: object) -> None:
        self.newest += 1
        self._held.append(message(name, content, f"{self.tag}-{self.newest}"))
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def _tell_crowd(self) -> None:
        self._crowd.set()

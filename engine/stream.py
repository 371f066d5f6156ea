"""An async iterator over a bus's events, for observers outside it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import anyio

from admf.engine.events import Envelope
from admf.engine.queues import BoundedQueue, weight
from admf.engine.subscription import Subscription

__all__ = ["EventStream"]


class EventStream:
    """Yields envelopes of the wanted types until it or its bus is closed; see ``Bus.stream``.

    Use it as a context manager, so that the bus stops filling it when the observer leaves.
    """

    def __init__(self, subscription: Subscription, queue: BoundedQueue) -> None:
        self._subscription = subscription
        self._queue = queue
        self._ready = anyio.Event()
        self._closed = False
        subscription.on_put = self._wake

    @property
    def dropped(self) -> int:
        """Events that the overflow policy dropped."""
        return self._queue.dropped

    def close(self) -> None:
        """Take no more events; what is queued can still be read."""
        self._closed = True
        self._subscription.cancel()
        self._wake()

    def _wake(self) -> None:
        self._ready.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Envelope:
        while True:
            envelope = self._queue.take()
            if envelope is not None:
                self._queue.done()
                self._subscription.handled += weight(envelope.event)
                return envelope
            if self._closed:
                raise StopAsyncIteration
            self._ready = anyio.Event()
            await self._ready.wait()

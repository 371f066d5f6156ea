"""An async iterator over a bus's events, for observers outside it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

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

    @property
    def dropped(self) -> int:
        """Events that the overflow policy dropped."""
        return self._queue.dropped

    @property
    def waiting(self) -> int:
        """Events that the observer can take without waiting."""
        return self._queue.size

    def close(self) -> None:
        """Take no more events; what is queued can still be read."""
        self._queue.close()
        self._subscription.cancel()

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
        """Return the next envelope.

        Raises:
            QueueFullError: The stream's policy is ``fail`` and the observer was too slow.
        """
        await self._queue.wait_for_item()
        envelope = self.take()
        if envelope is None:
            raise self._queue.error or StopAsyncIteration
        return envelope

    def take(self) -> Envelope | None:
        """Return the next envelope, or None if there is none yet."""
        envelope = self._queue.take()
        if envelope is not None:
            self._queue.done()
            self._subscription.handled += weight(envelope.event)
        return envelope

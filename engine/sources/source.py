"""Where the events of a live window come from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from admf.engine.events import Event

__all__ = ["AcknowledgedSource", "Source"]


class Source(Protocol):
    """An async iterator of events from outside; it ends when there are no more.

    A host closes a source that has `aclose()` when it is done with it.
    """

    def __aiter__(self) -> AsyncIterator[Event]:
        """Return the iterator."""
        ...


@runtime_checkable
class AcknowledgedSource(Source, Protocol):
    """A source that delivers again what nobody has acknowledged."""

    @property
    def position(self) -> object:
        """What stands for all events that it has yielded so far."""
        ...

    async def acknowledge(self, position: object) -> None:
        """Be told that all events up to a position are flushed and committed."""
        ...

"""Events, the registry of their names, and the envelope the bus puts around each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import msgspec

from admf.engine.errors import RegistryError, did_you_mean

if TYPE_CHECKING:
    from admf.engine.block import Block

__all__ = [
    "ENGINE_EVENTS",
    "ContainerAdded",
    "ContainerRemoved",
    "ContainerSwapped",
    "Dropped",
    "Envelope",
    "Event",
    "EventRegistry",
    "HandlerFailed",
    "Published",
    "SourceConnected",
    "SourceEvent",
    "SourceFailed",
    "SourceGap",
    "SourceHeld",
    "SourceLost",
    "SourceRejected",
    "WindowEnd",
    "WindowStart",
    "event_name",
]


class Event(msgspec.Struct, frozen=True, gc=False, tag_field="event", tag="EVENT"):
    """A fact: immutable, typed, stamped with the time it belongs to.

    A subclass names itself with ``tag`` (upper case, as used in ``event_tracing``) and may set
    three class variables:

    * ``key_field``: the field that ``subscribe(key=...)`` compares;
    * ``correlation_field``: the field whose value ties an opening, its followers and a closing;
    * ``closes``: whether this event ends its correlation.

    Args:
        ts: Nanoseconds since 1970-01-01 UTC.
    """

    key_field: ClassVar[str | None] = None
    correlation_field: ClassVar[str | None] = None
    closes: ClassVar[bool] = False

    ts: int


class WindowStart(Event, frozen=True, gc=False, tag="WINDOW_START"):
    """An execution window began to run."""

    window_id: str


class WindowEnd(Event, frozen=True, gc=False, tag="WINDOW_END"):
    """An execution window has no more input; ``status`` says how it ended."""

    window_id: str
    status: str


class HandlerFailed(Event, frozen=True, gc=False, tag="HANDLER_FAILED"):
    """A handler raised; the event reached its other subscribers all the same."""

    subscriber: str
    event_name: str
    failed_seq: int
    error: str


class Dropped(Event, frozen=True, gc=False, tag="DROPPED"):
    """A bounded queue dropped events; ``total`` counts all drops of that subscription."""

    subscriber: str
    event_name: str
    total: int


class ContainerAdded(Event, frozen=True, gc=False, tag="CONTAINER_ADDED"):
    """A container entered a running window: it sees its scope's events after ``after_seq``."""

    container_id: str
    after_seq: int


class ContainerRemoved(Event, frozen=True, gc=False, tag="CONTAINER_REMOVED"):
    """A container left a running window: it saw its scope's events up to ``last_seq``."""

    container_id: str
    last_seq: int


class ContainerSwapped(Event, frozen=True, gc=False, tag="CONTAINER_SWAPPED"):
    """A container took another's place: that saw the events up to ``last_seq``, it those after."""

    container_id: str
    successor_id: str
    last_seq: int


class SourceFailed(Event, frozen=True, gc=False, tag="SOURCE_FAILED"):
    """The `run` of a source raised, and its window goes on; see `Supervision`."""

    container_id: str
    error: str


class SourceEvent(Event, frozen=True, gc=False, tag="SOURCE"):
    """What a source of live events has to say about itself; its time is that of the source's clock.

    Args:
        source: Name of the source.
    """

    source: str


class SourceConnected(SourceEvent, frozen=True, gc=False, tag="SOURCE_CONNECTED"):
    """A source has a connection; ``connects`` counts those it has had."""

    connects: int


class SourceLost(SourceEvent, frozen=True, gc=False, tag="SOURCE_LOST"):
    """A source has lost its connection, or could not get one."""

    reason: str


class SourceGap(SourceEvent, frozen=True, gc=False, tag="SOURCE_GAP"):
    """Events are missing: those with the numbers from ``expected`` to just before ``got``."""

    expected: int
    got: int


class SourceRejected(SourceEvent, frozen=True, gc=False, tag="SOURCE_REJECTED"):
    """A message gave no event; ``total`` counts all such messages of the source."""

    error: str
    total: int


class SourceHeld(SourceEvent, frozen=True, gc=False, tag="SOURCE_HELD"):
    """A source waits: so many of the messages that it has delivered are not acknowledged."""

    unacknowledged: int


ENGINE_EVENTS: tuple[type[Event], ...] = (
    WindowStart,
    WindowEnd,
    HandlerFailed,
    Dropped,
    ContainerAdded,
    ContainerRemoved,
    ContainerSwapped,
    SourceFailed,
    SourceConnected,
    SourceLost,
    SourceGap,
    SourceRejected,
    SourceHeld,
)


def event_name(cls: type[Event]) -> str:
    """Return the tag of an event class, e.g. ``FILL``."""
    return str(cls.__struct_config__.tag)


Published: TypeAlias = "Event | Block[Any]"


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What the bus knows about a published event or block.

    Args:
        seq: Position in the bus's order, gapless from 1; a block of n events takes n numbers and is
            known by its first.
        cause: ``seq`` of the event that was being handled when this was published; 0 if none was.
        source: Id of the publisher.
        event: The event, or the block of events.
    """

    seq: int
    cause: int
    source: str
    event: Any


class EventRegistry:
    """Maps event names to classes, one to one."""

    def __init__(self, classes: Iterable[type[Event]] = ENGINE_EVENTS) -> None:
        self._classes: dict[str, type[Event]] = {}
        for cls in classes:
            self.register(cls)

    def register(self, cls: type[Event]) -> type[Event]:
        """Add an event class; usable as a decorator.

        Raises:
            RegistryError: The name is taken by another class, or is not upper case.
        """
        name = event_name(cls)
        if name != name.upper():
            raise RegistryError(f"event name {name!r} of {cls.__qualname__} must be upper case")
        known = self._classes.setdefault(name, cls)
        if known is not cls:
            raise RegistryError(
                f"event name {name!r} is taken by {known.__module__}.{known.__qualname__}; "
                f"give {cls.__module__}.{cls.__qualname__} another tag"
            )
        return cls

    def resolve(self, name: str) -> type[Event]:
        """Return the class of an event name.

        Raises:
            RegistryError: No class has this name; the message names near matches.
        """
        try:
            return self._classes[name]
        except KeyError:
            hint = did_you_mean(name, self._classes)
            raise RegistryError(f"unknown event {name!r}{hint}") from None

    def names(self) -> tuple[str, ...]:
        """Return all names in the order of registration."""
        return tuple(self._classes)

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __iter__(self) -> Iterator[type[Event]]:
        return iter(self._classes.values())

"""How what comes over the wire becomes events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, Union

import msgspec

from admf.engine.errors import ConfigError
from admf.engine.events import Event

__all__ = ["Decode", "Events", "decode_of"]

Decode: TypeAlias = Callable[[bytes], "Event | Iterable[Event] | None"]
"""Returns the event or events in a message, or None if there is nothing of interest in it; what it
raises rejects the message."""

Events: TypeAlias = "Iterable[type[Event]] | Decode"
"""What a source understands: event classes (an `EventRegistry` is an iterable of them), whose
messages are JSON objects with the event's name in the field ``event``; or a function."""


def decode_of(events: Events) -> Callable[[bytes], tuple[Event, ...]]:
    """Return a function that decodes a message to the events in it.

    Raises:
        ConfigError: There is no event class, or two have the same name.
    """
    decode = events if callable(events) else _json_decode(tuple(events))

    def decoded(message: bytes) -> tuple[Event, ...]:
        found = decode(message)
        if found is None:
            return ()
        return (found,) if isinstance(found, Event) else tuple(found)

    return decoded


def _json_decode(classes: tuple[type[Event], ...]) -> Callable[[bytes], Event]:
    if not classes:
        raise ConfigError("a source needs the event classes that its messages may hold: name one")
    union: Any = Union[classes]  # noqa: UP007 - it is made of a tuple
    try:
        return msgspec.json.Decoder[Event](union).decode
    except TypeError as error:
        raise ConfigError(f"the event classes of a source do not fit together: {error}") from error

"""Which subscribers and tracers an event class reaches; worked out once per class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from admf.engine.events import Envelope, Event
from admf.engine.subscription import Handler, Subscription

__all__ = ["Recorder", "Route", "matches"]


class Recorder(Protocol):
    """What a bus needs of a tracer."""

    @property
    def types(self) -> frozenset[type[Event]]:
        """Event classes to record, subclasses included."""
        ...

    def record(self, envelope: Envelope) -> None:
        """Take in an event or block before any handler sees it."""
        ...


def matches(cls: type[Event], types: Iterable[type[Event]]) -> bool:
    """Whether a class is one of ``types`` or a subclass of one."""
    return issubclass(cls, tuple(types))


class Route:
    """The subscribers of one concrete event class, in order of subscription.

    Attributes:
        calls: Handlers to call one after the other, when nothing but that is to be done.
        plain: Whether that is so: no tracer, key, mailbox, block or async handler, no child scope.
        delivered: Events handed to all of ``calls`` and not yet in the subscriptions' accounts.
    """

    __slots__ = ("calls", "delivered", "exported", "plain", "recorders", "subscriptions", "waits")

    def __init__(
        self,
        cls: type[Event],
        subscriptions: Iterable[Subscription],
        recorders: Iterable[Recorder],
        *,
        exported: bool,
        has_children: bool,
    ) -> None:
        matching = [item for item in subscriptions if matches(cls, item.types)]
        self.subscriptions = tuple(matching)
        self.recorders = tuple(item for item in recorders if matches(cls, item.types))
        self.exported = exported
        self.waits = any(item.is_async or item.queue is not None for item in matching)
        special = self.waits or any(item.takes_blocks or item.key is not None for item in matching)
        self.plain = not (special or self.recorders or exported or has_children)
        self.calls = _distinct([item.handler for item in matching]) if self.plain else ()
        self.delivered = 0

    def settle(self) -> None:
        """Move the counted deliveries into the subscriptions' accounts."""
        count, self.delivered = self.delivered, 0
        if count:
            for item in self.subscriptions:
                item.accepted += count
                item.handled += count


def _distinct(handlers: Sequence[Handler]) -> tuple[Handler, ...]:
    """Make equal handlers distinguishable, so that a failing one is found by its identity."""
    seen: list[Any] = []
    for handler in handlers:
        seen.append(partial(handler) if handler in seen else handler)
    return tuple(seen)

"""Which subscribers and tracers an event class reaches; worked out once per class."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from admf.engine.block import is_block
from admf.engine.events import Envelope, Event, Published
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

    __slots__ = (
        "_by_key",
        "_key_field",
        "_keyless",
        "calls",
        "delivered",
        "exported",
        "plain",
        "recorders",
        "subscriptions",
    )

    def __init__(
        self,
        cls: type[Event],
        subscriptions: Iterable[Subscription],
        recorders: Iterable[Recorder],
        *,
        exported: bool,
        has_children: bool,
    ) -> None:
        self._key_field = cls.key_field
        self.subscriptions = tuple(
            item
            for item in subscriptions
            if matches(cls, item.types) and (item.key is None or cls.key_field is not None)
        )
        self.recorders = tuple(item for item in recorders if matches(cls, item.types))
        self.exported = exported
        self._by_key, self._keyless = _by_key(self.subscriptions)
        special = any(not item.is_plain for item in self.subscriptions)
        self.plain = not (special or self.recorders or exported or has_children)
        handlers = [item.handler for item in self.subscriptions]
        self.calls = _distinct(handlers) if self.plain else ()
        self.delivered = 0

    def wanted_by(self, item: Published) -> tuple[Subscription, ...]:
        """Return the subscriptions of an event; those of a block may want only rows of it."""
        if self._key_field is None or not self._by_key or is_block(item):
            return self.subscriptions
        return self._by_key.get(getattr(item, self._key_field), self._keyless)

    def settle(self) -> None:
        """Move the counted deliveries into the subscriptions' accounts."""
        count, self.delivered = self.delivered, 0
        if count:
            for item in self.subscriptions:
                item.accepted += count
                item.handled += count


def _by_key(
    subscriptions: Iterable[Subscription],
) -> tuple[dict[Hashable, tuple[Subscription, ...]], tuple[Subscription, ...]]:
    """Return the subscriptions of each key, and those of all other keys, each in order."""
    keyed: dict[Hashable, list[Subscription]] = {}
    keyless: list[Subscription] = []
    for item in subscriptions:
        if item.key is not None:
            keyed.setdefault(item.key, keyless.copy()).append(item)
            continue
        for chosen in (keyless, *keyed.values()):
            chosen.append(item)
    return {key: tuple(chosen) for key, chosen in keyed.items()}, tuple(keyless)


def _distinct(handlers: Sequence[Handler]) -> tuple[Handler, ...]:
    """Make handlers that occur twice distinguishable, so that a failing one can be told."""
    seen: list[Any] = []
    for handler in handlers:
        known = any(handler is other for other in seen)
        seen.append(partial(handler) if known else handler)
    return tuple(seen)

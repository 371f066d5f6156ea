"""Which subscribers and tracers the events of a scope reach; worked out once per class."""

from __future__ import annotations

from collections.abc import Collection, Container, Hashable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Protocol

from admf.engine.block import is_block
from admf.engine.bus_counts import Accounts, Deliveries, SubscriberKind
from admf.engine.events import Envelope, Event, Published
from admf.engine.observation import EventObserver
from admf.engine.subscription import Handler, Subscription

__all__ = ["Recorder", "Route", "RoutingTable", "matches"]


CALLS_UNTIMED = 256
"""Most handler calls between two looks at the clock, one event's handlers aside."""


class Recorder(Protocol):
    """What a bus needs of a tracer.

    One that also has ``record_batch(batch, first, cause)`` takes a `Batch` by that, without having
    it made into single events: ``first`` is the number of its first event, ``cause`` that of what
    caused the events that follow from none in the batch.
    """

    @property
    def types(self) -> frozenset[type[Event]]:
        """Event classes to record, subclasses included."""
        ...

    def record(self, envelope: Envelope) -> None:
        """Take in an event or block before any handler sees it."""
        ...


def matches(cls: type[Event], types: Iterable[type[Event]]) -> bool:
    """Whether a class is one of ``types`` or a subclass of one."""
    return issubclass(cls, types if isinstance(types, tuple) else tuple(types))


class Route:
    """The subscribers of one concrete event class, in order of subscription.

    Attributes:
        calls: Handlers to call one after the other, when nothing but that is to be done.
        plain: Whether that is so: no tracer, observer, export, key, mailbox, block, async handler.
        delivered: Events handed to all of ``calls`` and not yet in the subscriptions' accounts.
        stride: How many events ``calls`` may take in a row without a look at the clock; 0 as long
            as they are not known to be quick.
    """

    __slots__ = (
        "_by_key",
        "_key_field",
        "_keyless",
        "_pace",
        "calls",
        "delivered",
        "exported",
        "observers",
        "plain",
        "recorders",
        "stride",
        "subscriptions",
    )

    def __init__(
        self,
        cls: type[Event],
        subscriptions: Iterable[Subscription],
        recorders: Iterable[Recorder],
        *,
        exported: bool,
        observers: Iterable[EventObserver] = (),
    ) -> None:
        self._key_field = cls.key_field
        self.subscriptions = tuple(
            item
            for item in subscriptions
            if matches(cls, item.types) and (item.key is None or cls.key_field is not None)
        )
        self.recorders = tuple(item for item in recorders if matches(cls, item.types))
        self.observers = tuple(item for item in observers if matches(cls, item.types))
        self.exported = exported
        self._by_key, self._keyless = _by_key(self.subscriptions)
        special = any(not item.is_plain for item in self.subscriptions)
        self.plain = not (special or self.recorders or self.observers or exported)
        handlers = [item.handler for item in self.subscriptions]
        self.calls = _distinct(handlers) if self.plain else ()
        self.delivered = 0
        self.stride = 0
        self._pace = 1

    def paced(self, *, quick: bool) -> int:
        """Adapt the stride to how quick the handlers of a plain route were, and return it.

        A look at the clock costs as much as a short handler, so looks become rarer as long as what
        lies between two of them takes a small part of the time there is.
        """
        if not quick:
            self._pace = 1
        elif self._pace < CALLS_UNTIMED:
            self._pace *= 2
        else:
            return self.stride
        calls = max(len(self.calls), 1)
        may_run = self._pace >= min(calls, CALLS_UNTIMED)
        self.stride = max(self._pace // calls, 1) if may_run else 0
        return self.stride

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


class RoutingTable:
    """The subscribers and tracers of one scope.

    Args:
        exports: Event classes that go up to the parent scope as well, subclasses included.
        observers: Those who look on, at this scope and the others of the bus.
    """

    def __init__(
        self, exports: tuple[type[Event], ...], observers: Iterable[EventObserver] = ()
    ) -> None:
        self._routes: dict[type[object], Route] = {}  # until the table changes
        self._exports = exports
        self._observers = observers
        self._subscriptions: dict[Subscription, None] = {}
        self._recorders: list[Recorder] = []
        self._accounts = Accounts()
        self._closed = False

    def known(self, cls: type[object]) -> Route | None:
        """Return the route of a concrete event class if it has been worked out."""
        return self._routes.get(cls)

    def route(self, cls: type[object]) -> Route:
        """Return the route of a concrete event class, worked out if need be.

        Raises:
            TypeError: It is no event class.
        """
        route = self._routes.get(cls)
        if route is None:
            if not issubclass(cls, Event):
                raise TypeError("only events and blocks of events can be published")
            exported = issubclass(cls, self._exports)
            route = Route(
                cls,
                self._subscriptions,
                self._recorders,
                exported=exported,
                observers=self._observers,
            )
            self._routes[cls] = route
        return route

    def reaches_others(self, types: Iterable[type[Event]], own: Container[Subscription]) -> bool:
        """Whether events of these types, or of subclasses, go to any but ``own`` subscriptions."""
        classes = tuple(types)
        wanted = (
            *self._exports,
            *chain.from_iterable(item.types for item in self._subscriptions if item not in own),
        )
        return any(
            issubclass(it, classes) or issubclass(cls, it) for it in wanted for cls in classes
        )

    def add(self, subscription: Subscription) -> None:
        """Let a subscription take part from now on."""
        if self._closed:
            subscription.end()
        else:
            self._subscriptions[subscription] = None
            self.forget_routes()

    def remove(self, subscription: Subscription) -> None:
        """Undo `add`; what its queue holds stays there to be handled or read."""
        known = subscription in self._subscriptions
        self._subscriptions.pop(subscription, None)
        if subscription.queue is not None:
            subscription.queue.close()
        self.forget_routes()
        if known:
            self._accounts.retire(subscription)

    def exchange(
        self, leaving: Collection[Subscription], entering: Collection[Subscription]
    ) -> None:
        """Let subscriptions take the place of others; without others, they come last."""
        before = list(self._subscriptions)
        place = next((i for i, item in enumerate(before) if item in leaving), len(before))
        self._subscriptions = dict.fromkeys(before[:place])
        for item in entering:
            self.add(item)
        self._subscriptions.update(dict.fromkeys(before[place:]))
        for item in leaving:
            item.active = False
            self.remove(item)

    def attach(self, recorder: Recorder) -> None:
        """Show events to a tracer from now on."""
        self._recorders.append(recorder)
        self.forget_routes()

    def detach(self, recorder: Recorder) -> None:
        """Undo `attach`; nothing happens if it was not attached."""
        self._recorders = [other for other in self._recorders if other is not recorder]
        self.forget_routes()

    def detach_all(self) -> None:
        """Let go of all tracers."""
        self._recorders.clear()
        self.forget_routes()

    def end_subscriptions(self) -> None:
        """End all subscriptions, and all that are yet to be added; tracers stay."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.end()
        self.forget_routes()
        for subscription in self._subscriptions:
            self._accounts.retire(subscription)
        self._subscriptions.clear()

    def forget_routes(self) -> None:
        """Work the routes out anew."""
        self.settle()
        self._routes.clear()

    def deliveries(self) -> Mapping[SubscriberKind, Deliveries]:
        """Return what went to subscribers so far, without changing their accounts."""
        routes = tuple(self._routes.values())
        unbooked = sum(route.delivered * len(route.subscriptions) for route in routes)
        return self._accounts.sum(tuple(self._subscriptions), unbooked)

    def settle(self) -> None:
        """Bring the accounts of all subscriptions up to date."""
        for route in self._routes.values():
            route.settle()


def _by_key(
    subscriptions: Sequence[Subscription],
) -> tuple[dict[Hashable, tuple[Subscription, ...]], tuple[Subscription, ...]]:
    """Return the subscriptions of each key, and those of all other keys, each in order.

    The latter are left out where there are no keys.
    """
    if all(item.key is None for item in subscriptions):
        return {}, ()
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

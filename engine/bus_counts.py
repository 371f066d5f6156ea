"""What a bus has handled so far, as plain numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

from admf.engine.subscription import Subscription

__all__ = ["SUBSCRIBER_KINDS", "Accounts", "BusCounts", "Deliveries", "SubscriberKind"]

SubscriberKind: TypeAlias = Literal["inline", "mailbox", "stream"]
SUBSCRIBER_KINDS: tuple[SubscriberKind, ...] = ("inline", "mailbox", "stream")


class Deliveries(msgspec.Struct, frozen=True):
    """Events that went to subscribers; each event counts once for each of them.

    Args:
        handled: Handled, or read from a stream.
        dropped: Dropped by the overflow policy of a mailbox or stream.
        dead_lettered: Those whose handler raised.
        queued: Those that wait in mailboxes and streams now.
    """

    handled: int = 0
    dropped: int = 0
    dead_lettered: int = 0
    queued: int = 0

    def __add__(self, other: Deliveries) -> Deliveries:
        """Return the sum."""
        return Deliveries(
            self.handled + other.handled,
            self.dropped + other.dropped,
            self.dead_lettered + other.dead_lettered,
            self.queued + other.queued,
        )

    @classmethod
    def of(cls, subscription: Subscription) -> Deliveries:
        """Return those of a subscription, without what its bus has yet to book."""
        queue = subscription.queue
        return cls(
            subscription.handled,
            0 if queue is None else queue.dropped,
            subscription.dead_lettered,
            0 if queue is None else queue.size,
        )


_NONE: Mapping[SubscriberKind, Deliveries] = MappingProxyType(
    dict.fromkeys(SUBSCRIBER_KINDS, Deliveries())
)


class BusCounts(msgspec.Struct, frozen=True):
    """What a bus and the scopes below it have handled since they were made.

    Args:
        published: Events numbered by the bus itself.
        in_scopes: Events numbered by its scopes; one that several scopes see counts in each.
        waiting: Events published, and not delivered yet.
        deliveries: By the kind of the subscribers.
    """

    published: int = 0
    in_scopes: int = 0
    waiting: int = 0
    deliveries: Mapping[SubscriberKind, Deliveries] = _NONE

    def __add__(self, other: BusCounts) -> BusCounts:
        """Return the sum."""
        return BusCounts(
            self.published + other.published,
            self.in_scopes + other.in_scopes,
            self.waiting + other.waiting,
            {it: self.deliveries[it] + other.deliveries[it] for it in SUBSCRIBER_KINDS},
        )

    @property
    def as_scope(self) -> BusCounts:
        """The same, as it counts for the bus above."""
        in_scopes = self.published + self.in_scopes
        return BusCounts(0, in_scopes, self.waiting, self.deliveries)

    @property
    def at_rest(self) -> BusCounts:
        """The same, once nothing waits any more."""
        deliveries: dict[SubscriberKind, Deliveries] = {
            kind: msgspec.structs.replace(it, queued=0) for kind, it in self.deliveries.items()
        }
        return BusCounts(self.published, self.in_scopes, 0, deliveries)


class Accounts:
    """The deliveries of those who have subscribed to a scope, and of those who did once.

    Nothing here changes the accounts that it reads, so a thread may ask for the sum.
    """

    __slots__ = ("_leaving", "_past")

    def __init__(self) -> None:
        self._past: Mapping[SubscriberKind, Deliveries] = _NONE
        self._leaving: tuple[Subscription, ...] = ()  # their mailboxes are not empty yet

    def retire(self, subscription: Subscription) -> None:
        """Keep the account of one who is no subscriber any more."""
        leaving = (*self._leaving, subscription)
        self._leaving = tuple(it for it in leaving if _still_works(it))
        for item in leaving:
            if _still_works(item) or not _had_anything(item):
                continue
            past, kind = dict(self._past), _kind(item)
            past[kind] += msgspec.structs.replace(Deliveries.of(item), queued=0)
            self._past = past

    def sum(
        self, subscriptions: Iterable[Subscription], unbooked: int
    ) -> Mapping[SubscriberKind, Deliveries]:
        """Return the sum over those who subscribe now and those who did once.

        Args:
            subscriptions: Those who subscribe now.
            unbooked: Inline deliveries that are in no subscription's account yet.
        """
        found = dict(self._past)
        for item in (*subscriptions, *self._leaving):
            found[_kind(item)] += Deliveries.of(item)
        found["inline"] += Deliveries(handled=unbooked)
        return found


def _still_works(subscription: Subscription) -> bool:
    """Whether a mailbox is yet to be emptied; who reads a stream is not waited for."""
    queue = subscription.queue
    return queue is not None and not subscription.is_stream and queue.size > 0


def _had_anything(subscription: Subscription) -> bool:
    """Whether there is something in the account, which is empty for most members of a lane."""
    return bool(
        subscription.queue is not None or subscription.handled or subscription.dead_lettered
    )


def _kind(subscription: Subscription) -> SubscriberKind:
    if subscription.is_stream:
        return "stream"
    return "inline" if subscription.queue is None else "mailbox"

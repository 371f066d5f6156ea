"""What a whole tree of scopes shares while it drains."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from admf.engine.handler_watch import HandlerWatch
from admf.engine.observation import EventObserver
from admf.engine.pace import Pace
from admf.engine.queues import BoundedQueue
from admf.engine.subscription import Subscription

__all__ = ["Drive", "MailboxOwner"]


class MailboxOwner(Protocol):
    """The scope a mailbox belongs to."""

    async def work_off(self, subscription: Subscription, queue: BoundedQueue) -> None:
        """Handle what is in the mailbox until it is empty."""
        ...


class Drive:
    """What a bus and all scopes below it share while they drain: the pace, and mailbox workers.

    Args:
        pace: Says when to let the host's loop run. The drain and its workers take turns by it.
        watch: Is told of handlers that fail, and times them if they are to be timed.

    Attributes:
        cancelled_before: Native cancellations of the draining task that lie before the drain.
        dismissed: What is to be cancelled between two drains; see `Bus.dismiss`.
        pace: See above.
        observers: Those who look on at all scopes.
        waits_for_observers: Whether the drain goes on only when each has room.
        mailboxes: Every subscription with a mailbox: its scope and its queue.
        progress: Set when a drain that waits for its workers should look again.
    """

    __slots__ = (
        "_looked",
        "_told",
        "_workers",
        "cancelled_before",
        "dismissed",
        "mailboxes",
        "observers",
        "pace",
        "progress",
        "waits_for_observers",
        "watch",
    )

    def __init__(self, pace: Pace, watch: HandlerWatch) -> None:
        self.pace = pace
        self.watch = watch
        self.cancelled_before = 0
        self.mailboxes: dict[Subscription, tuple[MailboxOwner, BoundedQueue]] = {}
        self.observers: list[EventObserver] = []
        self.waits_for_observers = True
        self.progress = anyio.Event()
        self.dismissed: dict[anyio.CancelScope, None] = {}
        self._looked = 0.0
        self._told: anyio.Event | None = None  # made only when somebody waits
        self._workers: TaskGroup | None = None

    # -- pace --------------------------------------------------------------------

    def look(self) -> bool:
        """Look at the clock, and return whether the time since the last look was short."""
        now = monotonic()
        took, self._looked = now - self._looked, now
        return took < self.pace.max_block_s / 8

    @property
    def time_is_up(self) -> bool:
        """Whether the last look found that it is time to yield."""
        return self._looked >= self.pace.deadline

    async def wait_for_observers(self) -> None:
        """Wait until every observer has room, unless nobody is to be waited for any more."""
        for observer in tuple(self.observers):
            if self.waits_for_observers and observer.must_wait:
                await observer.wait_for_room()

    # -- those who wait for it -------------------------------------------------------------------

    async def until_told(self) -> None:
        """Wait until a drain ends, a mailbox is empty, or the work of an interlude is done."""
        self._told = self._told or anyio.Event()
        await self._told.wait()

    def tell(self) -> None:
        """Let all who wait look again."""
        if self._told is not None:
            self._told.set()
            self._told = None

    # -- mailboxes --------------------------------------------------------------------------------

    @property
    def lacks_workers(self) -> bool:
        """Whether there are mailboxes and nobody to empty them."""
        return bool(self.mailboxes) and self._workers is None

    @property
    def mail_waits(self) -> bool:
        """Whether a mailbox holds events."""
        return any(queue.size for _, queue in self.mailboxes.values())

    @property
    def is_working(self) -> bool:
        """Whether a worker is at work."""
        return any(item.working for item in self.mailboxes)

    @contextmanager
    def employing(self, workers: TaskGroup) -> Generator[None, None, None]:
        """Let mailboxes be emptied in a task group, beginning with those that hold events."""
        self._workers = workers
        try:
            for subscription, (_, queue) in self.mailboxes.items():
                if queue.size:
                    self.start_worker(subscription)
            yield
        finally:
            self._workers = None

    def start_worker(self, subscription: Subscription) -> None:
        """Let a worker empty a mailbox."""
        assert self._workers is not None  # noqa: S101 - the loop stops where it lacks workers
        subscription.working = True
        self._workers.start_soon(self._work, subscription, *self.mailboxes[subscription])

    async def _work(
        self, subscription: Subscription, owner: MailboxOwner, queue: BoundedQueue
    ) -> None:
        try:
            await owner.work_off(subscription, queue)
        finally:
            subscription.working = False
            self.progress.set()
            self.tell()

    def forget_emptied(self) -> None:
        """Let go of mailboxes that are closed and hold nothing any more."""
        for subscription, (_, queue) in tuple(self.mailboxes.items()):
            if queue.closed and not queue.size:
                del self.mailboxes[subscription]

"""What a whole tree of scopes shares while it drains."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

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
        max_block_ms: Longest time the dispatch loop runs without letting the host's loop run.

    Attributes:
        cancelled_before: Native cancellations of the draining task that lie before the drain.
        dismissed: What is to be cancelled between two drains; see `Bus.dismiss`.
        deadline: Time on the monotonic clock, in seconds, at which the loop has to yield.
        mailboxes: Every subscription with a mailbox: its scope and its queue.
        progress: Set when a drain that waits for its workers should look again.
    """

    __slots__ = (
        "_looked",
        "_told",
        "_turnstile",
        "_workers",
        "cancelled_before",
        "deadline",
        "dismissed",
        "mailboxes",
        "max_block_s",
        "progress",
    )

    def __init__(self, max_block_ms: float) -> None:
        self.max_block_s = max_block_ms / 1000
        self.cancelled_before = 0
        self.deadline = 0.0
        self.mailboxes: dict[Subscription, tuple[MailboxOwner, BoundedQueue]] = {}
        self.progress = anyio.Event()
        self.dismissed: dict[anyio.CancelScope, None] = {}
        self._looked = 0.0
        self._told: anyio.Event | None = None  # made only when somebody waits
        self._turnstile = anyio.Lock(fast_acquire=True)
        self._workers: TaskGroup | None = None

    # -- pace --------------------------------------------------------------------

    async def keep_pace(self) -> None:
        """Yield to the event loop if it is time."""
        if self.must_rest:
            await self.rest()

    async def rest(self) -> None:
        """Yield to the event loop, and wait for a turn of its own.

        The drain and its workers take turns: if each had its own time in one round of the event
        loop, the host would have to wait for their sum.
        """
        async with self._turnstile:
            await anyio.lowlevel.checkpoint()
            self.deadline = monotonic() + self.max_block_s

    @property
    def must_rest(self) -> bool:
        """Whether it is time to yield to the event loop; looks at the clock."""
        return monotonic() >= self.deadline

    def look(self) -> bool:
        """Look at the clock, and return whether the time since the last look was short."""
        now = monotonic()
        took, self._looked = now - self._looked, now
        return took < self.max_block_s / 8

    @property
    def time_is_up(self) -> bool:
        """Whether the last look found that it is time to yield."""
        return self._looked >= self.deadline

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

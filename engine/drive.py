"""What a whole tree of scopes shares while it drains."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from admf.engine.cancellation import cancellations, is_cancelled
from admf.engine.subscription import Subscription

__all__ = ["Drive", "MailboxOwner"]


class MailboxOwner(Protocol):
    """The scope a mailbox belongs to."""

    async def work_off(self, subscription: Subscription) -> None:
        """Handle what is in the mailbox until it is empty."""
        ...


class Drive:
    """What a bus and all scopes below it share while they drain: the pace, and mailbox workers.

    Args:
        max_block_ms: Longest time the dispatch loop runs without letting the host's loop run.

    Attributes:
        deadline: Time on the monotonic clock, in seconds, at which the loop has to yield.
        mailboxes: Every subscription with a mailbox, and its scope.
        progress: Set when a drain that waits for its workers should look again.
    """

    __slots__ = (
        "_looked",
        "_tasks",
        "_workers",
        "deadline",
        "mailboxes",
        "max_block_s",
        "progress",
    )

    def __init__(self, max_block_ms: float) -> None:
        self.max_block_s = max_block_ms / 1000
        self.deadline = 0.0
        self.mailboxes: dict[Subscription, MailboxOwner] = {}
        self.progress = anyio.Event()
        self._looked = 0.0
        self._workers: TaskGroup | None = None
        self._tasks: dict[int, int] = {}

    # -- pace and cancellation --------------------------------------------------------------------

    async def keep_pace(self) -> None:
        """Yield to the event loop if it is time."""
        if monotonic() >= self.deadline:
            await anyio.lowlevel.checkpoint()
            self.deadline = monotonic() + self.max_block_s

    def look(self) -> None:
        """Begin to time a run of events; see `next_stride`."""
        self._looked = monotonic()

    def next_stride(self, stride: int, longest: int) -> int:
        """Return how many events may be handled before the next look, 0 if the time is up.

        Looking at the clock costs as much as a short handler, so it is done ever more rarely as
        long as the last ``stride`` events took a small part of the time there is.
        """
        now = monotonic()
        took, self._looked = now - self._looked, now
        if now >= self.deadline:
            return 0
        return 1 if took > self.max_block_s / 8 else min(2 * stride, longest) or 1

    @property
    def is_own_task(self) -> bool:
        """Whether the current task is the one that drains, or a mailbox worker."""
        return anyio.get_current_task().id in self._tasks

    @property
    def is_cancelled(self) -> bool:
        """Whether the current task has been cancelled from outside since it began to drain."""
        return is_cancelled(self._tasks.get(anyio.get_current_task().id, 0))

    @contextmanager
    def occupied(self) -> Generator[None, None, None]:
        """Count the current task among those that drain."""
        task = anyio.get_current_task().id
        self._tasks[task] = cancellations()
        try:
            yield
        finally:
            del self._tasks[task]

    # -- mailboxes --------------------------------------------------------------------------------

    @property
    def lacks_workers(self) -> bool:
        """Whether there are mailboxes and nobody to empty them."""
        return bool(self.mailboxes) and self._workers is None

    @property
    def mail_waits(self) -> bool:
        """Whether a mailbox holds events."""
        return any(item.queue is not None and item.queue.size for item in self.mailboxes)

    @property
    def is_working(self) -> bool:
        """Whether a worker is at work."""
        return any(item.working for item in self.mailboxes)

    @contextmanager
    def employing(self, workers: TaskGroup) -> Generator[None, None, None]:
        """Let mailboxes be emptied in a task group, beginning with those that hold events."""
        self._workers = workers
        try:
            for subscription in self.mailboxes:
                if subscription.queue is not None and subscription.queue.size:
                    self.start_worker(subscription)
            yield
        finally:
            self._workers = None

    def start_worker(self, subscription: Subscription) -> None:
        """See to it that a worker empties a mailbox; between drains, the next one does."""
        if self._workers is not None and not subscription.working:
            subscription.working = True
            self._workers.start_soon(self._work, subscription, self.mailboxes[subscription])

    async def _work(self, subscription: Subscription, owner: MailboxOwner) -> None:
        with self.occupied():
            try:
                await owner.work_off(subscription)
            finally:
                subscription.working = False
                self.progress.set()

    def dismiss_workers(self) -> None:
        """Note that no worker is left, not even of those that were cancelled before they began."""
        for subscription in self.mailboxes:
            subscription.working = False

    def forget_emptied(self) -> None:
        """Let go of mailboxes whose subscription has ended and that hold nothing any more."""
        for item in tuple(self.mailboxes):
            if not item.active and item.queue is not None and not item.queue.size:
                del self.mailboxes[item]

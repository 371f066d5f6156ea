"""What a whole tree of scopes shares while it drains."""

from __future__ import annotations

from time import monotonic
from typing import Protocol

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

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
    """

    __slots__ = ("deadline", "mailboxes", "max_block_s", "progress", "tasks", "workers")

    def __init__(self, max_block_ms: float) -> None:
        self.max_block_s = max_block_ms / 1000
        self.deadline = 0.0
        self.mailboxes: dict[Subscription, MailboxOwner] = {}
        self.workers: TaskGroup | None = None
        self.tasks: set[int] = set()
        self.progress = anyio.Event()

    @property
    def lacks_workers(self) -> bool:
        """Whether there are mailboxes and nobody to empty them."""
        return bool(self.mailboxes) and self.workers is None

    @property
    def mail_waits(self) -> bool:
        """Whether a mailbox holds events."""
        return any(item.queue is not None and item.queue.size for item in self.mailboxes)

    def restart(self) -> None:
        """Begin a new turn on the event loop."""
        self.deadline = monotonic() + self.max_block_s

    async def keep_pace(self) -> None:
        """Yield to the event loop if the turn is over."""
        if monotonic() >= self.deadline:
            await anyio.lowlevel.checkpoint()
            self.restart()

    def start_workers(self) -> None:
        """See to it that a worker empties each mailbox that holds events."""
        for subscription in self.mailboxes:
            if subscription.queue is not None and subscription.queue.size:
                self.start_worker(subscription)

    def start_worker(self, subscription: Subscription) -> None:
        """See to it that a worker empties a mailbox; between drains, the next one does."""
        if self.workers is not None and not subscription.working:
            subscription.working = True
            self.workers.start_soon(self._work, subscription)

    async def _work(self, subscription: Subscription) -> None:
        task = anyio.get_current_task().id
        self.tasks.add(task)
        try:
            await self.mailboxes[subscription].work_off(subscription)
        finally:
            self.tasks.discard(task)
            subscription.working = False
            self.progress.set()

    def forget_emptied(self) -> None:
        """Let go of mailboxes whose subscription has ended and that hold nothing any more."""
        for item in tuple(self.mailboxes):
            if not item.active and item.queue is not None and not item.queue.size:
                del self.mailboxes[item]

"""How a whole bus is worked off, with the workers of its mailboxes, and held between two events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable

import anyio
import anyio.lowlevel
from anyio.lowlevel import EventLoopToken

from admf.engine.cancellation import cancellations, current_task
from admf.engine.delivery import Interlude
from admf.engine.dispatch import Dispatcher
from admf.engine.drive import Drive
from admf.engine.errors import BusClosedError, BusError, WindowError
from admf.engine.events import Event
from admf.engine.subscription import Subscription

__all__ = ["Draining"]


class Draining(Dispatcher):
    """A scope that is drained from its root, and can be held between two sequence numbers."""

    def __init__(
        self,
        name: str,
        drive: Drive,
        parent: Draining | None,
        exports: tuple[type[Event], ...],
        *,
        contain_failures: bool,
    ) -> None:
        super().__init__(name, drive, parent, exports, contain_failures=contain_failures)
        self._root: Draining = parent._root if parent else self
        self._draining = False
        self._drainer: object = None
        self._loop: EventLoopToken | None = None

    @property
    def root(self) -> Draining:
        """The bus that this one is a scope of, at whatever depth; itself if it is none."""
        return self._root

    async def drain(self) -> None:
        """Deliver everything that is queued, and what that leads to, in this bus and its scopes.

        Raises:
            HandlerError: A handler whose policy is ``propagate`` raised. The rest of the queue
                stays; draining again goes on with it.
            BusError: Called from within a handler of this bus.
        """
        root = self._root
        if root is not self:
            await root.drain()
            return
        if self._draining:
            self.refuse_own_handlers("drain()")
        if self._drive.dismissed:
            await anyio.lowlevel.checkpoint()
        while self._draining:
            await self._drive.until_told()
        self._draining = True
        self._drainer = current_task()
        self._loop = anyio.lowlevel.current_token()
        try:
            await self._drain()
        finally:
            self._draining = False
            self._drive.tell()
        if self._drive.dismissed:
            for scope in tuple(self._drive.dismissed):
                scope.cancel()
            await anyio.lowlevel.checkpoint()

    def is_drained_by(self, task: object) -> bool:
        """Whether a task, see `current_task`, is the one that drains this bus now."""
        root = self._root
        return root._draining and root._drainer == task

    def dismiss(self, scope: anyio.CancelScope, task: object) -> None:
        """Cancel what a task does in ``scope``, but not while it drains the bus.

        That would interrupt handlers of others, which would be called again. What it does next
        instead of going on behind its drain is to end. `let_go` of the scope when it has.
        """
        self._drive.dismissed[scope] = None
        if not self.is_drained_by(task):
            scope.cancel()

    def let_go(self, scope: anyio.CancelScope) -> None:
        """Undo `dismiss`, which may not have come to pass."""
        self._drive.dismissed.pop(scope, None)

    async def _drain(self) -> None:
        if cancellations():  # one that was asked for but has not come yet is to come now
            await anyio.lowlevel.checkpoint()
        drive = self._drive
        drive.cancelled_before = cancellations()
        await drive.pace.keep()
        while not self._idle or drive.mail_waits:
            if drive.mailboxes:
                await self._drain_with_workers()
            else:
                await self._pump()
        drive.forget_emptied()

    async def _drain_with_workers(self) -> None:
        async with anyio.create_task_group() as workers:
            with self._drive.employing(workers):
                await self._pump_until_settled()
            if self._error is not None:
                workers.cancel_scope.cancel()
        self._raise_error()  # not within the task group, which would wrap it

    async def _pump_until_settled(self) -> None:
        """Return when all is handled, or an error waits to be raised."""
        while True:
            self._drive.progress = anyio.Event()
            try:
                await self._pump()
            except WindowError as error:
                self._error = error
                return
            if not self._drive.is_working:
                return
            self._wake_drain_on_publish()
            await self._drive.progress.wait()

    # -- between two events -----------------------------------------------------------------------

    async def between(self, work: Callable[[], Awaitable[None]]) -> int:
        """Do something when all that is queued in this scope has been handled, and nothing since.

        The scope delivers nothing meanwhile, but mailboxes are being emptied. Whoever drains the
        bus does the work, the caller if nobody else is at it; an interrupted drain leaves it to
        the next one. If the caller is cancelled first, it is not done.

        Args:
            work: Must not raise, nor drain the bus.

        Returns:
            The last sequence number before it.

        Raises:
            HandlerError: As from `drain`, once the work is done: it does not concern the work.
            BusClosedError: The bus was closed, or the scope has ended, before it could be done.
            BusError: Called from within a handler of this bus.
        """
        self.refuse_own_handlers("between()")
        interlude = Interlude(work, self._drive.tell)
        self._append((interlude, 0, ""))
        try:
            await self._drain_until(lambda: interlude.over)
        finally:
            interlude.withdraw()
        return interlude.seq

    def before_next(self, work: Callable[[], Awaitable[None]], cause: int) -> None:
        """Have something done before the next event of this scope is delivered; see `between`.

        Args:
            work: May raise a `WindowError`, which fails the drain as that of a handler does.
            cause: Sequence number of the event that what it publishes follows from.
        """
        self._queue.appendleft((Interlude(work, self._drive.tell, cause), 0, ""))
        self._drive.progress.set()

    async def settle(self, subscriptions: Collection[Subscription]) -> None:
        """Drain the bus until mailboxes are empty, or wait while somebody else does.

        Raises:
            HandlerError: As from `drain`, once they are empty.
        """
        await self._drain_until(lambda: not _mail_in(subscriptions))

    async def emptied(self, subscriptions: Collection[Subscription]) -> None:
        """Wait until mailboxes are empty, while somebody else drains the bus."""
        while _mail_in(subscriptions):
            await self._drive.until_told()

    def refuse_own_handlers(self, what: str) -> None:
        """Raise if a handler of this bus, whose drain would wait for itself, asks for ``what``.

        Raises:
            BusError: It does.
        """
        root = self._root
        if root._draining and root._is_handling:
            raise BusError(f"{what} of {self!r} was called by one of its own handlers")

    async def _drain_until(self, done: Callable[[], bool]) -> None:
        root = self._root
        failed: WindowError | None = None
        while not done():
            try:
                if root._draining:
                    await self._drive.until_told()
                    continue
                await root.drain()
            except WindowError as error:  # the rest of the queue is handled all the same
                failed = failed or error
            else:
                if not done():
                    raise BusClosedError(f"{self!r} has ended")
        if failed is not None:
            raise failed


def _mail_in(subscriptions: Iterable[Subscription]) -> bool:
    return any(item.queue is not None and item.queue.size for item in subscriptions)

"""What a scope of a bus holds, how events get into it, and how it fails and ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any

from admf.engine.block import event_class, last_ts
from admf.engine.bus_counts import BusCounts
from admf.engine.delivery import DeadLetter, Delivery, QueueItem, TableChange
from admf.engine.drive import Drive
from admf.engine.errors import HandlerError, WindowError
from admf.engine.events import Event, HandlerFailed, event_name
from admf.engine.routes import RoutingTable
from admf.engine.subscription import Subscription

__all__ = ["Scope"]

DEAD_LETTERS_KEPT = 100

_NOTHING = BusCounts()


class Scope(ABC):
    """One scope's queue, its table of subscribers and the scopes below it."""

    def __init__(
        self,
        name: str,
        drive: Drive,
        parent: Scope | None,
        exports: tuple[type[Event], ...],
        *,
        contain_failures: bool,
    ) -> None:
        self.name = name
        self.cause = 0
        self.failure: BaseException | None = None
        self.dead_letters: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS_KEPT)
        self._drive = drive
        self._thread: int | None = get_ident()  # None once it is closed
        self._queue: deque[QueueItem] = deque()
        self._append: Callable[[QueueItem], None] = self._queue.append
        self._published = 0
        self._seq: int = 0
        self._table = RoutingTable(exports if parent is not None else (), drive.observers)
        self._parent = parent
        self._contains_failures = contain_failures
        self._children: list[Scope] = []
        self._past = _NOTHING  # of scopes that were below this one
        self._processes: deque[tuple[Iterator[None], int]] = deque()
        self._delivery: Delivery | None = None
        self._error: WindowError | None = None

    # -- the queue --------------------------------------------------------------------------------

    def _push(self, item: Any, count: int, source: str, cause: int) -> None:
        """Queue ``count`` events that did not come through `publish`."""
        self._append((item, cause, source))
        self._published += count

    def _wake_drain_on_publish(self) -> None:
        """Let the next event that comes in wake the drain, which waits for its workers."""
        self._append = self._append_and_wake
        for child in self._children:
            child._wake_drain_on_publish()

    def _append_and_wake(self, item: QueueItem) -> None:
        self._append = self._queue.append
        self._append(item)
        self._drive.progress.set()

    def _change(self, apply: Callable[[], object]) -> None:
        """Change the subscription table between the last sequence number given and the next."""
        if self._queue or self._delivery or self.cause:
            self._append((TableChange(apply), 0, ""))
        else:
            apply()

    @property
    def _idle(self) -> bool:
        """Whether this scope and those below it have nothing to do."""
        busy = self._queue or self._delivery or self._processes or self._error
        return not busy and all(child._idle for child in self._children)

    @property
    def _is_handling(self) -> bool:
        """Whether the code that runs now is a handler of this scope or of one below."""
        return self.cause != 0 or any(child._is_handling for child in self._children)

    @abstractmethod
    async def _pump(self) -> None:
        """Work until this scope and those below it have nothing left to do."""

    def _counts(self) -> BusCounts:
        """Return what this scope and those below it have handled so far."""
        waiting = max(self._published - self._seq, 0)
        counts = BusCounts(self._published, 0, waiting, self._table.deliveries()) + self._past
        return sum((child._counts().as_scope for child in tuple(self._children)), counts)

    # -- failures ---------------------------------------------------------------------------------

    def _bury(
        self, subscription: Subscription, payload: Any, seq: int, error: BaseException
    ) -> None:
        """Record a failure, publish it, and keep it to be raised if the policy says so."""
        subscription.count_dead_lettered(payload)
        letter = DeadLetter(subscription.name, seq, payload, error)
        self.dead_letters.append(letter)
        if subscription.is_stream and subscription.queue is not None:
            subscription.queue.close(error)
            return
        cls = event_class(payload)
        name = event_name(cls)
        if not issubclass(cls, HandlerFailed):
            text = f"{type(error).__name__}: {error}"
            failed = HandlerFailed(last_ts(payload), subscription.name, name, seq, text)
            self._push(failed, 1, self.name, seq)
        on_error = subscription.on_error
        if (on_error if isinstance(on_error, str) else on_error(letter)) == "propagate":
            self._fail(subscription.name, name, seq, error)
        else:
            self._drive.watch.failed(self.name, subscription.name, name, seq, error)

    def _fail(self, who: str, what: str, seq: int, error: BaseException) -> None:
        """Keep an error, unless there is one already, to be raised by the drain."""
        self._drive.watch.failed(self.name, who, what, seq, error)
        if self._error is not None:
            return
        if isinstance(error, WindowError):
            self._error = error
        else:
            self._error = HandlerError(who, seq, what, error)
            self._error.__cause__ = error
        self._drive.progress.set()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    # -- the end ----------------------------------------------------------------------------------

    def _give_up(self, error: WindowError) -> None:
        """Fail this scope alone: what is still queued reaches its tracers, but no handler."""
        self.failure = self.failure or error
        self._silence()

    def _silence(self) -> None:
        """Call no handler any more."""
        self._processes.clear()
        self._table.end_subscriptions()
        for child in self._children:
            child._silence()

    def _end(self) -> None:
        """Take no further event, from wherever it comes."""
        self._append = _ignore
        for child in tuple(self._children):
            child._end()
            self._disown(child)

    def _forget_routes(self) -> None:
        """Work out anew whom events reach, in this scope and those below it."""
        self._table.forget_routes()
        for child in self._children:
            child._forget_routes()

    def _disown(self, child: Scope) -> None:
        if child in self._children:
            self._children.remove(child)
            self._past += child._counts().as_scope.at_rest

    def _close(self) -> None:
        """Let go of everything, in this scope and those below it."""
        self._thread = None
        for child in tuple(self._children):
            child._close()
        self._silence()
        self._table.detach_all()
        self._queue.clear()
        if self._delivery is not None:
            self._delivery.targets = ()
        if self._parent is not None:
            self._parent._disown(self)


def _ignore(_: QueueItem) -> None:
    """Stand in for the queue of a scope that has failed."""

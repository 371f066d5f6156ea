"""How one scope of a bus works through its queue; `admf.engine.bus` is the public face."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, TypeAlias

import msgspec

from admf.engine.block import Block, event_class, last_ts
from admf.engine.cancellation import CATCHABLE, is_cancelled
from admf.engine.causation import attributed
from admf.engine.drive import Drive
from admf.engine.errors import HandlerError, QueueFullError, WindowError
from admf.engine.events import Dropped, Envelope, Event, HandlerFailed, event_name
from admf.engine.queues import weight
from admf.engine.routes import Recorder, Route
from admf.engine.subscription import Subscription

__all__ = ["DeadLetter", "Dispatcher"]

_QueueItem: TypeAlias = tuple[Any, int, str]
"""What was published, the seq of the event that caused it, and the publisher's id."""

STRIDE = 32
"""Most plain events between two looks at the clock: a look costs as much as calling a handler."""

DEAD_LETTERS_KEPT = 100


class DeadLetter(msgspec.Struct, frozen=True):
    """An event whose handler raised."""

    subscriber: str
    seq: int
    event: Event | Block[Any]
    error: BaseException


class TableChange:
    """A queued change of the subscription table: it takes effect between two sequence numbers."""

    __slots__ = ("apply",)

    def __init__(self, apply: Callable[[], object]) -> None:
        self.apply = apply


class Exported:
    """An event on its way up from the scope it was published in."""

    __slots__ = ("event", "origin")

    def __init__(self, event: Event | Block[Any], origin: Dispatcher) -> None:
        self.event = event
        self.origin = origin


class Delivery:
    """An event on its way to its targets; an interrupted one goes on where it stopped."""

    __slots__ = ("envelope", "row", "targets")

    def __init__(self, envelope: Envelope, targets: deque[Subscription | Dispatcher]) -> None:
        self.envelope = envelope
        self.targets = targets
        self.row = 0


class Dispatcher:
    """One scope's queue, subscription table and dispatch loop."""

    def __init__(
        self,
        name: str,
        drive: Drive,
        parent: Dispatcher | None,
        exports: tuple[type[Event], ...],
        *,
        contain_failures: bool,
    ) -> None:
        self.name = name
        self.cause = 0
        self.failure: BaseException | None = None
        self.dead_letters: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS_KEPT)
        self._drive = drive
        self._queue: deque[_QueueItem] = deque()
        self._append = self._queue.append
        self._published = 0
        self._seq: int = 0
        self._routes: dict[type[Event], Route] = {}
        self._subscriptions: dict[Subscription, None] = {}
        self._recorders: list[Recorder] = []
        self._parent = parent
        self._exports = exports if parent is not None else ()
        self._contains_failures = contain_failures
        self._children: list[Dispatcher] = []
        self._processes: deque[tuple[Iterator[None], int]] = deque()
        self._delivery: Delivery | None = None
        self._error: BaseException | None = None

    def _push(self, item: Any, count: int, source: str) -> None:
        """Queue ``count`` events that did not come through `publish`."""
        self._append((item, self.cause, source))
        self._published += count

    def _change(self, apply: Callable[[], object]) -> None:
        """Change the subscription table between the last sequence number given and the next."""
        if self._queue or self._delivery or self.cause:
            self._append((TableChange(apply), 0, ""))
        else:
            self._apply(apply)

    def _apply(self, change: Callable[[], object]) -> None:
        self._settle()
        self._routes.clear()
        change()

    # -- the loop ---------------------------------------------------------------------------------

    @property
    def _idle(self) -> bool:
        busy = self._queue or self._delivery or self._processes or self._error
        return not busy and all(child._idle for child in self._children)

    async def _pump(self) -> None:
        """Work until this scope and those below it have nothing left to do."""
        while not self._drive.lacks_workers:
            self._raise_error()
            if self._delivery:
                await self._continue(self._delivery)
            elif self._queue:
                if not self._run_plain():
                    await self._deliver(self._queue.popleft())
            elif self._processes:
                self._advance()
            elif busy := next((child for child in self._children if not child._idle), None):
                await self._pump_child(busy)
            else:
                return
            await self._drive.keep_pace()

    def _run_plain(self) -> bool:
        """Deliver the events at the head of the queue that need plain calls and nothing else.

        Returns:
            Whether the head was such an event. The run ends where the class changes, a handler
            fails or the time is up.
        """
        queue = self._queue
        cls = type(queue[0][0])
        route = self._routes.get(cls)
        if route is None or not route.plain:
            return False
        pop, calls, deadline = queue.popleft, route.calls, self._drive.deadline
        stride, looked, quick = 1, monotonic(), self._drive.max_block_s / 8
        first = seq = self._seq
        event: Any = None
        call: Any = None
        try:
            while queue and looked < deadline:
                for _ in range(min(len(queue), stride)):
                    item = pop()
                    event = item[0]
                    if type(event) is not cls:
                        queue.appendleft(item)
                        return True
                    self.cause = seq = seq + 1
                    for call in calls:
                        call(event)
                now = monotonic()
                stride = min(2 * stride, STRIDE) if now - looked < quick else 1
                looked = now
        except CATCHABLE as error:
            self._seq = seq
            self._recover(route, call, event, error)
        finally:
            self._seq = seq
            self.cause = 0
            route.delivered += seq - first
        return True

    def _recover(self, route: Route, failed: Any, event: Event, error: BaseException) -> None:
        """Book a failure of the plain run, and let the event reach the handlers after it."""
        position = next(i for i, call in enumerate(route.calls) if call is failed)
        subscription = route.subscriptions[position]
        self._bury(subscription, event, self._seq, error)
        subscription.accepted -= 1  # the run counts this event as accepted and handled
        subscription.handled -= 1
        for later in route.subscriptions[position + 1 :]:
            self._call(later, event, self._seq)
            later.accepted -= 1
            later.handled -= 1

    def _advance(self) -> None:
        process, self.cause = self._processes[0]
        try:
            next(process)
        except StopIteration:
            self._processes.popleft()
        except CATCHABLE as error:
            self._processes.popleft()
            self._error = self._wrapped(getattr(process, "__name__", "process"), "a step", error)
        finally:
            self.cause = 0

    # -- one event --------------------------------------------------------------------------------

    async def _deliver(self, item: _QueueItem) -> None:
        event, cause, source = item
        origin: Dispatcher | None = None
        if isinstance(event, TableChange):
            self._apply(event.apply)
            return
        if isinstance(event, Exported):
            origin, event = event.origin, event.event
        route = self._route(event_class(event))
        first = self._seq + 1
        self._seq += weight(event)
        envelope = Envelope(first, cause, source, event)
        for recorder in route.recorders:
            recorder.record(envelope)
        if route.exported and self._parent is not None:
            self._parent._push(Exported(event, self), weight(event), source)
        targets: deque[Subscription | Dispatcher] = deque(route.subscriptions)
        targets.extend(child for child in self._children if child is not origin)
        self._delivery = Delivery(envelope, targets)
        for child in self._children:
            if child is not origin:
                child._push(event, weight(event), source)
        await self._continue(self._delivery)

    async def _continue(self, delivery: Delivery) -> None:
        targets, envelope = delivery.targets, delivery.envelope
        while targets:
            target = targets[0]
            self.cause = envelope.seq
            try:
                if isinstance(target, Dispatcher):
                    await self._pump_child(target)
                elif target.queue is not None:
                    await self._enqueue(target, delivery)
                elif target.is_async:
                    await self._await_handler(target, delivery)
                else:
                    self._call_each(target, envelope)
            finally:
                self.cause = 0
            targets.popleft()
            delivery.row = 0
        self._delivery = None

    def _route(self, cls: type[Event]) -> Route:
        route = self._routes.get(cls)
        if route is None:
            route = self._routes[cls] = Route(
                cls,
                self._subscriptions,
                self._recorders,
                exported=issubclass(cls, self._exports) and self._parent is not None,
                has_children=bool(self._children),
            )
        return route

    def _call_each(self, subscription: Subscription, envelope: Envelope) -> None:
        for offset, payload in subscription.payloads(envelope.event):
            self.cause = envelope.seq + offset
            self._call(subscription, payload, self.cause)

    def _call(self, subscription: Subscription, payload: Any, seq: int) -> None:
        try:
            subscription.handler(payload)
        except CATCHABLE as error:
            self._bury(subscription, payload, seq, error)
        else:
            subscription.count_handled(payload)

    async def _await_handler(self, subscription: Subscription, delivery: Delivery) -> None:
        envelope = delivery.envelope
        payloads = list(subscription.payloads(envelope.event))
        while delivery.row < len(payloads):
            offset, payload = payloads[delivery.row]
            await self._call_async(subscription, payload, envelope.seq + offset)
            delivery.row += 1

    async def _call_async(self, subscription: Subscription, payload: Any, seq: int) -> None:
        self.cause = seq
        try:
            work = subscription.handler(payload)
            if work is not None:
                await attributed(self, seq, work)
        except CATCHABLE as error:
            if not isinstance(error, Exception) and is_cancelled():
                raise
            self._bury(subscription, payload, seq, error)
        else:
            subscription.count_handled(payload)

    # -- mailboxes --------------------------------------------------------------------------------

    async def _enqueue(self, subscription: Subscription, delivery: Delivery) -> None:
        envelope, queue = delivery.envelope, subscription.queue
        assert queue is not None  # noqa: S101 - the caller looked
        payloads = list(subscription.payloads(envelope.event))
        while delivery.row < len(payloads):
            offset, payload = payloads[delivery.row]
            seq = envelope.seq + offset
            if queue.overflow == "block":
                await queue.wait_for_room()
            try:
                dropped = queue.put(Envelope(seq, envelope.cause, envelope.source, payload))
            except QueueFullError as error:
                self._bury(subscription, payload, seq, error)
            else:
                subscription.accepted += weight(payload)
                self._report_drops(subscription, payload, dropped)
                subscription.on_put()
            delivery.row += 1

    def _report_drops(self, subscription: Subscription, payload: Any, dropped: int) -> None:
        if dropped and subscription.queue is not None and not isinstance(payload, Dropped):
            name = event_name(event_class(payload))
            report = Dropped(last_ts(payload), subscription.name, name, subscription.queue.dropped)
            self._push(report, 1, self.name)

    async def work_off(self, subscription: Subscription) -> None:
        """Handle what is in a mailbox, one item at a time, until it is empty."""
        queue = subscription.queue
        while queue is not None and (envelope := queue.take()) is not None:
            await self._call_async(subscription, envelope.event, envelope.seq)
            subscription.accepted -= weight(envelope.event)  # booked when it was queued
            queue.done()
            if not self._idle:
                self._drive.progress.set()
            await self._drive.keep_pace()

    # -- failures ---------------------------------------------------------------------------------

    def _bury(
        self, subscription: Subscription, payload: Any, seq: int, error: BaseException
    ) -> None:
        """Record a failure, publish it, and keep it to be raised if the policy says so."""
        subscription.count_dead_lettered(payload)
        self.dead_letters.append(DeadLetter(subscription.name, seq, payload, error))
        name = event_name(event_class(payload))
        if name != event_name(HandlerFailed):
            text = f"{type(error).__name__}: {error}"
            failed = HandlerFailed(last_ts(payload), subscription.name, name, seq, text)
            self.cause, cause = seq, self.cause
            self._push(failed, 1, self.name)
            self.cause = cause
        if subscription.on_error == "propagate" and self._error is None:
            self._error = self._wrapped(subscription.name, name, error, seq)

    def _wrapped(
        self, subscriber: str, name: str, error: BaseException, seq: int = 0
    ) -> WindowError:
        if isinstance(error, WindowError):
            return error
        wrapped = HandlerError(subscriber, seq or self.cause, name, error)
        wrapped.__cause__ = error
        return wrapped

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    async def _pump_child(self, child: Dispatcher) -> None:
        try:
            await child._pump()
        except WindowError as error:
            if not child._contains_failures:
                raise
            child._give_up(error)
            await child._pump()

    def _give_up(self, error: WindowError) -> None:
        """Fail this scope alone: what is still queued reaches its tracers, but no handler."""
        self.failure = error
        self._processes.clear()
        if self._delivery is not None:
            self._delivery.targets.clear()
        self._forget_subscribers()
        if self._parent is not None:
            self._parent._disown(self)

    def _forget_subscribers(self) -> None:
        for subscription in self._subscriptions:
            subscription.active = False
        self._settle()
        self._subscriptions.clear()
        self._children.clear()
        self._routes.clear()

    def _disown(self, child: Dispatcher) -> None:
        if child in self._children:
            self._children.remove(child)
            self._settle()
            self._routes.clear()

    def _settle(self) -> None:
        for route in self._routes.values():
            route.settle()

"""How one scope of a bus works through its queue; `admf.engine.bus` is the public face."""

from __future__ import annotations

from collections.abc import Awaitable
from inspect import isawaitable
from itertools import chain, islice, repeat
from time import monotonic
from typing import Any

from admf.engine.batch import Batch
from admf.engine.block import event_class, is_block, last_ts
from admf.engine.cancellation import CATCHABLE, is_cancelled
from admf.engine.causation import Suspended, begin, resume
from admf.engine.delivery import (
    FROM_ABOVE,
    Delivery,
    Exported,
    Interlude,
    QueueItem,
    TableChange,
    Target,
)
from admf.engine.errors import HandlerError, WindowError
from admf.engine.events import Dropped, Envelope, Event, event_name
from admf.engine.queues import BoundedQueue, weight
from admf.engine.routes import Recorder, Route, matches
from admf.engine.scope import Scope
from admf.engine.subscription import Subscription

__all__ = ["Dispatcher"]


class Dispatcher(Scope):
    """A scope with its dispatch loop."""

    # -- the loop ---------------------------------------------------------------------------------

    async def _pump(self) -> None:
        """Work until this scope and those below it have nothing left to do."""
        pace = self._drive.pace
        while not self._drive.lacks_workers:
            if self._delivery:
                await self._continue(self._delivery)
            elif self._error:
                self._raise_error()
            elif self._queue:
                if not self._run_plain():
                    await self._deliver(self._queue.popleft())
            elif busy := next((child for child in self._children if not child._idle), None):
                await self._pump_child(busy)
            elif self._processes:
                self._advance()
            else:
                return
            if monotonic() >= pace.deadline:  # keep() each time would cost more
                await pace.rest()
            if self._drive.observers:
                await self._drive.wait_for_observers()

    def _run_plain(self) -> bool:
        """Deliver the events at the head of the queue that need plain calls and nothing else.

        Returns:
            Whether the head was such an event, and its handlers have shown to be quick. The run
            ends where the class changes, a handler fails or takes long, or the time is up.
        """
        queue = self._queue
        cls = queue[0][0].__class__
        route = self._table.known(cls)
        if route is None or not route.stride or self._children:
            return False
        pop, calls, drive = queue.popleft, route.calls, self._drive
        first = seq = self._seq
        look_at = first + 1
        item: Any = None
        call: Any = None
        drive.look()
        try:
            while queue:
                for _ in repeat(None, len(queue)):
                    item = pop()
                    event = item[0]
                    if type(event) is not cls:
                        queue.appendleft(item)
                        return True
                    self.cause = seq = seq + 1
                    for call in calls:
                        call(event)
                    if seq == look_at:
                        stride = route.paced(quick=drive.look())
                        if not stride or drive.time_is_up:
                            return True
                        look_at = seq + stride
        except BaseException as error:
            self._break_off(route, call, item, seq, error)
            if not isinstance(error, CATCHABLE):
                raise
        finally:
            self._seq = seq
            self.cause = 0
            route.delivered += seq - first
        return True

    def _break_off(
        self, route: Route, failed: Any, item: QueueItem, seq: int, error: BaseException
    ) -> None:
        """Leave an event of the plain run, one of whose handlers raised, to `_continue`."""
        event, cause, source = item
        position = next((i for i, call in enumerate(route.calls) if call is failed), 0)
        route.delivered -= 1  # the run counts it as delivered to all
        for subscription in route.subscriptions[:position]:
            subscription.count_handled(event)
        envelope = Envelope(seq, max(cause, 0), source, event)
        self._delivery = Delivery(envelope, route.subscriptions, position)
        if isinstance(error, CATCHABLE):
            self._bury(route.subscriptions[position], event, seq, error)
            self._delivery.position += 1

    def _advance(self) -> None:
        process, self.cause = self._processes[0]
        try:
            next(process)
        except StopIteration:
            self._processes.popleft()
        except CATCHABLE as error:
            self._processes.popleft()
            self._fail(getattr(process, "__name__", "process"), "a step", self.cause, error)
        finally:
            self.cause = 0

    # -- one event --------------------------------------------------------------------------------

    async def _deliver(self, item: QueueItem) -> None:
        event, cause, source = item
        origin: Scope | None = None
        if isinstance(event, (TableChange, Interlude)):
            await self._do_between_events(event)
            return
        if isinstance(event, Exported):
            origin, event = event.origin, event.event
        count, cls = weight(event), event_class(event)
        envelope = Envelope(self._seq + 1, max(cause, 0), source, event)
        self._seq += count
        try:
            route = self._table.route(cls)
        except TypeError as error:
            self._fail(source or "publish", cls.__name__, envelope.seq, error)
            return
        targets: tuple[Target, ...] = route.wanted_by(event)
        if self._children:
            children = [child for child in self._children if child is not origin]
            targets = (*targets, *children)
            for child in children:
                child._push(event, count, source, FROM_ABOVE)
        self._delivery = Delivery(envelope, targets)
        if route.exported and cause != FROM_ABOVE and self._parent is not None:
            self._parent._push(Exported(event, self), count, source, self._parent.cause)
        for recorder in route.recorders:
            self._record(recorder, envelope)
        if route.observers and origin is None and cause != FROM_ABOVE:  # it was published here
            self._tell_observers(route, envelope)
        if not route.plain:
            await self._continue(self._delivery)
            return
        self._drive.look()
        await self._continue(self._delivery)
        route.paced(quick=self._drive.look())

    async def _do_between_events(self, item: TableChange | Interlude) -> None:
        if isinstance(item, TableChange):
            item.apply()
            return
        outer, self.cause = self.cause, item.cause
        try:
            suspended = begin(item.do(self._seq))
            self.cause = outer
            if suspended is not None:
                await resume(self, item.cause, suspended)
        finally:
            self.cause = outer
            if not item.over:  # it was interrupted
                self._queue.appendleft((item, 0, ""))

    async def _continue(self, delivery: Delivery) -> None:
        envelope, drive, pace = delivery.envelope, self._drive, self._drive.pace
        alone = () if is_block(envelope.event) else ((0, envelope.event),)
        while delivery.position < len(delivery.targets):
            target = delivery.targets[delivery.position]
            if isinstance(target, Subscription):
                rows = alone if alone and not target.takes_blocks else target.rows(envelope.event)
                if delivery.row:
                    rows = islice(rows, delivery.row, None)
                for offset, payload in rows:
                    work = self._offer(target, payload, envelope, offset)
                    if work is not None:
                        await work
                    delivery.row += 1
                    if monotonic() >= pace.deadline:  # keep() each time would cost more
                        await pace.rest()
            else:
                await self._pass_down(target, envelope.seq)
                if drive.lacks_workers:
                    return
            delivery.position += 1
            delivery.row = 0
        self._delivery = None

    def _record(self, recorder: Recorder, envelope: Envelope) -> None:
        try:
            recorder.record(envelope)
        except CATCHABLE as error:
            name = event_name(event_class(envelope.event))
            self._fail(type(recorder).__qualname__, name, envelope.seq, error)

    def _tell_observers(self, route: Route, envelope: Envelope) -> None:
        for observer in route.observers:
            observer.observe(self.name, envelope)

    def _show(self, envelope: Envelope, cls: type[Event]) -> None:
        """Show an event that goes to no handler to the tracers; see `Bus.record`."""
        route = self._table.route(cls)
        self._tell_observers(route, envelope)
        for recorder in route.recorders:
            try:
                recorder.record(envelope)
            except CATCHABLE as error:
                who, what = type(recorder).__qualname__, event_name(cls)
                raise HandlerError(who, envelope.seq, what, error) from error

    def _record_batch(self, batch: Batch, first: int, cause: int) -> None:
        """Show a batch to the tracers, as a whole to those that take it so."""
        routes = [self._table.route(block.cls) for block in batch.blocks]
        for observer in dict.fromkeys(chain.from_iterable(it.observers for it in routes)):
            observer.observe_batch(self.name, batch, first, cause)
        for recorder in dict.fromkeys(chain.from_iterable(it.recorders for it in routes)):
            try:
                # to ask for a protocol would take longer than many a batch does
                record_batch = getattr(recorder, "record_batch", None)
                if record_batch is None:
                    _record_one_by_one(recorder, batch, first, cause)
                else:
                    record_batch(batch, first, cause)
            except CATCHABLE as error:
                raise HandlerError(
                    type(recorder).__qualname__, first, repr(batch), error
                ) from error

    def _offer(
        self, subscription: Subscription, payload: Any, envelope: Envelope, offset: int
    ) -> Awaitable[None] | None:
        """Call a handler or fill its mailbox; return what must be awaited to be done with it."""
        seq, queue = envelope.seq + offset, subscription.queue
        if queue is None:
            suspended = self._call(subscription, payload, seq)
            if suspended is None:
                return None
            before = self._drive.cancelled_before
            return self._finish(subscription, payload, seq, suspended, before)
        if payload is not envelope.event:
            envelope = Envelope(seq, envelope.cause, envelope.source, payload)
        if queue.must_wait:
            return self._enqueue_later(subscription, queue, envelope)
        self._enqueue(subscription, queue, envelope)
        return None

    def _call(self, subscription: Subscription, payload: Any, seq: int) -> Suspended | None:
        """Call a handler; an async one that has to wait for something is left to `_finish`."""
        outer, self.cause = self.cause, seq
        try:
            work = subscription.handler(payload)
            suspended = None
            if work is not None and (subscription.is_async or isawaitable(work)):
                suspended = begin(work)
                if subscription.is_plain:  # a plain callable around an async one
                    subscription.is_plain = False
                    self._table.forget_routes()
        except CATCHABLE as error:
            self._bury(subscription, payload, seq, error)
            return None
        finally:
            self.cause = outer
        if suspended is None:
            subscription.count_handled(payload)
        return suspended

    async def _finish(
        self,
        subscription: Subscription,
        payload: Any,
        seq: int,
        suspended: Suspended,
        cancelled_before: int,
    ) -> None:
        try:
            await resume(self, seq, suspended)
        except CATCHABLE as error:
            if not isinstance(error, Exception) and is_cancelled(cancelled_before):
                raise
            self._bury(subscription, payload, seq, error)
        else:
            subscription.count_handled(payload)

    # -- mailboxes --------------------------------------------------------------------------------

    async def _enqueue_later(
        self, subscription: Subscription, queue: BoundedQueue, envelope: Envelope
    ) -> None:
        await queue.wait_for_room()
        self._enqueue(subscription, queue, envelope)

    def _enqueue(self, subscription: Subscription, queue: BoundedQueue, envelope: Envelope) -> None:
        if queue.closed:
            return
        subscription.accepted += weight(envelope.event)
        try:
            dropped = queue.put(envelope)
        except CATCHABLE as error:  # it is full, or a key to coalesce by cannot be hashed
            self._bury(subscription, envelope.event, envelope.seq, error)
            return
        if subscription.is_stream:
            return
        if not subscription.working:
            self._drive.start_worker(subscription)
        if dropped is not None and not issubclass(event_class(envelope.event), Dropped):
            self._report_drop(subscription, queue, dropped, envelope.seq)

    def _report_drop(
        self, subscription: Subscription, queue: BoundedQueue, dropped: Envelope, cause: int
    ) -> None:
        event = dropped.event
        name = event_name(event_class(event))
        report = Dropped(last_ts(event), subscription.name, name, queue.dropped)
        self._push(report, 1, self.name, cause)

    async def work_off(self, subscription: Subscription, queue: BoundedQueue) -> None:
        """Handle what is in a mailbox, one item at a time, until it is empty."""
        pace = self._drive.pace
        while True:
            if monotonic() >= pace.deadline:
                await pace.rest()
            envelope = queue.take()
            if envelope is None:
                return
            payload, seq = envelope.event, envelope.seq
            suspended = self._call(subscription, payload, seq)
            if suspended is not None:  # a worker's task is as old as its work
                await self._finish(subscription, payload, seq, suspended, cancelled_before=0)
            queue.done()

    # -- scopes below -----------------------------------------------------------------------------

    async def _pass_down(self, child: Scope, seq: int) -> None:
        outer, self.cause = self.cause, seq
        try:
            suspended = begin(self._pump_child(child))
        finally:
            self.cause = outer
        if suspended is not None:
            await resume(self, seq, suspended)

    async def _pump_child(self, child: Scope) -> None:
        while True:
            try:
                await child._pump()
            except WindowError as error:
                if not child._contains_failures:
                    self._error = self._error or error  # raised once its targets have the event
                    return
                child._give_up(error)
            else:
                break
        if child.failure is not None and child._idle:
            child._end()
            self._disown(child)


def _record_one_by_one(recorder: Recorder, batch: Batch, first: int, cause: int) -> None:
    """Show those events of a batch that a tracer wants, as single events."""
    for envelope in batch.envelopes(first, cause):
        if matches(event_class(envelope.event), recorder.types):
            recorder.record(envelope)

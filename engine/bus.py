"""The event bus: typed, ordered, run to completion, with scopes and exact accounts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import get_ident
from typing import NoReturn, TypeAlias

import anyio
import anyio.from_thread
import anyio.lowlevel
from anyio.lowlevel import EventLoopToken

from admf.engine.block import Block
from admf.engine.dispatch import DeadLetter, Dispatcher
from admf.engine.drive import Drive
from admf.engine.errors import BusClosedError, BusError, WindowError, WrongThreadError
from admf.engine.events import Event, Published, event_name
from admf.engine.queues import BoundedQueue, Overflow, weight
from admf.engine.routes import Recorder
from admf.engine.stream import EventStream
from admf.engine.subscription import Handler, Mailbox, OnError, Subscription

__all__ = ["Bus", "DeadLetter"]

EventTypes: TypeAlias = type[Event] | Iterable[type[Event]]


class Bus(Dispatcher):
    """Delivers typed events, in order and one at a time, to whoever subscribed.

    `publish` is a plain call that appends to a queue; `drain` works the queue off. An event that a
    handler publishes is delivered after the current one has reached all its subscribers. The bus
    belongs to the thread that makes it.

    Args:
        name: Names the bus in the events it publishes itself.
        max_block_ms: Longest time a drain holds the host's event loop.
        parent: The bus above, for a scope; `scope` is the way to make one.
        exports: See `scope`.
        contain_failures: See `scope`.

    Attributes:
        dead_letters: The latest events whose handlers raised, with their errors.
        failure: What ended this scope, if it contains its failures and one occurred.
    """

    def __init__(
        self,
        name: str = "bus",
        *,
        max_block_ms: float = 5.0,
        parent: Bus | None = None,
        exports: EventTypes = (),
        contain_failures: bool = False,
    ) -> None:
        super().__init__(
            name,
            parent._drive if parent else Drive(max_block_ms),
            parent,
            _classes(exports),
            contain_failures=contain_failures,
        )
        self._root: Bus = parent._root if parent else self
        self._streams: list[EventStream] = []
        self._thread: int | None = get_ident()
        self._draining = False
        self._drained = anyio.Event()
        self._loop: EventLoopToken | None = None

    def __repr__(self) -> str:
        return f"<Bus {self.name}>"

    # -- publishing -------------------------------------------------------------------------------

    def publish(self, event: Published, source: str = "") -> int:
        """Queue an event or block and return its sequence number (a block's first).

        Args:
            event: The fact. A block of n events takes n sequence numbers.
            source: Id of the publisher, for the envelope.

        Raises:
            BusClosedError: The bus is closed.
            WrongThreadError: The caller is not on the bus's thread; use `publish_threadsafe`.
        """
        if self._thread != get_ident():
            self._refuse()
        self._append((event, self.cause, source))
        seq = self._published + 1
        if type(event) is Block:  # not is_block(): a call would cost as much as all the rest
            self._published += weight(event)
        else:
            self._published = seq
        return seq

    def publish_threadsafe(self, event: Published, source: str = "") -> int:
        """Publish from another thread, waiting until the bus's loop has queued the event.

        Raises:
            BusError: The bus has not been drained yet, so it does not know its event loop.
        """
        if self._root._loop is None:
            raise BusError(
                f"{self!r} has no event loop yet; drain it once before other threads publish"
            )
        return anyio.from_thread.run_sync(self.publish, event, source, token=self._root._loop)

    def advance(self, process: Iterator[None], cause: int | None = None) -> None:
        """Resume an iterator each time everything published so far has been handled.

        This is how work that has an order of its own (the phases of a bar) lets the events of one
        step reach everybody before the next step begins.
        """
        self._processes.append((process, self.cause if cause is None else cause))

    # -- subscribing ------------------------------------------------------------------------------

    def subscribe(
        self,
        types: EventTypes,
        handler: Handler,
        *,
        name: str = "",
        blocks: bool = False,
        key: object = None,
        mailbox: Mailbox | None = None,
        on_error: OnError = "propagate",
    ) -> Subscription:
        """Call ``handler`` with every event of these types from the next sequence number on.

        Args:
            types: Event classes; subclasses match too.
            handler: Plain or async callable. An async one is awaited before the next event.
            name: For errors and statistics; the handler's name if empty.
            blocks: Call the handler with blocks (a single event comes as a block of one). Otherwise
                blocks are unrolled into single events.
            key: Only events whose ``key_field`` has this value.
            mailbox: Give the handler a bounded queue and a worker of its own.
            on_error: ``propagate``: an exception fails the drain, after the event has reached its
                other subscribers; ``isolate``: it is recorded and the bus goes on.

        Raises:
            BusError: A key is given for a type that has no ``key_field``.
        """
        classes = _classes(types)
        if key is not None and (odd := [cls for cls in classes if cls.key_field is None]):
            raise BusError(
                f"{event_name(odd[0])} has no key_field, so it cannot be filtered by key"
            )
        name = name or getattr(handler, "__qualname__", repr(handler))
        subscription = Subscription(
            self,
            classes,
            handler,
            name=name,
            takes_blocks=blocks,
            key=key,
            queue=BoundedQueue(mailbox.maxsize, mailbox.overflow) if mailbox else None,
            on_error=on_error,
        )
        if mailbox is not None:
            self._drive.mailboxes[subscription] = self
            subscription.on_put = lambda: self._drive.start_worker(subscription)
        self._change(lambda: self._subscriptions.setdefault(subscription))
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Undo a subscription from the next sequence number on; see `Subscription.cancel`."""
        self._change(lambda: self._subscriptions.pop(subscription, None))

    def attach_tracer(self, tracer: Recorder) -> None:
        """Show every event of the tracer's types to it before any handler sees the event."""
        self._change(lambda: self._recorders.append(tracer))

    def detach_tracer(self, tracer: Recorder) -> None:
        """Undo `attach_tracer`."""
        self._change(lambda: self._recorders.remove(tracer))

    def stream(
        self, types: EventTypes, maxsize: int = 1000, overflow: Overflow = "drop_oldest"
    ) -> EventStream:
        """Return an async iterator over envelopes, for an observer outside the bus.

        Args:
            types: Event classes; subclasses match too.
            maxsize: Events kept for a slow observer.
            overflow: What happens beyond that; ``block`` makes the whole bus wait for the observer.
        """
        queue = BoundedQueue(maxsize, overflow)
        subscription = Subscription(
            self,
            _classes(types),
            _observed_elsewhere,
            name=f"{self.name}.stream",
            takes_blocks=False,
            key=None,
            queue=queue,
            on_error="isolate",
        )
        stream = EventStream(subscription, queue)
        self._streams.append(stream)
        self._change(lambda: self._subscriptions.setdefault(subscription))
        return stream

    # -- scopes -----------------------------------------------------------------------------------

    def scope(self, name: str, *, exports: EventTypes = (), contain_failures: bool = False) -> Bus:
        """Return a bus below this one: it sees this bus's events and keeps its own.

        Args:
            name: Names the scope.
            exports: Types of the scope's own events that this bus gets to see as well.
            contain_failures: A failing handler ends the scope (see `failure`), not the whole drain.
        """
        child = Bus(
            f"{self.name}.{name}",
            parent=self,
            exports=exports,
            contain_failures=contain_failures,
        )
        self._change(lambda: self._children.append(child))
        return child

    # -- draining and closing ---------------------------------------------------------------------

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
        tasks, this_task = self._drive.tasks, anyio.get_current_task().id
        if this_task in tasks:
            raise BusError(f"drain() of {self!r} was called by one of its own handlers")
        while self._draining:
            await self._drained.wait()
        self._draining = True
        self._drained = anyio.Event()
        self._loop = self._loop or anyio.lowlevel.current_token()
        tasks.add(this_task)
        self._drive.restart()
        try:
            await self._drain()
        finally:
            tasks.discard(this_task)
            self._draining = False
            self._drained.set()

    async def _drain(self) -> None:
        while not self._idle or self._drive.mail_waits:
            if self._drive.mailboxes:
                await self._drain_with_workers()
            else:
                await self._pump()
        self._drive.forget_emptied()

    async def _drain_with_workers(self) -> None:
        drive, failure = self._drive, None
        async with anyio.create_task_group() as workers:
            drive.workers = workers
            try:
                drive.start_workers()
                await self._pump_until_settled()
            except WindowError as error:  # a task group would wrap it
                failure = error
                workers.cancel_scope.cancel()
            finally:
                drive.workers = None
        if failure is not None:
            raise failure

    async def _pump_until_settled(self) -> None:
        while True:
            self._drive.progress = anyio.Event()
            await self._pump()
            if not any(item.working for item in self._drive.mailboxes):
                return
            await self._drive.progress.wait()

    async def aclose(self) -> None:
        """Refuse all further events, end the streams and let go of all subscribers."""
        self._thread = None
        for stream in self._streams:
            stream.close()
        for child in tuple(self._children):
            if isinstance(child, Bus):
                await child.aclose()
        self._forget_subscribers()
        self._recorders.clear()
        self._queue.clear()
        self._processes.clear()
        if self._parent is not None:
            self._parent._disown(self)

    @property
    def closed(self) -> bool:
        """Whether the bus refuses events."""
        return self._thread is None

    def settle_accounts(self) -> None:
        """Bring the statistics of all subscriptions up to date."""
        self._settle()

    def _refuse(self) -> NoReturn:
        if self.closed:
            raise BusClosedError(f"{self!r} is closed")
        raise WrongThreadError(f"{self!r} belongs to another thread; call publish_threadsafe there")


def _classes(types: EventTypes) -> tuple[type[Event], ...]:
    return (types,) if isinstance(types, type) else tuple(types)


def _observed_elsewhere(_: Event) -> None:
    """Stand where a stream's handler would: its observer takes the events itself."""

"""The event bus: typed, ordered, run to completion, with scopes and exact accounts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from threading import get_ident
from typing import Any, NoReturn, TypeAlias, TypeVar

from admf.engine.batch import Batch
from admf.engine.block import Block
from admf.engine.bus_counts import BusCounts
from admf.engine.delivery import DeadLetter
from admf.engine.draining import Draining
from admf.engine.drive import Drive
from admf.engine.errors import BusClosedError, BusError, WrongThreadError
from admf.engine.events import Envelope, Event, Published, event_name
from admf.engine.handler_watch import HandlerWatch
from admf.engine.observation import EventObserver
from admf.engine.observing import Observer, Observers
from admf.engine.pace import Pace
from admf.engine.queues import Overflow, bounded_queue
from admf.engine.routes import Recorder
from admf.engine.stream import EventStream
from admf.engine.subscription import Handler, Judge, Mailbox, OnError, Subscription

__all__ = ["Bus", "DeadLetter", "EventTypes"]

EventTypes: TypeAlias = type[Event] | Iterable[type[Event]]
F = TypeVar("F", bound=Callable[..., Any])


class Bus(Draining):
    """Delivers typed events, in order and one at a time, to whoever subscribed.

    `publish` is a plain call that appends to a queue; `drain` works the queue off. An event that a
    handler publishes is delivered after the current one has reached all its subscribers. The bus
    belongs to the thread that makes it.

    Args:
        name: Names the bus in the events it publishes itself.
        max_block_ms: Longest time a drain holds the host's event loop.
        pace: Says when to yield instead, for drains that share the loop.
        observers: Are told of handlers that fail, and of those that are slow.
        slow_handler_ms: Report handlers that take longer; None times none of them.
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
        pace: Pace | None = None,
        observers: Iterable[Observer] | Observers = (),
        slow_handler_ms: float | None = None,
        parent: Bus | None = None,
        exports: EventTypes = (),
        contain_failures: bool = False,
    ) -> None:
        if parent is not None:
            drive = parent._drive
        else:
            watch = HandlerWatch(Observers.of(observers), slow_handler_ms)
            drive = Drive(pace or Pace(max_block_ms), watch)
        super().__init__(name, drive, parent, _classes(exports), contain_failures=contain_failures)

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
            BusError: The block is empty.
        """
        if self._thread != get_ident():
            self._refuse()
        seq = self._published + 1
        if type(event) is Block:  # not is_block(): a call would cost as much as all the rest
            if not event.length:
                raise BusError(f"{event!r} cannot be published: there is no event in it")
            self._published += event.length
        else:
            self._published = seq
        self._append((event, self.cause, source))
        return seq

    def publish_threadsafe(self, event: Published, source: str = "") -> int:
        """Publish from any thread, waiting until the bus's loop has queued the event.

        Raises:
            BusClosedError: The bus is closed.
            BusError: The bus has not been drained yet, so it does not know its event loop.
        """
        if self.closed or self._thread == get_ident():
            return self.publish(event, source)
        if self._root._loop is None:
            raise BusError(
                f"{self!r} has no event loop yet; drain it once before other threads publish"
            )
        from anyio import from_thread  # rarely needed, and slow to import

        return from_thread.run_sync(self.publish, event, source, token=self._root._loop)

    def record(self, event: Published | Batch, source: str = "", cause: int | None = None) -> int:
        """Number an event and show it to the tracers, but to no handler; return its number.

        For those who hand their events on by themselves, once `reaches_others` has said that there
        is nobody else. Nothing may wait on the bus meanwhile.

        Args:
            event: The fact; of a block or batch, each event takes a number.
            source: Id of the publisher; a batch has its own.
            cause: Number of the event that it follows from; that being handled now if not given.

        Raises:
            BusError: Events wait on this bus, which come first.
            HandlerError: A tracer raised.
        """
        if self._queue:
            raise BusError(f"{self!r} cannot record {event!r} while other events wait on it")
        first = self._seq + 1
        cause = self.cause if cause is None else cause
        if isinstance(event, Event):
            self._seq = self._published = first
            self._show(Envelope(first, cause, source, event), event.__class__)
            return first
        self._seq = self._published = self._seq + len(event)
        if isinstance(event, Batch):
            self._record_batch(event, first, cause)
        else:
            self._show(Envelope(first, cause, source, event), event.cls)
        return first

    @property
    def next_seq(self) -> int:
        """The number that `record` gives next."""
        return self._seq + 1

    @property
    def must_rest(self) -> bool:
        """Whether it is time for a process to yield, so that the host's event loop can run."""
        return self._drive.pace.is_over

    def reaches_others(
        self, types: Iterable[type[Event]], own: Collection[Subscription] = ()
    ) -> bool:
        """Whether events published here would reach any handler but those of ``own``.

        Args:
            types: Classes of the events, subclasses included.
            own: Subscriptions that do not count.
        """
        return bool(self._children) or self._table.reaches_others(types, own)

    def advance(self, process: Iterator[None], cause: int | None = None) -> None:
        """Resume an iterator each time everything published so far has been handled.

        This is how work that has an order of its own (the phases of a bar) lets the events of one
        step reach everybody in this bus and its scopes before the next step begins. Only what
        waits in a mailbox may be handled later. Processes run one after the other, not by turns.

        Args:
            process: An iterator or generator; what it yields is ignored.
            cause: For the events it publishes; the event being handled now if not given.
        """
        self._check_usable()
        self._processes.append((process, self.cause if cause is None else cause))
        self._drive.progress.set()

    # -- subscribing ------------------------------------------------------------------------------

    def subscribe(
        self,
        types: EventTypes,
        handler: Handler,
        *,
        name: str = "",
        blocks: bool = False,
        key: Hashable = None,
        mailbox: Mailbox | None = None,
        on_error: OnError | Judge = "propagate",
        held: bool = False,
    ) -> Subscription:
        """Call ``handler`` with every event of these types from the next sequence number on.

        Args:
            types: Event classes; subclasses match too.
            handler: Plain or async callable. What an async one returns is awaited before the next
                event.
            name: For errors and statistics; the handler's name if empty.
            blocks: Call the handler with blocks (a single event comes as a block of one). Otherwise
                blocks are unrolled into single events.
            key: Only events whose ``key_field`` has this value.
            mailbox: Give the handler a bounded queue and a worker of its own.
            on_error: ``propagate``: an exception fails the drain, after the event has reached its
                other subscribers; ``isolate``: it is recorded and the bus goes on. A function
                decides when it has occurred.
            held: Take in no event until `exchange` lets it enter.

        Raises:
            BusError: A key is given for a type that has no ``key_field``, or cannot be hashed.
        """
        self._check_usable()
        classes = _classes(types)
        if key is not None and (odd := [cls for cls in classes if cls.key_field is None]):
            raise BusError(
                f"{event_name(odd[0])} has no key_field, so it cannot be filtered by key"
            )
        if not isinstance(key, Hashable):
            raise BusError(f"a key must be hashable, and {key!r} is not")
        name = name or getattr(handler, "__qualname__", repr(handler))
        queue = bounded_queue(mailbox.maxsize, mailbox.overflow) if mailbox else None
        subscription = Subscription(
            self,
            classes,
            self.timed(handler, name),
            name=name,
            takes_blocks=blocks,
            key=key,
            queue=queue,
            on_error=on_error,
        )
        if queue is not None:
            self._drive.mailboxes[subscription] = (self, queue)
        if not held:
            self._change(lambda: self._table.add(subscription))
        return subscription

    def timed(self, call: F, name: str) -> F:
        """Return ``call`` so that it is reported when it is slow; as it is, if nothing is timed.

        For code that somebody calls for a handler, such as a strategy of the user's.

        Args:
            call: Its first argument is what it handles.
            name: Names it in the report.
        """
        return self._drive.watch.timed(call, name, self.name)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Undo a subscription from the next sequence number on; see `Subscription.cancel`."""
        self._change(lambda: self._table.remove(subscription))

    def exchange(
        self,
        leaving: Collection[Subscription],
        entering: Collection[Subscription],
        *,
        detach: Recorder | None = None,
        attach: Recorder | None = None,
    ) -> None:
        """Let subscriptions and a tracer enter in the place of others, at once.

        It is for work of `between` alone: elsewhere it may be in the midst of an event.
        """
        self._table.exchange(leaving, entering)
        if detach is not None:
            self._table.detach(detach)
        if attach is not None:
            self._table.attach(attach)

    def attach_tracer(self, tracer: Recorder) -> None:
        """Show every event of the tracer's types to it before any handler sees the event.

        A tracer that raises fails the drain like a handler whose policy is ``propagate``.
        """
        self._check_usable()
        self._change(lambda: self._table.attach(tracer))

    def detach_tracer(self, tracer: Recorder) -> None:
        """Undo `attach_tracer`."""
        self._change(lambda: self._table.detach(tracer))

    def stream(
        self, types: EventTypes, maxsize: int = 1000, overflow: Overflow = "drop_oldest"
    ) -> EventStream:
        """Return an async iterator over envelopes, for an observer outside the bus.

        Looking on leaves no mark in the trace: drops are counted by the stream, not published.

        Args:
            types: Event classes; subclasses match too.
            maxsize: Events kept for a slow observer.
            overflow: What happens beyond that; ``block`` makes the whole bus wait for the observer,
                ``fail`` ends the stream with a `QueueFullError`.
        """
        self._check_usable()
        queue = bounded_queue(maxsize, overflow)
        subscription = Subscription(
            self,
            _classes(types),
            _observed_elsewhere,
            name=f"{self.name}.stream",
            takes_blocks=False,
            key=None,
            queue=queue,
            on_error="isolate",
            is_stream=True,
        )
        self._change(lambda: self._table.add(subscription))
        return EventStream(subscription, queue)

    def observe(self, observer: EventObserver) -> None:
        """Show an observer the events of this whole bus, each once, where it is published.

        It sees what tracers see, and like them makes nothing go another way. While it must wait,
        drains of the bus do; see `release_observers`.
        """
        self._check_usable()
        self._drive.observers.append(observer)
        self._root._forget_routes()

    def release_observers(self) -> None:
        """Wait for observers no more, since the bus is coming to its end."""
        self._drive.waits_for_observers = False

    # -- scopes -----------------------------------------------------------------------------------

    def scope(self, name: str, *, exports: EventTypes = (), contain_failures: bool = False) -> Bus:
        """Return a bus below this one: it sees this bus's events and keeps its own.

        Args:
            name: Names the scope.
            exports: Types of the scope's own events that this bus gets to see as well.
            contain_failures: A failing handler ends the scope (see `failure`), not the whole drain:
                what is queued in it still reaches its tracers, and what is published in it later
                goes nowhere.
        """
        self._check_usable()
        child = Bus(
            f"{self.name}.{name}",
            parent=self,
            exports=exports,
            contain_failures=contain_failures,
        )
        self._change(lambda: self._adopt(child))
        return child

    def _adopt(self, child: Bus) -> None:
        if not child.closed:
            self._children.append(child)

    # -- closing ----------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Refuse all further events, end the streams and let go of all subscribers.

        What has not been drained is dropped.
        """
        self._close()
        self._drive.forget_emptied()

    @property
    def closed(self) -> bool:
        """Whether the bus refuses events."""
        return self._thread is None

    @property
    def counts(self) -> BusCounts:
        """What this bus and its scopes have handled so far; another thread may ask as well."""
        return self._counts()

    def settle_accounts(self) -> None:
        """Bring the statistics of all subscriptions up to date."""
        self._table.settle()

    def _check_usable(self) -> None:
        if self._thread != get_ident():
            self._refuse()

    def _refuse(self) -> NoReturn:
        if self.closed:
            raise BusClosedError(f"{self!r} is closed")
        raise WrongThreadError(f"{self!r} belongs to another thread; call publish_threadsafe there")


def _classes(types: EventTypes) -> tuple[type[Event], ...]:
    return (types,) if isinstance(types, type) else tuple(types)


def _observed_elsewhere(_: Event) -> None:
    """Stand where a stream's handler would: its observer takes the events itself."""

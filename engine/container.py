"""The base of all containers: an isolated unit on the bus with a state machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias

import anyio
import anyio.lowlevel
import msgspec

from admf.engine.bus import Bus, EventTypes
from admf.engine.cancellation import CATCHABLE, is_cancelled
from admf.engine.container_state import TRANSITIONS, ContainerState, Health, Status
from admf.engine.delivery import DeadLetter
from admf.engine.errors import StateError, StorageError
from admf.engine.results import Document
from admf.engine.shielding import DONE, Joinable
from admf.engine.subscription import Handler, Judge, Mailbox, OnError, Subscription
from admf.engine.supervision import PROPAGATE, Supervision
from admf.engine.tracer import EventTracer

__all__ = [
    "TRANSITIONS",
    "Container",
    "ContainerState",
    "Health",
    "Restarter",
    "Status",
    "WriteDocument",
]

WriteDocument: TypeAlias = Callable[[Document], Awaitable[None]]
Restarter: TypeAlias = "Callable[[Container, DeadLetter], OnError]"


EndStep: TypeAlias = Literal["stop", "flush", "release"]

_S = ContainerState
_IN_SERVICE = frozenset([_S.RUNNING, _S.DEGRADED, _S.PAUSED])

_HELD = frozenset({_S.CREATED, _S.STARTING, _S.PAUSED})
"""States in which a source publishes nothing."""


class Container:
    """An isolated unit on the bus: it subscribes in its own scope, and its end writes its results.

    Subclasses override the hooks `on_start`, `on_stop` and `on_release`, sources also `run`, and
    whoever has something to say `results`. An interrupted `on_stop` or `on_release` is called
    again, so both must bear that.

    Args:
        container_id: Names the container, its results file and its source on the bus.
        role: What it does, e.g. ``portfolio``.
        config: Its settings.
        scope: The bus it lives on.
        tracer: Records the events of the scope, from before `on_start` until the release.
        depends_on: Ids of the containers that must be running before this one starts.
        supervision: What happens when it fails while the window goes on.

    Attributes:
        outcome: How the execution window ended; set before the flush.
        error: What made the container fail, if anything did.
        after_seq: It sees the events of its scope that come after this one.
        last_seq: It sees the events of its scope up to this one; None up to the end.
        failures: How often it failed and went on.
        restarter: Sees to the restarts of one that is to be restarted; its window sets it.
    """

    state_type: ClassVar[type[msgspec.Struct] | None] = None
    """What `hand_over` returns, if another process can make it of the data in a commit record.

    So a session that was killed goes on from it. None for what only lives in memory.
    """

    def __init__(
        self,
        container_id: str,
        role: str,
        config: msgspec.Struct | None = None,
        *,
        scope: Bus,
        tracer: EventTracer | None = None,
        depends_on: Sequence[str] = (),
        supervision: Supervision = PROPAGATE,
    ) -> None:
        self.id = container_id
        self.role = role
        self.config = config
        self.scope = scope
        self.tracer = tracer
        self.depends_on = tuple(depends_on)
        self.supervision = supervision
        self.outcome: Status = "completed"
        self.error: BaseException | None = None
        self.after_seq = 0
        self.last_seq: int | None = None
        self.failures = 0
        self.restarter: Restarter | None = None
        self._state = _S.CREATED
        self._ran = False
        self._resumed: anyio.Event | None = None  # made when somebody waits: there are many of us
        self._subscriptions: list[Subscription] = []
        self._traced = False
        self._held = False
        # Of the steps that began; None for one that is over, so that the collector, which a
        # thousand lanes give much to do, has nothing to look through.
        self._joinables: dict[EndStep, Joinable | None] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r} {self._state.name}>"

    @property
    def state(self) -> ContainerState:
        """Where the container stands in its life."""
        return self._state

    @property
    def in_service(self) -> bool:
        """Whether it runs, degraded or not, or is paused."""
        return self._state in _IN_SERVICE

    @property
    def ran(self) -> bool:
        """Whether it ever reached RUNNING; if not, it has nothing to stop and nothing to write."""
        return self._ran

    @property
    def status(self) -> Status:
        """How its own part ended: by its own error if it has one, otherwise as the window did."""
        if self.error is None:
            return self.outcome
        return "failed" if isinstance(self.error, Exception) else "cancelled"

    @property
    def health(self) -> Health:
        """How it is, at whatever stage of its life."""
        if self.error is not None:
            return "failed"
        return "degraded" if self.failures else "healthy"

    # -- hooks ------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Get ready: open what is needed and subscribe."""

    async def run(self) -> None:
        """Publish input until there is no more; only sources override this.

        A source with much to publish lets the bus keep up with ``await self.scope.drain()``, or
        hands over an iterator with ``self.scope.advance``.
        """

    async def on_stop(self) -> None:
        """Take in nothing more; what is on the bus already still arrives."""

    def results(self) -> Document | None:
        """Return what is to be written, afresh at each call; None writes nothing."""
        return None

    async def on_release(self) -> None:
        """Let go of what `on_start` opened; also called if that failed half-way."""

    def hand_over(self) -> msgspec.Struct | None:
        """Return what another needs to go on in this one's place, as plain data; None for nothing.

        Called between two events, when all up to there have been handled. It must leave the
        container as it is: if the other cannot take over, this one goes on. A source may be asked
        whenever its `run` waits for something.
        """
        return None

    def take_over(self, state: Any) -> None:
        """Go on from what `hand_over` returned; called after `on_start`, before the first event."""

    def renew(self, container_id: str) -> Container:
        """Return a new instance of this container in the same scope; see `Supervision`.

        Raises:
            StateError: The class does not say how.
        """
        raise StateError(f"{self!r} does not define renew(), so there is no {container_id!r}")

    # -- life -------------------------------------------------------------------------------------

    async def start(self, *, held: bool = False) -> None:
        """Attach the tracer, call `on_start`, be RUNNING; whatever goes wrong makes it FAILED.

        Args:
            held: Neither trace nor take in any event until `enter`.

        Raises:
            StateError: The container is not CREATED.
        """
        self._move(_S.STARTING)
        self._held = held
        try:
            if self.tracer is not None and not held:
                self.scope.attach_tracer(self.tracer)
                self._traced = True
            await self.on_start()
            self._move(_S.RUNNING)
        except BaseException as error:
            if self._state is _S.STARTING:
                self.fail(error)
            raise
        self._ran = True
        if self.failures:
            self._move(_S.DEGRADED)
        self._let_go_on()

    def enter(self, instead_of: Container | None = None) -> None:
        """Take in events from now on, after a start that was ``held``; for `Bus.between` alone.

        Args:
            instead_of: A container of the same scope, which takes in nothing more; its
                subscriptions give their places to those of this one.
        """
        leaving = () if instead_of is None else instead_of.subscriptions
        self.scope.exchange(leaving, self._subscriptions, attach=self.tracer)
        self._held, self._traced = False, True
        self.after_seq = self.scope.next_seq - 1
        if instead_of is not None:
            instead_of.leave()

    def leave(self) -> None:
        """Take in no event any more, nor pass `until_resumed`; for `Bus.between` alone.

        What its mailboxes hold it still handles.
        """
        self.scope.exchange(self._subscriptions, (), detach=self.tracer)
        self._traced = False
        self.last_seq = self.scope.next_seq - 1

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """Those made by `subscribe`; none after the release."""
        return tuple(self._subscriptions)

    async def pause(self) -> None:
        """Hold the source in `until_resumed`; the bus goes on delivering.

        Raises:
            StateError: The container is neither RUNNING nor DEGRADED.
        """
        self._move(_S.PAUSED)

    async def resume(self) -> None:
        """Let a paused source go on.

        Raises:
            StateError: The container is not PAUSED.
        """
        self._move(_S.DEGRADED if self.failures else _S.RUNNING)
        self._let_go_on()

    async def until_resumed(self) -> None:
        """Return at once, or when a pause is over; sources await it between two publications."""
        has_left = self.in_service and self.last_seq is not None
        if self._state not in _HELD and not has_left:
            await anyio.lowlevel.checkpoint()
            return
        self._resumed = self._resumed or anyio.Event()
        await self._resumed.wait()

    async def stop(self) -> None:
        """Stop the intake. Whoever calls it again gets the outcome of the first call.

        Raises:
            StateError: The container was never started, or is being flushed.
        """
        await self._joinable("stop").run(self._stop)

    def step_at_once(self, step: EndStep) -> Callable[[], None] | None:
        """Return what does a step of the teardown by a plain call; None if the step may take time.

        It may if the class has something to do or to write in it.
        """
        cls = type(self)
        for name in _OVERRIDABLE[step]:
            if getattr(cls, name) is not getattr(Container, name):
                return None
        return partial(self._do_at_once, step)

    async def flush(self, write: WriteDocument) -> None:
        """Write the results, once. Whoever calls it again gets the outcome of the first call.

        A flush that fails is tried once more, unless the storage refused it: what a failed fsync
        leaves behind is not to be trusted.

        Raises:
            StateError: The container has not been stopped.
        """
        await self._joinable("flush").run(partial(self._flush, write))

    async def release(self) -> None:
        """Call `on_release`, cancel the subscriptions, detach the tracer, be DESTROYED.

        Whoever calls it again gets the outcome of the first call.

        Raises:
            StateError: The container is neither FLUSHING nor FAILED.
        """
        await self._joinable("release").run(self._release)

    async def cleanup(self, write: WriteDocument) -> None:
        """`flush`, then `release` even if that failed."""
        try:
            await self.flush(write)
        finally:
            await self.release()

    def fail(self, error: BaseException) -> None:
        """Be FAILED; a container that is keeps its first error.

        Raises:
            StateError: The container is DESTROYED.
        """
        if self._state is _S.FAILED:
            return
        self._move(_S.FAILED)
        self.error = error
        self._let_go_on()

    def note_failure(self) -> None:
        """Count a failure that it survives; a container that runs is DEGRADED from now on."""
        self.failures += 1
        if self._state is _S.RUNNING:
            self._move(_S.DEGRADED)

    def subscribe(
        self,
        types: EventTypes,
        handler: Handler,
        *,
        name: str = "",
        blocks: bool = False,
        key: object = None,
        mailbox: Mailbox | None = None,
        on_error: OnError | None = None,
    ) -> Subscription:
        """Subscribe in the scope until the release; see `Bus.subscribe`.

        The name defaults to the container's id and the handler's name, ``on_error`` to what the
        container's supervision says.
        """
        handler_name: str = getattr(handler, "__name__", type(handler).__name__)
        subscription = self.scope.subscribe(
            types, handler, name=name or f"{self.id}.{handler_name}", blocks=blocks, key=key,
            mailbox=mailbox, on_error=on_error or self._handler_policy, held=self._held,
        )  # fmt: skip
        self._subscriptions.append(subscription)
        return subscription

    def replace_tracer(self, tracer: EventTracer) -> None:
        """Have another tracer record the events of the scope from the next one on."""
        if self._traced and self.tracer is not None:
            self.scope.detach_tracer(self.tracer)
            self.scope.attach_tracer(tracer)
        self.tracer = tracer

    @property
    def _handler_policy(self) -> OnError | Judge:
        return "propagate" if self.supervision.policy == "propagate" else self.judge

    def judge(self, letter: DeadLetter) -> OnError:
        """Decide, as the supervision says, what a failure leads to."""
        if self.supervision.policy == "restart":
            return "propagate" if self.restarter is None else self.restarter(self, letter)
        self.note_failure()
        return "isolate"

    def _check(self, target: ContainerState) -> None:
        if target not in TRANSITIONS[self._state]:
            raise StateError(
                f"container {self.id!r} cannot go from {self._state.name} to {target.name}"
            )

    def _move(self, target: ContainerState) -> None:
        self._check(target)
        self._state = target

    def _reach(self, target: ContainerState) -> None:
        """Move, unless an interrupted attempt already did."""
        if self._state is not target:
            self._move(target)

    def _let_go_on(self) -> None:
        """End the wait of `until_resumed`."""
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    def _joinable(self, step: EndStep) -> Joinable:
        return self._joinables.setdefault(step, Joinable()) or DONE

    def _do_at_once(self, step: EndStep) -> None:
        works = {"stop": self._stop_intake, "flush": self._flush_nothing}
        self._joinable(step).run_now(works.get(step, self._release_now))
        self._joinables[step] = None

    def _stop_intake(self) -> None:
        if self._state is not _S.FAILED:
            self._reach(_S.STOPPING)
        self._let_go_on()

    async def _stop(self) -> None:
        self._stop_intake()
        if self._ran:
            await self.on_stop()

    async def _flush(self, write: WriteDocument) -> None:
        try:
            await self._flush_once(write)
        except CATCHABLE as error:
            if isinstance(error, StorageError) or is_cancelled():
                raise
            await self._flush_once(write)

    async def _flush_once(self, write: WriteDocument) -> None:
        self._reach(_S.FLUSHING)
        document = self.results() if self._ran else None
        if document is not None:
            await write(document)

    def _begin_release(self) -> None:
        if self._state is _S.FAILED:
            self._move(_S.FLUSHING)
        if self._state is not _S.DESTROYED:  # as it is after an interrupted attempt
            self._check(_S.DESTROYED)

    def _flush_nothing(self) -> None:
        self._reach(_S.FLUSHING)

    def _release_now(self) -> None:
        self._begin_release()
        self._let_go()

    async def _release(self) -> None:
        self._begin_release()
        try:
            await self.on_release()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        for subscription in self._subscriptions:
            subscription.cancel()
        self._subscriptions.clear()
        if self._traced and self.tracer is not None:
            self.scope.detach_tracer(self.tracer)
            self._traced = False
        self._state = _S.DESTROYED


_OVERRIDABLE: dict[EndStep, tuple[str, str]] = {
    "stop": ("stop", "on_stop"),
    "flush": ("flush", "results"),
    "release": ("release", "on_release"),
}
"""What a class has to leave alone to need no time for a step."""

"""The base of all containers: an isolated unit on the bus with a state machine."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Literal, TypeAlias

import anyio
import anyio.lowlevel
import msgspec

from admf.engine.bus import Bus, EventTypes
from admf.engine.cancellation import CATCHABLE, is_cancelled
from admf.engine.errors import StateError, StorageError
from admf.engine.results import Document
from admf.engine.shielding import Joinable
from admf.engine.subscription import Handler, Mailbox, OnError, Subscription
from admf.engine.tracer import EventTracer

__all__ = ["TRANSITIONS", "Container", "ContainerState", "Status", "WriteDocument"]

Status: TypeAlias = Literal["completed", "failed", "cancelled"]
"""How an execution window, or a container's part in it, ended."""

WriteDocument: TypeAlias = Callable[[Document], Awaitable[None]]


class ContainerState(enum.Enum):
    """Where a container stands in its life."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    FLUSHING = "flushing"
    DESTROYED = "destroyed"
    FAILED = "failed"


_S = ContainerState

TRANSITIONS: Mapping[ContainerState, frozenset[ContainerState]] = MappingProxyType(
    {
        _S.CREATED: frozenset({_S.STARTING, _S.FAILED}),
        _S.STARTING: frozenset({_S.RUNNING, _S.FAILED}),
        _S.RUNNING: frozenset({_S.PAUSED, _S.STOPPING, _S.FAILED}),
        _S.PAUSED: frozenset({_S.RUNNING, _S.STOPPING, _S.FAILED}),
        _S.STOPPING: frozenset({_S.FLUSHING, _S.FAILED}),
        _S.FLUSHING: frozenset({_S.DESTROYED, _S.FAILED}),
        _S.FAILED: frozenset({_S.FLUSHING}),
        _S.DESTROYED: frozenset(),
    }
)

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

    Attributes:
        outcome: How the execution window ended; set before the flush.
        error: What made the container fail, if anything did.
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
    ) -> None:
        self.id = container_id
        self.role = role
        self.config = config
        self.scope = scope
        self.tracer = tracer
        self.depends_on = tuple(depends_on)
        self.outcome: Status = "completed"
        self.error: BaseException | None = None
        self._state = _S.CREATED
        self._ran = False
        self._resumed: anyio.Event | None = None  # made when somebody waits: there are many of us
        self._subscriptions: list[Subscription] = []
        self._traced = False
        self._stopping, self._flushing, self._releasing = Joinable(), Joinable(), Joinable()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r} {self._state.name}>"

    @property
    def state(self) -> ContainerState:
        """Where the container stands in its life."""
        return self._state

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

    # -- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Attach the tracer, call `on_start`, be RUNNING; whatever goes wrong makes it FAILED.

        Raises:
            StateError: The container is not CREATED.
        """
        self._move(_S.STARTING)
        try:
            if self.tracer is not None:
                self.scope.attach_tracer(self.tracer)
                self._traced = True
            await self.on_start()
            self._move(_S.RUNNING)
        except BaseException as error:
            if self._state is _S.STARTING:
                self.fail(error)
            raise
        self._ran = True
        self._let_go_on()

    async def pause(self) -> None:
        """Hold the source in `until_resumed`; the bus goes on delivering.

        Raises:
            StateError: The container is not RUNNING.
        """
        self._move(_S.PAUSED)

    async def resume(self) -> None:
        """Let a paused source go on.

        Raises:
            StateError: The container is not PAUSED.
        """
        self._move(_S.RUNNING)
        self._let_go_on()

    async def until_resumed(self) -> None:
        """Return at once, or when a pause is over; sources await it between two publications."""
        if self._state not in _HELD:
            await anyio.lowlevel.checkpoint()
            return
        self._resumed = self._resumed or anyio.Event()
        await self._resumed.wait()

    async def stop(self) -> None:
        """Stop the intake. Whoever calls it again gets the outcome of the first call.

        Raises:
            StateError: The container was never started, or is being flushed.
        """
        await self._stopping.run(self._stop)

    def step_at_once(self, step: Literal["stop", "flush", "release"]) -> Callable[[], None] | None:
        """Return what does a step of the teardown by a plain call; None if the step may take time.

        It may if the class has something to do or to write in it.
        """
        hooks = {"stop": "on_stop", "flush": "results", "release": "on_release"}
        for name in (step, hooks[step]):
            if getattr(type(self), name) is not getattr(Container, name):
                return None
        works: dict[str, tuple[Joinable, Callable[[], None]]] = {
            "stop": (self._stopping, self._stop_intake),
            "flush": (self._flushing, partial(self._reach, _S.FLUSHING)),
            "release": (self._releasing, self._release_now),
        }
        joinable, work = works[step]
        return partial(joinable.run_now, work)

    async def flush(self, write: WriteDocument) -> None:
        """Write the results, once. Whoever calls it again gets the outcome of the first call.

        A flush that fails is tried once more, unless the storage refused it: what a failed fsync
        leaves behind is not to be trusted.

        Raises:
            StateError: The container has not been stopped.
        """
        await self._flushing.run(partial(self._flush, write))

    async def release(self) -> None:
        """Call `on_release`, cancel the subscriptions, detach the tracer, be DESTROYED.

        Whoever calls it again gets the outcome of the first call.

        Raises:
            StateError: The container is neither FLUSHING nor FAILED.
        """
        await self._releasing.run(self._release)

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
        """Subscribe in the scope until the release; see `Bus.subscribe`.

        The name defaults to the container's id and the handler's name.
        """
        handler_name: str = getattr(handler, "__name__", type(handler).__name__)
        subscription = self.scope.subscribe(
            types, handler, name=name or f"{self.id}.{handler_name}", blocks=blocks, key=key,
            mailbox=mailbox, on_error=on_error,
        )  # fmt: skip
        self._subscriptions.append(subscription)
        return subscription

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

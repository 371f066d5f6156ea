"""The run of an execution window: its sources, its first and its last event, and how it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeAlias

import anyio
from anyio.abc import TaskGroup

from admf.engine.bus import Bus
from admf.engine.cancellation import current_task
from admf.engine.clock import Clock
from admf.engine.container import Container, Status
from admf.engine.errors import WindowError
from admf.engine.events import WindowEnd, WindowStart
from admf.engine.failures import ungroup

__all__ = ["WindowRun", "is_source"]

OnSourceFailed: TypeAlias = Callable[[Container, Exception], Awaitable[bool]]


class WindowRun:
    """Runs the sources of a window until all are exhausted and the bus is quiet.

    Args:
        bus: The window's root bus.
        window_id: For the first and the last event.
        clock: Stamps them.

    Attributes:
        failures: What went wrong, the first cause first.
        interrupted: Whether it was cancelled.
        reached_end: Whether nothing cut it short.
        end_published: Whether the last event is out.
        on_source_failed: Decides whether the run goes on although a source raised.
    """

    def __init__(self, bus: Bus, window_id: str, clock: Clock) -> None:
        self.failures: list[Exception] = []
        self.interrupted = False
        self.reached_end = False
        self.end_published = False
        self.on_source_failed: OnSourceFailed = _fail_the_run
        self._bus = bus
        self._window_id = window_id
        self._clock = clock
        self._given_up: WindowError | None = None
        self._scope: anyio.CancelScope | None = None
        self._over = anyio.Event()
        self._sources: dict[Container, _Source] = {}  # in the order in which they begin
        self._group: TaskGroup | None = None

    @property
    def started(self) -> bool:
        """Whether it began, however it ended."""
        return self._scope is not None

    @property
    def active(self) -> bool:
        """Whether it is under way."""
        return self.started and not self._over.is_set()

    @property
    def takes_sources(self) -> bool:
        """Whether a source that joins is going to run."""
        return not (self.end_published or self._over.is_set())

    async def run(self, containers: Iterable[Container], before_end: Callable[[], None]) -> None:
        """Run to the end, or until `end` or `give_up` cuts it short.

        Args:
            containers: Those there are by now.
            before_end: Called when all is handled but the last event, which is yet to be published.
        """
        for container in containers:
            self.join(container)
        self._scope = anyio.CancelScope()
        try:
            with self._scope:
                await self._run(before_end)
            self._yield_if_given_up()
        except BaseException as error:
            self.take_note(error)
            raise
        finally:
            self._over.set()

    def give_up(self, error: WindowError) -> None:
        """End a run that is under way, which then raises ``error``; does nothing to others."""
        if self._scope is not None and self.active:
            self._given_up = error
            self._scope.cancel()

    async def end(self) -> None:
        """Cut it short, if it is under way, and wait until it is over."""
        if self._scope is not None and self.active:
            self._scope.cancel()
            await self._over.wait()

    def publish_end(self, status: Status) -> None:
        """Publish the window's last event."""
        self.end_published = True
        self._bus.publish(WindowEnd(self._clock.now_ns(), self._window_id, status))

    def take_note(self, error: BaseException) -> None:
        """Remember what ends the window, or is to be told of it."""
        if not isinstance(error, Exception):
            self.interrupted = True
        elif error not in self.failures:
            self.failures.append(error)

    def _yield_if_given_up(self) -> None:
        if self._given_up is not None:
            raise self._given_up

    # -- sources ----------------------------------------------------------------------------------

    def join(self, container: Container) -> None:
        """Let a container publish, if it is a source: at once if the run is under way."""
        if not is_source(container):
            return
        source = self._sources[container] = _Source(container)
        if self._group is not None:
            self._group.start_soon(self._run_source, source, name=container.id)

    def dismiss(self, container: Container) -> None:
        """End a source, which publishes no more; does nothing to other containers."""
        source = self._sources.get(container)
        if source is None:
            return
        if source.task is None:  # it has not begun, and never will
            del self._sources[container]
            source.scope.cancel()
        else:
            self._bus.dismiss(source.scope, source.task)

    def drains(self, container: Container) -> bool:
        """Whether a source is the one that drains the bus now."""
        source = self._sources.get(container)
        return source is not None and self._bus.is_drained_by(source.task)

    def begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have something done beside the sources, one of which is at work."""
        assert self._group is not None  # noqa: S101 - that is so as long as a source is
        self._group.start_soon(work)

    async def leave(self, container: Container) -> None:
        """`dismiss` a source, and wait until it has ended."""
        self.dismiss(container)
        source = self._sources.get(container)
        if source is not None:
            try:
                await source.over.wait()
            finally:
                source.scope.cancel()

    async def _run(self, before_end: Callable[[], None]) -> None:
        self._bus.publish(WindowStart(self._clock.now_ns(), self._window_id))
        await self._run_sources()
        await self._bus.drain()
        while self._sources:  # some have joined meanwhile
            await self._run_sources()
            await self._bus.drain()
        before_end()
        self.publish_end("completed")
        await self._bus.drain()
        self.reached_end = True

    async def _run_sources(self) -> None:
        failed: BaseException | None = None
        try:
            async with anyio.create_task_group() as self._group:
                for source in self._sources.values():
                    self._group.start_soon(self._run_source, source, name=source.container.id)
        except BaseExceptionGroup as errors:
            failed = ungroup(errors)
        finally:
            self._group = None
        if failed is not None:
            raise failed

    async def _run_source(self, source: _Source) -> None:
        if source.scope.cancel_called:
            return
        source.task = current_task()
        failed: Exception | None = None
        try:
            with source.scope:
                await source.container.run()
        except Exception as error:  # noqa: BLE001 - raised below, when whoever waits for its end knows
            failed = error
        finally:
            del self._sources[source.container]
            self._bus.let_go(source.scope)
            source.over.set()
        if failed is not None and not await self.on_source_failed(source.container, failed):
            raise failed


async def _fail_the_run(_container: Container, _error: Exception) -> bool:
    return False


class _Source:
    """A container that publishes by itself, and what ends it."""

    __slots__ = ("container", "over", "scope", "task")

    def __init__(self, container: Container) -> None:
        self.container = container
        self.task: object = None
        self.scope = anyio.CancelScope()
        self.over = anyio.Event()


def is_source(container: Container) -> bool:
    """Whether a container publishes by itself."""
    return type(container).run is not Container.run

"""One execution window: containers created, started, run, flushed and destroyed."""

from __future__ import annotations

from collections import deque
from functools import partial
from sys import intern
from types import TracebackType
from typing import Literal, Self

import anyio
import anyio.lowlevel
import msgspec

from admf.engine.bus import Bus
from admf.engine.clock import Clock
from admf.engine.container import Container, ContainerState, Status
from admf.engine.errors import StateError, WindowError
from admf.engine.events import WindowEnd, WindowStart
from admf.engine.failures import combine, describe_all, ungroup
from admf.engine.memory_guard import MemoryGuard
from admf.engine.registry import Registry
from admf.engine.results import WindowResults
from admf.engine.shielding import Joinable, finish
from admf.engine.summary import ContainerSummary, WindowSummary, log_window
from admf.engine.teardown import Deadlines, Step, Teardown
from admf.engine.topology import Report, Resources, Topology, TopologyBuilder
from admf.engine.window_spec import WindowSpec

__all__ = ["ExecutionWindow"]

_AT_ONCE = 16
"""Containers that are seen to before the event loop gets its turn."""


class ExecutionWindow:
    """One lifetime of a set of containers; `LifecycleManager.window` makes it.

    Use it as ``async with``, or call `start` and `aclose` if the host cannot nest. However the body
    ends, the containers are stopped, the bus is drained, the results are flushed and committed, and
    everything is released; a cancellation waits for that.

    Args:
        spec: What the window is to do.
        results: Where its files go.
        registry: Holds the topology.
        clock: Stamps the window's own events.
        resources: What the host shares between windows.
        deadlines: How long the steps of the teardown may take.
        flushes_at_once: Containers that write their results side by side.
        memory: Looks after the memory of a window with ``results_storage: auto``.

    Attributes:
        bus: The window's root bus.
        summary: How the window ended; None until it is closed, or if none of its containers ran.
    """

    def __init__(
        self,
        spec: WindowSpec,
        results: WindowResults,
        *,
        registry: Registry,
        clock: Clock,
        resources: Resources,
        deadlines: Deadlines,
        flushes_at_once: int,
        memory: MemoryGuard | None = None,
    ) -> None:
        self.spec = spec
        self.results = results
        self.bus = Bus(spec.window_id or spec.phase_name)
        self.summary: WindowSummary | None = None
        self._registry = registry
        self._clock = clock
        self._resources = resources
        self._flushes_at_once = flushes_at_once
        self._memory = memory if spec.results_storage == "auto" else None
        self._containers: tuple[Container, ...] = ()
        self._reports: tuple[Report, ...] = ()
        self._report: dict[str, object] = {}
        self._failures: list[Exception] = []
        self._interrupted = False
        self._reached_end = False
        self._end_published = False
        self._given_up: WindowError | None = None
        self._run_scope: anyio.CancelScope | None = None
        self._run_over = anyio.Event()
        self._teardown = Teardown(deadlines)
        self._closing = Joinable()
        self._to_close = deque(
            (self._stop, self._drain, self._flush, self._commit, self._release, self._conclude)
        )

    def __repr__(self) -> str:
        return f"<ExecutionWindow {self.bus.name!r} {self.status}>"

    @property
    def containers(self) -> tuple[Container, ...]:
        """The containers in the order in which they start; none after the window is closed."""
        return self._containers

    @property
    def status(self) -> Status:
        """How the window ends as things stand: ``completed`` only once `run` reached its end."""
        if self.summary is not None:
            return self.summary.status
        if self._failures or self._teardown.errors:
            return "failed"
        return "completed" if self._reached_end and not self._interrupted else "cancelled"

    # -- start and run ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Build the topology and start its containers, each after those it depends on.

        If one cannot start, those that had started are stopped, flushed and released.

        Raises:
            ConfigError: The topology is unknown, or does not fit together.
            StateError: The window was started before.
        """
        if self._containers or self.bus.closed:
            raise StateError(f"window {self.bus.name!r} can be started only once")
        try:
            if self._memory is not None:
                await self._memory.admit(self)
            self._build()
            for container in self._containers:
                await container.start()
        except BaseException as error:
            await self.aclose(error)
            raise

    def _build(self) -> None:
        found = self._registry.get("topologies", self.spec.topology)
        topology: Topology = found() if isinstance(found, type) else found
        builder = TopologyBuilder(
            self.spec,
            self.bus,
            registry=self._registry,
            clock=self._clock,
            resources=self._resources,
            results=self.results,
            spills=self._spills,
        )
        topology.build(builder)
        self._containers = builder.in_start_order()
        self._reports = builder.reports

    async def run(self) -> None:
        """Run all containers until every source is exhausted and the bus is quiet.

        A scope that contains its failures fails its own containers alone. If the window is closed
        meanwhile, the run is cut short and returns; the status is then ``cancelled``.

        Raises:
            MemoryLimitError: The window was ended because memory ran out.
            HandlerError: A handler failed in a scope that does not contain its failures.
            ExceptionGroup: Several sources failed.
            StateError: The window is not started, or ran before.
        """
        if not self._containers or self._run_scope is not None:
            raise StateError(f"window {self.bus.name!r} runs once, between its start and its close")
        self._run_scope = anyio.CancelScope()
        try:
            with self._run_scope:
                await self._run()
            self._yield_if_given_up()
        except BaseException as error:
            self._take_note(error)
            raise
        finally:
            self._run_over.set()

    def give_up(self, error: WindowError) -> None:
        """End a run that is under way, which then raises ``error``; does nothing to others."""
        if self._run_scope is not None and not self._run_over.is_set():
            self._given_up = error
            self._run_scope.cancel()

    def _yield_if_given_up(self) -> None:
        if self._given_up is not None:
            raise self._given_up

    def _spills(self) -> bool:
        """Whether what containers gather is to leave memory."""
        storage = self.spec.results_storage
        return storage == "disk" or (self._memory is not None and self._memory.is_on_disk())

    async def _run(self) -> None:
        self.bus.publish(WindowStart(self._clock.now_ns(), self.spec.window_id))
        await self._run_sources()
        await self.bus.drain()
        self._fail_contained()
        self._publish_end("completed")
        await self.bus.drain()
        self._reached_end = True

    async def _run_sources(self) -> None:
        failed: BaseException | None = None
        try:
            async with anyio.create_task_group() as group:
                for container in filter(_is_source, self._containers):
                    group.start_soon(container.run, name=container.id)
        except BaseExceptionGroup as errors:
            failed = ungroup(errors)
        if failed is not None:
            raise failed

    def _publish_end(self, status: Status) -> None:
        self._end_published = True
        self.bus.publish(WindowEnd(self._clock.now_ns(), self.spec.window_id, status))

    def _take_note(self, error: BaseException) -> None:
        if not isinstance(error, Exception):
            self._interrupted = True
        elif error not in self._failures:
            self._failures.append(error)

    # -- close ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose(error)

    async def aclose(self, error: BaseException | None = None) -> None:
        """Stop, drain, flush, commit and release, whatever fails; then let a cancellation happen.

        Whoever calls it again waits for the end of the first call and gets the same outcome.

        Args:
            error: What ended the host's use of the window. It stays primary: what goes wrong here
                is added to it as notes.

        Raises:
            Exception: What went wrong, as it is if it is one thing, else as an `ExceptionGroup`;
                only if no ``error`` is given.
        """
        if error is not None:
            self._take_note(error)
        try:
            await finish(partial(self._closing.run, self._close))
        except Exception as failure:
            if error is None:
                raise
            for text in describe_all([failure]):
                error.add_note(f"closing the window failed as well: {text}")
        if error is None:
            await anyio.lowlevel.checkpoint_if_cancelled()

    def hurry(self, seconds: float) -> None:
        """Give each step of the teardown no more than this from now on."""
        self._teardown.hurry(seconds)

    async def _close(self) -> None:
        while self._to_close:  # when interrupted, it goes on with the stage it was at
            await self._to_close[0]()
            self._to_close.popleft()
            self._teardown.forget_successes()
        failure = combine(f"closing window {self.bus.name!r} failed", self._teardown.errors)
        if failure is not None:
            raise failure

    async def _stop(self) -> None:
        for container in self._containers:
            if container.state is ContainerState.CREATED:
                container.fail(WindowError(f"container {container.id!r} was never started"))
        await self._teardown.attempt("stop", "the run", self._end_run)
        for container in await self._those_that_take_time("stop"):
            await self._teardown.attempt("stop", _name(container), container.stop)
            await anyio.lowlevel.cancel_shielded_checkpoint()

    async def _those_that_take_time(
        self, step: Literal["stop", "flush", "release"]
    ) -> list[Container]:
        """Do a step for the containers that need no time for it, and return the others.

        Of a lane, most do not; to give each a time limit of its own would take longer than all
        that they do.
        """
        left: list[Container] = []
        for number, container in enumerate(reversed(self._containers), 1):
            work = container.step_at_once(step)
            if work is None:
                left.append(container)
            else:
                self._teardown.attempt_now(step, _name(container), work)
            if number % _AT_ONCE == 0:
                await anyio.lowlevel.cancel_shielded_checkpoint()
        return left

    async def _end_run(self) -> None:
        if self._run_scope is not None and not self._run_over.is_set():
            self._run_scope.cancel()
            await self._run_over.wait()

    async def _drain(self) -> None:
        await self._teardown.attempt("drain", "the bus", self._drain_bus)

    async def _drain_bus(self) -> None:
        if self._run_scope is not None and not self._end_published:
            self._publish_end(self.status)
        first: WindowError | None = None
        quiet = False
        while not quiet:
            try:
                await self.bus.drain()
                quiet = True
            except WindowError as error:  # what is queued behind it is delivered all the same
                first = first or error
        if first is not None:
            raise first

    async def _flush(self) -> None:
        self._fail_contained()
        self._fail_those_that_failed_to("stop")
        status = self.status  # looks at every attempt so far
        for container in self._containers:
            container.outcome = status
        write = self.results.write_container
        left = await self._those_that_take_time("flush")
        flushes = {_name(container): partial(container.flush, write) for container in left}
        await self._teardown.attempt_all("flush", flushes, at_once=self._flushes_at_once)

    async def _commit(self) -> None:
        self._fail_those_that_failed_to("flush")
        if not any(container.ran for container in self._containers):
            return
        for number, report in enumerate(self._reports, 1):
            await self._teardown.attempt(
                "commit", f"report {number}", partial(self._add_report, report)
            )
        await self._teardown.attempt("commit", "the window", self._write_record)
        self.summary = self._summarise()

    async def _add_report(self, report: Report) -> None:
        self._report.update(await report(self.results))

    async def _write_record(self) -> None:
        await self.results.commit(msgspec.structs.asdict(self._summarise()))

    async def _release(self) -> None:
        for container in await self._those_that_take_time("release"):
            await self._teardown.attempt("release", _name(container), container.release)
            await anyio.lowlevel.cancel_shielded_checkpoint()
        await self._teardown.attempt("release", "the bus", self.bus.aclose)

    async def _conclude(self) -> None:
        """Leave one line in the log, and let go of the containers."""
        log_window(self._summarise())
        self._reports = ()
        containers, self._containers = list(self._containers), ()
        while containers:  # what they hold takes time to let go of
            del containers[-_AT_ONCE:]
            await anyio.lowlevel.cancel_shielded_checkpoint()
        if self._memory is not None:
            self._memory.leave(self)

    def _fail_contained(self) -> None:
        """Mark the containers of those scopes that failed for themselves."""
        for container in self._containers:
            _fail(container, container.scope.failure)

    def _fail_those_that_failed_to(self, step: Step) -> None:
        for container in self._containers:
            _fail(container, self._teardown.error(step, _name(container)))

    def _error_texts(self) -> tuple[str, ...]:
        texts = describe_all([*self._failures, *self._teardown.errors])
        return tuple(dict.fromkeys(texts))  # an error may have come out of the run in a group too

    def _summarise(self) -> WindowSummary:
        return WindowSummary(
            workflow_id=self.spec.workflow_id,
            phase_name=self.spec.phase_name,
            window_id=self.spec.window_id,
            topology=self.spec.topology,
            seed=self.spec.seed,
            status=self.status,
            containers=tuple(map(ContainerSummary.of, self._containers)),
            errors=self._error_texts(),
            report=dict(self._report),
            fingerprint=self.spec.fingerprint,
        )


def _is_source(container: Container) -> bool:
    return type(container).run is not Container.run


def _name(container: Container) -> str:
    return intern(f"container {container.id!r}")  # each step asks for it, and its record keeps it


def _fail(container: Container, error: BaseException | None) -> None:
    if error is not None and container.state is not ContainerState.DESTROYED:
        container.fail(error)

"""One execution window: containers created, started, run, flushed and destroyed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from sys import intern
from types import TracebackType
from typing import Literal, Self

import anyio
import anyio.lowlevel
import msgspec

from admf.engine.bus import Bus
from admf.engine.clock import Clock
from admf.engine.container import Container, ContainerState, Status, WriteDocument
from admf.engine.errors import StateError, WindowError
from admf.engine.failures import combine, describe_all
from admf.engine.membership import Membership
from admf.engine.memory_guard import MemoryGuard
from admf.engine.observing import Observers
from admf.engine.pace import Pace
from admf.engine.registry import Registry
from admf.engine.results import WindowResults
from admf.engine.shielding import Joinable, finish
from admf.engine.summary import ContainerSummary, WindowSummary, log_window
from admf.engine.teardown import Deadlines, Step, Teardown
from admf.engine.topology import Report, Resources, Topology, TopologyBuilder
from admf.engine.window_run import WindowRun
from admf.engine.window_spec import WindowSpec
from admf.engine.window_watch import WindowWatch

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
        build: Adds the containers in the place of a registered topology.
        clock: Stamps the window's own events.
        resources: What the host shares between windows.
        deadlines: How long the steps of the teardown may take.
        flushes_at_once: Containers that write their results side by side.
        memory: Looks after the memory of a window with ``results_storage: auto``.
        observers: Are told of the window, its flush, and its handlers where they fail or are slow.
        slow_handler_ms: See `Bus`.
        pace: Shared with other windows of the event loop, so that they take turns.

    Attributes:
        bus: The window's root bus.
        deadlines: How long the steps of the teardown may take.
        summary: How the window ended; None until it is closed, or if none of its containers ran.
    """

    def __init__(
        self,
        spec: WindowSpec,
        results: WindowResults,
        *,
        registry: Registry,
        build: Callable[[TopologyBuilder], object] | None,
        clock: Clock,
        resources: Resources,
        deadlines: Deadlines,
        flushes_at_once: int,
        memory: MemoryGuard | None = None,
        pace: Pace | None = None,
        observers: Observers | None = None,
        slow_handler_ms: float | None = None,
    ) -> None:
        self.spec = spec
        self.results = results
        self.deadlines = deadlines
        self._pace = pace or Pace()
        observers = observers or Observers()
        self.bus = Bus(
            spec.window_id or spec.phase_name,
            pace=self._pace,
            observers=observers,
            slow_handler_ms=slow_handler_ms,
        )
        self.summary: WindowSummary | None = None
        self._registry = registry
        self._build_with = build
        self._clock = clock
        self._resources = resources
        self._flushes_at_once = flushes_at_once
        self._memory = memory if spec.results_storage == "auto" else None
        self._reports: tuple[Report, ...] = ()
        self._report: dict[str, object] = {}
        self._run = WindowRun(self.bus, spec.window_id, clock)
        self._watch = WindowWatch(observers)
        self._members = Membership(self.bus, self._run, results, clock, deadlines, self._watch)
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
        return self._members.containers

    @property
    def places(self) -> Mapping[str, Container]:
        """The containers by their places: the id of the first that had it, before any `swap`."""
        return self._members.places

    @property
    def status(self) -> Status:
        """How the window ends as things stand: ``completed`` only once `run` reached its end."""
        if self.summary is not None:
            return self.summary.status
        if self._run.failures or self._teardown.errors:
            return "failed"
        completed = self._run.reached_end and not self._run.interrupted
        return "completed" if completed else "cancelled"

    # -- start and run ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Build the topology and start its containers, each after those it depends on.

        If one cannot start, those that had started are stopped, flushed and released.

        Raises:
            ConfigError: The topology is unknown, or does not fit together.
            StateError: The window was started before.
        """
        if self.containers or self.bus.closed:
            raise StateError(f"window {self.bus.name!r} can be started only once")
        try:
            if self._memory is not None:
                await self._memory.admit(self)
            await self._pace.keep()
            self._watch.opened(self)
            with self._watch.within():
                self._build()
                for container in self.containers:
                    await self._pace.keep()
                    await container.start()
            self._members.open()
        except BaseException as error:
            await self.aclose(error)
            raise

    def _build(self) -> None:
        builder = TopologyBuilder(
            self.spec,
            self.bus,
            registry=self._registry,
            clock=self._clock,
            resources=self._resources,
            results=self.results,
            spills=self._spills,
        )
        build = self._build_with or self._registered_topology().build
        build(builder)
        self._watch.describe(builder.description)
        self._members.begin_with(builder.in_start_order())
        self._reports = builder.reports

    def _registered_topology(self) -> Topology:
        found = self._registry.get("topologies", self.spec.topology)
        topology: Topology = found() if isinstance(found, type) else found
        return topology

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
        if not self.containers or self._run.started:
            raise StateError(f"window {self.bus.name!r} runs once, between its start and its close")
        with self._watch.within():
            await self._run.run(self.containers, self._fail_contained)

    def give_up(self, error: WindowError) -> None:
        """End a run that is under way, which then raises ``error``; does nothing to others."""
        self._run.give_up(error)

    def _spills(self) -> bool:
        """Whether what containers gather is to leave memory."""
        storage = self.spec.results_storage
        return storage == "disk" or (self._memory is not None and self._memory.is_on_disk())

    # -- change -----------------------------------------------------------------------------------

    async def add(self, container: Container) -> int:
        """Start a container in the open window, and let it take part from the next event on.

        Its tracer and its subscriptions enter together, between two events; what `on_start`
        publishes comes before that. If it is a source, the run goes on until it is exhausted too.
        A start that fails, or is cancelled, is taken back and leaves the window as it was.

        Returns:
            The last sequence number in the container's scope that it has no part in.

        Raises:
            ConfigError: A container has or had its id, or it depends on one that is not there.
            StateError: The window is not open, or the container is not new.
            BusError: Called by a handler, which may start a task that calls it.
        """
        with self._watch.within():
            return await self._members.add(container)

    async def swap(self, container_id: str, successor: Container) -> int:
        """Let a new container take the place of another, between two events.

        The old one handles every event up to that point, those in its mailboxes included, and the
        new one every event after it; the state goes from `Container.hand_over` to
        `Container.take_over`, the place in the order of subscribers and starts passes on. The old
        one is then stopped, flushed and released: the results of both are kept. Whatever fails
        before that leaves the old one in its place, and the new one is released.

        Args:
            container_id: The old one; the id of one that had the place before will do.
            successor: A new container in the same scope, with an id of its own.

        Returns:
            The last sequence number of the scope that the old one has a part in.

        Raises:
            ConfigError: There is no such container, or the new one does not fit.
            StateError: The window is not open, or the new container is not new.
            DeadlineError: The old one's mailboxes were not empty in the time to drain.
            BusError: Called by a handler, which may start a task that calls it.
            Exception: The new one could not start or take over, or what went wrong in the end of
                the old one, which fails the window.
        """
        with self._watch.within():
            return await self._members.swap(container_id, successor)

    async def remove(self, container_id: str) -> int:
        """Stop a container, let it handle what it has accepted, write its results, release it.

        The window's commit record will list its results. Once begun it is done, even if the caller
        is cancelled, within the deadlines of a teardown.

        Returns:
            The last sequence number in the container's scope that it had a part in.

        Raises:
            ConfigError: There is no such container.
            StateError: Others depend on it, or the window is not open.
            BusError: Called by a handler, which may start a task that calls it.
            Exception: What went wrong in a step; all steps were attempted, and the window fails.
        """
        with self._watch.within():
            return await self._members.remove(container_id)

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
            self._run.take_note(error)
        try:
            with self._watch.within():
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
        self._members.hurry(seconds)

    async def _close(self) -> None:
        while self._to_close:  # when interrupted, it goes on with the stage it was at
            await self._to_close[0]()
            self._to_close.popleft()
            self._teardown.forget_successes()
        failure = combine(f"closing window {self.bus.name!r} failed", self._teardown.errors)
        if failure is not None:
            raise failure

    async def _stop(self) -> None:
        await self._members.close()
        for container in self.containers:
            if container.state is ContainerState.CREATED:
                container.fail(WindowError(f"container {container.id!r} was never started"))
        await self._teardown.attempt("stop", "the run", self._run.end)
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
        for number, container in enumerate(reversed(self.containers), 1):
            work = container.step_at_once(step)
            if work is None:
                left.append(container)
            else:
                self._teardown.attempt_now(step, _name(container), work)
            if number % _AT_ONCE == 0:
                await anyio.lowlevel.cancel_shielded_checkpoint()
        return left

    async def _drain(self) -> None:
        self.bus.release_observers()
        await self._teardown.attempt("drain", "the bus", self._drain_bus)

    async def _drain_bus(self) -> None:
        if self._run.started and not self._run.end_published:
            self._run.publish_end(self.status)
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
        for container in self.containers:
            container.outcome = status
        write = self.results.write_container
        left = await self._those_that_take_time("flush")
        flushes = {_name(it): partial(self._flush_one, it, write) for it in left}
        with self._watch.flushing(len(flushes)):
            await self._teardown.attempt_all("flush", flushes, at_once=self._flushes_at_once)
            self._watch.flushed(self._teardown.error("flush", name) for name in flushes)

    async def _flush_one(self, container: Container, write: WriteDocument) -> None:
        await self._pace.keep()
        await self._watch.flush(container, write)

    async def _commit(self) -> None:
        self._fail_those_that_failed_to("flush")
        if not (self._members.retired or any(container.ran for container in self.containers)):
            return
        for number, report in enumerate(self._reports, 1):
            await self._teardown.attempt(
                "commit", f"report {number}", partial(self._add_report, report)
            )
        await self._teardown.attempt("commit", "the window", self._write_record)
        self.summary = self._summarise()

    async def _add_report(self, report: Report) -> None:
        await self._pace.keep()
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
        summary = self._summarise()
        log_window(summary)
        self._watch.closed(self, summary, [*self._run.failures, *self._teardown.errors])
        self._reports = ()
        containers, self._members.containers = list(self.containers), ()
        while containers:  # what they hold takes time to let go of
            del containers[-_AT_ONCE:]
            await anyio.lowlevel.cancel_shielded_checkpoint()
        if self._memory is not None:
            self._memory.leave(self)

    def _fail_contained(self) -> None:
        """Mark the containers of those scopes that failed for themselves."""
        for container in self.containers:
            _fail(container, container.scope.failure)

    def _fail_those_that_failed_to(self, step: Step) -> None:
        for container in self.containers:
            _fail(container, self._teardown.error(step, _name(container)))

    def _error_texts(self) -> tuple[str, ...]:
        texts = describe_all([*self._run.failures, *self._teardown.errors])
        return tuple(dict.fromkeys(texts))  # an error may have come out of the run in a group too

    def _summarise(self) -> WindowSummary:
        return WindowSummary(
            workflow_id=self.spec.workflow_id,
            phase_name=self.spec.phase_name,
            window_id=self.spec.window_id,
            topology=self.spec.topology,
            seed=self.spec.seed,
            status=self.status,
            containers=(*map(ContainerSummary.of, self.containers), *self._members.retired),
            errors=self._error_texts(),
            report=dict(self._report),
            fingerprint=self.spec.fingerprint,
        )


def _name(container: Container) -> str:
    return intern(f"container {container.id!r}")  # each step asks for it, and its record keeps it


def _fail(container: Container, error: BaseException | None) -> None:
    if error is not None and container.state is not ContainerState.DESTROYED:
        container.fail(error)

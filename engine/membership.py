"""Which containers an execution window has, and how that changes while it runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import anyio

from admf.engine.arrival import Arrival
from admf.engine.bus import Bus
from admf.engine.clock import Clock
from admf.engine.container import Container, ContainerState
from admf.engine.departure import Departure
from admf.engine.errors import ConfigError, StateError, did_you_mean
from admf.engine.events import ContainerAdded, ContainerRemoved, ContainerSwapped
from admf.engine.failures import combine
from admf.engine.ids import check_id
from admf.engine.restarts import Restarts
from admf.engine.results import WindowResults
from admf.engine.shielding import finish
from admf.engine.summary import ContainerSummary
from admf.engine.supervision import RestartCount
from admf.engine.teardown import Deadlines
from admf.engine.window_run import WindowRun
from admf.engine.window_watch import WindowWatch

__all__ = ["Membership"]

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Membership:
    """The containers of a window. Changes are made one after the other, each between two events.

    Args:
        bus: The window's root bus.
        run: The run of the window.
        results: Where those that leave write their results.
        clock: Stamps the events that tell of a change.
        deadlines: How long the steps of leaving may take.
        watch: Tells observers of what is written.

    Attributes:
        containers: Those there are, each after all that it depends on.
        retired: What is to be told of those that have left.
    """

    def __init__(
        self,
        bus: Bus,
        run: WindowRun,
        results: WindowResults,
        clock: Clock,
        deadlines: Deadlines,
        watch: WindowWatch,
    ) -> None:
        self.containers: tuple[Container, ...] = ()
        self.retired: list[ContainerSummary] = []
        self._bus = bus
        self._run = run
        self._results = results
        self._clock = clock
        self._deadlines = deadlines
        self._watch = watch
        self._ids: set[str] = set()  # of all there ever were, without regard to case
        self._open = False
        self._turn = anyio.Lock()
        self._limit: anyio.CancelScope | None = None
        self._departures: dict[Container, Departure] = {}  # under way
        self._successors: dict[str, str] = {}  # by the ids of those whose places they took
        self._restarts = Restarts(self, clock)
        run.on_source_failed = self._restarts.source_failed

    @property
    def is_open(self) -> bool:
        """Whether it may change."""
        return self._open

    @property
    def places(self) -> dict[str, Container]:
        """The containers by their places: the ids of the first that had them."""
        before = {new: old for old, new in self._successors.items()}
        found: dict[str, Container] = {}
        for container in self.containers:
            place = container.id
            while place in before:
                place = before[place]
            found[place] = container  # a successor comes after the one that is on its way out
        return found

    def may_replace(self, container: Container) -> bool:
        """Whether another may take a container's place: it has it, and nobody asked it to go."""
        stays = container.in_service and container.last_seq is None
        return self._open and stays and container not in self._departures

    def begin_with(self, containers: tuple[Container, ...]) -> None:
        """Take the containers of a window that is about to start.

        Raises:
            ConfigError: One is to be restarted, and cannot be.
        """
        self.containers = containers
        for container in containers:
            self._restarts.watch(container)
            self._ids.add(container.id.casefold())

    def open(self) -> None:
        """Allow changes: the window has started."""
        self._open = True

    async def close(self) -> None:
        """Allow no further change, and wait until the one under way is made or taken back."""
        self._open = False
        if self._limit is not None:
            self._limit.cancel()
        async with self._turn:
            pass

    def hurry(self, seconds: float) -> None:
        """Give each step of leaving no more than this from now on."""
        for departure in self._departures.values():
            departure.teardown.hurry(seconds)

    # -- changes ----------------------------------------------------------------------------------

    async def add(self, container: Container) -> int:
        """See `ExecutionWindow.add`."""
        async with self._change():
            await self.arrival(container).in_turn()
            return container.after_seq

    async def swap(self, container_id: str, successor: Container) -> int:
        """See `ExecutionWindow.swap`."""
        async with self._change():
            arrival = self.arrival(successor, instead_of=self._find(container_id))
            try:
                await arrival.in_turn()
            finally:  # it may have entered even if something was raised
                await self._retire_replaced(arrival)
            return successor.after_seq

    async def remove(self, container_id: str) -> int:
        """See `ExecutionWindow.remove`."""
        async with self._change():
            container = self._find(container_id)
            if names := [repr(it.id) for it in self.containers if self._needs(it, container)]:
                raise StateError(
                    f"container {container.id!r} stays: {', '.join(names)} depend on it"
                )
            self._departures[container] = self._departure_of(container)  # no restart from now on
            await finish(partial(self.retire, container))
            return container.last_seq or 0

    @asynccontextmanager
    async def _change(self) -> AsyncGenerator[None]:
        self._bus.refuse_own_handlers("a change of the window")
        self._check_open()
        async with self._turn:
            self._check_open()
            with anyio.CancelScope() as limit:
                self._limit = limit
                yield
        if limit.cancelled_caught:
            raise StateError(f"window {self._bus.name!r} was closed before it was changed")

    def arrival(
        self,
        container: Container,
        *,
        instead_of: Container | None = None,
        restarts: RestartCount | None = None,
    ) -> Arrival:
        """Return what lets a new container in, if it fits.

        Args:
            container: The new one.
            instead_of: Whose place it takes, or that of whoever has the place by then.
            restarts: Those there were, if this is one more.

        Raises:
            ConfigError: It does not fit.
            StateError: It is not new.
        """
        self._check_new(container)
        if instead_of is not None:
            self._check_successor(container, instead_of)
        self._restarts.watch(container, restarts)
        return Arrival(
            container,
            run=self._run,
            deadlines=self._deadlines,
            on_entered=partial(self._admit, container),
            instead_of=None if instead_of is None else partial(self._place_of, instead_of.id),
            keep_state=restarts is None or restarts.supervision.keep_state,
        )

    async def retire(self, container: Container) -> None:
        """See a container off; if it is interrupted, it can be called again.

        Raises:
            Exception: What went wrong in a step, or several as a group.
        """
        departure = self._departures.get(container) or self._departure_of(container)
        self._departures[container] = departure
        await departure.carry_out()
        del self._departures[container]
        self.containers = tuple(it for it in self.containers if it is not container)
        successor = self._successors.get(container.id, "")
        self.retired.append(ContainerSummary.of(container, successor))
        errors = departure.teardown.errors
        for error in errors:
            self._run.take_note(error)
        if departure.failure is not None and self._run.active:
            self._run.give_up(departure.failure)
        elif departure.failure is not None:
            errors.append(departure.failure)
        failure = combine(f"the end of container {container.id!r} failed", errors)
        if failure is not None:
            raise failure

    async def from_within(self, container: Container, see_off: Work) -> None:
        """See a container off in work of `Bus.before_next`, or beside it.

        The latter if it is a source in whose drain that work is done: it has to end first.
        """
        if self._run.drains(container):
            self._run.begin(see_off)
        else:
            await see_off()

    async def _retire_replaced(self, arrival: Arrival) -> None:
        if arrival.replaced is not None:
            await finish(partial(self.retire, arrival.replaced))

    def _departure_of(self, container: Container) -> Departure:
        return Departure(
            container,
            run=self._run,
            flush=partial(self._watch.flush, container, self._results.write_container),
            deadlines=self._deadlines,
            on_left=partial(self._tell_of_removal, container),
        )

    def _place_of(self, container_id: str) -> Container:
        container = self._find(container_id)
        if not self.may_replace(container):
            raise StateError(f"container {container.id!r} is on its way out, or failed")
        return container

    def _admit(self, container: Container, before: Container | None) -> None:
        self._ids.add(container.id.casefold())
        now_ns, seq = self._clock.now_ns(), container.after_seq
        if before is None:
            self.containers = (*self.containers, container)
            container.scope.publish(ContainerAdded(now_ns, container.id, seq))
        else:
            place = self.containers.index(before) + 1
            self.containers = (*self.containers[:place], container, *self.containers[place:])
            self._successors[before.id] = container.id
            self._run.dismiss(before)
            container.scope.publish(ContainerSwapped(now_ns, before.id, container.id, seq))
        self._run.join(container)

    def _tell_of_removal(self, container: Container) -> None:
        event = ContainerRemoved(self._clock.now_ns(), container.id, container.last_seq or 0)
        container.scope.publish(event)

    # -- checks -----------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._open:
            raise StateError(
                f"window {self._bus.name!r} can be changed between its start and its close alone"
            )

    def _check_new(self, container: Container) -> None:
        check_id(container.id, "container id")
        if container.id.casefold() in self._ids:
            raise ConfigError(
                f"a container of this window has or had the id {container.id!r}, or one that "
                "differs by case alone; its results have that name: choose another"
            )
        if container.state is not ContainerState.CREATED or container.subscriptions:
            raise StateError(
                f"{container!r} is not new: it must neither be started nor have subscribed before "
                "the window starts it"
            )
        if container.scope.root is not self._bus:
            raise ConfigError(f"{container!r} lives on another bus than window {self._bus.name!r}")
        if container.scope.failure is not None:
            raise StateError(f"container {container.id!r} is for a scope that has failed")
        for id_ in container.depends_on:
            if self._find(id_, f"container {container.id!r} depends on unknown").error is not None:
                raise StateError(f"container {container.id!r} depends on {id_!r}, which failed")

    def _check_successor(self, container: Container, before: Container) -> None:
        if container.scope is not before.scope:
            raise ConfigError(
                f"{container!r} has to live in the scope of {before!r} to take its place"
            )
        place = self.containers.index(before)
        for id_ in container.depends_on:
            if self.containers.index(self._find(id_)) >= place:
                raise ConfigError(
                    f"container {container.id!r} depends on {id_!r}, which starts no earlier than "
                    f"{before.id!r}, whose place it is to take"
                )

    def _needs(self, container: Container, needed: Container) -> bool:
        return any(self._find(id_) is needed for id_ in container.depends_on)

    def _find(self, container_id: str, complaint: str = "there is no container") -> Container:
        """Return the container of this id, or the one that has its place."""
        present = {it.id: it for it in self.containers}
        id_ = container_id
        while id_ in self._successors:
            id_ = self._successors[id_]
        if id_ not in present:
            raise ConfigError(f"{complaint} {container_id!r}{did_you_mean(container_id, present)}")
        return present[id_]

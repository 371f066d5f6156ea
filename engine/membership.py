"""Which containers an execution window has, and how that changes while it runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio

from admf.engine.arrival import Arrival
from admf.engine.bus import Bus
from admf.engine.clock import Clock
from admf.engine.container import Container, ContainerState
from admf.engine.departure import Departure
from admf.engine.errors import ConfigError, StateError, did_you_mean
from admf.engine.events import ContainerAdded, ContainerRemoved
from admf.engine.failures import combine
from admf.engine.ids import check_id
from admf.engine.results import WindowResults
from admf.engine.shielding import finish
from admf.engine.summary import ContainerSummary
from admf.engine.teardown import Deadlines
from admf.engine.window_run import WindowRun

__all__ = ["Membership"]


class Membership:
    """The containers of a window. Changes are made one after the other, each between two events.

    Args:
        bus: The window's root bus.
        run: The run of the window.
        results: Where those that leave write their results.
        clock: Stamps the events that tell of a change.
        deadlines: How long the steps of leaving may take.

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
    ) -> None:
        self.containers: tuple[Container, ...] = ()
        self.retired: list[ContainerSummary] = []
        self._bus = bus
        self._run = run
        self._results = results
        self._clock = clock
        self._deadlines = deadlines
        self._ids: set[str] = set()  # of all there ever were, without regard to case
        self._open = False
        self._turn = anyio.Lock()
        self._limit: anyio.CancelScope | None = None
        self._departure: Departure | None = None

    def open(self) -> None:
        """Allow changes: the window has started."""
        self._ids.update(container.id.casefold() for container in self.containers)
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
        if self._departure is not None:
            self._departure.teardown.hurry(seconds)

    # -- changes ----------------------------------------------------------------------------------

    async def add(self, container: Container) -> int:
        """See `ExecutionWindow.add`."""
        async with self._change():
            self._check_new(container)
            arrival = Arrival(
                container,
                run=self._run,
                deadlines=self._deadlines,
                on_entered=partial(self._admit, container),
            )
            await arrival.carry_out()
            return container.after_seq

    async def remove(self, container_id: str) -> int:
        """See `ExecutionWindow.remove`."""
        async with self._change():
            container = self._find(container_id)
            if needed_by := [it.id for it in self.containers if container_id in it.depends_on]:
                names = ", ".join(map(repr, needed_by))
                raise StateError(f"container {container_id!r} stays: {names} depend on it")
            await self._see_off(container)
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

    def _admit(self, container: Container) -> None:
        self.containers = (*self.containers, container)
        self._ids.add(container.id.casefold())
        self._run.join(container)
        event = ContainerAdded(self._clock.now_ns(), container.id, container.after_seq)
        container.scope.publish(event)

    async def _see_off(self, container: Container) -> None:
        self._departure = Departure(
            container,
            run=self._run,
            write=self._results.write_container,
            deadlines=self._deadlines,
            on_left=partial(self._tell_of_removal, container),
        )
        try:
            await finish(partial(self._retire, self._departure))
        finally:
            self._departure = None

    def _tell_of_removal(self, container: Container) -> None:
        event = ContainerRemoved(self._clock.now_ns(), container.id, container.last_seq or 0)
        container.scope.publish(event)

    async def _retire(self, departure: Departure) -> None:
        await departure.carry_out()
        container = departure.container
        self.containers = tuple(it for it in self.containers if it is not container)
        self.retired.append(ContainerSummary.of(container))
        errors = departure.teardown.errors
        for error in errors:
            self._run.take_note(error)
        if departure.failure is not None:
            if self._run.active:
                self._run.give_up(departure.failure)
            else:
                errors.append(departure.failure)
        failure = combine(f"removing container {container.id!r} failed", errors)
        if failure is not None:
            raise failure

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
        for id_ in container.depends_on:
            if self._find(id_, f"container {container.id!r} depends on unknown").error is not None:
                raise StateError(f"container {container.id!r} depends on {id_!r}, which failed")

    def _find(self, container_id: str, complaint: str = "there is no container") -> Container:
        found = {container.id: container for container in self.containers}
        if container_id not in found:
            raise ConfigError(f"{complaint} {container_id!r}{did_you_mean(container_id, found)}")
        return found[container_id]

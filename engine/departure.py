"""How a container leaves an execution window that goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from admf.engine.container import Container, ContainerState
from admf.engine.errors import BusClosedError, WindowError
from admf.engine.teardown import Deadlines, Step, Teardown
from admf.engine.window_run import WindowRun

__all__ = ["Departure"]


class Departure:
    """Stops a container, lets it handle what it has accepted, writes its results, releases it.

    Every step is attempted. It can be gone through again after an interruption.

    Args:
        container: The one that leaves.
        run: The run of the window, in which a source ends.
        flush: Writes its results.
        deadlines: How long the steps may take.
        on_left: Called at the moment at which it takes part no more.

    Attributes:
        container: The one that leaves.
        teardown: The steps, and what failed in them.
        failure: What a handler raised while the bus was drained.
    """

    def __init__(
        self,
        container: Container,
        *,
        run: WindowRun,
        flush: Callable[[], Awaitable[None]],
        deadlines: Deadlines,
        on_left: Callable[[], None],
    ) -> None:
        self.container = container
        self.teardown = Teardown(deadlines)
        self.failure: WindowError | None = None
        self._run = run
        self._flush = flush
        self._on_left = on_left

    async def carry_out(self) -> None:
        """Go through all steps; what fails is noted in `teardown` and in the container."""
        container, name = self.container, f"container {self.container.id!r}"
        steps: dict[Step, Callable[[], Awaitable[None]]] = {
            "stop": self._stop,
            "drain": self._drain,
            "flush": self._flush,
            "release": container.release,
        }
        for step, work in steps.items():
            if step == "flush":
                self._cut_off()
            await self.teardown.attempt(step, name, work)
            error = self.teardown.error(step, name) or container.scope.failure
            if error is not None and container.state is not ContainerState.DESTROYED:
                container.fail(error)

    async def _stop(self) -> None:
        await self._run.leave(self.container)
        await self.container.stop()

    async def _drain(self) -> None:
        scope = self.container.scope
        try:
            if self.container.last_seq is None:
                await self._while_others_go_on(scope.between(self._leave))
            await self._while_others_go_on(scope.settle(self.container.subscriptions))
        except BusClosedError:
            if scope.failure is None:  # a scope that failed for itself has nothing left to handle
                raise

    async def _while_others_go_on(self, draining: Awaitable[object]) -> None:
        try:
            await draining
        except WindowError as error:
            self.failure = self.failure or error

    async def _leave(self) -> None:
        self.container.leave()
        self._on_left()

    def _cut_off(self) -> None:
        """Take in nothing more, even if that could not wait for the right moment."""
        if self.container.last_seq is None:
            self.container.leave()
        for subscription in self.container.subscriptions:
            subscription.end()

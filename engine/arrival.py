"""How a container enters an execution window that runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from admf.engine.container import Container
from admf.engine.errors import StateError, WindowError
from admf.engine.failures import describe_all
from admf.engine.shielding import finish
from admf.engine.teardown import Deadlines, Step, Teardown
from admf.engine.window_run import WindowRun, is_source

__all__ = ["Arrival"]


class Arrival:
    """Starts a container and lets it in between two events; what fails before that is taken back.

    Args:
        container: The one that arrives.
        run: The run of the window, which it joins if it is a source.
        deadlines: How long the steps of taking it back may take.
        on_entered: Called at the moment at which it takes part.
    """

    def __init__(
        self,
        container: Container,
        *,
        run: WindowRun,
        deadlines: Deadlines,
        on_entered: Callable[[], None],
    ) -> None:
        self._container = container
        self._run = run
        self._teardown = Teardown(deadlines)
        self._on_entered = on_entered
        self._entered = False
        self._refusal: Exception | None = None

    async def carry_out(self) -> None:
        """Let it in.

        Raises:
            Exception: It could not start, and is released again.
        """
        try:
            await self._container.start(held=True)
            await self._enter_between_events()
        except BaseException as error:
            if not self._entered:
                await finish(partial(self._take_back, error))
            raise

    async def _enter_between_events(self) -> None:
        try:
            await self._container.scope.between(self._enter)
        except WindowError as error:  # some handler raised, which ends the run
            if not self._run.active:
                raise
            self._run.give_up(error)
        if self._refusal is not None:
            raise self._refusal

    async def _enter(self) -> None:
        if is_source(self._container) and not self._run.takes_sources:
            text = f"source {self._container.id!r} comes too late: the run is over"
            self._refusal = StateError(text)
            return
        self._container.enter()
        self._entered = True
        self._on_entered()

    async def _take_back(self, error: BaseException) -> None:
        container, name = self._container, f"container {self._container.id!r}"
        container.fail(error)
        steps: dict[Step, Callable[[], Awaitable[None]]] = {
            "stop": container.stop,
            "release": container.release,
        }
        for step, work in steps.items():
            await self._teardown.attempt(step, name, work)
        for text in describe_all(self._teardown.errors):
            error.add_note(f"taking back container {container.id!r} failed as well: {text}")

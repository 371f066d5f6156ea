"""How a container enters an execution window that runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from admf.engine.container import Container
from admf.engine.errors import DeadlineError, StateError, WindowError
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
        deadlines: How long the steps of taking it back may take; and as the time to ``drain``, how
            long the one whose place it takes may take for what it has accepted.
        on_entered: Called at the moment at which it takes part, with the one whose place it takes.
        instead_of: Tells at that moment whose place it takes.
        keep_state: Whether it takes over the state of that one.

    Attributes:
        replaced: Whose place it took; None as long as it does not take part, or if nobody's.
    """

    def __init__(
        self,
        container: Container,
        *,
        run: WindowRun,
        deadlines: Deadlines,
        on_entered: Callable[[Container | None], None],
        instead_of: Callable[[], Container] | None = None,
        keep_state: bool = True,
    ) -> None:
        self._container = container
        self._run = run
        self._deadlines = deadlines
        self._on_entered = on_entered
        self._instead_of = instead_of
        self._keep_state = keep_state
        self._teardown = Teardown(deadlines)
        self._entered = False
        self.replaced: Container | None = None
        self._refusal: Exception | None = None

    async def in_turn(self) -> None:
        """Start it, and let it in once all that is queued has been handled.

        Raises:
            Exception: It could not start or take over, and is released again.
        """
        await self._start_and(self._enter_in_turn)

    async def at_once(self) -> None:
        """As `in_turn`, but now: for work of `Bus.before_next`."""
        await self._start_and(self._enter)

    async def _start_and(self, enter: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._container.start(held=True)
            await enter()
        except BaseException as error:
            if not self._entered:
                await finish(partial(self._take_back, error))
            raise

    async def _enter_in_turn(self) -> None:
        try:
            await self._container.scope.between(self._try_to_enter)
        except WindowError as error:  # some handler raised, which ends the run
            if not self._run.active:
                raise
            self._run.give_up(error)
        if self._refusal is not None:
            raise self._refusal

    async def _try_to_enter(self) -> None:
        try:
            await self._enter()
        except Exception as error:  # noqa: BLE001 - raised in `_enter_in_turn`
            self._refusal = error

    async def _enter(self) -> None:
        if self._container.scope.failure is not None:
            raise StateError(f"container {self._container.id!r} came into a scope that has failed")
        if is_source(self._container) and not self._run.takes_sources:
            raise StateError(f"source {self._container.id!r} comes too late: the run is over")
        before = None if self._instead_of is None else self._instead_of()
        if before is not None:
            await self._wait_for(before)
            if self._keep_state:
                self._container.take_over(before.hand_over())
        self._container.enter(before)
        self._entered, self.replaced = True, before
        self._on_entered(before)

    async def _wait_for(self, before: Container) -> None:
        seconds = self._deadlines.drain
        with anyio.move_on_after(seconds) as limit:
            await before.scope.emptied(before.subscriptions)
        if limit.cancelled_caught:
            raise DeadlineError(f"the mailboxes of {before!r} were not empty after {seconds:g} s")

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

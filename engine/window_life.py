"""One window of a live session, from its start until its successor may be told that it is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import anyio

from admf.engine.container import Container
from admf.engine.errors import ConfigError, DeadlineError, WindowError
from admf.engine.failures import ungroup
from admf.engine.handover import data_of, hands_over, states_of
from admf.engine.intake import Intake
from admf.engine.shielding import finish
from admf.engine.subscription import Subscription
from admf.engine.summary import WindowSummary
from admf.engine.window import ExecutionWindow

__all__ = ["WindowLife"]


class WindowLife:
    """A started window, and what is to happen when it ends.

    Args:
        window: The window.
        concluded: Is called once, when the window is closed and the one before it is concluded; may
            be called again if it was interrupted.

    Attributes:
        intake: Where the window takes its events.
        before: The window before, until it is done; None if there is none.
        done: Set when the window is closed and told of, or that had to be given up.
        is_concluded: Whether it is closed and told of.
        follows_loss: Whether a window before was given up in the midst of that.
        left: States of the containers, once they are handed over, or the run has failed.
        failure: What went wrong, as far as it is known.

    Raises:
        ConfigError: The topology adds no intake, or several.
    """

    def __init__(
        self, window: ExecutionWindow, concluded: Callable[[WindowLife], Awaitable[None]]
    ) -> None:
        self.window = window
        self.intake = _intake_of(window)
        self.before: WindowLife | None = None
        self.done = anyio.Event()
        self.is_concluded = False
        self.follows_loss = False
        self.left: Mapping[str, object] | None = None
        self.failure: Exception | None = None
        self._concluded = concluded
        self.intake.have_told(self._leaves)

    @property
    def summary(self) -> WindowSummary:
        """How the window ended, once it is closed."""
        return cast("WindowSummary", self.window.summary)  # which one that was started has

    @property
    def failed(self) -> bool:
        """Whether the window, once it is closed, did not do all it was to do."""
        return self.summary.status == "failed"

    def states(self) -> Mapping[str, object]:
        """Return what the containers hand over."""
        return states_of(self.window.places) if self.left is None else self.left

    async def settle(self) -> None:
        """Return when what was taken is handled, and all states tell of it.

        Mailboxes of containers that hand nothing over are left to the window's drain.

        Raises:
            DeadlineError: Other mailboxes were not empty after the time that a teardown has for it.
        """
        await self.intake.settle()
        mailboxes = [it for c in self.window.containers if hands_over(c) for it in _mailboxes(c)]
        if not mailboxes or self.intake.is_over:
            return
        seconds = self.window.deadlines.drain
        with anyio.move_on_after(seconds) as limit:
            self.intake.when_over(limit.cancel)  # nobody empties them any more
            await self._empty(mailboxes)
        if limit.cancelled_caught and not self.intake.is_over:
            raise DeadlineError(
                f"the mailboxes of {self.window!r} were not empty after {seconds:g} s, so its "
                "containers cannot hand over what they know"
            )

    async def _empty(self, mailboxes: Sequence[Subscription]) -> None:
        """Return when mailboxes are empty and what their handlers published is handled."""
        before, now = -1, _accepted(mailboxes)
        while before != now:
            await self.window.bus.emptied(mailboxes)
            await self.intake.settle()
            before, now = now, _accepted(mailboxes)

    async def live(self) -> None:
        """Run the window to its end and close it, however that comes about."""
        ended: BaseException | None = None
        try:
            await self.window.run()
        except BaseException as error:  # noqa: BLE001 - what is no Exception is raised below
            ended = error
        if isinstance(ended, Exception):
            self.failure = ended
            self._save_states(ended)
        try:
            await finish(partial(self._conclude, ended))
        finally:
            self.done.set()  # whatever came of it, nobody is to wait for it
        if ended is not None and not isinstance(ended, Exception):
            raise ended

    def _leaves(self) -> Mapping[str, Any]:
        return data_of(self.states(), self.window.places)

    def _save_states(self, failure: Exception) -> None:
        """Have the states of a window whose run failed, while the containers are there."""
        try:
            self.left = states_of(self.window.places)
        except Exception as error:  # noqa: BLE001 - the failure of the window comes first
            self.left = {}
            failure.add_note(f"its states are lost as well: {error!r}")

    async def _conclude(self, ended: BaseException | None) -> None:
        try:
            await self.window.aclose(ended)
        except Exception as error:  # noqa: BLE001 - kept
            self.failure = self.failure or error
        if self.before is not None:
            await self.before.done.wait()
            self.follows_loss = self.before.follows_loss or not self.before.is_concluded
            self.before = None
        await self._concluded(self)
        self.is_concluded = True

    def error(self) -> Exception:
        """Return why the window failed."""
        if self.failure is not None:
            found = ungroup(self.failure)
            return found if isinstance(found, Exception) else self.failure
        return WindowError(f"{self.window!r}: {'; '.join(self.summary.errors)}")


def _mailboxes(container: Container) -> list[Subscription]:
    return [it for it in container.subscriptions if it.queue is not None]


def _accepted(mailboxes: Sequence[Subscription]) -> int:
    return sum(it.stats.accepted for it in mailboxes)


def _intake_of(window: ExecutionWindow) -> Intake:
    found = [container for container in window.containers if isinstance(container, Intake)]
    if len(found) == 1:
        return found[0]
    raise ConfigError(
        f"topology {window.spec.topology!r} has {len(found)} intakes: a window that is fed by a "
        "live session must have one; add Intake('intake', scope=builder.bus)"
    )

"""Restarts of the containers of an execution window, as their supervision says."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from admf.engine.block import event_class
from admf.engine.cancellation import CATCHABLE, is_cancelled
from admf.engine.clock import Clock
from admf.engine.container import Container
from admf.engine.delivery import DeadLetter
from admf.engine.errors import ConfigError, HandlerError, WindowError
from admf.engine.events import SourceFailed, event_name
from admf.engine.failures import describe
from admf.engine.subscription import OnError
from admf.engine.supervision import RestartCount

if TYPE_CHECKING:
    from admf.engine.membership import Membership

__all__ = ["Restarts"]


class Restarts:
    """Gives the places of containers that failed to new instances.

    Args:
        members: The containers of the window.
        clock: The window's clock.
    """

    def __init__(self, members: Membership, clock: Clock) -> None:
        self._members = members
        self._clock = clock

    def watch(self, container: Container, count: RestartCount | None = None) -> None:
        """See to the restarts of a container, if it is to be restarted.

        Args:
            container: It has not been started yet.
            count: That of the one whose place it takes.

        Raises:
            ConfigError: It cannot be restarted.
        """
        if container.supervision.policy != "restart":
            return
        if type(container).renew is Container.renew:
            raise ConfigError(
                f"{container!r} is to be restarted when it fails: its class has to define renew()"
            )
        count = count or RestartCount(container.id, container.supervision, self._clock.monotonic)
        container.restarter = partial(self._decide, count)

    async def source_failed(self, container: Container, error: Exception) -> bool:
        """Decide whether the window goes on although the `run` of a source raised."""
        if container.supervision.policy == "propagate":
            return False
        event = SourceFailed(self._clock.now_ns(), container.id, describe(error))
        seq = container.scope.publish(event, container.id)
        letter = DeadLetter(f"{container.id}.run", seq, event, error)
        if container.judge(letter) == "propagate":
            return False
        await container.scope.drain()
        return True

    def _decide(self, count: RestartCount, container: Container, letter: DeadLetter) -> OnError:
        if self._members.may_replace(container) and not count.under_way:
            if not count.take():
                container.fail(letter.error)
                return "propagate"
            count.under_way = True
            work = _Restart(self._members, container, letter, count, self._clock)
            container.scope.before_next(work.carry_out, letter.seq)
        container.note_failure()
        return "isolate"


class _Restart:
    """One restart; it can be gone through again after an interruption.

    Args:
        members: The containers of the window.
        container: The one that failed.
        letter: How it failed.
        count: Counts its restarts.
        clock: For the time to wait.
    """

    def __init__(
        self,
        members: Membership,
        container: Container,
        letter: DeadLetter,
        count: RestartCount,
        clock: Clock,
    ) -> None:
        self._members = members
        self._container = container
        self._letter = letter
        self._count = count
        self._clock = clock
        self._replaced = False

    async def carry_out(self) -> None:
        """Let a new instance take the container's place, and see the old one off.

        Raises:
            WindowError: It failed too often, or its results could not be written.
        """
        while self._members.may_replace(self._container):
            try:
                await self._replace()
                self._replaced = True
            except CATCHABLE as error:
                if not isinstance(error, Exception) and is_cancelled():
                    raise
                self._give_up_if_too_often(error)
        if self._members.is_open and self._replaced:
            await self._members.from_within(self._container, self._see_off)
        self._count.under_way = False

    async def _replace(self) -> None:
        container = self._container
        await self._clock.sleep(self._count.backoff_s)
        successor = container.renew(self._count.next_id())
        arrival = self._members.arrival(successor, instead_of=container, restarts=self._count)
        await arrival.at_once()

    def _give_up_if_too_often(self, error: BaseException) -> None:
        if not self._count.take():
            letter = self._letter
            self._container.fail(letter.error)
            name = event_name(event_class(letter.event))
            raise HandlerError(letter.subscriber, letter.seq, name, letter.error) from error

    async def _see_off(self) -> None:
        self._container.fail(self._letter.error)
        try:
            await self._members.retire(self._container)
        except Exception as error:
            text = f"container {self._container.id!r} failed, and so did its end: {describe(error)}"
            raise WindowError(text) from error

"""A run that was submitted: how far it is, how it ends, and the way to end it early."""

from __future__ import annotations

from collections.abc import Coroutine
from types import TracebackType
from typing import Any

import anyio

from admf.engine.bus import EventTypes
from admf.engine.errors import ConfigError, Problem, StateError
from admf.engine.queues import Overflow
from admf.workflows.outcome import RunResult
from admf.workflows.progress import ProgressFeed, ProgressUpdates, RunStatus
from admf.workflows.run_events import EventHub, RunEvents
from admf.workflows.run_execution import RunExecution

__all__ = ["Run"]


class Run:
    """A run of an experiment in the host's event loop; `Runner.submit` makes it.

    Args:
        execution: What runs.

    Attributes:
        warnings: What is probably not meant in its experiment.
    """

    def __init__(self, execution: RunExecution) -> None:
        self.warnings: tuple[Problem, ...] = execution.loaded.warnings
        self._run_id = execution.run_id
        self._execution: RunExecution | None = execution  # until the run is over
        self._feed = ProgressFeed()
        self._hub = EventHub()
        self._over = anyio.Event()
        self._result: RunResult | None = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None

    def __repr__(self) -> str:
        return f"<Run {self.run_id} {self.status}>"

    @property
    def run_id(self) -> str:
        """Names the run: its folder, and a fingerprint of experiment and data.

        A run that goes on from an earlier one takes over that one's name when it begins.
        """
        return self._run_id if self._execution is None else self._execution.run_id

    @property
    def status(self) -> RunStatus:
        """``queued``, ``running``, or how the run ended."""
        return self._feed.latest.status

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def progress(self) -> ProgressUpdates:
        """Return an async iterator over how far the run is, which ends with it.

        Any number of consumers may follow a run; none of them slows it.
        """
        return ProgressUpdates(self._feed)

    def events(
        self, types: EventTypes, maxsize: int = 1000, overflow: Overflow = "drop_oldest"
    ) -> RunEvents:
        """Return an async iterator over the run's events from now on, which ends with it.

        Looking on changes nothing of the run, and leaves no mark in its results. The quick ways of
        a lane tell its events some at a time, and so the observer hears of them: in their order,
        before the marks of their steps, and late by a block of bars at most.

        Args:
            types: Event classes; subclasses match too. Those of lanes are told with their lane.
            maxsize: Events held for a slow observer.
            overflow: What happens beyond that. ``drop_oldest``, ``drop_newest`` and ``coalesce``
                (which keeps the newest of each class and key) never slow the run, and count what
                they drop; ``fail`` ends the iteration with a `QueueFullError`; ``block`` makes this
                run wait for the observer, after what it told in one turn, and drops nothing.

        Raises:
            StateError: Windows may run on worker processes: the runner needs ``workers=1``.
            ValueError: ``maxsize`` is not positive, or there is no such policy.
        """
        if self._execution is not None and not self._execution.is_in_this_process:
            raise StateError(
                "events can be followed only where windows run in this process: take workers=1"
            )
        return self._hub.open(types, maxsize, overflow)

    async def result(self) -> RunResult:
        """Wait for the end of the run, and return how it ended.

        A run that was cancelled has a result like any other, with ``cancelled`` as its status. To
        be cancelled while waiting here does not cancel the run.

        Raises:
            AdmfError: The run could not begin, or could not be carried on: its folder is in use or
                holds other results, results cannot be written.
        """
        await self._over.wait()
        if self._error is not None:
            raise self._error.with_traceback(self._traceback)
        assert self._result is not None  # noqa: S101 - one of the two is set when a run is over
        return self._result

    def cancel(self) -> None:
        """End the run early: what ran is flushed, and can be resumed; again does nothing.

        A run that is still queued never begins.
        """
        if self._execution is None:
            return
        if self.status == "queued":
            self.give_up()
        else:
            self._execution.cancel()

    def hurry(self) -> None:
        """Have a run that was cancelled end within seconds, even if results are lost by that."""
        if self._execution is not None:
            self._execution.hurry()

    def begin(self) -> Coroutine[Any, Any, None]:
        """Count as running, and return what carries it out; for the runner, once."""
        self._feed.tell_status("running")
        return self._carry_out()

    def give_up(self) -> None:
        """Be cancelled if it is not over; for the runner, whose task for it was never begun."""
        if self._execution is not None:
            self._end(self._execution.result("cancelled"))

    async def _carry_out(self) -> None:
        execution = self._execution
        assert execution is not None  # noqa: S101 - only its own end takes it away
        try:
            self._end(await execution.execute(self._feed.tell, on_window=self._hub.opened))
        except ConfigError as error:
            self._fail(execution.loaded.located(error))
        except Exception as error:  # noqa: BLE001 - raised to everyone who asks for the result
            self._fail(error)
        except anyio.get_cancelled_exc_class():
            self._end(execution.result("cancelled"))
            raise

    def _end(self, result: RunResult) -> None:
        self._result = result
        self._conclude(result.run_id, result.status)

    def _fail(self, error: BaseException) -> None:
        self._error, self._traceback = error, error.__traceback__
        self._conclude(self.run_id, "failed")

    def _conclude(self, run_id: str, status: RunStatus) -> None:
        """Let go of what ran, which holds market data."""
        self._run_id = run_id
        self._execution = None
        self._hub.close()
        self._feed.end(status)
        self._over.set()

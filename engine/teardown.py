"""The end of an execution window: every step is attempted for everyone, each in its own time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import chain
from typing import Annotated, Literal, TypeAlias

import anyio
import msgspec
from msgspec import Meta

from admf.engine.cancellation import CATCHABLE, is_cancelled
from admf.engine.errors import DeadlineError, WindowError

__all__ = ["Deadlines", "Step", "Teardown"]

Step: TypeAlias = Literal["stop", "drain", "flush", "commit", "release"]
Work: TypeAlias = Callable[[], Awaitable[None]]
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]


class Deadlines(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long each step of a teardown may take, in seconds; no step can spend another's time.

    Each container has the whole time of a step, so that a large window is not cut short. But each
    overrun halves what those after it get, so a step in which everything hangs is over within twice
    its time.

    Args:
        stop: A container stopping its intake.
        drain: The bus delivering what is queued.
        flush: A container writing its results.
        commit: The reports and the commit record.
        release: A container letting go of its resources.
    """

    stop: Seconds = 5.0
    drain: Seconds = 10.0
    flush: Seconds = 30.0
    commit: Seconds = 30.0
    release: Seconds = 5.0


class _Attempt:
    """One step for one subject: whether it is over, and how it failed if it did."""

    __slots__ = ("done", "error")

    def __init__(self, *, done: bool = False) -> None:
        self.done = done
        self.error: Exception | None = None


_DONE = _Attempt(done=True)
"""Stands for all that were over at once and did not fail: there are many of them."""


class Teardown:
    """Attempts steps, each once, and keeps account of what failed.

    It can be gone through again after an interruption: what was over is not attempted again.

    Args:
        deadlines: How long the steps may take.
    """

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._attempts: dict[Step, dict[str, _Attempt]] = {}
        self._overruns: Counter[Step] = Counter()
        self._longest = math.inf
        self._limits: set[anyio.CancelScope] = set()

    def hurry(self, seconds: float) -> None:
        """Give each step no more than this from now on, those that are under way included."""
        self._longest = seconds
        for limit in self._limits:
            limit.deadline = min(limit.deadline, anyio.current_time() + seconds)

    async def attempt(self, step: Step, subject: str, work: Work) -> None:
        """Do one step for one subject and note what it raises or that it overran its time."""
        attempt = self._plan(step, subject)
        if attempt.done:
            return
        seconds = getattr(self._deadlines, step) / 2 ** self._overruns[step]
        with anyio.move_on_after(min(seconds, self._longest)) as limit:
            self._limits.add(limit)
            try:
                await work()
            except CATCHABLE as error:
                if not isinstance(error, Exception) and is_cancelled():
                    raise
                attempt.error = _noted(error, step, subject)
            finally:
                self._limits.remove(limit)
        if limit.cancelled_caught:
            self._overruns[step] += 1
            seconds = min(seconds, self._longest)
            attempt.error = DeadlineError(f"{step} of {subject} took longer than {seconds:g} s")
        attempt.done = True

    def attempt_now(self, step: Step, subject: str, work: Callable[[], None]) -> None:
        """Do one step that takes no time for one subject, and note what it raises."""
        attempts = self._attempts.setdefault(step, {})
        known = attempts.get(subject)
        if known is not None and known.done:
            return
        attempts[subject] = _DONE
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it is noted
            failed = attempts[subject] = _Attempt(done=True)
            failed.error = _noted(error, step, subject)

    async def attempt_all(self, step: Step, works: Mapping[str, Work], *, at_once: int) -> None:
        """Do one step for several subjects, ``at_once`` of them side by side."""
        attempts = [self._plan(step, subject) for subject in works]

        async def attempt_some(left: Iterator[tuple[str, Work]]) -> None:
            for subject, work in left:
                await self.attempt(step, subject, work)

        while not all(attempt.done for attempt in attempts):  # a child may be cancelled natively
            left = iter(works.items())
            async with anyio.create_task_group() as group:
                for _ in range(at_once):
                    group.start_soon(attempt_some, left)

    def forget_successes(self) -> None:
        """Let go of what went well, once that step is over for all."""
        for step, attempts in self._attempts.items():
            failed = {subject: it for subject, it in attempts.items() if it.error is not None}
            self._attempts[step] = failed

    def error(self, step: Step, subject: str) -> Exception | None:
        """Return what went wrong in a step for a subject, if anything did."""
        attempt = self._attempts.get(step, {}).get(subject)
        return None if attempt is None else attempt.error

    @property
    def errors(self) -> list[Exception]:
        """What went wrong, step by step, in the order in which the attempts were planned."""
        attempts = chain.from_iterable(it.values() for it in self._attempts.values())
        return [attempt.error for attempt in attempts if attempt.error is not None]

    def _plan(self, step: Step, subject: str) -> _Attempt:
        return self._attempts.setdefault(step, {}).setdefault(subject, _Attempt())


def _noted(error: BaseException, step: Step, subject: str) -> Exception:
    if not isinstance(error, Exception):
        cancelled = WindowError(f"{step} of {subject} was cancelled from within")
        cancelled.__cause__ = error
        return cancelled
    error.add_note(f"raised by {step} of {subject}")
    return error

"""Stand-ins for tests of containers, topologies and applications."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import ParamSpec, TypeVar

from admf.engine.activity import Activity
from admf.engine.bus import Bus
from admf.engine.clock import SimulatedClock
from admf.engine.container import Container
from admf.engine.events import Event, Published, event_name
from admf.engine.observing import ContainerFlush, HandlerFailure, LoopReport, Observer, SlowHandler
from admf.engine.results import Document
from admf.engine.storage import LocalStorage

__all__ = ["FaultStorage", "RecordingContainer", "RecordingObserver", "SimulatedClock"]

P = ParamSpec("P")
T = TypeVar("T")


class FaultStorage(LocalStorage):
    """A local storage in which a chosen call to the operating system fails.

    Run the code once without a fault, read `calls` to learn how many there are, then run it once
    for each of them::

        for number in range(1, len(clean.calls) + 1):
            storage = FaultStorage(tmp_path / str(number), fail_at=number, error=errno.ENOSPC)

    Args:
        root: The folder, as for `LocalStorage`.
        fail_at: Which call fails, counted from 1; 0 lets all succeed.
        error: What it fails with, an ``errno``.
        only: Count calls of this name alone, e.g. ``fsync``; empty counts all.
        dead: All later calls fail too, as on a device that went away, or for a process that was
            killed at that point.

    Attributes:
        calls: Names of the calls so far, in order: ``open``, ``write``, ``fsync``, ``replace``, ...
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        fail_at: int = 0,
        error: int = errno.EIO,
        only: str = "",
        dead: bool = False,
    ) -> None:
        super().__init__(root)
        self.calls: list[str] = []
        self._fail_at = fail_at
        self._error = error
        self._only = only
        self._dead = dead
        self._failed = False
        self._lock = threading.Lock()

    def system_call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the operating system, or fail in its place."""
        name = function.__name__
        if self._is_to_fail(name):
            if name == "close":  # the descriptor of a failed close is closed all the same
                function(*args, **kwargs)
            raise OSError(self._error, os.strerror(self._error))
        return function(*args, **kwargs)

    def _is_to_fail(self, name: str) -> bool:
        with self._lock:
            self.calls.append(name)
            if self._failed:
                return self._dead
            if self._only in {"", name}:
                counted = self.calls.count(name) if self._only else len(self.calls)
                self._failed = counted == self._fail_at
            return self._failed


class RecordingContainer(Container):
    """A container that notes what happens to it, and publishes what it is told to.

    Its results are its status and the names of the events it has seen.

    Args:
        container_id: As for `Container`.
        scope: The bus it lives on.
        types: Event classes that it subscribes to when it starts.
        publishes: What its `run` publishes; each is handled before the next is published.
        journal: Takes ``<container id>.<hook>`` for each call of a hook; containers that share one
            show the order among them.
        errors: What to raise, by the name of the hook: ``on_start``, ``run``, ``on_stop``,
            ``results`` or ``on_release``.
        depends_on: As for `Container`.

    Attributes:
        journal: The hooks called so far.
        seen: The events received so far.
    """

    def __init__(
        self,
        container_id: str,
        *,
        scope: Bus,
        types: Sequence[type[Event]] = (),
        publishes: Iterable[Published] = (),
        journal: list[str] | None = None,
        errors: Mapping[str, BaseException] = MappingProxyType({}),
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, "recorder", scope=scope, depends_on=depends_on)
        self.journal: list[str] = [] if journal is None else journal
        self.seen: list[Event] = []
        self._types = types
        self._publishes = publishes
        self._errors = errors

    async def on_start(self) -> None:
        """Subscribe."""
        self._note("on_start")
        if self._types:
            self.subscribe(self._types, self.seen.append)

    async def run(self) -> None:
        """Publish, one after the other."""
        self._note("run")
        for event in self._publishes:
            await self.until_resumed()
            self.scope.publish(event, self.id)
            await self.scope.drain()

    async def on_stop(self) -> None:
        """Take note."""
        self._note("on_stop")

    def results(self) -> Document:
        """Return the status and the names of the events seen."""
        self._note("results")
        seen = [event_name(type(event)) for event in self.seen]
        return Document(self.id, {"status": self.status, "seen": seen})

    async def on_release(self) -> None:
        """Take note."""
        self._note("on_release")

    def _note(self, hook: str) -> None:
        self.journal.append(f"{self.id}.{hook}")
        if hook in self._errors:
            raise self._errors[hook]


class RecordingObserver(Observer):
    """An observer that notes what it is told.

    Args:
        errors: What to raise, by the name of the hook; ``enter`` and ``leave`` stand for the two
            ends of ``within``.

    Attributes:
        journal: Hooks called so far, in order: ``opened window w1``, ``within flush flush``, ...
        activities: Those that were opened.
        flushes: Of containers.
        failures: Of handlers.
        slow: Slow handlers.
        loop: Reports of a `LoopWatch`.
    """

    def __init__(self, errors: Mapping[str, BaseException] = MappingProxyType({})) -> None:
        self.journal: list[str] = []
        self.activities: list[Activity] = []
        self.flushes: list[ContainerFlush] = []
        self.failures: list[HandlerFailure] = []
        self.slow: list[SlowHandler] = []
        self.loop: list[LoopReport] = []
        self._errors = errors

    def opened(self, activity: Activity) -> None:
        """Take note."""
        self.activities.append(activity)
        self._note("opened", f"{activity.kind} {activity.name}")

    def closed(self, activity: Activity) -> None:
        """Take note."""
        self._note("closed", f"{activity.kind} {activity.name} {activity.status}")

    def within(self, activity: Activity) -> AbstractContextManager[object]:
        """Take note of both ends."""
        self._note("within", f"{activity.kind} {activity.name}")
        return self._within(f"{activity.kind} {activity.name}")

    def container_flushed(self, flush: ContainerFlush) -> None:
        """Take note."""
        self.flushes.append(flush)
        self._note("container_flushed", flush.container_id)

    def handler_failed(self, failure: HandlerFailure) -> None:
        """Take note."""
        self.failures.append(failure)
        self._note("handler_failed", failure.handler)

    def slow_handler(self, slow: SlowHandler) -> None:
        """Take note."""
        self.slow.append(slow)
        self._note("slow_handler", slow.handler)

    def loop_held(self, report: LoopReport) -> None:
        """Take note."""
        self.loop.append(report)
        self._note("loop_held", "")

    @contextmanager
    def _within(self, what: str) -> Generator[None]:
        self._note("enter", what)
        yield
        self._note("leave", what)

    def _note(self, hook: str, what: str) -> None:
        self.journal.append(f"{hook} {what}")
        if hook in self._errors:
            raise self._errors[hook]

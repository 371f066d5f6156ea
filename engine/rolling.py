"""A live session: execution windows that follow each other, fed by one source without an end."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self, TypeAlias

import anyio
import anyio.lowlevel
import msgspec
from anyio.abc import TaskGroup

from admf.engine.clock import NS_PER_SECOND, Clock, WallClock
from admf.engine.errors import ConfigError, StateError
from admf.engine.events import Event
from admf.engine.failures import combine
from admf.engine.handover import revived, take_over
from admf.engine.intake import Intake
from admf.engine.lifecycle import LifecycleManager
from admf.engine.results import ResultStore
from admf.engine.roll_rules import Roll, Rolls
from admf.engine.shielding import finish
from admf.engine.sources import AcknowledgedSource, Source
from admf.engine.summary import SessionCounts, WindowSummary
from admf.engine.window import ExecutionWindow
from admf.engine.window_life import WindowLife
from admf.engine.window_spec import WindowSpec, numbered

__all__ = ["OnFailure", "RollingSession"]

OnFailure: TypeAlias = Literal["end", "continue"]
"""What a session does when a window fails, or its results cannot be written."""

_AT_ONCE = 64
"""Events that are taken before the event loop gets its turn."""

_CLOSING_SECONDS = 5.0
"""What a source has to close itself."""


class RollingSession:
    """Runs one execution window after the other, without losing or doubling an event between them.

    When a window ends, the next one is started first. The source then waits until the old one has
    handled what it has taken, in the mailboxes of containers that hand a state over too; the
    containers hand over, place by place (see `ExecutionWindow.swap`), and the next event goes to
    the new one. That has the containers of its topology, and none of those that were added to the
    old one. The old one is stopped, drained, flushed and committed while the new one runs; then its
    events are acknowledged to the source, if that is an `AcknowledgedSource`, in the order of the
    windows. The topology must add an `Intake`.

    However `run` ends, by the source, `aclose` or a cancellation, the windows that are open are
    flushed, committed and acknowledged.

    Args:
        lifecycle: Makes the windows.
        store: Where their results go.
        spec: The windows but for their ids, which `numbered` gives; or a function of the number.
        source: Any async iterator of events. It is closed at the end if it has ``aclose``.
        rolls: Rules of which any ends a window; without one, only `roll` does.
        clock: For rules by the host's clock; the machine's if not given.
        flushing: Windows that may flush side by side; the source waits rather than have more.
        keep: Summaries of past windows that are kept.
        on_failure: ``end`` stops at a window that fails and acknowledges neither its events nor
            later ones, so that the source delivers them again to another session. ``continue``
            gives its events up, says so in the window's summary, and goes on.
        first_number: Number of the first window.
        inherits: What the last window of an earlier session left, which its commit record tells as
            data under ``report.intake.left``; containers that say their ``state_type`` go on.
        on_window: Is called with the summary of each window that is closed, in their order.
    """

    def __init__(
        self,
        lifecycle: LifecycleManager,
        store: ResultStore,
        spec: WindowSpec | Callable[[int], WindowSpec],
        source: Source,
        *,
        rolls: Iterable[Roll] = (),
        clock: Clock | None = None,
        flushing: int = 2,
        keep: int = 100,
        on_failure: OnFailure = "end",
        first_number: int = 1,
        inherits: Mapping[str, Any] = MappingProxyType({}),
        on_window: Callable[[WindowSummary], object] | None = None,
    ) -> None:
        if flushing < 1 or keep < 1:
            raise ValueError(f"flushing and keep must be at least 1, got {flushing} and {keep}")
        self._lifecycle = lifecycle
        self._store = store
        self._spec = partial(numbered, spec) if isinstance(spec, WindowSpec) else spec
        self._source = source
        self._broker = source if isinstance(source, AcknowledgedSource) else None
        self._rolls = Rolls(rolls)
        self._clock = clock or WallClock()
        self._flushing = anyio.Semaphore(flushing)
        self._flushes: set[WindowLife] = set()
        self._closed: deque[WindowSummary] = deque(maxlen=keep)
        self._on_failure: OnFailure = on_failure
        self._on_window = on_window
        self._number = first_number - 1
        self._inherits = inherits
        self._counts = SessionCounts()
        self._switching = anyio.Lock(fast_acquire=True)
        self._roll_wanted = anyio.Event()
        self._current: WindowLife | None = None
        self._lives: TaskGroup | None = None
        self._reading = anyio.CancelScope()
        self._stopping = False
        self._withheld = False
        self._errors: list[Exception] = []
        self._taken = 0
        self._news = anyio.Event()
        self._over = anyio.Event()

    def __repr__(self) -> str:
        return f"<RollingSession of {self._counts.opened} windows, {self._taken} events>"

    # -- what a host sees -------------------------------------------------------------------------

    @property
    def counts(self) -> SessionCounts:
        """What the session has done so far."""
        return msgspec.structs.replace(self._counts, events=self._taken)

    @property
    def window(self) -> ExecutionWindow | None:
        """The window that takes the events now."""
        return None if self._current is None else self._current.window

    @property
    def closed(self) -> tuple[WindowSummary, ...]:
        """Summaries of the last windows that are closed."""
        return tuple(self._closed)

    async def windows(self) -> AsyncIterator[WindowSummary]:
        """Yield the summary of each window that is closed from now on, until the session is over.

        Who is slower than the windows misses those whose summaries are not kept any more.
        """
        seen = self._counts.closed
        while True:
            missed = self._counts.closed - seen
            seen += missed
            for summary in list(self._closed)[-missed:] if missed else ():
                yield summary
            if seen == self._counts.closed:
                if self._over.is_set():
                    return
                await self._news.wait()

    async def roll(self) -> None:
        """Go on to the next window now, or as soon as the present one may end; return when it has.

        Raises:
            StateError: The session is not running, or ended before it could.
        """
        before = self._current
        if before is None or self._stopping:
            raise StateError(f"{self!r} is not running, so there is no window to end")
        self._roll_wanted.set()
        while self._current is before and not self._stopping:
            await self._news.wait()
        if self._current is before:
            raise StateError(f"{self!r} ended before it could go on to another window")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self, grace: float = 10.0) -> None:
        """Take no more events; return when the windows and the source are closed.

        Args:
            grace: Seconds that windows have to handle what they have taken. Then they are cut
                short, and handle it within the deadlines of their teardown.
        """
        self._stop()
        if self._lives is None:
            await self._close_source()
            return
        with anyio.move_on_after(grace):
            await self._over.wait()
        self._lives.cancel_scope.cancel()
        await self._over.wait()

    async def run(self) -> None:
        """Take events until the source ends or the session is closed.

        Raises:
            WindowError: A window failed and ``on_failure`` is ``end``; StorageError likewise.
            ConfigError: A window cannot be built.
            ExceptionGroup: Several things went wrong.
            Exception: What the source raised.
            StateError: It ran before.
        """
        self._refuse_to_run_again()
        try:
            async with anyio.create_task_group() as self._lives:
                await self._run()
        finally:
            self._stop()
            try:
                await finish(self._close_source)
            finally:
                self._over.set()
                self._tell()
        failure = combine("a live session failed", self._errors)
        if failure is not None:
            raise failure

    def _refuse_to_run_again(self) -> None:
        if self._lives is not None or self._stopping:
            raise StateError(f"{self!r} runs only once")

    # -- taking events ----------------------------------------------------------------------------

    async def _run(self) -> None:
        async with anyio.create_task_group() as helpers:
            try:
                await self._begin(await self._open_first())
                helpers.start_soon(self._until_it_fails, self._roll_on_demand)
                if self._rolls.uses_host_clock:
                    helpers.start_soon(self._until_it_fails, self._watch_clock)
                await self._take_all()
            except Exception as error:  # noqa: BLE001 - raised when the windows are closed
                self._errors.append(error)
            self._stop()
            helpers.cancel_scope.cancel()
        if self._current is not None:
            self._current.intake.leave()

    async def _until_it_fails(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - raised when the windows are closed
            self._end_because_of(error)

    def _end_because_of(self, error: Exception) -> None:
        self._errors.append(error)
        self._stop()

    async def _take_all(self) -> None:
        events = aiter(self._source)
        while not self._stopping:
            event: Event | None = None
            if self._taken % _AT_ONCE == 0:  # a source that never waits must not hold the loop
                await anyio.lowlevel.checkpoint()
            with anyio.CancelScope() as self._reading:  # to close it loses no event in hand
                event = await anext(events, None)
            if event is None:
                return
            position = self._taken + 1 if self._broker is None else self._broker.position
            try:
                await self._make_way(event)
            finally:
                self._put(event, position)

    async def _make_way(self, event: Event) -> None:
        """See to it that the present window is the one that an event belongs to, and has room."""
        async with self._switching:
            current = self._present()
            if self._ends_before(event, current.intake) and not self._stopping:
                await self._switch(current)
            intake = self._present().intake
            if intake.is_full:
                await intake.wait_for_room()

    def _ends_before(self, event: Event, intake: Intake) -> bool:
        if intake.is_over:
            return True
        due = self._roll_wanted.is_set() or self._rolls.is_due(event)
        return due and intake.may_end_before(event)

    def _put(self, event: Event, position: object) -> None:
        intake = self._present().intake
        if intake.is_over:  # nobody acknowledges the event
            return
        self._taken += 1
        self._rolls.take(event)
        intake.put(event, position)

    def _present(self) -> WindowLife:
        assert self._current is not None  # noqa: S101 - set before the first event is taken
        return self._current

    def _stop(self) -> None:
        self._stopping = True
        self._reading.cancel()
        self._tell()

    def _tell(self) -> None:
        """Wake those who wait for a window to be opened or closed."""
        news, self._news = self._news, anyio.Event()
        news.set()

    async def _close_source(self) -> None:
        aclose = getattr(self._source, "aclose", None)
        if aclose is not None:
            with suppress(Exception), anyio.move_on_after(_CLOSING_SECONDS):
                await aclose()  # if it fails, nothing can be done, and all is committed

    # -- from window to window --------------------------------------------------------------------

    async def _open(self) -> WindowLife:
        """Start the next window, which takes no events yet."""
        spec = self._spec(self._number + 1)
        window = self._lifecycle.window(spec, self._store.window(spec.phase_name, spec.window_id))
        await window.start()
        self._number += 1
        try:
            return WindowLife(window, self._conclude)
        except ConfigError as error:
            await window.aclose(error)
            raise

    async def _open_first(self) -> WindowLife:
        new = await self._open()
        async with _closed_unless_filled(new):
            states = revived(self._inherits, new.window.places)
            new.intake.take_note(take_over(states, new.window.containers))
        return new

    async def _begin(self, new: WindowLife) -> None:
        """Let a window take the events from now on."""
        assert self._lives is not None  # noqa: S101 - it is called by the run alone
        self._lives.start_soon(new.live, name=new.window.spec.window_id)
        self._current = new
        self._rolls.begin()
        self._roll_wanted = anyio.Event()
        self._count(opened=1)
        self._tell()

    async def _switch(self, old: WindowLife) -> None:
        await self._flushing.acquire()
        self._flushes.add(old)
        new = await self._open()
        async with _closed_unless_filled(new):
            await old.settle()
            old.left = old.states()
            new.intake.take_note(take_over(old.left, new.window.containers))
        new.before = old
        await self._begin(new)
        old.intake.leave()

    async def _roll_on_demand(self) -> None:
        while True:
            await self._roll_wanted.wait()
            async with self._switching:
                news, current = self._news, self._present()
                if self._roll_wanted.is_set() and current.intake.may_end_before(None):
                    await self._switch(current)
                    continue
            await news.wait()

    async def _watch_clock(self) -> None:
        while True:
            now = self._clock.now_ns()
            border = self._rolls.host_border_after(now) or now
            await self._clock.sleep((border - now) / NS_PER_SECOND)
            if self._present().intake.taken:
                self._roll_wanted.set()

    # -- the end of a window ----------------------------------------------------------------------

    async def _conclude(self, life: WindowLife) -> None:
        """Acknowledge the events of a window that is closed, and tell of it."""
        if life.failed:
            self._take_failure(life.error())
        elif not (self._withheld or life.follows_loss):
            await self._acknowledge(life.intake)
        if life in self._flushes:
            self._flushes.remove(life)
            self._flushing.release()
        self._count(closed=1, failed=int(life.failed))
        self._closed.append(life.summary)
        if self._on_window is not None:
            try:
                self._on_window(life.summary)
            except Exception as error:  # noqa: BLE001 - raised when the windows are closed
                self._end_because_of(error)
        self._tell()

    async def _acknowledge(self, intake: Intake) -> None:
        if self._broker is None or not intake.taken:
            return
        try:
            await self._broker.acknowledge(intake.last_position)
        except Exception as error:  # noqa: BLE001 - raised when the windows are closed
            self._take_failure(error)
        else:
            self._count(acknowledged=1)

    def _take_failure(self, error: Exception) -> None:
        if self._on_failure == "end":
            self._withheld = True
            self._end_because_of(error)

    def _count(self, **more: int) -> None:
        counts = {name: getattr(self._counts, name) + count for name, count in more.items()}
        self._counts = msgspec.structs.replace(self._counts, **counts)


@asynccontextmanager
async def _closed_unless_filled(new: WindowLife) -> AsyncGenerator[None]:
    """Close a window that cannot be given the states it is to begin with."""
    try:
        yield
    except BaseException as error:
        await finish(partial(new.window.aclose, error))
        raise

"""What an application can be told of the work while it goes on: observers and their hooks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import msgspec
import structlog

from admf.engine.activity import Activity, ActivityKind, Attribute
from admf.engine.cancellation import CATCHABLE

if TYPE_CHECKING:
    from admf.engine.window import ExecutionWindow

__all__ = [
    "HOOKS",
    "ContainerFlush",
    "HandlerFailure",
    "LoopReport",
    "Observer",
    "Observers",
    "SlowHandler",
    "current_activity",
]

Hook: TypeAlias = Literal[
    "opened", "closed", "within", "container_flushed", "handler_failed", "slow_handler", "loop_held"
]
HOOKS: tuple[Hook, ...] = get_args(Hook)

_log = structlog.get_logger()


class ContainerFlush(msgspec.Struct, frozen=True):
    """A container has written its results, or failed to.

    Args:
        container_id: The container.
        role: Its role.
        seconds: How long it took, waiting included.
        error: Why it failed; None if it did not.
        activity: The flush of its window, or the window if that goes on.
    """

    container_id: str
    role: str
    seconds: float
    error: BaseException | None
    activity: Activity | None


class HandlerFailure(msgspec.Struct, frozen=True):
    """A handler, a tracer or a process has raised.

    Args:
        bus: Name of the bus or scope.
        handler: Who raised.
        event: Name of the event's type.
        seq: The event's number.
        error: What was raised.
        activity: The window or other activity in which that happened, if any.
    """

    bus: str
    handler: str
    event: str
    seq: int
    error: BaseException
    activity: Activity | None


class SlowHandler(msgspec.Struct, frozen=True):
    """A handler has taken longer than the limit.

    Args:
        bus: Name of the bus or scope.
        handler: Name of the handler, with its container's id if it has one.
        event: Name of the event's type.
        seconds: How long it took by the clock; of an async handler, its waiting included.
        limit_s: What it was to keep within.
        held_loop: Whether the event loop stood still all that time: the handler is a plain one.
        activity: The window or other activity in which that happened, if any.
    """

    bus: str
    handler: str
    event: str
    seconds: float
    limit_s: float
    held_loop: bool
    activity: Activity | None


class LoopReport(msgspec.Struct, frozen=True):
    """How long the host's event loop was held, by the samples of one period; all in seconds.

    Args:
        delays: How late each of the sampling task's turns came.
        p50: Half of them were no later.
        p99: Of 100, 99 were no later.
        max: The latest.
    """

    delays: tuple[float, ...]
    p50: float
    p99: float
    max: float


class Observer:
    """Is told of the work while it goes on; override the hooks that are of interest.

    Hooks are plain calls in the event loop of the work, so they must be quick. Those that are not
    overridden are never called. One that raises is logged once; the work goes on.
    """

    def opened(self, activity: Activity) -> None:
        """Something begins."""

    def closed(self, activity: Activity) -> None:
        """It is over; its status, errors and attributes say how it went."""

    def within(
        self,
        activity: Activity,  # noqa: ARG002 - for those who override it
    ) -> AbstractContextManager[object]:
        """Return what is to be entered around code that runs for an activity, in its task.

        It is entered anew for each stretch of code (the start of a window, its run, its end), so
        that it never spans two tasks; tasks that begin within inherit its context variables. It
        does not learn of exceptions.
        """
        return nullcontext()

    def container_flushed(self, flush: ContainerFlush) -> None:
        """A container has written its results, or failed to."""

    def handler_failed(self, failure: HandlerFailure) -> None:
        """A handler has raised."""

    def slow_handler(self, slow: SlowHandler) -> None:
        """A handler has taken longer than ``slow_handler_ms``."""

    def loop_held(self, report: LoopReport) -> None:
        """A `LoopWatch` has watched the event loop for one more period."""


_current: ContextVar[Activity | None] = ContextVar("admf_activity", default=None)


def current_activity() -> Activity | None:
    """Return what the code that runs now is a part of; None if nobody observes."""
    return _current.get()


class Observers:
    """Several observers, each told what it asks for; falsy if none asks for anything.

    Args:
        observers: The observers.

    Raises:
        TypeError: One of them is no `Observer`.
    """

    __slots__ = ("_complained", "_hooks")

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        hooks: dict[Hook, list[Callable[[Any], Any]]] = {}
        for observer in observers:
            _check(observer)
            for hook in HOOKS:
                if getattr(type(observer), hook) is not getattr(Observer, hook):
                    hooks.setdefault(hook, []).append(getattr(observer, hook))
        self._hooks = {hook: tuple(calls) for hook, calls in hooks.items()}
        self._complained: set[Callable[[Any], Any]] = set()

    @classmethod
    def of(cls, observers: Iterable[Observer] | Observers) -> Observers:
        """Return observers as one; those that are so already, as they are."""
        return observers if isinstance(observers, Observers) else cls(observers)

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def tell(self, hook: Hook, subject: object) -> None:
        """Call a hook of all who have it."""
        for call in self._hooks.get(hook, ()):
            try:
                call(subject)
            except CATCHABLE as error:
                self._complain(call, error)

    # -- activities -------------------------------------------------------------------------------

    def open(
        self,
        kind: ActivityKind,
        name: str,
        attributes: Mapping[str, Attribute] = MappingProxyType({}),
        *,
        window: ExecutionWindow | None = None,
    ) -> Activity | None:
        """Tell that something begins, as a part of what runs now; None if nobody observes."""
        if not self._hooks:
            return None
        activity = Activity(kind, name, _current.get(), attributes, window)
        self.tell("opened", activity)
        return activity

    def close(self, activity: Activity | None) -> None:
        """Tell that it is over; it has completed unless it was said to have ended otherwise."""
        if activity is not None:
            activity.end("completed")
            self.tell("closed", activity)
            activity.window = None

    @contextmanager
    def within(self, activity: Activity | None) -> Generator[None]:
        """Have code run for an activity, as `Observer.within` describes."""
        if activity is None:
            yield
            return
        outer = _current.get()
        _current.set(activity)
        entered = self._enter(activity)
        try:
            yield
        finally:
            self._leave(entered)
            _current.set(outer)

    @contextmanager
    def activity(
        self,
        kind: ActivityKind,
        name: str,
        attributes: Mapping[str, Attribute] = MappingProxyType({}),
    ) -> Generator[Activity | None]:
        """Tell of something that begins and ends with a block of code, which runs for it."""
        activity = self.open(kind, name, attributes)
        try:
            with self.within(activity):
                yield activity
        except BaseException as error:
            if activity is not None:
                status = "failed" if isinstance(error, Exception) else "cancelled"
                activity.end(status, [error])
            raise
        finally:
            self.close(activity)

    def _enter(self, activity: Activity) -> list[tuple[Any, AbstractContextManager[object]]]:
        entered: list[tuple[Any, AbstractContextManager[object]]] = []
        for call in self._hooks.get("within", ()):
            try:
                manager: AbstractContextManager[object] = call(activity)
                manager.__enter__()
            except CATCHABLE as error:
                self._complain(call, error)
            else:
                entered.append((call, manager))
        return entered

    def _leave(self, entered: list[tuple[Any, AbstractContextManager[object]]]) -> None:
        while entered:
            call, manager = entered.pop()
            try:
                manager.__exit__(None, None, None)
            except CATCHABLE as error:
                self._complain(call, error)

    def _complain(self, call: Callable[[Any], Any], error: BaseException) -> None:
        """Log that a hook has failed, once, if the host has configured a log."""
        if call not in self._complained:
            self._complained.add(call)
            if structlog.is_configured():
                _log.error("observer_failed", hook=call.__qualname__, exc_info=error)


def _check(observer: object) -> None:
    if not isinstance(observer, Observer):
        raise TypeError(f"an observer must be an admf.engine.Observer, not {observer!r}")

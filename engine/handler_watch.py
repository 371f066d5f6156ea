"""Tells observers of handlers that fail, and of those that take too long."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from math import inf
from time import perf_counter
from typing import Any, TypeVar, cast

import structlog

from admf.engine.block import event_class
from admf.engine.events import Event, event_name
from admf.engine.observing import HandlerFailure, Observers, SlowHandler, current_activity

__all__ = ["SECONDS_BETWEEN_LINES", "HandlerWatch"]

F = TypeVar("F", bound=Callable[..., Any])

SECONDS_BETWEEN_LINES = 60.0
"""A handler that is slow all the time leaves one line in the log in this time."""

_log = structlog.get_logger()


class HandlerWatch:
    """Watches the handlers of a bus and its scopes.

    Args:
        observers: Are told.
        slow_handler_ms: How long a handler may take before it is reported; None for no limit, and
            then nothing is timed.

    Raises:
        ValueError: The limit is negative.
    """

    __slots__ = ("_limit_s", "_observers")

    def __init__(self, observers: Observers, slow_handler_ms: float | None = None) -> None:
        if slow_handler_ms is not None and slow_handler_ms < 0:
            raise ValueError(f"slow_handler_ms must not be negative, got {slow_handler_ms}")
        self._observers = observers
        self._limit_s = None if slow_handler_ms is None else slow_handler_ms / 1000

    def failed(self, bus: str, handler: str, event: str, seq: int, error: BaseException) -> None:
        """Tell of a handler that has raised."""
        if self._observers:
            failure = HandlerFailure(bus, handler, event, seq, error, current_activity())
            self._observers.tell("handler_failed", failure)

    def timed(self, call: F, name: str, bus: str) -> F:
        """Return ``call``, timed if there is a limit; its first argument is what it handles."""
        if self._limit_s is None:
            return call
        stopwatch = _Stopwatch(self._observers, self._limit_s, name, bus)
        method = getattr(call, "__call__", None)  # noqa: B004 - the method itself is inspected
        is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(method)
        return cast("F", _timed_async(call, stopwatch) if is_async else _timed(call, stopwatch))


def _timed(call: Callable[..., Any], stopwatch: _Stopwatch) -> Callable[..., Any]:
    def timed(subject: Any, *more: Any) -> Any:
        start = perf_counter()
        try:
            returned = call(subject, *more)
        finally:
            stopwatch.stop(start, subject, held_loop=True)
        if returned is not None and inspect.isawaitable(returned):
            return _timed_wait(returned, subject, stopwatch)
        return returned

    return timed


def _timed_async(
    call: Callable[..., Awaitable[Any]], stopwatch: _Stopwatch
) -> Callable[..., Awaitable[Any]]:
    async def timed(subject: Any) -> None:
        await _timed_wait(call(subject), subject, stopwatch)

    return timed


async def _timed_wait(work: Awaitable[Any], subject: object, stopwatch: _Stopwatch) -> None:
    start = perf_counter()
    try:
        await work
    finally:
        stopwatch.stop(start, subject, held_loop=False)


class _Stopwatch:
    """Reports one handler whenever it was slow, to the log not too often."""

    __slots__ = ("_bus", "_limit_s", "_logged_at", "_name", "_observers", "_unlogged")

    def __init__(self, observers: Observers, limit_s: float, name: str, bus: str) -> None:
        self._observers = observers
        self._limit_s = limit_s
        self._name = name
        self._bus = bus
        self._logged_at = -inf
        self._unlogged = 0

    def stop(self, start: float, subject: object, *, held_loop: bool) -> None:
        """Take the time; report it if it was too long."""
        now = perf_counter()
        if now - start < self._limit_s:
            return
        slow = SlowHandler(
            bus=self._bus,
            handler=self._name,
            event=_name_of(subject),
            seconds=now - start,
            limit_s=self._limit_s,
            held_loop=held_loop,
            activity=current_activity(),
        )
        self._observers.tell("slow_handler", slow)
        self._put_into_log(slow, now)

    def _put_into_log(self, slow: SlowHandler, now: float) -> None:
        if now - self._logged_at < SECONDS_BETWEEN_LINES:
            self._unlogged += 1
        elif structlog.is_configured():
            _log.warning(
                "slow_handler",
                handler=slow.handler,
                event_type=slow.event,
                bus=slow.bus,
                ms=round(slow.seconds * 1000, 3),
                limit_ms=slow.limit_s * 1000,
                held_loop=slow.held_loop,
                unlogged=self._unlogged,
            )
            self._logged_at, self._unlogged = now, 0


def _name_of(subject: object) -> str:
    cls = cast("type[object]", event_class(cast("Any", subject)))
    return event_name(cls) if issubclass(cls, Event) else cls.__name__

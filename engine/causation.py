"""Attributes what an async handler publishes to the event it handles, without a ContextVar."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from inspect import iscoroutine
from types import coroutine
from typing import Any, Protocol

__all__ = ["HasCause", "attributed"]


class HasCause(Protocol):
    """Whatever stamps publications with the event being handled."""

    cause: int


@coroutine
def attributed(bus: HasCause, cause: int, work: Awaitable[None]) -> Generator[Any, Any, None]:
    """Run ``work`` with ``bus.cause`` set at each of its steps and restored between them."""
    running = work if iscoroutine(work) else _steps(work)
    resume: Callable[[Any], Any] = running.send
    value: Any = None
    while True:
        outer, bus.cause = bus.cause, cause
        try:
            awaited = resume(value)
        except StopIteration:
            return
        finally:
            bus.cause = outer
        try:
            value = yield awaited
            resume = running.send
        except BaseException as error:  # noqa: BLE001 - handed on into the handler
            value, resume = error, running.throw


def _steps(work: Awaitable[None]) -> Generator[Any, Any, None]:
    yield from work.__await__()

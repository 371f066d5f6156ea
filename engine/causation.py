"""Attributes what an async handler publishes to the event it handles, without a ContextVar."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from types import coroutine
from typing import Any, Protocol

__all__ = ["HasCause", "attributed"]


class HasCause(Protocol):
    """Whatever stamps publications with the event being handled."""

    cause: int


@coroutine
def attributed(bus: HasCause, cause: int, work: Awaitable[None]) -> Generator[Any, Any, None]:
    """Run ``work`` with ``bus.cause`` set at each of its steps and restored between them."""
    running: Generator[Any, Any, None] = _steps(work)
    resume: Callable[[], Any] = partial(next, running)
    while True:
        outer, bus.cause = bus.cause, cause
        try:
            awaited = resume()
        except StopIteration:
            return
        finally:
            bus.cause = outer
        try:
            resume = partial(running.send, (yield awaited))
        except BaseException as error:  # noqa: BLE001 - handed on into the handler
            resume = partial(running.throw, error)


def _steps(work: Awaitable[None]) -> Generator[Any, Any, None]:
    yield from work.__await__()

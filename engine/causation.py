"""Attributes what an async handler publishes to the event it handles, without a ContextVar."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from types import CoroutineType, coroutine
from typing import Any, Protocol, TypeAlias

__all__ = ["HasCause", "Suspended", "begin", "resume"]

Steps: TypeAlias = Generator[Any, Any, None]

Suspended: TypeAlias = tuple[Steps, Any]
"""Work that has begun, and what it waits for."""


class HasCause(Protocol):
    """Whatever stamps publications with the event being handled."""

    cause: int


def begin(work: Awaitable[None]) -> Suspended | None:
    """Run ``work`` until it first waits for something, or to its end; the caller sets the cause.

    Returns:
        What `resume` needs; None if it came to its end.
    """
    steps: Any = work
    if not isinstance(work, CoroutineType):
        steps = _steps(work)
    try:
        return steps, steps.send(None)
    except StopIteration:
        return None


@coroutine
def resume(bus: HasCause, cause: int, suspended: Suspended) -> Steps:
    """Run the rest of it, with ``bus.cause`` set at each step and restored between them."""
    steps, awaited = suspended
    while True:
        try:
            step, value = steps.send, (yield awaited)
        except BaseException as error:  # noqa: BLE001 - handed on into the handler
            step, value = steps.throw, error
        outer, bus.cause = bus.cause, cause
        try:
            awaited = step(value)
        except StopIteration:
            return
        finally:
            bus.cause = outer


def _steps(work: Awaitable[None]) -> Steps:
    yield from work.__await__()

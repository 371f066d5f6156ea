"""Storages for tests in which only the order of the calls matters: nothing waits, nothing races."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from anyio.lowlevel import checkpoint

from admf.engine.storage import LocalStorage
from admf.engine.testing import FaultStorage

P = ParamSpec("P")
T = TypeVar("T")


def fsync(descriptor: int) -> None:
    """Take the place of what waits for a disk, whose power is not lost here."""


class PromptStorage(LocalStorage):
    """Makes its calls at once, without threads, so that they always have the same order."""

    def system_call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        call = cast("Callable[P, T]", fsync if function is os.fsync else function)
        return super().system_call(call, *args, **kwargs)

    async def _run(self, function: Callable[..., T], *args: Any) -> T:
        await checkpoint()
        return function(*args)

    _finish = _run


class PromptFaultStorage(PromptStorage, FaultStorage):
    """The same, and a chosen call fails."""

"""Storages for tests in which only the order of the calls matters: nothing races."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from anyio.lowlevel import checkpoint

from admf.engine.storage import LocalStorage
from admf.engine.testing import FaultStorage

T = TypeVar("T")


class PromptStorage(LocalStorage):
    """Makes its calls at once, without threads, so that they always have the same order."""

    async def _run(self, function: Callable[..., T], *args: Any) -> T:
        await checkpoint()
        return function(*args)

    _finish = _run


class PromptFaultStorage(PromptStorage, FaultStorage):
    """The same, and a chosen call fails."""

"""Cancels tasks at a chosen suspension of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import coroutine

import anyio


class Suspensions:
    """Counts the suspensions of all tasks but ``main``, and calls ``act`` at each of them."""

    def __init__(self) -> None:
        self.count = 0
        self.act: Callable[[int], object] | None = None
        self.main: asyncio.Task | None = None

    def make_task(self, loop, coro, **options) -> asyncio.Task:
        task = asyncio.Task(self._watch(coro), loop=loop, **options)
        task.add_done_callback(lambda _: coro.close())  # it may have been cancelled before it began
        return task

    async def _watch(self, coro):
        return await self._step(coro)

    @coroutine
    def _step(self, coro):
        step, value = coro.send, None
        while True:
            try:
                awaited = step(value)
            except StopIteration as end:
                return end.value
            if self.act is not None and asyncio.current_task() is not self.main:
                self.count += 1
                self.act(self.count)
            try:
                step, value = coro.send, (yield awaited)
            except BaseException as error:  # noqa: BLE001 - handed on
                step, value = coro.throw, error


class Injection:
    """Cancels the host, its scope or everybody at chosen suspensions."""

    def __init__(self, mode: str, at: int) -> None:
        self.what, _, how = mode.partition(" ")
        self.last = at + {"once": 0, "twice": 1, "on and on": 60}[how]
        self.at = at
        self.host: asyncio.Task | None = None
        self.main: asyncio.Task | None = None
        self.scope: anyio.CancelScope | None = None
        self.injected = False

    def __call__(self, count: int) -> None:
        if not self.at <= count <= self.last or self.host is None or self.host.done():
            return
        self.injected = True
        if self.what in {"scope", "both"} and self.scope is not None:
            self.scope.cancel()
        if self.what in {"host", "both"}:
            self.host.cancel()
        if self.what == "everybody":
            for task in asyncio.all_tasks() - {self.main}:
                task.cancel()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))

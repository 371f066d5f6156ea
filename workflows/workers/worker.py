"""A worker process: runs the execution windows that it is given, one after the other.

It reads messages from standard input and writes its own to what was standard output, which from
then on is standard error, so that a strategy that prints does no harm. When its input ends, the run
is over or has died, and so it exits.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NoReturn

import anyio
import msgspec
import structlog
from anyio import to_thread
from anyio.abc import TaskGroup

from admf.containers.catalog import DataCatalog, UserModules
from admf.containers.events import Bar
from admf.engine.block import Block
from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry
from admf.engine.results import WindowResults
from admf.engine.storage import LocalStorage, MemoryStorage, Storage
from admf.engine.summary import WindowSummary
from admf.engine.topology import Resources
from admf.engine.window import ExecutionWindow
from admf.engine.window_spec import WindowSpec
from admf.sequences.executor import run_window
from admf.workflows.plugins import installed_plugins
from admf.workflows.workers.messages import (
    FRAME_BYTES,
    Cancel,
    Done,
    Failure,
    Handled,
    Hurry,
    RunWindow,
    ToRun,
    ToWorker,
    failure_of,
)
from admf.workflows.workers.shared_data import open_shared_data

__all__ = ["main"]

_SECONDS_BETWEEN_REPORTS = 0.1


class _Watch:
    """Tells how many bars a window has handled, and keeps its summary.

    Args:
        tell: Is told; None if nobody wants to know.
    """

    def __init__(self, tell: Callable[[ToRun], None] | None) -> None:
        self.summary: WindowSummary | None = None
        self._tell = tell
        self._bars = 0
        self._next = 0.0

    def opened(self, window: ExecutionWindow) -> None:
        """Count the bars of a window."""
        if self._tell is not None:
            window.bus.subscribe(Bar, self._count, blocks=True, name="progress")

    def watch(self, spec: WindowSpec) -> None:
        """Watch no window elsewhere."""

    def closed(self, summary: WindowSummary) -> None:
        """Keep the summary."""
        self.summary = summary
        if self._tell is not None:
            self._tell(Handled(self._bars))

    def _count(self, bars: Block[Bar]) -> None:
        now = anyio.current_time()
        if self._tell is not None and now >= self._next:
            self._next = now + _SECONDS_BETWEEN_REPORTS
            self._tell(Handled(self._bars))  # the lanes have handled the blocks before this one
        self._bars += len(bars)


class _Worker:
    """Runs windows with what one has left for the next: data, features and plug-ins.

    Args:
        registry: The plug-ins.
        tell: Is told how a window goes on.
    """

    def __init__(self, registry: Registry, tell: Callable[[ToRun], None]) -> None:
        self._registry = registry
        self._tell = tell
        self._catalog = DataCatalog()
        self._scope = anyio.CancelScope()
        self._lifecycle: LifecycleManager | None = None

    async def run(self, message: RunWindow) -> None:
        """Run a window, and tell how it ended."""
        storage: Storage = MemoryStorage() if message.root is None else LocalStorage(message.root)
        results = WindowResults(storage, message.path, message.compression)
        watch = _Watch(self._tell if message.progress else None)
        failure: Failure | None = None
        try:
            with self._scope:
                await self._run(message, results, watch)
        except Exception as error:  # noqa: BLE001 - it is told, and ends the window there
            failure = failure_of(error)
        self._scope = anyio.CancelScope()
        files = {} if message.root is not None else await _files(storage, message.path)
        done = Done(watch.summary, results.committed, files, failure)
        await to_thread.run_sync(self._tell, done)

    def cancel(self) -> None:
        """Cancel the window that runs."""
        self._scope.cancel()

    def hurry(self) -> None:
        """Have it end within seconds."""
        if self._lifecycle is not None:
            self._lifecycle.hurry()

    async def _run(self, message: RunWindow, results: WindowResults, watch: _Watch) -> None:
        if message.data is not None:
            config, benchmark, address = message.data
            if not self._catalog.knows(config, benchmark):
                self._catalog.put(config, benchmark, open_shared_data(address))
        folder = None if message.modules is None else Path(message.modules)
        self._lifecycle = LifecycleManager(
            registry=self._registry, resources=Resources(self._catalog, UserModules(folder))
        )
        spec = msgspec.json.decode(message.spec, type=WindowSpec)
        await run_window(self._lifecycle.window(spec, results), watch)


async def _files(storage: Storage, folder: str) -> dict[str, bytes]:
    """Return the files of a window, by their paths in its folder."""
    paths = await storage.list_files(folder)
    return {path.removeprefix(f"{folder}/"): await storage.read(path) for path in paths}


async def _serve(source: BinaryIO, target: BinaryIO) -> None:
    def tell(message: ToRun) -> None:
        content = msgspec.msgpack.encode(message)
        target.write(len(content).to_bytes(FRAME_BYTES, "big") + content)
        target.flush()

    worker = _Worker(installed_plugins(), tell)
    async with anyio.create_task_group() as group:
        await _follow(source, worker, group)


async def _follow(source: BinaryIO, worker: _Worker, group: TaskGroup) -> NoReturn:
    decoder = msgspec.msgpack.Decoder(ToWorker)
    while True:
        message = decoder.decode(await to_thread.run_sync(_frame, source))
        if isinstance(message, Cancel):
            worker.cancel()
        elif isinstance(message, Hurry):
            worker.hurry()
        else:
            group.start_soon(worker.run, message)


def _frame(source: BinaryIO) -> bytes:
    head = source.read(FRAME_BYTES)
    if len(head) < FRAME_BYTES:  # the run has closed the pipe, or is no more
        os._exit(0)  # from this thread, as the event loop may be held up by a user's code
    return source.read(int.from_bytes(head, "big"))


def main() -> None:
    """Serve a run until it is over."""
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    anyio.run(_serve, sys.stdin.buffer, target)


if __name__ == "__main__":
    main()

"""Runs execution windows on worker processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import anyio
import msgspec
from anyio.abc import Process

from admf.containers.catalog import DataCatalog
from admf.containers.config import DataConfig
from admf.engine.errors import WindowError
from admf.engine.held import HeldStorage
from admf.engine.observing import Observers
from admf.engine.result_names import COMMIT_FILE
from admf.engine.results import WindowResults
from admf.engine.shielding import finish
from admf.engine.storage import LocalStorage
from admf.engine.summary import WindowSummary, log_window
from admf.engine.window_spec import WindowSpec
from admf.engine.window_watch import attributes_of, figures_of
from admf.sequences.executor import InlineExecutor, WindowObserver
from admf.workflows.workers.messages import (
    FRAME_BYTES,
    Cancel,
    Done,
    Hurry,
    RunWindow,
    ToRun,
    ToWorker,
)
from admf.workflows.workers.shared_data import SharedData, SharedDataAddress

__all__ = ["ProcessExecutor", "usable_cores"]

ATTEMPTS = 2
"""How often a window runs whose workers die."""

_SECONDS_TO_CANCEL = 60.0
_SECONDS_TO_HURRY = 3.0
_SECONDS_TO_END = 2.0
_ONE_THREAD: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(
        (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "NUMEXPR_NUM_THREADS",
            "VECLIB_MAXIMUM_THREADS",
            "POLARS_MAX_THREADS",
        ),
        "1",
    )
)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _DiedError(Exception):
    """A worker ended before its window did."""


class _DataOf(msgspec.Struct, frozen=True):
    """The data that a window is about, if its topology has settings of these names."""

    data: DataConfig | None = None
    benchmark: str | None = None


class _Worker:
    """A process, and the way to it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._decoder = msgspec.msgpack.Decoder(ToRun)
        self._waiting = b""

    @classmethod
    async def start(cls) -> _Worker:
        """Start a process that does not get the signals of this one's terminal."""
        process = await anyio.open_process(
            [sys.executable, "-P", "-m", "admf.workflows.workers.worker"],
            stderr=None,
            env={
                **os.environ,
                **_ONE_THREAD,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            start_new_session=True,
        )
        return cls(process)

    async def send(self, message: ToWorker) -> None:
        content = msgspec.msgpack.encode(message)
        if self._process.stdin is None:
            raise _DiedError
        try:
            await self._process.stdin.send(len(content).to_bytes(FRAME_BYTES, "big") + content)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise _DiedError from error

    async def receive(self) -> ToRun:
        head = await self._read(FRAME_BYTES)
        content = await self._read(int.from_bytes(head, "big"))
        message: ToRun = self._decoder.decode(content)
        return message

    async def _read(self, count: int) -> bytes:
        parts = [self._waiting]
        length = len(self._waiting)
        while length < count:
            try:
                parts.append(await self._process.stdout.receive())  # type: ignore[union-attr]
            except (
                anyio.EndOfStream,
                anyio.BrokenResourceError,
                anyio.ClosedResourceError,
            ) as error:
                raise _DiedError from error
            length += len(parts[-1])
        content = b"".join(parts)
        self._waiting = content[count:]
        return content[:count]

    async def how_it_ended(self) -> str:
        """Return how a worker that died did so."""
        code = await self._process.wait()
        return f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"

    async def end(self) -> None:
        """Let the process end by itself, or else kill it."""
        with anyio.move_on_after(_SECONDS_TO_END):
            if self._process.stdin is not None:
                await self._process.stdin.aclose()
            await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End the process at once."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        with anyio.CancelScope(shield=True):
            await self._process.aclose()


class _Window(NamedTuple):
    """A window to run, and who is told of it."""

    spec: WindowSpec
    message: RunWindow
    results: WindowResults
    observer: WindowObserver
    tell: Callable[[int], None] | None


class ProcessExecutor:
    """Runs windows that have others beside them on worker processes, and all others here.

    Workers are started when they are needed and serve until `aclose`. They see the market data
    in memory that all share, write results to disk themselves, and hand back those that stay in
    memory. If one dies, its window runs once more in another; if that dies too, the window failed.

    Args:
        inline: Runs windows in this process.
        workers: Processes, at least 1.
        catalog: Has the market data.
        modules: Folder in which the user's own modules are found.
        after: Seconds for which windows take turns here before workers are started, which takes
            about half a second itself.
        observers: Are told of windows on workers from outside: that they begin, and how they end.
    """

    def __init__(
        self,
        inline: InlineExecutor,
        *,
        workers: int,
        catalog: DataCatalog,
        modules: Path | None,
        after: float = 0.0,
        observers: Observers,
    ) -> None:
        self.slots = workers
        self._inline = inline
        self._catalog = catalog
        self._modules = modules
        self._seconds_here = after
        self._observers = observers
        self._turn = anyio.Lock()
        self._workers_from: float | None = None
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []
        self._free: anyio.CapacityLimiter | None = None
        self._shared: dict[tuple[DataConfig, str | None], SharedData] = {}
        self._hurried = anyio.Event()

    async def run(
        self, spec: WindowSpec, results: WindowResults, observer: WindowObserver, *, alone: bool
    ) -> WindowSummary:
        """Run a window; see `WindowExecutor`."""
        if alone:
            return await self._inline.run(spec, results, observer, alone=alone)
        if await self._turn_here():
            try:
                return await self._inline.run(spec, results, observer, alone=alone)
            finally:
                self._turn.release()
        self._free = self._free or anyio.CapacityLimiter(self.slots)
        async with self._free:
            name = spec.window_id or spec.phase_name
            with self._observers.activity("window", name, attributes_of(spec)) as activity:
                summary = await self._run_there(spec, results, observer)
                if activity is not None:
                    activity.end(summary.status, attributes=figures_of(summary))
                log_window(summary)
        return summary

    async def _run_there(
        self, spec: WindowSpec, results: WindowResults, observer: WindowObserver
    ) -> WindowSummary:
        tell = observer.watch(spec)
        message = self._message(spec, results, progress=tell is not None)
        return await self._attempt(_Window(spec, message, results, observer, tell))

    def hurry(self) -> None:
        """Have windows that were cancelled end within seconds."""
        self._inline.hurry()
        self._hurried.set()

    async def aclose(self) -> None:
        """End all workers; idempotent."""
        workers, self._idle, self._busy = [*self._idle, *self._busy], [], []
        async with anyio.create_task_group() as group:
            for worker in workers:
                group.start_soon(worker.end)
        for shared in self._shared.values():
            shared.close()
        self._shared.clear()

    async def _turn_here(self) -> bool:
        """Wait for the turn to run in this process; False once it is time for workers."""
        now = anyio.current_time()
        if self._workers_from is None:
            self._workers_from = now + self._seconds_here
        if now < self._workers_from:
            with anyio.CancelScope(deadline=self._workers_from):
                await self._turn.acquire()
                return True
        return False

    def _message(self, spec: WindowSpec, results: WindowResults, *, progress: bool) -> RunWindow:
        root = results.storage.folder.root if isinstance(results.storage, LocalStorage) else None
        return RunWindow(
            spec=msgspec.json.encode(spec),
            path=results.path,
            compression=results.compression,
            root=None if root is None else str(root),
            data=self._data(spec),
            modules=None if self._modules is None else str(self._modules),
            progress=progress,
        )

    def _data(self, spec: WindowSpec) -> tuple[DataConfig, str | None, SharedDataAddress] | None:
        try:
            found = msgspec.json.decode(spec.config, type=_DataOf)
        except msgspec.ValidationError:
            return None
        if found.data is None:
            return None
        key = (found.data, found.benchmark)
        if key not in self._shared:
            self._shared[key] = SharedData(self._catalog.load(*key).market_data)
        return (*key, self._shared[key].address)

    async def _attempt(self, window: _Window) -> WindowSummary:
        how = ""
        for _ in range(ATTEMPTS):
            worker = self._idle.pop() if self._idle else await _Worker.start()
            self._busy.append(worker)
            try:
                return await self._converse(worker, window)
            except _DiedError:
                how = await worker.how_it_ended()
                await window.results.clear_attempt()
            finally:
                if worker in self._busy:  # and so neither idle nor ended
                    self._busy.remove(worker)
                    await worker.kill()
        summary = _failed(window.spec, f"its worker process {how}, and so did a second one")
        window.observer.closed(summary)
        return summary

    async def _converse(self, worker: _Worker, window: _Window) -> WindowSummary:
        try:
            await worker.send(window.message)
            done = await self._until_done(worker, window)
        except anyio.get_cancelled_exc_class():
            await finish(lambda: self._cancel(worker, window))
            raise
        self._rest(worker)
        return await self._concluded(done, window)

    async def _until_done(self, worker: _Worker, window: _Window) -> Done:
        while True:
            reply = await worker.receive()
            if isinstance(reply, Done):
                return reply
            if window.tell is not None:
                window.tell(reply.bars)

    def _rest(self, worker: _Worker) -> None:
        self._busy.remove(worker)
        self._idle.append(worker)

    async def _cancel(self, worker: _Worker, window: _Window) -> None:
        """Have a window end early, and take what it has written till then."""
        with anyio.move_on_after(_SECONDS_TO_CANCEL) as limit:
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._hurry, worker, limit)
                    await worker.send(Cancel())
                    done = await self._until_done(worker, window)
                    self._rest(worker)
                    if done.failure is None and done.summary is not None:
                        await self._concluded(done, window)
                    group.cancel_scope.cancel()
            except* _DiedError:
                pass

    async def _hurry(self, worker: _Worker, limit: anyio.CancelScope) -> None:
        await self._hurried.wait()
        limit.deadline = min(limit.deadline, anyio.current_time() + _SECONDS_TO_HURRY)
        with suppress(_DiedError):
            await worker.send(Hurry())

    async def _concluded(self, done: Done, window: _Window) -> WindowSummary:
        """Put the files of a window where they belong, and tell that it is over."""
        await _place(done, window.results)
        if done.summary is not None:
            window.observer.closed(done.summary)
        if done.failure is not None:
            raise done.failure.error()
        if done.summary is None:
            raise WindowError(f"window {window.spec.window_id!r} was closed before it ran")
        return done.summary


async def _place(done: Done, results: WindowResults) -> None:
    """Write the files that a worker has handed back, the commit record last."""
    storage = results.storage
    for path, content in sorted(done.files.items(), key=lambda it: it[0] == COMMIT_FILE):
        await storage.write_atomic(f"{results.path}/{path}", [content])
    if done.committed is not None and not isinstance(storage, HeldStorage):
        results.committed = done.committed


def _failed(spec: WindowSpec, why: str) -> WindowSummary:
    return WindowSummary(
        workflow_id=spec.workflow_id,
        phase_name=spec.phase_name,
        window_id=spec.window_id,
        topology=spec.topology,
        seed=spec.seed,
        status="failed",
        containers=(),
        errors=(why,),
        report={},
        fingerprint=spec.fingerprint,
    )

"""Runs that are begun, killed, resumed and damaged in any order, against a simple model."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from admf.engine.documents import FileRecord
from admf.engine.errors import FolderInUseError, ResultExistsError, StorageError
from admf.engine.events import Event
from admf.engine.journal import Journal
from admf.engine.lifecycle import LifecycleManager
from admf.engine.local_folder import LocalFolder
from admf.engine.lock import RunLock, read_lock
from admf.engine.lock_owner import encode_owner
from admf.engine.registry import Registry
from admf.engine.result_names import COMMIT_FILE, trace_path
from admf.engine.results import Document, ResultStore, WindowResults
from admf.engine.summary import WindowSummary
from admf.engine.testing import RecordingContainer
from admf.engine.topology import TopologyBuilder
from admf.engine.tree_check import verify_tree
from admf.engine.verification import verify_window
from admf.engine.window import ExecutionWindow
from admf.engine.window_spec import WindowSpec
from tests.prompt import PromptStorage

P = ParamSpec("P")
T = TypeVar("T")

RUN, PHASE = "study", "search"
WINDOWS = ("wf_1", "wf_2", "mc_1/wf_1")
WINDOW_IDS = st.sampled_from(WINDOWS)
FINGERPRINTS = st.sampled_from(["old", "new"])
TICKS = st.integers(1, 4)
CONTAINERS = ("first", "second")
NO_PID = 2**22 + 1  # above the highest that Linux gives out


class Tick(Event, frozen=True, gc=False, tag="TICK_OF_A_LIFE"):
    """A fact, told apart from all others by its time."""


class Mortal(PromptStorage):
    """A storage that dies after so many calls, as the process that uses it would."""

    calls_left: int | None = None

    def system_call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                if function.__name__ == "close":  # a killed process has no open files
                    function(*args, **kwargs)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().system_call(function, *args, **kwargs)


class Witness(RecordingContainer):
    """Writes down what it sees three times: in memory, in a scratch file and in its trace."""

    def __init__(self, name: str, builder: TopologyBuilder) -> None:
        super().__init__(name, scope=builder.bus, types=[Tick])
        self.scratch: Journal = builder.overflow(name).journal("seen")
        self.trace: Journal = builder.trace(name)

    async def on_start(self) -> None:
        await super().on_start()
        self.trace.append(b"")
        self.subscribe(Tick, self.write_down)

    def write_down(self, event: Event) -> None:
        self.scratch.append(b"%d\n" % event.ts)
        self.trace.append(b"%d\n" % event.ts)

    def results(self) -> Document:
        spilled = self.scratch.read(0, self.scratch.size)
        body = {
            "seen": [event.ts for event in self.seen],
            "spilled": list(map(int, spilled.split())),
        }
        return Document(self.id, body, self.trace)

    async def on_release(self) -> None:
        self.scratch.discard()


class Witnesses:
    def build(self, builder: TopologyBuilder) -> None:
        for name in CONTAINERS:
            builder.add(Witness(name, builder))


def registry() -> Registry:
    registry = Registry()
    registry.register("topologies", "witnesses", Witnesses())
    return registry


class Kept(msgspec.Struct, frozen=True):
    """What the model knows of a window that was committed."""

    fingerprint: str
    ticks: tuple[int, ...]
    completed: bool


def names_of(window_id: str) -> set[str]:
    """Return the files that a window has once it is committed."""
    below = [f"containers/{name}_results.json" for name in CONTAINERS]
    below += [trace_path(name) for name in CONTAINERS]
    return {f"{RUN}/{PHASE}/{window_id}/{name}" for name in (*below, COMMIT_FILE)}


class LifeOfResults(RuleBasedStateMachine):
    """One folder, and the processes that work on it one after the other.

    Attributes:
        committed: The windows with a commit record.
        damaged: Those of them whose files were changed since.
        rolled_up: Windows that the phase's record tells of; None without one.
        store: That of the process that runs, None if there is none.
        window: The one that is open.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.loop = asyncio.Runner()
        self.look = PromptStorage(self.root)
        self.lifecycle = LifecycleManager(registry=registry())
        self.exists = False
        self.committed: dict[str, Kept] = {}
        self.damaged: set[str] = set()
        self.rolled_up: set[str] | None = None
        self.records: dict[str, FileRecord] = {}
        self.next_tick = 1
        self._forget_process()

    def teardown(self) -> None:
        self.loop.close()
        self.folder.cleanup()

    def _forget_process(self) -> None:
        self.storage: Mortal | None = None
        self.store: ResultStore | None = None
        self.lock: RunLock | None = None
        self.window: ExecutionWindow | None = None
        self.open_id = ""
        self.ticks: list[int] = []

    # -- processes

    @precondition(lambda self: self.store is None)
    @rule(how=st.sampled_from(["resume", "resume", "resume", "overwrite"]))
    def begin(self, how: str) -> None:
        if self.exists and how == "resume":
            self._resume()
        else:
            self._create(overwrite=self.exists)

    def _create(self, *, overwrite: bool) -> None:
        storage = Mortal(self.root)
        if overwrite:
            with pytest.raises(ResultExistsError, match="--resume"):
                self.loop.run(ResultStore.create(storage, RUN))
        store = self.loop.run(ResultStore.create(storage, RUN, overwrite=overwrite))
        self.loop.run(self._take(storage, store))
        self.exists = True
        self.committed.clear()
        self.damaged.clear()
        self.rolled_up = None

    def _resume(self) -> None:
        storage = Mortal(self.root)
        self.loop.run(ResultStore.recover(storage, RUN))
        self.loop.run(self._take(storage, self.loop.run(ResultStore.open(storage, RUN))))
        assert not list(self.root.rglob("*.tmp"))

    async def _take(self, storage: Mortal, store: ResultStore) -> None:
        self.lock = await RunLock.acquire(storage, RUN)
        await store.write_run({"status": "running"})
        self.storage, self.store, self.records = storage, store, {}

    @precondition(lambda self: self.store is not None)
    @rule()
    def crash(self) -> None:
        with pytest.raises(FolderInUseError, match="in use by pid"):
            self.loop.run(RunLock.acquire(self.look, RUN))
        owner = self.loop.run(read_lock(self.look, RUN))
        assert owner is not None
        for file in (self.root / RUN / ".lock").glob("*/owner.json"):
            gone = msgspec.structs.replace(owner, pid=NO_PID)  # this process lives on
            file.write_bytes(encode_owner(gone))
        if self.window is not None:
            self.loop.run(self._drop(self.window))
        self._forget_process()

    async def _drop(self, window: ExecutionWindow) -> None:
        """Let go of an open window, which can reach the disk no more."""
        assert self.storage is not None
        self.storage.calls_left = 0
        with suppress(Exception):
            await window.aclose()

    @precondition(lambda self: self.store is not None and self.window is None)
    @rule()
    def finish(self) -> None:
        """Commit the phase and end the process as it is to end."""
        assert self.store is not None
        assert self.lock is not None
        phase = self.store.window(PHASE)
        records = [self.records[name] for name in sorted(self.records)]
        self.loop.run(phase.commit({"status": "completed", "report": {}}, records))
        self.rolled_up = set(self.records)
        self.loop.run(self.lock.release())
        self._forget_process()

    # -- windows

    @precondition(lambda self: self.store is not None and self.window is None)
    @rule(windows=st.lists(st.tuples(WINDOW_IDS, FINGERPRINTS, TICKS), min_size=1, max_size=3))
    def run_windows(self, windows: list[tuple[str, str, int]]) -> None:
        """Open windows one after the other, and have each come to its end."""
        for window_id, fingerprint, count in windows:
            self.roll_window(window_id, fingerprint)
            if self.window is not None:
                self.publish(count)
                self.flush(runs=True)

    @precondition(lambda self: self.store is not None and self.window is None)
    @rule(window_id=WINDOW_IDS, fingerprint=FINGERPRINTS)
    def roll_window(self, window_id: str, fingerprint: str) -> None:
        """Open the next window, unless an earlier process came to its end."""
        assert self.store is not None
        results = self.store.window(PHASE, window_id)
        kept = self.loop.run(results.kept(fingerprint, WindowSummary))
        known = self.committed.get(window_id)
        whole = known is not None and known.completed and window_id not in self.damaged
        if known is None or not whole or known.fingerprint != fingerprint:
            assert kept is None
            self.loop.run(self._open(results, window_id, fingerprint))
            return
        assert kept is not None
        assert (kept.window_id, kept.fingerprint) == (window_id, fingerprint)
        assert tuple(it.id for it in kept.containers) == CONTAINERS
        self._note(results, window_id)

    async def _open(self, results: WindowResults, window_id: str, fingerprint: str) -> None:
        assert self.store is not None
        await results.withdraw()
        await self.store.window(PHASE).withdraw()
        self.committed.pop(window_id, None)
        self.records.pop(window_id, None)
        self.damaged.discard(window_id)
        self.rolled_up = None
        spec = WindowSpec(
            workflow_id=RUN,
            phase_name=PHASE,
            window_id=window_id,
            topology="witnesses",
            fingerprint=fingerprint,
        )
        self.window = self.lifecycle.window(spec, results)
        self.open_id, self.ticks = window_id, []
        await self.window.start()

    def _note(self, results: WindowResults, window_id: str) -> None:
        assert self.store is not None
        record = results.record_below(self.store.window(PHASE))
        assert record is not None
        self.records[window_id] = record

    @precondition(lambda self: self.window is not None)
    @rule(count=TICKS)
    def publish(self, count: int) -> None:
        self.loop.run(self._publish(count))

    async def _publish(self, count: int) -> None:
        assert self.window is not None
        for _ in range(count):
            self.window.bus.publish(Tick(self.next_tick), "test")
            self.ticks.append(self.next_tick)
            self.next_tick += 1
        await self.window.bus.drain()

    @precondition(lambda self: self.window is not None)
    @rule(runs=st.booleans())
    def flush(self, runs: bool) -> None:
        """Close the window, to its end or cut short."""
        assert self.window is not None
        window, name = self.window, self.open_id
        self.loop.run(self._flush(window, runs=runs))
        assert window.status == ("completed" if runs else "cancelled")
        self._commit(window, completed=runs)
        self._note(window.results, name)

    @precondition(lambda self: self.window is not None)
    @rule(calls=st.integers(0, 60))
    def die_while_flushing(self, calls: int) -> None:
        """Close the window, and be killed on the way; or right after it."""
        assert self.window is not None
        assert self.storage is not None
        window, name = self.window, self.open_id
        self.storage.calls_left = calls
        with suppress(StorageError, ExceptionGroup):
            self.loop.run(self._flush(window, runs=True))
        check = self.loop.run(verify_window(self.look, f"{RUN}/{PHASE}/{name}"))
        assert check.complete or not check.committed
        assert not check.torn
        if check.complete:
            self._commit(window, completed=True)
        self.window = None
        self.crash()

    async def _flush(self, window: ExecutionWindow, *, runs: bool) -> None:
        if runs:
            await window.run()
        await window.aclose()

    def _commit(self, window: ExecutionWindow, *, completed: bool) -> None:
        fingerprint = window.spec.fingerprint
        self.committed[self.open_id] = Kept(fingerprint, tuple(self.ticks), completed)
        self.window = None

    @precondition(lambda self: self.store is not None and self.window is None)
    @rule()
    def forget(self) -> None:
        assert self.store is not None
        self.loop.run(self.store.forget(PHASE))
        self.committed.clear()
        self.damaged.clear()
        self.records.clear()
        self.rolled_up = None

    # -- damage

    @precondition(lambda self: set(self.committed) - self.damaged)
    @rule(data=st.data(), how=st.sampled_from(["flip", "cut", "remove"]))
    def corrupt(self, data: st.DataObject, how: str) -> None:
        whole = sorted(set(self.committed) - self.damaged)
        window_id = data.draw(st.sampled_from(whole), "window")
        file = self.root / data.draw(st.sampled_from(sorted(names_of(window_id))), "file")
        content = bytearray(file.read_bytes())
        if how == "remove":
            file.unlink()
        elif not content:  # of the trace of a window without events
            file.write_bytes(b"\0")
        elif how == "cut":
            file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1), "size")])
        else:
            content[data.draw(st.integers(0, len(content) - 1), "place")] ^= 1 << data.draw(
                st.integers(0, 7), "bit"
            )
            file.write_bytes(content)
        self.damaged.add(window_id)

    # -- what must hold at every moment

    @invariant()
    def what_is_committed_is_whole_and_what_is_not_is_not(self) -> None:
        for window_id in WINDOWS:
            check = self.loop.run(verify_window(self.look, f"{RUN}/{PHASE}/{window_id}"))
            known = self.committed.get(window_id)
            assert check.complete == (known is not None and window_id not in self.damaged)
            if known is None:
                assert not check.committed
            elif check.complete:
                self._compare(window_id, known)

    def _compare(self, window_id: str, known: Kept) -> None:
        folder = self.root / RUN / PHASE / window_id
        for name in CONTAINERS:
            document: Any = json.loads((folder / f"containers/{name}_results.json").read_bytes())
            assert tuple(document["seen"]) == known.ticks
            assert tuple(document["spilled"]) == known.ticks
            trace = (folder / trace_path(name)).read_bytes()
            assert tuple(map(int, trace.split())) == known.ticks

    @invariant()
    def nothing_else_appears(self) -> None:
        if not self.exists:
            assert not list(self.root.iterdir())
            return
        assert [path.name for path in self.root.iterdir()] == [RUN]
        files = set(self.loop.run(self.look.list_files(RUN)))
        expected = {f"{RUN}/run.json"}
        if self.rolled_up is not None:
            expected.add(f"{RUN}/{PHASE}/{COMMIT_FILE}")
        for window_id in set(self.committed) - self.damaged:
            expected |= names_of(window_id)
        assert expected <= files
        may_be = expected.union(*map(names_of, WINDOWS))
        for window_id in set(WINDOWS) - set(self.committed):
            may_be.discard(f"{RUN}/{PHASE}/{window_id}/{COMMIT_FILE}")
        assert {file for file in files - may_be if "/.lock/" not in file} == set()

    @precondition(lambda self: self.rolled_up is not None and self.store is None)
    @rule()
    def verify(self) -> None:
        """Look at the whole tree, as the command line does; it finds damage and nothing but."""
        tree = verify_tree(LocalFolder(self.root / RUN), {PHASE: True}, beside=["run.json"])
        hurt = {it.path for it in tree.findings if it.is_damage}
        assert bool(hurt) == bool(self.damaged & (self.rolled_up or set()))
        for path in hurt:
            assert any(f"{RUN}/{path}" in names_of(window_id) for window_id in self.damaged)


TestLifeOfResults = LifeOfResults.TestCase
TestLifeOfResults.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)

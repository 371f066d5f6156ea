"""The result tree of a run, and the record that says which of its windows are complete.

::

    <run>/run.json
    <run>/<phase>/[<window>/]containers/<container>_results.json
    <run>/<phase>/[<window>/]aggregate_results.json, all_trades.json
    <run>/<phase>/[<window>/]phase_summary.json      written last: the commit record

With compression, the files of a window but for its commit record end in ``.gz`` or ``.zst``. The
record of a folder with windows below it lists their records too, so that of a phase covers it all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

import msgspec
from anyio import to_thread

from admf.engine.documents import (
    DocumentHead,
    FileRecord,
    find_document,
    hold_document,
    read_document,
    record_of,
    write_document,
)
from admf.engine.errors import ResultExistsError, StorageError, TornFileError, UnsafeIdError
from admf.engine.files import temporary_name
from admf.engine.held import HeldStorage
from admf.engine.ids import UniqueIds, check_id, check_id_path
from admf.engine.journal import Journal
from admf.engine.lock import LOCK_FOLDER
from admf.engine.packing import Compression
from admf.engine.result_names import (
    AGGREGATE_FILE,
    COMMIT_FILE,
    CONTAINERS,
    RUN_FILE,
    TRADES_FILE,
    results_path,
    trace_path,
)
from admf.engine.shielding import finish
from admf.engine.storage import Storage
from admf.engine.verification import verify_window

__all__ = ["Document", "Ended", "ResultStore", "WindowResults"]

T = TypeVar("T")

_MOST_FOLDERS = 64
"""Folders whose ids are kept apart by more than case; windows come one folder after the other."""

_OWN_NAMES = frozenset([CONTAINERS, RUN_FILE, COMMIT_FILE, AGGREGATE_FILE, TRADES_FILE])


class Ended(Protocol):
    """What a commit record says of a window that ran."""

    @property
    def status(self) -> str:
        """How it ended."""
        ...

    @property
    def fingerprint(self) -> str:
        """What it was to compute."""
        ...


E = TypeVar("E", bound=Ended)


class Document(msgspec.Struct, frozen=True):
    """What one container leaves behind.

    Args:
        container_id: Names the file.
        body: JSON-able fields in the order in which they are to stand, small ones first; see
            `admf.engine.encoding.iter_json` for what may be in it. Iterators may be read in another
            thread.
        trace: Its trace, which becomes one of the files of the window; None without one.
    """

    container_id: str
    body: Mapping[str, object]
    trace: Journal | None = None


class ResultStore:
    """The result folder of one run.

    Args:
        storage: Where it is kept.
        path: Its folder in the storage.
    """

    def __init__(self, storage: Storage, path: str) -> None:
        self._storage = storage
        self.path = check_id_path(path, "results_dir")
        self._ids: dict[str, UniqueIds] = {}

    @classmethod
    async def create(
        cls, storage: Storage, run_dir: str, *, overwrite: bool = False
    ) -> ResultStore:
        """Begin a new run in a folder of its own.

        Args:
            storage: Where to keep it.
            run_dir: The folder; may be nested (``studies/goog``), but not in another run's.
            overwrite: Replace the results that admf left in it.

        Raises:
            ResultExistsError: The folder is there, and ``overwrite`` is not given, or it holds
                something that admf did not write; or it lies inside another run's.
            UnsafeIdError: ``run_dir`` cannot be a folder name.
        """
        store = cls(storage, run_dir)
        await _refuse_inside_another(storage, run_dir)
        await cls.recover(storage, run_dir)
        try:
            if overwrite and await storage.exists(run_dir):
                await _refuse_foreign(storage, run_dir)
                await storage.move(run_dir, _aside(run_dir))
            made = await storage.make_dir(run_dir)
        except BaseException:
            await finish(partial(_put_back, storage, run_dir))
            raise
        if not made:
            raise ResultExistsError(
                f"results exist in {store.location}: give --resume to go on from them, "
                "--overwrite to replace them, or another results_dir"
            )
        await storage.remove_tree(_aside(run_dir))
        return store

    @classmethod
    async def recover(cls, storage: Storage, run_dir: str) -> None:
        """Complete what a process that died while it replaced a run began, or take it back."""
        aside = _aside(run_dir)
        if not await storage.exists(aside):
            return
        if await storage.exists(run_dir):
            await storage.remove_tree(aside)
        else:
            await storage.move(aside, run_dir)

    @classmethod
    async def open(cls, storage: Storage, run_dir: str) -> ResultStore:
        """Continue a run of which nobody else is the writer; sweeps what its last writer left."""
        store = cls(storage, run_dir)
        await storage.sweep(run_dir)
        return store

    @property
    def location(self) -> str:
        """Where the folder is, for people."""
        return self._storage.locate(self.path)

    async def forget(self, phase: str) -> None:
        """Remove the results of a phase, if there are any."""
        await self._storage.remove_tree(f"{self.path}/{check_id(phase, 'phase name')}")

    async def write_run(self, body: Mapping[str, object]) -> None:
        """Write ``run.json``; may be repeated as the run goes on."""
        await write_document(self._storage, self.path, RUN_FILE, body)

    def window(
        self, phase: str, window_id: str = "", compression: Compression = "none"
    ) -> WindowResults:
        """Return the results of one execution window.

        Args:
            phase: Name of the phase.
            window_id: May be nested (``mc_003/wf_012``); empty if the phase has a single window.
            compression: Of its files.

        Raises:
            UnsafeIdError: A part of an id cannot be a folder name, or differs from one in use only
                by case.
        """
        check_id(phase, "phase name")
        if window_id:
            check_id_path(window_id, "window_id")
        path = self.path
        for part in [phase, *window_id.split("/")] if window_id else [phase]:
            if part.lower() in _OWN_NAMES:
                raise UnsafeIdError(f"{part!r} is a name of the result tree itself: choose another")
            self._siblings(path).add(part)
            path = f"{path}/{part}"
        return WindowResults(self._storage, path, compression)

    def _siblings(self, folder: str) -> UniqueIds:
        """Return the ids in use in a folder; those of folders long out of use are forgotten."""
        ids = self._ids.pop(folder, None) or UniqueIds("phase or window")
        self._ids[folder] = ids
        if len(self._ids) > _MOST_FOLDERS:
            del self._ids[next(iter(self._ids))]
        return ids


class WindowResults:
    """The files of one execution window, or of a sequence that runs windows below its folder.

    Args:
        storage: Where they are kept.
        path: The folder in the storage.
        compression: Of all files but the commit record.

    Attributes:
        storage: Where they are kept.
        path: The folder in the storage.
        compression: Of all files but the commit record.
        committed: The commit record, once it is written; None before, or if it stays in memory.
    """

    def __init__(self, storage: Storage, path: str, compression: Compression = "none") -> None:
        self.storage = storage
        self.path = path
        self.compression: Compression = compression
        self._ids = UniqueIds("container id")
        self._files: dict[str, FileRecord | Callable[[], FileRecord]] = {}
        self.committed: FileRecord | None = None

    @property
    def location(self) -> str:
        """Where the folder is, for people."""
        return self.storage.locate(self.path)

    async def write_container(self, document: Document) -> None:
        """Write ``containers/<container_id>_results.json``; writing it again replaces it.

        Raises:
            UnsafeIdError: The id cannot be a file name, or differs from another only by case.
            StorageError: It cannot be written; an earlier file of that name is still whole.
        """
        container_id = check_id(document.container_id, "container id")
        self._ids.add(container_id)
        body = {"container_id": container_id, **document.body}
        if document.trace is not None:
            await self._keep_trace(container_id, document.trace)
        await self._write_late(results_path(container_id), body)

    async def write(self, name: str, body: Mapping[str, object]) -> None:
        """Write another file of the window, e.g. ``all_trades.json``.

        Raises:
            UnsafeIdError: The name cannot be a file name, or is taken by the result tree itself.
            StorageError: It cannot be written; an earlier file of that name is still whole.
        """
        await self._write(_checked(name), body)

    async def write_late(self, name: str, body: Mapping[str, object]) -> None:
        """Write another file of the window, of which little may be read.

        Where results stay in memory, it is made when somebody reads it. So nothing in ``body`` may
        change any more, or refer to what takes more memory than the file.

        Raises:
            UnsafeIdError: As for `write`; StorageError likewise.
        """
        await self._write_late(_checked(name), body)

    def scratch(self, container_id: str, name: str) -> Journal:
        """Return a file for what a container cannot keep in memory; it is no result.

        Who asked for it is to discard it; what a killed process leaves of it is swept.
        """
        name = temporary_name(f"{container_id}_{name}")
        return self.storage.journal(f"{self.path}/{CONTAINERS}/{name}")

    def trace(self, container_id: str) -> Journal:
        """Return ``containers/<container_id>_trace.frames`` to append to; see `Document`."""
        return self.storage.journal(f"{self.path}/{trace_path(container_id)}")

    async def exists(self, name: str) -> bool:
        """Whether a file of the window is there."""
        return await find_document(self.storage, f"{self.path}/{name}")

    async def read(self, name: str, kind: type[T]) -> T:
        """Return a file of the window, decoded as ``kind``.

        Raises:
            TornFileError: It is not whole, or was not written by admf.
            StorageError: It cannot be read.
        """
        return await read_document(self.storage, f"{self.path}/{name}", kind)

    async def commit(
        self, summary: Mapping[str, object], windows: Iterable[FileRecord] = ()
    ) -> None:
        """Write the commit record: the summary, then every file of the window. Comes last.

        Args:
            summary: What it says besides.
            windows: The commit records of the windows below this folder; see `record_below`.
        """
        files = (self._files[path] for path in sorted(self._files))
        records = (it if isinstance(it, FileRecord) else it() for it in files)
        if isinstance(self.storage, HeldStorage):
            body = {**summary, "files": records, "windows": list(windows)}
            await hold_document(self.storage, self.path, COMMIT_FILE, body)
            return
        body = {**summary, "files": records, "windows": iter(windows)}
        self.committed = await write_document(self.storage, self.path, COMMIT_FILE, body)

    def record_below(self, above: WindowResults) -> FileRecord | None:
        """Return the commit record, as one in a folder above tells of it.

        Returns:
            None if there is none, or if it stays in memory.
        """
        if self.committed is None:
            return None
        folder = self.path.removeprefix(f"{above.path}/")
        return msgspec.structs.replace(self.committed, path=f"{folder}/{COMMIT_FILE}")

    async def withdraw(self) -> None:
        """Remove the commit record of an earlier run, before files that it lists are replaced."""
        await self.storage.remove(f"{self.path}/{COMMIT_FILE}")

    async def clear_attempt(self) -> None:
        """Remove what a process that died while it wrote has left besides whole files."""
        await self.withdraw()
        await self.storage.sweep(self.path)

    async def kept(self, fingerprint: str, kind: type[E]) -> E | None:
        """Return the commit record of an earlier run if the window came to its end in that.

        Args:
            fingerprint: What the window was to compute.
            kind: What to decode the record as.

        Returns:
            None if there is no record, it is of something else, or a file is not as it was written.
        """
        if not (await verify_window(self.storage, self.path)).complete:
            return None
        summary = await self.read(COMMIT_FILE, kind)
        if (summary.status, summary.fingerprint) != ("completed", fingerprint):
            return None
        self.committed = await record_of(self.storage, self.path, COMMIT_FILE)
        return summary

    async def _keep_trace(self, container_id: str, journal: Journal) -> None:
        """Make a trace durable, and one of the files of the window."""
        path = trace_path(container_id)
        await to_thread.run_sync(journal.sync)
        self._files[path] = await record_of(self.storage, self.path, path)

    async def _write_late(self, path: str, body: Mapping[str, object]) -> None:
        if isinstance(self.storage, HeldStorage):
            self._files[path] = await hold_document(
                self.storage, self.path, path, body, self.compression
            )
        else:
            await self._write(path, body)

    async def _write(self, path: str, body: Mapping[str, object]) -> None:
        self._files[path] = await write_document(
            self.storage, self.path, path, body, self.compression
        )


def _checked(name: str) -> str:
    """Return the name of a file of a window, if it can be one."""
    if check_id(name, "file name").lower() in {COMMIT_FILE, CONTAINERS}:
        raise UnsafeIdError(f"file name {name!r} is taken by the result tree: choose another")
    return name


def _aside(run_dir: str) -> str:
    """Return where a run stands while it is replaced."""
    parent, slash, name = run_dir.rpartition("/")
    return f"{parent}{slash}.{name}.replaced"


async def _put_back(storage: Storage, run_dir: str) -> None:
    """Undo that a run was moved aside, with all that is in its folder, its lock included."""
    with suppress(StorageError):  # what made it necessary is told
        if not await storage.exists(run_dir) and await storage.exists(_aside(run_dir)):
            await storage.move(_aside(run_dir), run_dir)


async def _refuse_inside_another(storage: Storage, run_dir: str) -> None:
    for parent in PurePosixPath(run_dir).parents[:-1]:
        if await storage.exists(f"{parent}/{RUN_FILE}"):
            raise ResultExistsError(
                f"{storage.locate(run_dir)} lies inside the results of another run, "
                f"{storage.locate(str(parent))}: choose another results_dir"
            )


async def _refuse_foreign(storage: Storage, run_dir: str) -> None:
    """Raise if a folder holds anything, and not a run of admf."""
    files = await storage.list_files(run_dir)
    if all(file.startswith(f"{run_dir}/{LOCK_FOLDER}/") for file in files):
        return  # nothing, or what a run left that was killed before it wrote more than its lock
    record = f"{run_dir}/{RUN_FILE}"
    try:
        if await storage.exists(record):
            await read_document(storage, record, DocumentHead)
            return
    except TornFileError:
        pass
    raise ResultExistsError(
        f"{storage.locate(run_dir)} holds files that admf did not write (no readable {RUN_FILE}), "
        "so --overwrite leaves it alone: move it away or choose another results_dir"
    )

"""The result tree of a run, and the record that says which of its windows are complete.

::

    <run>/run.json
    <run>/<phase>/[<window>/]containers/<container>_results.json
    <run>/<phase>/[<window>/]aggregate_results.json, all_trades.json
    <run>/<phase>/[<window>/]phase_summary.json      written last: the commit record
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TypeVar

import msgspec

from admf.engine.documents import (
    DocumentHead,
    FileRecord,
    is_whole,
    read_document,
    write_document,
)
from admf.engine.errors import ResultExistsError, TornFileError, UnsafeIdError
from admf.engine.ids import UniqueIds, check_id, check_id_path
from admf.engine.storage import Storage

__all__ = [
    "COMMIT_FILE",
    "RUN_FILE",
    "Document",
    "ResultStore",
    "WindowCheck",
    "WindowResults",
    "verify_window",
]

RUN_FILE = "run.json"
COMMIT_FILE = "phase_summary.json"

T = TypeVar("T")

_MOST_FOLDERS = 64
"""Folders whose ids are kept apart by more than case; windows come one folder after the other."""

_CONTAINERS = "containers"
_OWN_NAMES = frozenset(
    [_CONTAINERS, RUN_FILE, COMMIT_FILE, "aggregate_results.json", "all_trades.json"]
)


class Document(msgspec.Struct, frozen=True):
    """What one container leaves behind.

    Args:
        container_id: Names the file.
        body: JSON-able fields in the order in which they are to stand, small ones first; see
            `admf.engine.encoding.iter_json` for what may be in it.
    """

    container_id: str
    body: Mapping[str, object]


class WindowCheck(msgspec.Struct, frozen=True):
    """How a window's files compare with its commit record.

    Args:
        committed: There is a readable commit record.
        missing: Paths that it lists and that are not there.
        torn: Paths whose content is not what was written, in the window's folder.
    """

    committed: bool
    missing: tuple[str, ...] = ()
    torn: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every file is there as it was written."""
        return self.committed and not self.missing and not self.torn


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
        parent, slash, name = run_dir.rpartition("/")
        aside = f"{parent}{slash}.{name}.replaced"
        if await storage.exists(aside):
            await _finish_replacement(storage, run_dir, aside)
        if overwrite and await storage.exists(run_dir):
            await _refuse_foreign(storage, run_dir)
            await storage.move(run_dir, aside)
        if not await storage.make_dir(run_dir):
            raise ResultExistsError(
                f"results exist in {store.location}: give --overwrite to replace them, "
                "or another results_dir"
            )
        await storage.remove_tree(aside)
        return store

    @classmethod
    async def open(cls, storage: Storage, run_dir: str) -> ResultStore:
        """Continue a run of which nobody else is the writer; sweeps what its last writer left.

        Raises:
            StorageError: There is no run in the folder.
        """
        store = cls(storage, run_dir)
        await read_document(storage, f"{run_dir}/{RUN_FILE}", DocumentHead)
        await storage.sweep(run_dir)
        return store

    @property
    def location(self) -> str:
        """Where the folder is, for people."""
        return self._storage.locate(self.path)

    async def write_run(self, body: Mapping[str, object]) -> None:
        """Write ``run.json``; may be repeated as the run goes on."""
        await write_document(self._storage, self.path, RUN_FILE, body)

    def window(self, phase: str, window_id: str = "") -> WindowResults:
        """Return the results of one execution window.

        Args:
            phase: Name of the phase.
            window_id: May be nested (``mc_003/wf_012``); empty if the phase has a single window.

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
        return WindowResults(self._storage, path)

    def _siblings(self, folder: str) -> UniqueIds:
        """Return the ids in use in a folder; those of folders long out of use are forgotten."""
        ids = self._ids.pop(folder, None) or UniqueIds("phase or window")
        self._ids[folder] = ids
        if len(self._ids) > _MOST_FOLDERS:
            del self._ids[next(iter(self._ids))]
        return ids


class WindowResults:
    """The files of one execution window.

    Args:
        storage: Where they are kept.
        path: The window's folder in the storage.
    """

    def __init__(self, storage: Storage, path: str) -> None:
        self._storage = storage
        self.path = path
        self._ids = UniqueIds("container id")
        self._files: dict[str, FileRecord] = {}

    @property
    def location(self) -> str:
        """Where the folder is, for people."""
        return self._storage.locate(self.path)

    async def write_container(self, document: Document) -> None:
        """Write ``containers/<container_id>_results.json``; writing it again replaces it.

        Raises:
            UnsafeIdError: The id cannot be a file name, or differs from another only by case.
            StorageError: It cannot be written; an earlier file of that name is still whole.
        """
        container_id = check_id(document.container_id, "container id")
        self._ids.add(container_id)
        body = {"container_id": container_id, **document.body}
        await self._write(f"{_CONTAINERS}/{container_id}_results.json", body)

    async def write(self, name: str, body: Mapping[str, object]) -> None:
        """Write another file of the window, e.g. ``all_trades.json``.

        Raises:
            UnsafeIdError: The name cannot be a file name, or is taken by the result tree itself.
            StorageError: It cannot be written; an earlier file of that name is still whole.
        """
        if check_id(name, "file name").lower() in {COMMIT_FILE, _CONTAINERS}:
            raise UnsafeIdError(f"file name {name!r} is taken by the result tree: choose another")
        await self._write(name, body)

    async def exists(self, name: str) -> bool:
        """Whether a file of the window is there."""
        return await self._storage.exists(f"{self.path}/{name}")

    async def read(self, name: str, kind: type[T]) -> T:
        """Return a file of the window, decoded as ``kind``.

        Raises:
            TornFileError: It is not whole, or was not written by admf.
            StorageError: It cannot be read.
        """
        return await read_document(self._storage, f"{self.path}/{name}", kind)

    async def commit(self, summary: Mapping[str, object]) -> None:
        """Write the commit record: the summary, then every file of the window. Comes last."""
        files = [self._files[path] for path in sorted(self._files)]
        await write_document(self._storage, self.path, COMMIT_FILE, {**summary, "files": files})

    async def _write(self, path: str, body: Mapping[str, object]) -> None:
        self._files[path] = await write_document(self._storage, self.path, path, body)


async def verify_window(storage: Storage, path: str) -> WindowCheck:
    """Compare the files of a window with its commit record, byte by byte.

    Args:
        storage: Where it is kept.
        path: The window's folder, as in `WindowResults.path`.

    Raises:
        StorageError: A file is there and cannot be read.
    """
    if not await storage.exists(f"{path}/{COMMIT_FILE}"):
        return WindowCheck(committed=False)
    try:
        record = await read_document(storage, f"{path}/{COMMIT_FILE}", _CommitRecord)
    except TornFileError:
        return WindowCheck(committed=False, torn=(COMMIT_FILE,))
    missing: list[str] = []
    torn: list[str] = []
    for file in record.files:
        if not await storage.exists(f"{path}/{file.path}"):
            missing.append(file.path)
        elif not await is_whole(storage, path, file):
            torn.append(file.path)
    return WindowCheck(committed=True, missing=tuple(missing), torn=tuple(torn))


class _CommitRecord(DocumentHead, frozen=True):
    files: tuple[FileRecord, ...]


async def _finish_replacement(storage: Storage, run_dir: str, aside: str) -> None:
    """Complete what a process that died while replacing a run began, or take it back."""
    if await storage.exists(run_dir):
        await storage.remove_tree(aside)
    else:
        await storage.move(aside, run_dir)


async def _refuse_inside_another(storage: Storage, run_dir: str) -> None:
    for parent in PurePosixPath(run_dir).parents[:-1]:
        if await storage.exists(f"{parent}/{RUN_FILE}"):
            raise ResultExistsError(
                f"{storage.locate(run_dir)} lies inside the results of another run, "
                f"{storage.locate(str(parent))}: choose another results_dir"
            )


async def _refuse_foreign(storage: Storage, run_dir: str) -> None:
    """Raise if a folder holds anything, and not a run of admf."""
    if not await storage.list_files(run_dir):
        return
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

"""Computes results once more from the event logs beside them, and compares the bytes."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, TypeAlias

import msgspec

from admf.containers.replay import log_reader, replay_document
from admf.engine.errors import MissingFileError, RegistryError, StorageError
from admf.engine.files import storage_error
from admf.engine.local_folder import LocalFolder
from admf.engine.packing import SUFFIXES, Compression, plain_name, whole_text
from admf.engine.registry import Registry
from admf.engine.result_names import CONTAINERS, RESULTS_END, TRACE_END
from admf.engine.retention import TraceStore

__all__ = ["Replay", "Replayed", "replay"]

Outcome: TypeAlias = Literal["same", "different", "damaged"]


class Replayed(msgspec.Struct, frozen=True):
    """A container whose results were to be computed once more.

    Args:
        path: Its file in the folder, without the suffix of its compression.
        outcome: ``same`` bytes, ``different`` ones, or ``damaged`` if its file or its log is
            damaged, missing or not complete.
        detail: What differs first and how, or what is wrong; empty for ``same``.
    """

    path: str
    outcome: Outcome
    detail: str = ""


class Replay(msgspec.Struct, frozen=True):
    """The containers of a folder that have an event log, or should have one.

    Args:
        folder: The folder, as it was given.
        containers: In the order of their paths.
        without_log: Containers of which no log of all events was to be kept.
    """

    folder: str
    containers: tuple[Replayed, ...]
    without_log: int = 0

    def count(self, outcome: Outcome) -> int:
        """Return how many containers came to an outcome."""
        return sum(it.outcome == outcome for it in self.containers)


class _Window(msgspec.Struct, frozen=True):
    tracing: _Tracing


class _Tracing(msgspec.Struct, frozen=True):
    store: TraceStore = "none"


class _Stored(msgspec.Struct, frozen=True):
    """Of a container's file, what says whether there is a log."""

    window: _Window = _Window(_Tracing())


def replay(place: str | os.PathLike[str], *, registry: Registry | None = None) -> Replay:
    """Recompute, for every container with a log of all events, what its tracer found.

    The container's file is put together anew, from its own other fields and from those that the log
    gives, and has to have the very bytes that are on disk (uncompressed).

    Args:
        place: Folder of a run, a phase, a window or its containers, or a container's file.
        registry: Holds retention policies that are not built in; those of installed plug-ins, if
            not given.

    Raises:
        StorageError: There is nothing to replay, or a file cannot be read.
        ConfigError: A retention policy is not known.
    """
    path = Path(place)
    folder = path if path.is_dir() else path.parent
    files = _files(path)
    reader = _Containers(LocalFolder(folder), files, registry)
    found = [reader.replay(name) for name in _containers(files)]
    containers = tuple(it for it in found if it is not None)
    if not containers:
        raise StorageError(_nothing(path, len(found)))
    return Replay(str(place), containers, len(found) - len(containers))


class _Containers:
    """Replays the containers of a folder, one at a time."""

    def __init__(
        self, folder: LocalFolder, files: Iterable[str], registry: Registry | None
    ) -> None:
        self._folder = folder
        self._files = frozenset(files)
        self._registry = registry or Registry()
        self._loaded = registry is not None

    def replay(self, name: str) -> Replayed | None:
        """Return the outcome of a container; None if it was to have no log.

        Args:
            name: Path of its files without what they end with.
        """
        path = name + RESULTS_END
        try:
            text = self._text(path)
            if text is None:
                return Replayed(path, "damaged", "its file is missing: its window was cut short")
            if msgspec.json.decode(text, type=_Stored).window.tracing.store != "all":
                return None
            difference = self._difference(text, name + TRACE_END)
        except (StorageError, msgspec.DecodeError, ValueError) as error:
            return Replayed(path, "damaged", str(error))
        return Replayed(path, "different" if difference else "same", difference)

    def _text(self, path: str) -> bytes | None:
        """Return the text of a document that is whole; None if there is none."""
        for compression, suffix in SUFFIXES.items():
            if path + suffix in self._files:
                return self._whole(path + suffix, compression)
        return None

    def _whole(self, path: str, compression: Compression) -> bytes:
        return whole_text(self._folder.read(path), compression)

    def _difference(self, text: bytes, trace: str) -> str:
        if trace not in self._files:
            raise MissingFileError("its event log is missing")
        try:
            return self._replayed(text, trace)
        except RegistryError:
            if self._loaded:
                raise
        self._registry.load_entry_points()  # which takes long, and is rarely needed
        self._loaded = True
        return self._replayed(text, trace)

    def _replayed(self, text: bytes, trace: str) -> str:
        with _opened(self._folder, trace) as (file, size):

            def read(start: int, count: int) -> bytes:
                file.seek(start)
                return file.read(count)

            try:
                return replay_document(text, log_reader(read, size), self._registry)
            except StorageError as error:
                raise StorageError(f"its event log cannot be used: {error}") from error


@contextmanager
def _opened(folder: LocalFolder, path: str) -> Generator[tuple[BinaryIO, int]]:
    folder.exists(path)  # refuses links
    try:
        with folder.locate(path).open("rb") as file:
            yield file, file.seek(0, os.SEEK_END)
    except OSError as error:
        raise storage_error("read", str(folder.locate(path)), error) from error


def _files(path: Path) -> list[str]:
    """Return the files of containers in a folder and below, or those of one container."""
    if path.is_dir():
        return [it for it in LocalFolder(path).list_files() if _container_of(path, it)]
    name = _name_of(path.name)
    if name is None:
        return []
    return [it for it in LocalFolder(path.parent).list_files() if _name_of(it) == name]


def _containers(files: Iterable[str]) -> list[str]:
    """Return the paths of containers without what their files end with, each once."""
    names = (_name_of(file) for file in files)
    return sorted({name for name in names if name is not None})


def _container_of(folder: Path, file: str) -> bool:
    """Whether a file is one of a container."""
    parent = PurePosixPath(folder.resolve().name, file).parent.name
    return parent == CONTAINERS and _name_of(file) is not None


def _name_of(file: str) -> str | None:
    """Return the path of a container without what its files end with; None if it is none."""
    plain = plain_name(file)
    for ending in (RESULTS_END, TRACE_END):
        if plain.endswith(ending):
            return plain.removesuffix(ending)
    return None


def _nothing(path: Path, containers: int) -> str:
    if not path.exists():
        return f"{path}: there is no such file or folder"
    if containers:
        return (
            f"no event log was kept of the containers in {path}: "
            "set 'trace: {store: all}' in the experiment and run it again"
        )
    return f"there are no results of containers in {path}"

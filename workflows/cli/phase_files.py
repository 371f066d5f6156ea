"""The files of a phase, whether they are on disk or stayed in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from admf.engine.documents import read_document
from admf.engine.storage import Storage

__all__ = ["HeldFiles", "PhaseFiles", "StoredFiles"]

T = TypeVar("T")


class PhaseFiles(Protocol):
    """What is read of a phase; paths are relative to its folder."""

    async def paths(self) -> Sequence[str]:
        """Return the paths of all files."""
        ...

    async def read(self, path: str, kind: type[T]) -> T:
        """Return a file, decoded as ``kind``."""
        ...


class StoredFiles:
    """The files in a folder of a storage.

    Args:
        storage: Where they are kept.
        folder: The phase's folder in the storage.
    """

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self._folder = folder

    async def paths(self) -> Sequence[str]:
        """Return the paths of all files; none if there is no such folder."""
        found = await self._storage.list_files(self._folder)
        return [path.removeprefix(f"{self._folder}/") for path in found]

    async def read(self, path: str, kind: type[T]) -> T:
        """Return a file.

        Raises:
            TornFileError: It is damaged.
            StorageError: It cannot be read.
        """
        return await read_document(self._storage, f"{self._folder}/{path}", kind)


class HeldFiles:
    """Documents by what would be their path, as a run hands them back.

    Args:
        documents: See `PhaseData`.
    """

    def __init__(self, documents: Mapping[str, Any]) -> None:
        self._documents = documents

    async def paths(self) -> Sequence[str]:
        """Return the paths of all documents."""
        return list(self._documents)

    async def read(self, path: str, kind: type[T]) -> T:
        """Return a document."""
        return msgspec.convert(self._documents[path], kind)

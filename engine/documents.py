"""Result documents as files: the one place that knows how a document becomes bytes and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec
from anyio import to_thread

from admf.engine.encoding import iter_json
from admf.engine.errors import TornFileError
from admf.engine.storage import Storage

__all__ = [
    "SCHEMA_VERSION",
    "DocumentHead",
    "FileRecord",
    "is_whole",
    "read_document",
    "write_document",
]

T = TypeVar("T")

SCHEMA_VERSION = 1


class DocumentHead(msgspec.Struct, frozen=True):
    """What every document begins with."""

    schema_version: int


class FileRecord(msgspec.Struct, frozen=True):
    """A file as it was written: path relative to a folder, bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


async def write_document(
    storage: Storage, folder: str, name: str, body: Mapping[str, object]
) -> FileRecord:
    """Store a document, headed by its ``schema_version``, whole or not at all.

    Args:
        storage: Where to keep it.
        folder: A path in the storage, which the record's path is relative to.
        name: Path of the file in the folder.
        body: The fields; see `admf.engine.encoding.iter_json`.

    Raises:
        StorageError: It cannot be encoded or written; an earlier file is still whole.
    """
    path = f"{folder}/{name}"
    fingerprint = _Fingerprint()
    chunks = iter_json({"schema_version": SCHEMA_VERSION, **body}, storage.locate(path))
    await storage.write_atomic(path, fingerprint.of(chunks))
    return FileRecord(name, fingerprint.size, fingerprint.sha256.hexdigest())


async def read_document(storage: Storage, path: str, kind: type[T]) -> T:
    """Return a stored document.

    Args:
        storage: Where it is kept.
        path: Its file.
        kind: What to decode it as: a Struct with the fields that matter, or a plain dict.

    Raises:
        TornFileError: The file is not whole, or was not written by admf.
        StorageError: It cannot be read.
    """
    content = await storage.read(path)
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TornFileError(
            f"{storage.locate(path)} is damaged or was not written by admf: {error}; "
            "restore it, or run again with --overwrite"
        ) from error


async def is_whole(storage: Storage, folder: str, file: FileRecord) -> bool:
    """Whether a file has the content that its record tells.

    Raises:
        StorageError: It cannot be read.
    """
    content = await storage.read(f"{folder}/{file.path}")
    digest = await to_thread.run_sync(hashlib.sha256, content)
    return digest.hexdigest() == file.sha256


class _Fingerprint:
    """Size and SHA-256 of the chunks that passed through."""

    def __init__(self) -> None:
        self.size = 0
        self.sha256 = hashlib.sha256()

    def of(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.size += len(chunk)
            self.sha256.update(chunk)
            yield chunk

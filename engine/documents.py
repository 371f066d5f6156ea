"""Result documents as files: the one place that knows how a document becomes bytes and back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec
from anyio import to_thread

from admf.engine.encoding import iter_json
from admf.engine.errors import MissingFileError, StorageError, TornFileError
from admf.engine.held import HeldStorage
from admf.engine.local_folder import LocalFolder
from admf.engine.packing import SUFFIXES, Compression, Packer, whole_text
from admf.engine.storage import Storage

__all__ = [
    "SCHEMA_VERSION",
    "DocumentHead",
    "FileRecord",
    "find_document",
    "hold_document",
    "is_whole",
    "read_document",
    "read_document_from",
    "record_of",
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
    storage: Storage,
    folder: str,
    name: str,
    body: Mapping[str, object],
    compression: Compression = "none",
) -> FileRecord:
    """Store a document, whole or not at all, with ``schema_version`` first and a checksum last.

    Args:
        storage: Where to keep it.
        folder: A path in the storage, which the record's path is relative to.
        name: Path of the document in the folder; that of the file also tells the compression.
        body: The fields; see `admf.engine.encoding.iter_json`.
        compression: Of the file.

    Raises:
        StorageError: It cannot be encoded or written; an earlier file is still whole.
    """
    name += SUFFIXES[compression]
    path = f"{folder}/{name}"
    packer = Packer(compression)
    texts = iter_json({"schema_version": SCHEMA_VERSION, **body}, storage.locate(path))
    await storage.write_atomic(path, _packed(texts, packer))
    return FileRecord(name, packer.size, packer.sha256)


async def hold_document(
    storage: HeldStorage,
    folder: str,
    name: str,
    body: Mapping[str, object],
    compression: Compression = "none",
) -> Callable[[], FileRecord]:
    """Put a document in memory as it is, to be encoded when somebody reads it.

    Args:
        storage: Where to keep it.
        folder: As for `write_document`.
        name: Likewise.
        body: Likewise; what is in it must not change any more.
        compression: Likewise.

    Returns:
        What returns the record of the file, and has it encoded for that.
    """
    name += SUFFIXES[compression]
    path = f"{folder}/{name}"
    held = [{"schema_version": SCHEMA_VERSION, **body}]

    def encode() -> bytes:
        return b"".join(_packed(iter_json(held.pop(), path), Packer(compression)))

    def record() -> FileRecord:
        return _record(name, storage.peek(path) or b"")

    await storage.hold(path, encode)
    return record


def _packed(texts: Iterable[bytes], packer: Packer) -> Iterator[bytes]:
    for text in texts:
        yield packer.add(text)
    yield packer.finish()


async def read_document(storage: Storage, path: str, kind: type[T]) -> T:
    """Return a stored document.

    Args:
        storage: Where it is kept.
        path: Its file, without the suffix of its compression.
        kind: What to decode it as: a Struct with the fields that matter, or a plain dict.

    Raises:
        MissingFileError: There is none.
        TornFileError: The file is not as it was written, or was not written by admf.
        StorageError: It cannot be read, or was written by a later version.
    """
    missing: MissingFileError | None = None
    for compression, suffix in SUFFIXES.items():
        try:
            content = await storage.read(path + suffix)
        except MissingFileError as error:
            missing = missing or error
        else:
            return _document(content, compression, storage.locate(path + suffix), kind)
    raise missing or MissingFileError(path)


def read_document_from(folder: LocalFolder, path: str, kind: type[T]) -> T:
    """Return a document that is stored in a local folder; blocks, otherwise as `read_document`."""
    missing: MissingFileError | None = None
    for compression, suffix in SUFFIXES.items():
        try:
            content = folder.read(path + suffix)
        except MissingFileError as error:
            missing = missing or error
        else:
            return _document(content, compression, str(folder.locate(path + suffix)), kind)
    raise missing or MissingFileError(path)


async def find_document(storage: Storage, path: str) -> bool:
    """Whether there is a document, compressed or not."""
    for suffix in SUFFIXES.values():
        if await storage.exists(path + suffix):
            return True
    return False


async def record_of(storage: Storage, folder: str, name: str) -> FileRecord:
    """Return what a file is now, by its path in a folder.

    Raises:
        StorageError: It cannot be read.
    """
    return await to_thread.run_sync(_record, name, await storage.read(f"{folder}/{name}"))


def _record(name: str, content: bytes) -> FileRecord:
    return FileRecord(name, len(content), hashlib.sha256(content).hexdigest())


async def is_whole(storage: Storage, folder: str, file: FileRecord) -> bool:
    """Whether a file has the content that its record tells.

    Raises:
        StorageError: It cannot be read.
    """
    return await record_of(storage, folder, file.path) == file


def _document(content: bytes, compression: Compression, place: str, kind: type[T]) -> T:
    try:
        text = whole_text(content, compression)
        found = msgspec.json.decode(text, type=DocumentHead).schema_version
        if found == SCHEMA_VERSION:
            return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, ValueError) as error:
        raise TornFileError(
            f"{place} is damaged or was not written by admf: {error}; "
            "restore it, or run again with --overwrite"
        ) from error
    raise StorageError(
        f"{place} has format {found}, which this version does not know (it writes "
        f"{SCHEMA_VERSION}): read it with the version of admf that wrote it"
    )

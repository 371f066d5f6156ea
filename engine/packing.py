"""What happens to the text of a document on its way to a file: it is sealed, and compressed.

A sealed document ends with a field ``content_sha256`` over all that stands before it, so that each
document tells by itself whether it is whole.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, Protocol, TypeAlias

import zstandard

__all__ = [
    "SEAL_FIELD",
    "SUFFIXES",
    "Compression",
    "Packer",
    "compression_of",
    "plain_name",
    "whole_text",
]

Compression: TypeAlias = Literal["none", "gzip", "zstd"]

SUFFIXES: Mapping[Compression, str] = MappingProxyType({"none": "", "gzip": ".gz", "zstd": ".zst"})
"""What is added to the name of a file."""

SEAL_FIELD = "content_sha256"
"""The last field of a document."""

_ZSTD_LEVEL = 3
_GZIP_LEVEL = 6
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
_END = b"}\n"
_SEAL = f',"{SEAL_FIELD}":"'.encode()
_SEAL_END = b'"}\n'
_SEAL_BYTES = len(_SEAL) + 64 + len(_SEAL_END)


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class Packer:
    """Turns the parts of one document into the parts of its file.

    Its methods take time and are made for threads; one at a time may run.

    Args:
        compression: Of the file.

    Attributes:
        size: Bytes of the file so far.
    """

    def __init__(self, compression: Compression = "none") -> None:
        self.size = 0
        self._content = hashlib.sha256()
        self._file = hashlib.sha256()
        self._compressor = _compressor(compression)

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, in hex, once it is finished."""
        return self._file.hexdigest()

    def add(self, text: bytes) -> bytes:
        """Return what the next part of the document adds to the file; the last ends the line."""
        text = text.removesuffix(_END)
        self._content.update(text)
        if self._compressor is None:
            self.size += len(text)
            return text
        return self._counted(self._compressor.compress(text))

    def finish(self) -> bytes:
        """Return the seal, and what the compression still held back."""
        seal = _SEAL + self._content.hexdigest().encode() + _SEAL_END
        if self._compressor is None:
            self._file = self._content.copy()  # up to here the file is the content
            return self._counted(seal)
        return self._counted(self._compressor.compress(seal) + self._compressor.flush())

    def _counted(self, part: bytes) -> bytes:
        self.size += len(part)
        self._file.update(part)
        return part


def _compressor(compression: Compression) -> _Compressor | None:
    if compression == "gzip":  # writes no time, so the same text gives the same bytes
        return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
    if compression == "zstd":
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    return None


def plain_name(path: str) -> str:
    """Return the path of a document without the suffix of its compression."""
    for suffix in filter(None, SUFFIXES.values()):
        path = path.removesuffix(suffix)
    return path


def compression_of(path: str) -> Compression:
    """Return how a file is compressed, by its name."""
    suffix = path.removeprefix(plain_name(path))
    return next(name for name, it in SUFFIXES.items() if it == suffix)


def whole_text(content: bytes, compression: Compression) -> bytes:
    """Return the document that a file holds, its checksum included.

    Raises:
        ValueError: It is not as it was written.
    """
    text = _unpacked(content, compression)
    head, seal = text[:-_SEAL_BYTES], text[-_SEAL_BYTES:]
    if seal != _SEAL + hashlib.sha256(head).hexdigest().encode() + _SEAL_END:
        sealed = seal.startswith(_SEAL)
        raise ValueError("it was changed" if sealed else "it has no checksum at its end")
    return text


def _unpacked(content: bytes, compression: Compression) -> bytes:
    try:
        if compression == "gzip":
            return zlib.decompress(content, _GZIP_FORMAT)
        if compression == "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(content)
    except (zlib.error, zstandard.ZstdError) as error:
        raise ValueError(str(error)) from error
    return content

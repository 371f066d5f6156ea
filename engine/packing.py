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

__all__ = ["SUFFIXES", "Compression", "Packer", "check_seal", "unpacked"]

Compression: TypeAlias = Literal["none", "gzip", "zstd"]

SUFFIXES: Mapping[Compression, str] = MappingProxyType({"none": "", "gzip": ".gz", "zstd": ".zst"})
"""What is added to the name of a file."""

_ZSTD_LEVEL = 3
_GZIP_LEVEL = 6
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
_END = b"}\n"
_SEAL = b',"content_sha256":"'
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


def unpacked(content: bytes, compression: Compression) -> bytes:
    """Return the text of a file.

    Raises:
        ValueError: The file is cut or damaged.
    """
    try:
        if compression == "gzip":
            return zlib.decompress(content, _GZIP_FORMAT)
        if compression == "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(content)
    except (zlib.error, zstandard.ZstdError) as error:
        raise ValueError(str(error)) from error
    return content


def check_seal(text: bytes) -> None:
    """Look whether a document is as it was written.

    Raises:
        ValueError: It is not.
    """
    head, seal = text[:-_SEAL_BYTES], text[-_SEAL_BYTES:]
    expected = _SEAL + hashlib.sha256(head).hexdigest().encode() + _SEAL_END
    if seal != expected:
        sealed = seal.startswith(_SEAL)
        raise ValueError("it was changed" if sealed else "it has no checksum at its end")

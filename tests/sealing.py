"""Changes a stored document in the way admf itself would have written it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from admf.engine.packing import Packer


def sealed(document: dict[str, Any]) -> bytes:
    """Return a document as a file, with its checksum."""
    packer = Packer()
    fields = {name: value for name, value in document.items() if name != "content_sha256"}
    text = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
    return packer.add(text) + packer.finish()


def change(file: Path, **fields: Any) -> None:
    """Set fields of a stored document."""
    file.write_bytes(sealed({**json.loads(file.read_bytes()), **fields}))


def content(file: bytes) -> bytes:
    """Return a stored document without its checksum."""
    return file.partition(b',"content_sha256"')[0]


def without(file: bytes, *names: str) -> dict[str, Any]:
    """Return the fields of a stored document but for its checksum and those named."""
    left_out = {"content_sha256", *names}
    return {name: value for name, value in json.loads(file).items() if name not in left_out}

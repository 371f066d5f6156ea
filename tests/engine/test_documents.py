from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from admf.engine.documents import (
    SCHEMA_VERSION,
    DocumentHead,
    FileRecord,
    is_whole,
    read_document,
    write_document,
)
from admf.engine.errors import StorageError, TornFileError
from admf.engine.storage import LocalStorage, MemoryStorage, Storage

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return LocalStorage(tmp_path) if request.param == "local" else MemoryStorage()


async def test_a_document_is_headed_by_its_schema_version(storage: Storage) -> None:
    await write_document(storage, "run", "a.json", {"status": "completed"})
    assert await storage.read("run/a.json") == b'{"schema_version":1,"status":"completed"}\n'


async def test_the_record_of_a_file_is_what_other_tools_measure(tmp_path: Path) -> None:
    body = {"values": list(range(100_000)), "nested": {"x": float("nan")}}
    record = await write_document(LocalStorage(tmp_path), "run", "deep/a.json", body)
    content = (tmp_path / "run/deep/a.json").read_bytes()
    assert record == FileRecord("deep/a.json", len(content), hashlib.sha256(content).hexdigest())
    assert json.loads(content)["values"] == body["values"]


async def test_the_same_document_gives_the_same_bytes_everywhere(tmp_path: Path) -> None:
    body = {"b": 1.1, "a": [1e300, -0.0], "c": {"z": None, "y": "é"}}
    records = [
        await write_document(storage, "run", "a.json", body)
        for storage in (LocalStorage(tmp_path), MemoryStorage())
    ]
    assert records[0] == records[1]


async def test_a_document_is_read_as_the_type_asked_for(storage: Storage) -> None:
    class Summary(msgspec.Struct):
        status: str

    await write_document(storage, "run", "a.json", {"status": "failed", "more": [1]})
    assert await read_document(storage, "run/a.json", Summary) == Summary("failed")
    head = await read_document(storage, "run/a.json", DocumentHead)
    assert head == DocumentHead(SCHEMA_VERSION)
    plain = await read_document(storage, "run/a.json", dict)
    assert plain == {"schema_version": 1, "status": "failed", "more": [1]}


@pytest.mark.parametrize(
    "content", [b"", b'{"schema_version":1', b"[]", b'{"schema_version":"1"}', b'{"a":1}', b"\xff"]
)
async def test_what_is_not_a_document_of_admf_is_torn(storage: Storage, content: bytes) -> None:
    await storage.write_atomic("run/a.json", [content])
    with pytest.raises(TornFileError, match=r"run/a\.json is damaged or was not written by admf"):
        await read_document(storage, "run/a.json", DocumentHead)


async def test_a_string_that_is_not_utf8_is_torn(storage: Storage) -> None:
    await storage.write_atomic("run/a.json", [b'{"status":"\xff"}'])
    with pytest.raises(TornFileError):
        await read_document(storage, "run/a.json", dict)


async def test_a_value_without_json_form_leaves_the_old_document(storage: Storage) -> None:
    await write_document(storage, "run", "a.json", {"status": "old"})
    with pytest.raises(StorageError, match=r"cannot write .*run/a\.json: .*type object"):
        await write_document(storage, "run", "a.json", {"status": object()})
    assert (await read_document(storage, "run/a.json", dict))["status"] == "old"


@pytest.mark.parametrize("damage", ["cut", "flipped", "longer"])
async def test_damage_to_a_file_is_seen(storage: Storage, damage: str) -> None:
    record = await write_document(storage, "run", "a.json", {"status": "completed"})
    assert await is_whole(storage, "run", record)
    content = await storage.read("run/a.json")
    flipped = bytes([content[3] ^ 1])
    damaged = {
        "cut": content[:-1],
        "flipped": content[:3] + flipped + content[4:],
        "longer": content + b"\n",
    }
    await storage.write_atomic("run/a.json", [damaged[damage]])
    assert not await is_whole(storage, "run", record)

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import msgspec
import pytest
import zstandard

from admf.engine.documents import (
    SCHEMA_VERSION,
    DocumentHead,
    FileRecord,
    find_document,
    is_whole,
    read_document,
    read_document_from,
    record_of,
    write_document,
)
from admf.engine.errors import MissingFileError, StorageError, TornFileError
from admf.engine.local_folder import LocalFolder
from admf.engine.packing import SUFFIXES, Compression, Packer, plain_name
from admf.engine.storage import LocalStorage, MemoryStorage, Storage
from tests.sealing import sealed

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return LocalStorage(tmp_path) if request.param == "local" else MemoryStorage()


def unpack(content: bytes, compression: Compression) -> bytes:
    """Return what other readers find in a file."""
    if compression == "gzip":
        return gzip.decompress(content)
    if compression == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(content)
    return content


async def test_a_document_is_headed_by_its_schema_version_and_sealed(storage: Storage) -> None:
    await write_document(storage, "run", "a.json", {"status": "completed"})
    text = b'{"schema_version":1,"status":"completed"'
    seal = hashlib.sha256(text).hexdigest().encode()
    assert await storage.read("run/a.json") == text + b',"content_sha256":"' + seal + b'"}\n'


@pytest.mark.parametrize("compression", SUFFIXES)
async def test_a_compressed_document_is_the_plain_one_compressed(
    storage: Storage, compression: Compression
) -> None:
    body = {"values": list(range(50_000)), "text": "é" * 1000}
    plain = await write_document(storage, "run", "plain.json", body)
    record = await write_document(storage, "run", "deep/a.json", body, compression)
    assert record.path == "deep/a.json" + SUFFIXES[compression]
    content = await storage.read(f"run/{record.path}")
    text = unpack(content, compression)
    assert text == await storage.read("run/plain.json")
    assert (len(text), hashlib.sha256(text).hexdigest()) == (plain.size, plain.sha256)
    assert (len(content), hashlib.sha256(content).hexdigest()) == (record.size, record.sha256)
    assert await record_of(storage, "run", record.path) == record
    assert (compression == "none") == (record.size == plain.size)


@pytest.mark.parametrize("compression", SUFFIXES)
async def test_documents_are_found_and_read_by_their_plain_name(
    tmp_path: Path, compression: Compression
) -> None:
    storage = LocalStorage(tmp_path)
    assert not await find_document(storage, "run/a.json")
    await write_document(storage, "run", "a.json", {"values": [1, 2]}, compression)
    assert await find_document(storage, "run/a.json")
    assert (await read_document(storage, "run/a.json", dict))["values"] == [1, 2]
    found = read_document_from(LocalFolder(tmp_path), "run/a.json", dict)
    assert found == await read_document(storage, "run/a.json", dict)


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("a/b.json", "a/b.json"),
        ("a/b.json.gz", "a/b.json"),
        ("a/b.json.zst", "a/b.json"),
        ("a.gz/b.json", "a.gz/b.json"),
        ("", ""),
    ],
)
async def test_the_plain_name_has_no_suffix_of_a_compression(path: str, plain: str) -> None:
    assert plain_name(path) == plain


async def test_a_document_that_is_not_there_is_missing_by_its_plain_name(
    storage: Storage, tmp_path: Path
) -> None:
    with pytest.raises(MissingFileError, match=r"run/a\.json(: |$)"):
        await read_document(storage, "run/a.json", dict)
    with pytest.raises(MissingFileError, match=r"run/a\.json: "):
        read_document_from(LocalFolder(tmp_path), "run/a.json", dict)


@pytest.mark.parametrize("version", [0, 2, 99])
async def test_a_document_of_another_version_is_told_apart_from_a_torn_one(
    tmp_path: Path, version: int
) -> None:
    storage = LocalStorage(tmp_path)
    await storage.write_atomic("run/a.json", [sealed({"schema_version": version, "x": 1})])
    message = rf"run/a\.json has format {version}, which this version does not know"
    with pytest.raises(StorageError, match=message) as caught:
        await read_document(storage, "run/a.json", dict)
    assert not isinstance(caught.value, TornFileError)
    assert caught.value.exit_code == 6
    with pytest.raises(StorageError, match=message):
        read_document_from(LocalFolder(tmp_path), "run/a.json", dict)


@pytest.mark.parametrize("compression", SUFFIXES)
async def test_the_parts_of_a_file_do_not_change_what_is_in_it(compression: Compression) -> None:
    text = json.dumps({"schema_version": 1, "values": list(range(5000))}).encode() + b"\n"
    whole, cut = Packer(compression), Packer(compression)
    parts = [text[at : at + 997] for at in range(0, len(text), 997)]
    contents = [
        b"".join([*map(packer.add, texts), packer.finish()])
        for packer, texts in ((whole, [text]), (cut, parts))
    ]
    assert unpack(contents[0], compression) == unpack(contents[1], compression)
    for packer, content in zip((whole, cut), contents, strict=True):
        assert packer.size == len(content)
        assert packer.sha256 == hashlib.sha256(content).hexdigest()


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
    assert len(plain.pop("content_sha256")) == 64
    assert plain == {"schema_version": 1, "status": "failed", "more": [1]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"schema_version":1',
        b"[]",
        b'{"schema_version":"1"}',
        b'{"a":1}',
        b"\xff",
        sealed({"schema_version": "1"}),
        sealed({"a": 1}),
    ],
)
async def test_what_is_not_a_document_of_admf_is_torn(storage: Storage, content: bytes) -> None:
    await storage.write_atomic("run/a.json", [content])
    with pytest.raises(TornFileError, match=r"run/a\.json is damaged or was not written by admf"):
        await read_document(storage, "run/a.json", DocumentHead)


async def test_a_string_that_is_not_utf8_is_torn(storage: Storage) -> None:
    packer = Packer()
    content = packer.add(b'{"schema_version":1,"status":"\xff"}\n') + packer.finish()
    await storage.write_atomic("run/a.json", [content])
    with pytest.raises(TornFileError, match="damaged"):
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

"""Documents in memory become bytes when they are read, and the same ones as on disk."""

from __future__ import annotations

import json

import pytest

from admf.engine.held import HeldStorage
from admf.engine.results import Document, ResultStore
from admf.engine.storage import MemoryStorage

pytestmark = pytest.mark.anyio


async def files(storage: MemoryStorage) -> dict[str, bytes]:
    """Write a window, and return its files."""
    window = (await ResultStore.create(storage, "run")).window("phase")
    await window.write_container(Document("portfolio_001", {"values": iter([1.5, 2.0])}))
    await window.write_late("all_trades.json", {"trades": []})
    await window.commit({"status": "completed"}, [])
    return {path: await storage.read(path) for path in await storage.list_files("run")}


async def test_what_is_held_is_what_would_be_written() -> None:
    held, written = await files(HeldStorage()), await files(MemoryStorage())
    assert held == written
    names = {path.removeprefix("run/phase/") for path in held}
    assert {"phase_summary.json", "all_trades.json"} < names
    record = json.loads(held["run/phase/phase_summary.json"])
    assert len(record["files"]) == 2


async def test_a_document_is_encoded_once_and_only_if_it_is_read() -> None:
    storage, encoded = HeldStorage(), list[str]()

    def encode(name: str) -> bytes:
        encoded.append(name)
        return name.encode()

    for name in ("a", "b", "c"):
        await storage.hold(f"run/{name}", lambda name=name: encode(name))  # type: ignore[misc]
    assert await storage.list_files("run") == ["run/a", "run/b", "run/c"]
    assert await storage.exists("run/a")
    assert encoded == []
    assert await storage.read("run/a") == storage.peek("run/a") == b"a"
    assert encoded == ["a"]
    await storage.write_atomic("run/b", [b"else"])
    assert await storage.read("run/b") == b"else"
    await storage.move("run", "moved")
    assert encoded == ["a", "c"]
    assert await storage.read("moved/c") == b"c"


async def test_a_document_that_was_removed_does_not_come_back() -> None:
    storage = HeldStorage()
    await storage.hold("run/a", lambda: b"a")
    await storage.remove("run/a")
    assert storage.peek("run/a") is None
    assert not await storage.exists("run/a")

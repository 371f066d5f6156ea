"""Damage to the bytes of a file: what is read is what was written, or the reader refuses."""

from __future__ import annotations

import gzip
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import zstandard

from admf.engine.documents import read_document, read_document_from, write_document
from admf.engine.errors import StorageError, TornFileError
from admf.engine.local_folder import LocalFolder
from admf.engine.packing import SUFFIXES, Compression
from admf.engine.results import Document, ResultStore
from admf.engine.storage import LocalStorage, MemoryStorage
from admf.engine.tree_check import verify_tree

TIMES = 200
IN_WINDOW = "containers/portfolio_001_results.json"
PORTFOLIO = f"backtest/w1/{IN_WINDOW}"

FORMATS: dict[str, tuple[Compression, str]] = {
    "plain": ("none", PORTFOLIO),
    "gzip": ("gzip", PORTFOLIO),
    "zstd": ("zstd", PORTFOLIO),
    "run record": ("none", "run.json"),
    "commit record of a window": ("none", "backtest/w1/phase_summary.json"),
    "commit record of a phase": ("none", "backtest/phase_summary.json"),
}
"""By what they are called: the compression of a run, and a document in it."""

Damage = Callable[[bytes, random.Random], bytes]


def body_of(window: str) -> dict[str, Any]:
    chance = random.Random(window)
    equity = [round(10_000 * chance.random(), 6) for _ in range(500)]
    return {"window_id": window, "status": "completed", "metrics": {"pi": 3.14}, "equity": equity}


async def write_run(root: Path, compression: Compression) -> None:
    store = await ResultStore.create(LocalStorage(root), "run")
    phase = store.window("backtest", "", compression)
    records = []
    for name in ("w1", "w2"):
        window = store.window("backtest", name, compression)
        await window.write_container(Document("portfolio_001", body_of(name)))
        await window.commit({"phase_name": "backtest", "window_id": name, "status": "completed"})
        records.append(window.record_below(phase))
    summary = {"phase_name": "backtest", "window_id": "", "status": "completed"}
    await phase.commit(summary, filter(None, records))
    await store.write_run({"run_id": "study", "status": "completed", "results": {"a": True}})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("written")
    for compression in SUFFIXES:
        anyio.run(write_run, root / compression, compression)
    return root


@pytest.fixture
def open_run(written: Path, tmp_path: Path) -> Callable[[Compression], LocalFolder]:
    """Return a function that makes a copy of a run whose files have a compression."""

    def open_run(compression: Compression) -> LocalFolder:
        shutil.copytree(written / compression / "run", tmp_path / "run")
        return LocalFolder(tmp_path / "run")

    return open_run


def findings(folder: LocalFolder) -> list[tuple[str, str]]:
    check = verify_tree(folder, {"backtest": True}, beside=["run.json"])
    return [(it.kind, it.path) for it in check.findings]


def file_of(folder: LocalFolder, name: str) -> Path:
    """Return the file of a document."""
    places = [folder.locate(name + suffix) for suffix in SUFFIXES.values()]
    (file,) = [place for place in places if place.exists()]
    return file


def truncated(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def flipped(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def overwritten(content: bytes, chance: random.Random) -> bytes:
    """Return a file in which a stretch is zero, as after a crash without fsync."""
    start = chance.randrange(len(content))
    end = min(len(content), start + chance.randrange(1, 4096))
    return content[:start] + bytes(end - start) + content[end:]


def damaged(file: Path, damage: Damage, seed: str) -> Iterator[bytes]:
    """Damage a file many times over; yield what it is then."""
    content = file.read_bytes()
    chance = random.Random(seed)
    for _ in range(TIMES):
        changed = damage(content, chance)
        file.write_bytes(changed)
        yield changed
    file.write_bytes(content)


def outcome(read: Callable[[], Any]) -> Any:
    """Return what is read; None if the reader refuses."""
    try:
        return read()
    except TornFileError:
        return None


@pytest.mark.parametrize("damage", [truncated, flipped, overwritten])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_document_is_refused_or_reads_as_it_was(
    open_run: Callable[[Compression], LocalFolder], kind: str, damage: Damage
) -> None:
    compression, name = FORMATS[kind]
    folder = open_run(compression)
    original = read_document_from(folder, name, dict)
    file = file_of(folder, name)
    whole = file.read_bytes()
    refused = 0
    for content in damaged(file, damage, kind):
        found = outcome(lambda: read_document_from(folder, name, dict))
        assert found in (None, original)
        assert found is None or compression != "none" or content == whole
        refused += found is None
    assert refused > TIMES * (0.97 if compression == "none" else 0.9)


@pytest.mark.parametrize("damage", [truncated, flipped])
@pytest.mark.parametrize("kind", [kind for kind, (_, name) in FORMATS.items() if "/" in name])
def test_verification_finds_any_damage_to_a_listed_file(
    open_run: Callable[[Compression], LocalFolder], kind: str, damage: Damage
) -> None:
    compression, name = FORMATS[kind]
    folder = open_run(compression)
    file = file_of(folder, name)
    assert findings(folder) == []
    for _ in damaged(file, damage, kind):
        assert findings(folder) == [("torn", file.relative_to(folder.root).as_posix())]
    assert findings(folder) == []


@pytest.mark.anyio
@pytest.mark.parametrize("compression", SUFFIXES)
async def test_readers_with_and_without_event_loop_agree_on_damage(
    compression: Compression, tmp_path: Path
) -> None:
    storage, folder = MemoryStorage(), LocalFolder(tmp_path)
    await write_document(storage, "run", "a.json", body_of("a"), compression)
    path = "run/a.json" + SUFFIXES[compression]
    content, chance = await storage.read(path), random.Random(compression)
    for number in range(TIMES):
        changed = (truncated, flipped)[number % 2](content, chance)
        await storage.write_atomic(path, [changed])
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(changed)
        try:
            found = await read_document(storage, "run/a.json", dict)
        except TornFileError:
            found = None
        assert found == outcome(lambda: read_document_from(folder, "run/a.json", dict))


@pytest.mark.parametrize("kind", FORMATS)
def test_an_empty_document_is_refused(
    open_run: Callable[[Compression], LocalFolder], kind: str
) -> None:
    compression, name = FORMATS[kind]
    folder = open_run(compression)
    file_of(folder, name).write_bytes(b"")
    with pytest.raises(TornFileError):
        read_document_from(folder, name, dict)


@pytest.mark.parametrize(
    "more",
    [
        lambda _: b"\0",
        lambda _: b"\n",
        lambda _: b"garbage",
        lambda content: content,
        lambda _: gzip.compress(b"{}", mtime=0),
        lambda _: zstandard.ZstdCompressor().compress(b"{}"),
    ],
    ids=["zero", "newline", "garbage", "again", "gzip", "zstd"],
)
@pytest.mark.parametrize("compression", SUFFIXES)
def test_what_follows_the_end_of_a_document_changes_nothing_unseen(
    open_run: Callable[[Compression], LocalFolder],
    compression: Compression,
    more: Callable[[bytes], bytes],
) -> None:
    folder = open_run(compression)
    original = read_document_from(folder, PORTFOLIO, dict)
    file = file_of(folder, PORTFOLIO)
    file.write_bytes(file.read_bytes() + more(file.read_bytes()))
    assert outcome(lambda: read_document_from(folder, PORTFOLIO, dict)) in (None, original)
    assert findings(folder) == [("torn", PORTFOLIO + SUFFIXES[compression])]


def repack(folder: LocalFolder, document: dict[str, Any], compression: Compression) -> None:
    """Write a document in the place of the first portfolio's."""
    body = {k: v for k, v in document.items() if k not in ("schema_version", "content_sha256")}
    storage = LocalStorage(folder.root)
    anyio.run(write_document, storage, "backtest/w1", IN_WINDOW, body, compression)


@pytest.mark.parametrize("compression", SUFFIXES)
@pytest.mark.parametrize("other", SUFFIXES)
def test_a_document_in_the_place_of_another_reads_well_and_is_found(
    open_run: Callable[[Compression], LocalFolder], compression: Compression, other: Compression
) -> None:
    folder = open_run(compression)
    theirs = PORTFOLIO.replace("w1", "w2")
    expected = read_document_from(folder, theirs, dict)
    file_of(folder, PORTFOLIO).unlink()
    repack(folder, expected, other)
    there = PORTFOLIO + SUFFIXES[other]
    if other == compression:
        assert folder.read(there) == file_of(folder, theirs).read_bytes()
    assert read_document_from(folder, PORTFOLIO, dict)["window_id"] == "w2"
    wrong = {("torn", there)}
    if other != compression:
        wrong = {("missing", PORTFOLIO + SUFFIXES[compression]), ("ambiguous", there)}
    assert set(findings(folder)) == wrong


@pytest.mark.parametrize("compression", SUFFIXES)
def test_a_file_with_the_suffix_of_another_compression_is_refused(
    open_run: Callable[[Compression], LocalFolder], compression: Compression
) -> None:
    folder = open_run(compression)
    content = file_of(folder, PORTFOLIO).read_bytes()
    file_of(folder, PORTFOLIO).unlink()
    for suffix in SUFFIXES.values():
        if suffix != SUFFIXES[compression]:
            folder.locate(PORTFOLIO + suffix).write_bytes(content)
            with pytest.raises(StorageError):
                read_document_from(folder, PORTFOLIO, dict)
            folder.locate(PORTFOLIO + suffix).unlink()

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from admf.engine.errors import StorageError
from admf.engine.testing import FaultStorage

pytestmark = pytest.mark.anyio


async def test_a_fault_store_without_a_fault_is_a_local_storage(tmp_path: Path) -> None:
    storage = FaultStorage(tmp_path)
    await storage.write_atomic("run/a", [b"x"])
    assert (tmp_path / "run/a").read_bytes() == b"x"
    assert {"open", "write", "fsync", "replace", "mkdir"} <= set(storage.calls)


async def test_only_the_chosen_call_fails(tmp_path: Path) -> None:
    storage = FaultStorage(tmp_path, fail_at=2, only="write", error=errno.ENOSPC)
    await storage.write_atomic("a", [b"first"])
    with pytest.raises(StorageError, match="ENOSPC"):
        await storage.write_atomic("b", [b"second"])
    await storage.write_atomic("c", [b"third"])
    assert await storage.list_files("run") == []
    assert [(tmp_path / name).exists() for name in "abc"] == [True, False, True]


async def test_a_dead_device_fails_from_then_on(tmp_path: Path) -> None:
    storage = FaultStorage(tmp_path, fail_at=1, only="fsync", dead=True)
    for name in ("a", "b"):
        with pytest.raises(StorageError, match="EIO"):
            await storage.write_atomic(name, [b"x"])
    assert not (tmp_path / "a").exists()

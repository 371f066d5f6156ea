"""A redis-server that the tests share; each takes streams of its own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from tests.conftest import REDIS_IS_MISSING
from tests.engine.sources.server import RedisServer


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip(REDIS_IS_MISSING)
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def keeping_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that can be killed and started again, and remembers all."""
    if shutil.which("redis-server") is None:
        pytest.skip(REDIS_IS_MISSING)
    server = RedisServer(tmp_path, keeps=True)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def client(shared_server: RedisServer) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of the shared server, which is empty."""
    async with redis.asyncio.Redis.from_url(shared_server.url) as client:
        await client.flushall()
        yield client

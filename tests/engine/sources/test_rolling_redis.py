"""Windows that roll under a Redis stream: entries are acknowledged once they are committed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import msgspec
import pytest
from redis.asyncio import Redis

from admf.engine.roll_rules import EveryEvents
from admf.engine.sources import RedisStreamSource
from admf.engine.storage import LocalStorage, MemoryStorage, Storage
from admf.engine.verification import verify_window
from tests.engine.sessions import FOLDER, Note, joined, notes, records, seen, session_of
from tests.engine.sources.feed import json
from tests.engine.sources.server import RedisServer
from tests.engine.sources.session_program import PER_WINDOW, SETTINGS

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
PROGRAM = "tests.engine.sources.session_program"


class Careful(RedisStreamSource):
    """Looks, before it acknowledges, whether the window is complete."""

    storage: Storage
    complete: list[bool]

    async def acknowledge(self, position: object) -> None:
        number = len(self.complete) + 1
        check = await verify_window(self.storage, f"{FOLDER}/{number:06}")
        self.complete.append(check.complete)
        await super().acknowledge(position)


async def add(client: Redis, events: list[Note]) -> None:
    for event in events:
        await client.xadd("feed", {"event": json(event)})


async def pending(client: Redis) -> int:
    return (await client.xpending("feed", "desk"))["pending"]


async def run_until(session, count: int) -> None:
    """Run a session until it has taken so many events of the stream, and close it."""
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(session.run)
            while session.counts.events < count:
                await anyio.lowlevel.checkpoint()
            await session.aclose()


async def test_entries_are_acknowledged_only_after_their_window_is_committed(client) -> None:
    await add(client, notes(13))
    storage = MemoryStorage()
    source = Careful(client, [Note], SETTINGS)
    source.storage, source.complete = storage, []
    session = await session_of(source, storage=storage, rolls=[EveryEvents(PER_WINDOW)])
    await run_until(session, 13 + 1)  # SOURCE_CONNECTED is the first
    assert joined(await seen(storage)) == [*range(1, 14)]
    assert source.complete == [True] * 3
    assert await pending(client) == 0


async def test_the_record_of_a_window_names_the_entry_that_it_ended_with(client) -> None:
    await add(client, notes(6))
    storage = MemoryStorage()
    source = RedisStreamSource(client, [Note], SETTINGS)
    session = await session_of(source, storage=storage, rolls=[EveryEvents(PER_WINDOW)])
    await run_until(session, 6 + 1)
    entries = [entry_id.decode() for entry_id, _ in await client.xrange("feed")]
    last = [record["last_position"] for record in await records(storage)]
    assert last == [
        {"entries": 4, "stream": "feed", "entry_id": entries[3]},
        {"entries": 6, "stream": "feed", "entry_id": entries[5]},
    ]


async def test_a_window_ends_before_the_source_would_wait_for_it_for_ever(client) -> None:
    await add(client, notes(40))
    storage = MemoryStorage()
    held = msgspec.structs.replace(SETTINGS, max_unacknowledged=8)
    source = RedisStreamSource(client, [Note], held)
    session = await session_of(source, storage=storage, rolls=[EveryEvents(1_000)])
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(session.run)
            while source.position.entries < 40:
                await anyio.lowlevel.checkpoint()
            await session.aclose()
    assert joined(await seen(storage)) == [*range(1, 41)]
    assert session.counts.opened > 1
    assert await pending(client) == 0


def run_and_kill(url: str, results: str, point: str) -> None:
    program = [sys.executable, "-m", PROGRAM, url, results, point]
    with subprocess.Popen(  # noqa: S603 - our own interpreter and program
        program, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{point}\n"
        process.kill()


@pytest.mark.parametrize(("point", "again"), [("stopped", False), ("committed", True)])
async def test_what_a_killed_session_had_not_acknowledged_is_delivered_to_the_next(
    client, shared_server: RedisServer, tmp_path: Path, point: str, again: bool
) -> None:
    total = 16
    await add(client, notes(total))
    before, after = tmp_path / "before", tmp_path / "after"
    run_and_kill(shared_server.url, str(before), point)
    source = RedisStreamSource(client, [Note], SETTINGS)
    storage = LocalStorage(after)
    session = await session_of(source, storage=storage, rolls=[EveryEvents(PER_WINDOW)])
    # the first window had SOURCE_CONNECTED and four entries
    await run_until(session, total - 4 + 1)
    assert joined(await seen(storage)) == [*range(5, total + 1)]
    assert await pending(client) == 0

    second = await verify_window(LocalStorage(before), f"{FOLDER}/000002")
    assert second.complete == again  # then its events came twice, else its files do not count

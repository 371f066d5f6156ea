"""A live session in a process of its own, which hangs at one point so that it can be killed there.

``python -m tests.engine.sources.session_program <url> <results> <point>``
"""

from __future__ import annotations

import sys

import anyio

from admf.engine.container import Container
from admf.engine.roll_rules import EveryEvents
from admf.engine.sources import RedisStreamSettings, RedisStreamSource
from admf.engine.storage import LocalStorage
from admf.engine.topology import TopologyBuilder
from tests.engine.sessions import Note, session_of

SETTINGS = RedisStreamSettings(
    streams=("feed",), group="desk", consumer="one", block_ms=20, batch=4, claim_idle_s=None
)
PER_WINDOW = 5


async def hang(point: str) -> None:
    print(point, flush=True)  # noqa: T201 - whoever kills this waits for it
    await anyio.sleep_forever()


class HangingSource(RedisStreamSource):
    """Acknowledges the first window, but never gets to acknowledge the second."""

    calls = 0
    first_is_done: anyio.Event

    async def acknowledge(self, position: object) -> None:
        self.calls += 1
        if self.calls == 2:
            await hang("committed")
        await super().acknowledge(position)
        self.first_is_done.set()


class HangingContainer(Container):
    """Never gets to flush in the second window."""

    source: HangingSource

    async def on_stop(self) -> None:
        if self.scope.name.endswith("2"):
            await self.source.first_is_done.wait()
            await hang("stopped")


async def main(url: str, results: str, point: str) -> None:
    source = HangingSource(url, [Note], SETTINGS)
    source.first_is_done = anyio.Event()

    def add(builder: TopologyBuilder) -> None:
        if point == "stopped":
            gate = HangingContainer("gate", "gate", scope=builder.bus)
            gate.source = source
            builder.add(gate)

    rolls = [EveryEvents(PER_WINDOW)]
    session = await session_of(source, add=add, storage=LocalStorage(results), rolls=rolls)
    await session.run()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])

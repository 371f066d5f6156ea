from __future__ import annotations

import anyio
import numpy as np
import pytest

from admf.containers.data import DataContainer
from admf.containers.events import Bar
from admf.containers.market_data import Bars, MarketData
from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.events import Envelope, Event

pytestmark = pytest.mark.anyio


def market(steps: int = 10) -> MarketData:
    close = np.arange(steps) + 100.0
    each = (close, close + 1, close - 1, close, close)
    return MarketData(
        [Bars("A", np.arange(steps), *each), Bars("B", np.arange(steps), *each)],
        extras=[Bars("SPY", np.arange(steps), *each)],
    )


class Recorder:
    """Keeps what a tracer would see."""

    types: frozenset[type[Event]] = frozenset({Bar})

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    def record(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)


@pytest.mark.parametrize("block_size", [1, 3, 7, 10, 4096])
async def test_all_bars_of_the_range_are_published_in_blocks(block_size: int) -> None:
    bus = Bus()
    recorder = Recorder()
    bus.attach_tracer(recorder)
    data = market()
    source = DataContainer("data", data, (2, 9), block_size, scope=bus)
    await source.start()
    await source.run()
    blocks = [envelope.event for envelope in recorder.envelopes]
    assert all(isinstance(block, Block) for block in blocks)
    assert [len(block) for block in blocks[:-1]] == [2 * block_size] * (len(blocks) - 1)
    assert [bar for block in blocks for bar in block] == list(data.block(2, 9))
    assert {envelope.source for envelope in recorder.envelopes} == {"data"}


async def test_each_block_has_been_handled_before_the_next_is_published() -> None:
    bus = Bus()
    seen: list[str] = []
    bus.subscribe(Bar, lambda block: seen.append(f"{block.ts[0]}"), blocks=True)
    source = DataContainer("data", market(), (0, 4), 2, scope=bus.scope("source", exports=Bar))
    publish = source.scope.publish

    def publish_and_note(event: Event | Block[Bar], source: str = "") -> int:
        seen.append("publish")
        return publish(event, source)

    source.scope.publish = publish_and_note  # type: ignore[method-assign]
    await source.start()
    await source.run()
    assert seen == ["publish", "0", "publish", "2"]


async def test_a_stopped_source_publishes_no_further_block() -> None:
    bus = Bus()
    source = DataContainer("data", market(), (0, 10), 4, scope=bus)
    steps: list[int] = []

    async def stop_at_once(block: Block[Bar]) -> None:
        steps.append(int(block.ts[0]))
        await source.stop()

    bus.subscribe(Bar, stop_at_once, blocks=True)
    await source.start()
    await source.run()
    assert steps == [0]


async def test_a_paused_source_waits() -> None:
    bus = Bus()
    source = DataContainer("data", market(), (0, 10), 5, scope=bus)
    steps: list[int] = []

    async def pause_after_the_first(block: Block[Bar]) -> None:
        steps.append(int(block.ts[0]))
        if len(steps) == 1:
            await source.pause()

    bus.subscribe(Bar, pause_after_the_first, blocks=True)
    await source.start()
    async with anyio.create_task_group() as group:
        group.start_soon(source.run)
        await anyio.wait_all_tasks_blocked()
        assert steps == [0]
        await source.resume()
    assert steps == [0, 5]


async def test_it_writes_no_result() -> None:
    source = DataContainer("data", market(), (0, 1), 1, scope=Bus())
    assert (source.role, source.results()) == ("data", None)

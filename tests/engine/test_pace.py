"""The pace that work in one event loop shares."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from admf.engine import pace as pace_module
from admf.engine.bus import Bus
from admf.engine.events import Event
from admf.engine.pace import Pace

pytestmark = pytest.mark.anyio


class Tick(Event, frozen=True, gc=False, tag="TICK"):
    pass


async def test_who_has_time_goes_on_without_a_turn_of_the_loop():
    pace = Pace(60_000)
    await pace.keep()
    assert not pace.is_over
    turned = False

    async def turn() -> None:
        nonlocal turned
        turned = True

    async with anyio.create_task_group() as group:
        group.start_soon(turn)
        await pace.keep()
        assert not turned


async def test_drains_that_share_a_pace_take_turns_and_share_its_time(
    monkeypatch: pytest.MonkeyPatch,
):
    now = 0.0
    for module in ("pace", "drive", "dispatch"):
        monkeypatch.setattr(f"admf.engine.{module}.monotonic", lambda: now)
    pace, order = Pace(5), []
    longest = last = 0.0

    def handle(name: str) -> None:
        nonlocal now
        now += 0.002
        order.append(name)

    async def host() -> None:
        nonlocal longest, last
        while True:
            longest, last = max(longest, now - last), now
            await checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(host)
        async with anyio.create_task_group() as drains:
            for name in "abc":
                bus = Bus(name, pace=pace)
                bus.subscribe(Tick, lambda _, name=name: handle(name))
                for ts in range(9):
                    bus.publish(Tick(ts))
                drains.start_soon(bus.drain)
        group.cancel_scope.cancel()
    assert "".join(order) == "aaabbbccc" * 3
    assert longest == pytest.approx(0.006)
    assert pace_module.monotonic() == pytest.approx(27 * 0.002)

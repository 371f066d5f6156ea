from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from admf import LiveSession
from admf.containers.config import LaneConfig, StrategyConfig
from admf.containers.events import Bar
from admf.containers.live_config import LiveConfig
from admf.engine.errors import ConfigError, ResultExistsError
from admf.engine.events import Event
from admf.engine.retention import TracingConfig
from admf.engine.roll_rules import EveryEvents
from admf.engine.storage import MemoryStorage

pytestmark = pytest.mark.anyio
MINUTE = 60 * 10**9
EXPERIMENT = {
    "workflow": "simple_backtest",
    "data": {"source": "sample", "symbols": ["GOOG"]},
    "strategy": {"type": "sma_cross", "params": {"fast": 2, "slow": 5}},
    "portfolio": {"initial_capital": 5_000.0},
    "event_tracing": ["FILL", "POSITION_CLOSE"],
}


class Beat(Event, frozen=True, gc=False, tag="BEAT"):
    """A sign of life of the application."""


async def bars(start: int, stop: int) -> AsyncIterator[Event]:
    for minute in range(start, stop):
        close = 100.0 + minute % 9 - minute % 4
        yield Bar(minute * MINUTE, "GOOG", close, close + 1, close - 1, close, 1.0)


Read = Callable[[str], Any]


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


async def read(storage: MemoryStorage, path: str) -> Any:
    return json.loads(await storage.read(f"live/{path}"))


async def test_an_experiment_is_traded_live_in_windows(storage: MemoryStorage) -> None:
    rolls = [EveryEvents(20)]
    async with LiveSession(EXPERIMENT, bars(0, 50), storage=storage, rolls=rolls) as session:
        await session.run()
    assert session.counts.closed == 3
    run = await read(storage, "run.json")
    assert (run["workflow"], run["status"], run["counts"]["events"]) == ("live", "completed", 50)
    portfolio = await read(storage, "session/live/000001/containers/portfolio_001_results.json")
    assert portfolio["lane"]["portfolio"]["initial_capital"] == 5_000.0
    assert set(portfolio["tracer"]["by_type"]) == {"FILL", "POSITION_CLOSE"}


async def test_a_session_goes_on_from_the_last_complete_window(storage: MemoryStorage) -> None:
    rolls = [EveryEvents(20)]
    first = LiveSession(EXPERIMENT, bars(0, 47), storage=storage, rolls=rolls)
    await first.run()
    await storage.remove("live/session/live/000003/phase_summary.json")  # as if it was killed there
    second = LiveSession(EXPERIMENT, bars(40, 60), storage=storage, rolls=rolls, resume=True)
    await second.run()
    assert second.resumed_from == 40
    assert [it.window_id for it in second.closed] == ["live/000004"]
    left = await read(storage, "session/live/000002/aggregate_results.json")
    taken = await read(storage, "session/live/000004/containers/portfolio_001_results.json")
    assert taken["lane"]["carried"] == left["portfolios"][0]["account"]
    assert taken["lane"]["carried"]["cash"] != 5_000.0


async def test_a_session_that_has_nothing_to_go_on_from_begins_anew(
    storage: MemoryStorage,
) -> None:
    for _ in range(2):
        session = LiveSession(EXPERIMENT, bars(0, 0), storage=storage, resume=True)
        await session.run()
        assert session.resumed_from is None
    assert [it.window_id for it in session.closed] == ["live/000002"]


async def test_an_earlier_session_is_not_overwritten_by_accident(storage: MemoryStorage) -> None:
    await LiveSession(EXPERIMENT, bars(0, 5), storage=storage).run()
    with pytest.raises(ResultExistsError):
        await LiveSession(EXPERIMENT, bars(0, 5), storage=storage).run()
    session = LiveSession(EXPERIMENT, bars(0, 5), storage=storage, overwrite=True)
    await session.run()
    assert session.closed[0].window_id == "live/000001"


async def test_a_session_that_fails_says_so(storage: MemoryStorage) -> None:
    async def broken() -> AsyncIterator[Event]:
        yield Beat(1)
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        await LiveSession(EXPERIMENT, broken(), storage=storage).run()
    assert (await read(storage, "run.json"))["status"] == "failed"


async def test_settings_may_be_given_without_an_experiment(storage: MemoryStorage) -> None:
    async def source() -> AsyncIterator[Event]:
        yield Beat(1)
        async for bar in bars(0, 10):
            yield bar

    lane = LaneConfig(lane_id="001", strategy=StrategyConfig(type="buy_and_hold"))
    session = LiveSession(
        LiveConfig(symbols=("GOOG",), lanes=(lane,)),
        source(),
        storage=storage,
        events=[Beat],
        tracing=TracingConfig(event_tracing=("BEAT",)),
    )
    await session.run()
    events = await read(storage, "session/live/000001/containers/events_results.json")
    assert events["tracer"]["by_type"] == {"BEAT": 1}


async def test_an_experiment_file_may_have_strategies_of_its_own(
    tmp_path: Path, storage: MemoryStorage
) -> None:
    (tmp_path / "my_live_strategies.py").write_text(
        "from admf.containers.strategies.base import Strategy\n"
        "class Once(Strategy):\n"
        "    def on_bar(self, bar, ctx):\n"
        "        if ctx.bar_index == 1:\n"
        "            ctx.buy(1.0)\n"
    )
    (tmp_path / "live.yaml").write_text(
        "workflow: simple_backtest\n"
        "data: {source: sample, symbols: [GOOG]}\n"
        "strategy: {type: 'my_live_strategies:Once'}\n"
    )
    session = LiveSession(tmp_path / "live.yaml", bars(0, 5), storage=storage)
    await session.run()
    rows = (await read(storage, "session/live/000001/aggregate_results.json"))["portfolios"]
    assert rows[0]["account"]["positions"][0]["quantity"] == 1.0


async def test_a_search_is_no_live_session() -> None:
    experiment = {**EXPERIMENT, "workflow": "train_test_optimization"}
    with pytest.raises(ConfigError, match="one parameter set"):
        LiveSession({**experiment, "parameter_space": {"fast": [2, 3]}}, bars(0, 1))

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from anyio.abc import TaskGroup

from admf import LiveSession
from admf.containers.config import LaneConfig, StrategyConfig
from admf.containers.events import Bar
from admf.containers.live_config import LiveConfig
from admf.containers.market_data import Bars, MarketData
from admf.engine.errors import ConfigError, FolderInUseError, ResultExistsError, StateError
from admf.engine.events import Event
from admf.engine.lock import RunLock, read_lock
from admf.engine.lock_owner import encode_owner, this_process
from admf.engine.results import ResultStore
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


class Endless:
    """A source without an end, whose positions are the minutes of its bars."""

    def __init__(self) -> None:
        self.position = 0
        self.acknowledged = 0

    def __aiter__(self) -> Endless:
        return self

    async def __anext__(self) -> Event:
        await anyio.lowlevel.checkpoint()
        self.position += 1
        return Bar(self.position * MINUTE, "GOOG", 10.0, 11.0, 9.0, 10.0, 1.0)

    async def acknowledge(self, position: int) -> None:
        self.acknowledged = position


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(5):
        while not condition():
            await anyio.lowlevel.checkpoint()


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def gone_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


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
    left = (await read(storage, "session/live/000002/aggregate_results.json"))["portfolios"][0]
    taken = (await read(storage, "session/live/000004/phase_summary.json"))["report"]["intake"]
    assert taken["carried"]["portfolio_001"]["account"] == left["account"]
    assert left["account"]["cash"] != 5_000.0


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


async def test_a_folder_has_one_writer_at_a_time(storage: MemoryStorage) -> None:
    session = LiveSession(EXPERIMENT, Endless(), storage=storage, rolls=[EveryEvents(20)])
    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        await until(lambda: session.counts.closed == 2)
        for options in ({}, {"resume": True}, {"overwrite": True}):
            other = LiveSession(EXPERIMENT, bars(0, 5), storage=storage, **options)
            with pytest.raises((ResultExistsError, FolderInUseError)) as refusal:
                await other.run()
            assert isinstance(refusal.value, FolderInUseError) == bool(options)
        await session.aclose()
        second = LiveSession(EXPERIMENT, bars(100, 105), storage=storage, resume=True)
        await second.run()
    assert await read_lock(storage, "live") is None
    assert session.counts.failed == 0


async def test_the_lock_of_a_session_that_was_killed_is_taken_over(
    storage: MemoryStorage, gone_pid: int
) -> None:
    session = LiveSession(EXPERIMENT, bars(0, 20), storage=storage)
    await session.run()
    gone = msgspec.structs.replace(this_process(1), pid=gone_pid)
    await storage.make_dir("live/.lock/1")
    await storage.write_atomic("live/.lock/1/owner.json", [encode_owner(gone)])
    await LiveSession(EXPERIMENT, bars(20, 30), storage=storage, resume=True).run()
    assert await read_lock(storage, "live") is None
    assert (await read(storage, "run.json"))["counts"]["events"] == 10


async def test_a_session_that_lost_its_folder_ends_and_acknowledges_nothing_more(
    storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = anyio.Event()

    async def keep(_: RunLock) -> None:
        await lost.wait()
        raise FolderInUseError("taken over")

    monkeypatch.setattr(RunLock, "keep", keep)
    source = Endless()
    session = LiveSession(EXPERIMENT, source, storage=storage, rolls=[EveryEvents(20)])

    async def lose() -> None:
        await until(lambda: session.counts.closed == 2)
        source.acknowledged = 0
        lost.set()

    async with anyio.create_task_group() as group:
        group.start_soon(lose)
        with pytest.raises(FolderInUseError, match="taken over"):
            await session.run()
    assert session.counts.closed > session.counts.acknowledged
    assert source.acknowledged <= 20 * session.counts.acknowledged


async def test_a_session_that_is_cancelled_says_so(storage: MemoryStorage) -> None:
    session = LiveSession(EXPERIMENT, Endless(), storage=storage, rolls=[EveryEvents(20)])
    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        await until(lambda: session.counts.closed == 2)
        group.cancel_scope.cancel()
    run = await read(storage, "run.json")
    assert (run["status"], run["results"]) == ("cancelled", {"session": False})
    assert await read_lock(storage, "live") is None


async def test_the_folder_of_another_run_is_nothing_to_go_on_from(storage: MemoryStorage) -> None:
    store = await ResultStore.create(storage, "live")
    await store.write_run({"workflow": "simple_backtest"})
    with pytest.raises(ResultExistsError, match="'simple_backtest'"):
        await LiveSession(EXPERIMENT, bars(0, 5), storage=storage, resume=True).run()
    assert await read_lock(storage, "live") is None


async def test_a_session_runs_once(storage: MemoryStorage) -> None:
    session = LiveSession(EXPERIMENT, bars(0, 5), storage=storage)
    await session.run()
    with pytest.raises(StateError, match="only once"):
        await session.run()
    await session.aclose()


FIELDS = ("ts", "open", "high", "low", "close", "volume")
ORDERS = """
from admf.containers.strategies.base import Strategy


class Orders(Strategy):
    def on_bar(self, bar, ctx):
        minute = bar.ts // 60_000_000_000
        if minute == 4:
            ctx.buy(4.0, stop_loss=60.0)
        if minute == 18:
            ctx.buy(2.0, limit=101.0)
        if minute == 30:
            ctx.close()
        if minute == 33:
            ctx.sell(1.0)
"""


@pytest.mark.parametrize(
    "strategy", ["type: 'my_live_orders:Orders'", "type: sma_cross, params: {fast: 2, slow: 4}"]
)
async def test_a_session_that_was_killed_goes_on_as_if_it_had_not_been(
    tmp_path: Path, strategy: str
) -> None:
    (tmp_path / "my_live_orders.py").write_text(ORDERS)
    (tmp_path / "live.yaml").write_text(
        "workflow: simple_backtest\n"
        "data: {source: sample, symbols: [GOOG]}\n"
        f"strategy: {{{strategy}}}\n"
        "periods_per_year: 252\n"
        "risk: {trailing_stop_pct: 7.0, max_drawdown_pct: 60.0}\n"
    )
    whole, parts = MemoryStorage(), MemoryStorage()
    file, rules = tmp_path / "live.yaml", {"rolls": [EveryEvents(20)]}
    await LiveSession(file, bars(0, 40), storage=whole, **rules).run()
    await LiveSession(file, bars(0, 20), storage=parts, **rules).run()
    found = [bar async for bar in bars(0, 20)]
    columns = [[getattr(bar, name) for bar in found] for name in FIELDS]
    before = MarketData([Bars("GOOG", *columns)])
    again = LiveSession(file, bars(20, 40), storage=parts, resume=True, before=before, **rules)
    await again.run()
    window = "session/live/000002"
    carried, expected = [
        (await read(it, f"{window}/phase_summary.json"))["report"]["intake"]["carried"]
        for it in (parts, whole)
    ]
    if "sma_cross" not in strategy:  # what an object knows is in no record
        del expected["strategy_001"]
        assert carried["execution_001"]["working"]
    assert carried == expected
    for name in ("all_trades.json", "aggregate_results.json"):
        assert await read(parts, f"{window}/{name}") == await read(whole, f"{window}/{name}")


async def test_a_state_that_does_not_fit_ends_the_session(storage: MemoryStorage) -> None:
    session = LiveSession(EXPERIMENT, bars(0, 5), storage=storage)
    session._inherits = {"risk_001": {"peak": "high"}}
    with pytest.raises(StateError, match="risk_001"):
        await session.run()


class ClosesOnTheWay(MemoryStorage):
    """Has its session closed while that makes its folder ready."""

    session: LiveSession
    group: TaskGroup

    async def make_dir(self, path: str) -> bool:
        self.group.start_soon(self.session.aclose)
        await anyio.lowlevel.checkpoint()
        return await super().make_dir(path)


async def test_a_session_that_is_closed_before_its_first_window_ends_in_order() -> None:
    storage = ClosesOnTheWay()
    storage.session = LiveSession(EXPERIMENT, bars(0, 9), storage=storage)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as storage.group:
            await storage.session.run()
    assert storage.session.counts.opened == 0
    assert json.loads(await storage.read("live/run.json"))["status"] == "completed"

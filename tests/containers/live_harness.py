"""Plays bars to lanes as a live session would get them, and keeps all that the lanes publish."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

import anyio
import msgspec

from admf.containers.bar_history import BarHistory
from admf.containers.events import Bar
from admf.containers.execution import ExecutionContainer
from admf.containers.live import LiveTopology
from admf.containers.live_config import LiveConfig
from admf.containers.market_data import MarketData
from admf.engine.events import Event, EventRegistry
from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry
from admf.engine.results import ResultStore
from admf.engine.retention import TracingConfig
from admf.engine.roll_rules import Roll
from admf.engine.rolling import RollingSession
from admf.engine.storage import MemoryStorage
from admf.engine.topology import Resources, TopologyBuilder
from admf.engine.window_spec import WindowSpec
from tests.containers.harness import TRACED, Lane, Recorder, Series, day

FOLDER = "run/phase/live"


class WatchedTopology(LiveTopology):
    """Records what each lane publishes, over all windows."""

    def __init__(self, recorders: Mapping[str, Recorder]) -> None:
        self._recorders = recorders

    def build(self, builder: TopologyBuilder) -> None:
        super().build(builder)
        for container in builder.in_start_order():
            if container.id in self._recorders:
                container.scope.attach_tracer(self._recorders[container.id])


class LiveRun:
    """What the lanes of a session published, by lane, and its files."""

    def __init__(self, recorders: Sequence[Recorder], storage: MemoryStorage, session: Any) -> None:
        self.recorders = recorders
        self.storage = storage
        self.session = session
        self.files: dict[str, Any] = {}

    async def read(self) -> None:
        for path in await self.storage.list_files(FOLDER):
            content = await self.storage.read(path)
            self.files[path.removeprefix(f"{FOLDER}/")] = msgspec.json.decode(content)

    def of(self, cls: type[Any], lane: int = 1) -> list[Any]:
        return [it for it in self.recorders[lane - 1].events if isinstance(it, cls)]

    def records(self, name: str = "phase_summary.json") -> list[Any]:
        """Return a file of each window, in order."""
        return [it for path, it in sorted(self.files.items()) if path.endswith(name)]


def bar_events(bars: Mapping[str, Series]) -> list[Bar]:
    """Return the bars of some symbols one by one, in the order of time."""
    found: list[Bar] = []
    for symbol, series in bars.items():
        rows = series if isinstance(series, Mapping) else dict(enumerate(series))
        found += [Bar(day(step), symbol, *prices, 0.0) for step, prices in rows.items()]
    return sorted(found, key=lambda bar: bar.ts)


def run_live(
    lanes: Sequence[Lane],
    events: Iterable[Event],
    symbols: Sequence[str],
    *,
    rolls: Iterable[Roll] = (),
    before: MarketData | None = None,
    history: int = 5_000,
    traced: Sequence[str] = TRACED,
    broker: type[ExecutionContainer] = ExecutionContainer,
    each: Callable[[RollingSession, Event], object] | None = None,
    known: EventRegistry | None = None,
    chosen: str = "chosen",
    **config: Any,
) -> LiveRun:
    """Run lanes in a live session on events; ``each`` is called after each event was handled."""

    async def run() -> LiveRun:
        recorders = [Recorder() for _ in lanes]
        by_id = {f"portfolio_{n:03d}": it for n, it in enumerate(recorders, 1)}
        names: dict[type[Any], str] = {}
        registry = Registry()
        if any(isinstance(lane.strategy, str) for lane in lanes):
            registry.load_entry_points()
        registry.register("topologies", "watched", WatchedTopology(by_id))
        registry.register("brokers", "chosen", broker)
        configs = []
        for number, lane in enumerate(lanes, 1):
            name = lane.strategy
            if not isinstance(name, str):
                if name not in names:
                    names[name] = f"strategy_{number}"
                    registry.register("strategies", names[name], name)
                name = names[name]
            configs.append(lane.config(f"{number:03d}", name))
        live = LiveConfig(
            symbols=tuple(symbols), lanes=tuple(configs), history=history, broker=chosen, **config
        )
        spec = WindowSpec(
            workflow_id="live",
            phase_name="phase",
            topology="watched",
            config=msgspec.Raw(msgspec.json.encode(live)),
            tracing=TracingConfig(event_tracing=tuple(traced)),
        )
        bars = BarHistory(symbols, keep=history, before=before)
        resources = Resources(*filter(None, (bars, known)))
        storage = MemoryStorage()
        manager = LifecycleManager(registry=registry, resources=resources)
        store = await ResultStore.create(storage, "run")
        sessions: list[RollingSession] = []

        async def source() -> AsyncIterator[Event]:
            for event in events:
                yield event
                if each is not None:
                    await anyio.wait_all_tasks_blocked()
                    each(sessions[0], event)

        sessions.append(RollingSession(manager, store, spec, source(), rolls=rolls))
        await sessions[0].run()
        found = LiveRun(recorders, storage, sessions[0])
        await found.read()
        return found

    return anyio.run(run)

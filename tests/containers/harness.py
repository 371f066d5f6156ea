"""Runs lanes through the real topology on hand-written bars, and keeps all that they publish."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, cast

import anyio
import msgspec
import numpy as np
import polars as pl

from admf.containers.backtest import BacktestTopology
from admf.containers.catalog import DataCatalog
from admf.containers.config import (
    BacktestConfig,
    CarriedAccount,
    DataConfig,
    ExecutionConfig,
    LaneConfig,
    PortfolioConfig,
    RiskConfig,
    SizingConfig,
    StrategyConfig,
)
from admf.containers.events import Bar, Cancel, Fill, PortfolioUpdate, Reject
from admf.containers.portfolio import PortfolioContainer
from admf.containers.report import LaneReport
from admf.containers.series import LaneSeries, WindowSeries
from admf.containers.strategies.base import Context, Strategy
from admf.engine.block import Block
from admf.engine.events import Envelope, Event, event_name
from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry
from admf.engine.results import ResultStore
from admf.engine.retention import TraceStore, TracingConfig
from admf.engine.storage import MemoryStorage
from admf.engine.summary import WindowSummary
from admf.engine.topology import Resources
from admf.engine.tracer import EventTracer
from admf.engine.window_spec import WindowSpec

E = TypeVar("E", bound=Event)

Ohlc: TypeAlias = tuple[float, float, float, float]
Series: TypeAlias = Sequence[Ohlc] | Mapping[int, Ohlc]
"""Bars on consecutive time steps, or by the number of their time step."""

Action: TypeAlias = Callable[[Context], object]

FIRST_TS = 1_704_067_200 * 10**9  # Monday, 2024-01-01
DAY = 86_400 * 10**9
TRACED = ("POSITION_OPEN", "POSITION_CLOSE", "FILL", "PORTFOLIO_UPDATE")


@dataclass
class Lane:
    """The settings of a lane, as short as tests want them."""

    strategy: type[Any] | str
    params: Mapping[str, object] = field(default_factory=dict)
    capital: float = 10_000.0
    sizing: Mapping[str, object] = field(default_factory=dict)
    risk: Mapping[str, object] = field(default_factory=dict)
    execution: Mapping[str, object] = field(default_factory=dict)
    seed: int = 0
    parameters: Mapping[str, object] = field(default_factory=dict)
    carried: CarriedAccount | None = None

    def config(self, lane_id: str, strategy: str) -> LaneConfig:
        return LaneConfig(
            lane_id=lane_id,
            strategy=StrategyConfig(type=strategy, params=dict(self.params)),
            portfolio=PortfolioConfig(
                initial_capital=self.capital,
                sizing=msgspec.convert(self.sizing, SizingConfig),
            ),
            risk=msgspec.convert(self.risk, RiskConfig),
            execution=msgspec.convert(self.execution, ExecutionConfig),
            seed=self.seed,
            parameters=dict(self.parameters),
            carried=self.carried,
        )


class Recorder:
    """Keeps what a scope publishes, blocks unrolled, in the order of sequence numbers.

    Attributes:
        tracer: That of the lane's portfolio, which has seen each event before the recorder does.
    """

    types: frozenset[type[Event]] = frozenset({Event})

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.tracer: EventTracer | None = None

    def record(self, envelope: Envelope) -> None:
        event = envelope.event
        self.events.extend(event.events() if isinstance(event, Block) else [event])


@dataclass
class LaneRun:
    """What a lane published, and what it wrote."""

    events: list[Event]
    raw: bytes
    summary: WindowSummary

    @property
    def document(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.raw)
        return parsed

    def of(self, cls: type[E]) -> list[E]:
        """Return the events of a class in their order."""
        return [event for event in self.events if isinstance(event, cls)]

    @property
    def fills(self) -> list[tuple[int, str, float, float, str, str]]:
        """Time step, side, quantity, price, moment and reason of each fill."""
        return [
            (step_of(it.ts), it.side, it.quantity, it.price, it.moment, it.reason)
            for it in self.of(Fill)
        ]

    @property
    def refusals(self) -> list[tuple[int, int, str]]:
        """Time step, order id and reason of each REJECT."""
        return [(step_of(it.ts), it.order_id, it.reason) for it in self.of(Reject)]

    @property
    def cancels(self) -> list[tuple[int, int, str]]:
        """Time step, order id and reason of each CANCEL."""
        return [(step_of(it.ts), it.order_id, it.reason) for it in self.of(Cancel)]

    @property
    def equity(self) -> list[float]:
        """Equity at each close."""
        return [it.equity for it in self.of(PortfolioUpdate)]

    def names(self, *, without: Sequence[str] = ("BAR", "FEATURES", "PORTFOLIO_UPDATE")) -> str:
        """Return the names of the events in their order, on one line."""
        found = (event_name(type(event)) for event in self.events)
        return " ".join(it for it in found if it not in (*without, "WINDOW_START", "WINDOW_END"))


def run_lanes(
    lanes: Sequence[Lane],
    bars: Series | Mapping[str, Series],
    *,
    block_size: int = 4096,
    step_ns: int = DAY,
    traced: Sequence[str] = TRACED,
    retention: str = "trade_complete",
    recorders: Sequence[Recorder] | None = None,
    symbols: Sequence[str] | None = None,
    **config: Any,
) -> list[LaneRun]:
    """Run lanes side by side in one window; a series without a symbol is one of ``A``.

    Args:
        lanes: Their settings.
        bars: Series by symbol.
        block_size: Time steps in a block.
        step_ns: Time between two steps.
        traced: ``event_tracing``.
        retention: ``retention_policy``.
        recorders: One for each lane; recorders of their own if not given.
        symbols: The traded symbols and their order; those of ``bars`` if not given.
        config: More fields of `BacktestConfig`.
    """
    data, frames = _frames(bars, symbols, step_ns)
    return run_frames(
        lanes,
        data,
        frames,
        block_size=block_size,
        traced=traced,
        retention=retention,
        recorders=recorders,
        **config,
    )


def run_frames(
    lanes: Sequence[Lane],
    data: DataConfig,
    frames: Mapping[str, object] | None = None,
    *,
    traced: Sequence[str] = TRACED,
    retention: str = "trade_complete",
    recorders: Sequence[Recorder] | None = None,
    listen: tuple[type[Event], list[Any]] | None = None,
    **config: Any,
) -> list[LaneRun]:
    """Run lanes on any data; see `run_lanes`.

    With ``listen``, a subscriber in the first lane takes note of each event of a class: of its
    order, and of the units that the lane holds at that moment.
    """
    spec = _spec(lanes, data, traced, retention, config)
    resources = Resources(DataCatalog(frames))
    recorders = recorders or [Recorder() for _ in lanes]
    return anyio.run(_run, spec, _registry(lanes), resources, recorders, listen)


@dataclass
class WindowRun:
    """All files that a window left, by their path in its folder."""

    files: dict[str, bytes]
    summary: WindowSummary

    def read(self, name: str) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.files[name])
        return parsed

    def document(self, number: int = 1) -> dict[str, Any]:
        return self.read(f"containers/portfolio_{number:03d}_results.json")

    @property
    def aggregate(self) -> dict[str, Any]:
        return self.read("aggregate_results.json")

    @property
    def rows(self) -> list[LaneReport]:
        return msgspec.convert(self.aggregate["portfolios"], list[LaneReport])

    @property
    def series(self) -> tuple[LaneSeries, ...]:
        return msgspec.json.decode(self.files["series.json"], type=WindowSeries).lanes


def run_window(
    lanes: Sequence[Lane],
    bars: Series | Mapping[str, Series],
    *,
    traced: Sequence[str] = TRACED,
    retention: str = "trade_complete",
    store: TraceStore = "none",
    symbols: Sequence[str] | None = None,
    step_ns: int = DAY,
    cut_short: bool = False,
    **config: Any,
) -> WindowRun:
    """Run lanes side by side in one window and return its files; see `run_lanes`.

    With ``cut_short`` the window is closed before it has seen a bar.
    """
    data, frames = _frames(bars, symbols, step_ns)
    spec = _spec(lanes, data, traced, retention, config, store)
    resources = Resources(DataCatalog(frames))
    return anyio.run(_run_for_files, spec, _registry(lanes), resources, cut_short)


def run_lane(lane: Lane, bars: Series | Mapping[str, Series], **options: Any) -> LaneRun:
    """Run one lane; see `run_lanes`."""
    return run_lanes([lane], bars, **options)[0]


def run(
    strategy: type[Any] | str,
    bars: Series | Mapping[str, Series],
    *,
    params: Mapping[str, object] | None = None,
    capital: float = 10_000.0,
    sizing: Mapping[str, object] | None = None,
    risk: Mapping[str, object] | None = None,
    execution: Mapping[str, object] | None = None,
    seed: int = 0,
    **options: Any,
) -> LaneRun:
    """Run one lane whose settings are given one by one."""
    lane = Lane(strategy, params or {}, capital, sizing or {}, risk or {}, execution or {}, seed)
    return run_lane(lane, bars, **options)


def script(plan: Mapping[int | tuple[str, int], Action]) -> type[Strategy]:
    """Return a strategy that acts as told at given bars.

    Args:
        plan: Bar index, or symbol and bar index -> what to do with the context.
    """

    class Script(Strategy):
        def on_bar(self, bar: Bar, ctx: Context) -> None:
            for key in (ctx.bar_index, (bar.symbol, ctx.bar_index)):
                if key in plan:
                    plan[key](ctx)

    return Script


def day(step: int) -> int:
    """Return the time of a step of daily bars, ns UTC."""
    return FIRST_TS + step * DAY


def step_of(ts: int) -> int:
    """Return the day of a time, counted from the first step."""
    return (ts - FIRST_TS) // DAY


def random_bars(count: int, seed: int = 1, price: float = 100.0) -> list[Ohlc]:
    """Return bars of a random walk, with gaps between them."""
    rng = np.random.default_rng(seed)
    closes = price * np.cumprod(1 + rng.standard_normal(count) * 0.02)
    opens = np.concatenate(([price], closes[:-1])) * (1 + rng.standard_normal(count) * 0.003)
    highs = np.maximum(opens, closes) * (1 + rng.random(count) * 0.01)
    lows = np.minimum(opens, closes) * (1 - rng.random(count) * 0.01)
    columns = (it.tolist() for it in (opens, highs, lows, closes))
    return list(zip(*columns, strict=True))


def flat(price: float, count: int) -> list[Ohlc]:
    """Return bars that do not move."""
    return [(price, price, price, price)] * count


async def _run_for_files(
    spec: WindowSpec, registry: Registry, resources: Resources, cut_short: bool
) -> WindowRun:
    storage = MemoryStorage()
    results = (await ResultStore.create(storage, "run")).window(spec.phase_name)
    window = LifecycleManager(registry=registry, resources=resources).window(spec, results)
    async with window:
        if not cut_short:
            await window.run()
    assert window.summary is not None
    folder = "run/backtest/"
    files = {
        path.removeprefix(folder): await storage.read(path)
        for path in await storage.list_files("run")
    }
    return WindowRun(files, window.summary)


async def _run(
    spec: WindowSpec,
    registry: Registry,
    resources: Resources,
    recorders: Sequence[Recorder],
    listen: tuple[type[Event], list[Any]] | None,
) -> list[LaneRun]:
    storage = MemoryStorage()
    results = (await ResultStore.create(storage, "run")).window(spec.phase_name)
    window = LifecycleManager(registry=registry, resources=resources).window(spec, results)
    async with window:
        containers = {it.id: it for it in window.containers}
        for number, recorder in enumerate(recorders, 1):
            portfolio = containers[f"portfolio_{number:03d}"]
            recorder.tracer = portfolio.tracer
            portfolio.scope.attach_tracer(recorder)
        if listen is not None:
            first = cast("PortfolioContainer", containers["portfolio_001"])
            cls, seen = listen
            first.scope.subscribe(
                cls, lambda it: seen.append((it.order_id, first.account.quantity(it.symbol)))
            )
        await window.run()
    assert window.summary is not None
    folder = "run/backtest/containers"
    return [
        LaneRun(
            recorder.events,
            await storage.read(f"{folder}/portfolio_{number:03d}_results.json"),
            window.summary,
        )
        for number, recorder in enumerate(recorders, 1)
    ]


@functools.cache
def _built_in() -> Registry:
    """Return the registry of what is installed, which nobody adds to."""
    registry = Registry()
    registry.load_entry_points()
    return registry


def _registry(lanes: Sequence[Lane]) -> Registry:
    """Return a registry with the strategies of the lanes; reading entry points takes long."""
    if all(isinstance(lane.strategy, str) for lane in lanes):
        return _built_in()
    registry = Registry()
    if any(isinstance(lane.strategy, str) for lane in lanes):
        registry.load_entry_points()
    else:
        registry.register("topologies", "backtest", BacktestTopology)
    for cls, name in _names(lanes).items():
        registry.register("strategies", name, cls)
    return registry


def _names(lanes: Sequence[Lane]) -> Mapping[type[Any], str]:
    """Return the name of each strategy that is given as a class: that of its first lane."""
    names: dict[type[Any], str] = {}
    for number, lane in enumerate(lanes, 1):
        if not isinstance(lane.strategy, str):
            names.setdefault(lane.strategy, f"strategy_{number}")
    return names


def _spec(
    lanes: Sequence[Lane],
    data: DataConfig,
    traced: Sequence[str],
    retention: str,
    config: Mapping[str, Any],
    store: TraceStore = "none",
) -> WindowSpec:
    lane_configs: list[LaneConfig] = []
    names = _names(lanes)
    for number, lane in enumerate(lanes, 1):
        name = lane.strategy if isinstance(lane.strategy, str) else names[lane.strategy]
        lane_configs.append(lane.config(f"{number:03d}", name))
    backtest = BacktestConfig(data=data, lanes=tuple(lane_configs), **config)
    return WindowSpec(
        workflow_id="test",
        phase_name="backtest",
        topology="backtest",
        config=msgspec.Raw(msgspec.json.encode(backtest)),
        tracing=TracingConfig(
            event_tracing=tuple(traced),
            retention_policy=retention,
            store=store,
            sliding_window_size=20 if retention == "sliding_window" else 1000,
        ),
    )


def _frames(
    bars: Series | Mapping[str, Series], symbols: Sequence[str] | None, step_ns: int
) -> tuple[DataConfig, dict[str, object]]:
    series = bars if isinstance(bars, Mapping) and _keyed_by_symbol(bars) else {"A": bars}
    data = DataConfig(source="frames", symbols=tuple(symbols or series))
    return data, {symbol: _frame(it, step_ns) for symbol, it in series.items()}


def _keyed_by_symbol(bars: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, str) for key in bars)


def _frame(series: Series, step_ns: int) -> pl.DataFrame:
    rows = series if isinstance(series, Mapping) else dict(enumerate(series))
    steps = list(rows)
    columns = list(zip(*rows.values(), strict=True))
    return pl.DataFrame(
        {
            "timestamp": pl.Series(
                [FIRST_TS + step * step_ns for step in steps], dtype=pl.Int64
            ).cast(pl.Datetime("ns")),
            **{
                name: pl.Series(column, dtype=pl.Float64)
                for name, column in zip(("open", "high", "low", "close"), columns, strict=True)
            },
        }
    )

"""Runs windows of an experiment on real bars, and on bars of which the later ones are corrupted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from admf.containers.catalog import DataCatalog, UserModules
from admf.containers.config import BacktestConfig, DataConfig, LaneConfig
from admf.containers.events import Signal
from admf.containers.market_data import Bars, MarketData
from admf.containers.metrics.history import EquityCurve, Trade
from admf.engine.errors import WindowError
from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry
from admf.engine.result_names import results_path
from admf.engine.results import ResultStore
from admf.engine.retention import TracingConfig
from admf.engine.storage import MemoryStorage
from admf.engine.topology import Resources
from admf.engine.window import ExecutionWindow
from admf.engine.window_spec import WindowSpec
from admf.sequences.phase import ResolvedPhase

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CheckedRuns", "Ran", "Trail", "corrupted"]

_STRATEGY = "strategy_"
_PORTFOLIO = "portfolio_"
_TRACING = TracingConfig(
    event_tracing=("POSITION_CLOSE", "PORTFOLIO_UPDATE"), retention_policy="trade_complete"
)
_ENTROPY = 20_240_229
_SCALES = ((0.1, 0.7), (1.5, 10.0))
"""Far below and far above the real prices, so that whichever move is foreseen is another one."""


class Trail(NamedTuple):
    """What a lane decided, and what became of it.

    Attributes:
        decisions: Its strategy's signals.
        trades: Its closed trades.
        equity: Its equity at each time step.
        error: Why it failed; empty if it did not.
    """

    decisions: tuple[Signal, ...]
    trades: tuple[Trade, ...]
    equity: EquityCurve
    error: str


class Ran(NamedTuple):
    """What a window left: its files by path, and the trail of each lane by its id."""

    files: Mapping[str, bytes]
    trails: Mapping[str, Trail]


class CheckedRuns:
    """Runs the lanes of a phase on the first part of its bars.

    Args:
        phase: The phase.
        lanes: What runs; the option ``close_at_end`` is to be off, as it depends on the end.
        data: The bars.
        registry: Holds the topology and the strategies.
        modules: Where the user's strategies are found.
    """

    def __init__(
        self,
        phase: ResolvedPhase,
        lanes: Sequence[LaneConfig],
        data: MarketData,
        *,
        registry: Registry,
        modules: UserModules,
    ) -> None:
        self._phase = phase
        self._lanes = tuple(lanes)
        self._data = data
        self._registry = registry
        self._modules = modules
        self._catalog = DataCatalog(_frames(data))

    async def real(self, start: int, stop: int) -> Ran:
        """Run the time steps from ``start`` to before ``stop``.

        Raises:
            WindowError: A lane failed, so that there is nothing to compare.
        """
        ran = await self._run(start, stop, self._catalog)
        for trail in ran.trails.values():
            if trail.error:
                raise WindowError(trail.error)
        return ran

    async def with_later_bars_corrupted(self, start: int, stop: int) -> list[Ran]:
        """Run the same with every bar after them corrupted, in more than one way."""
        last_ts = int(self._data.ts[stop - 1])
        later = [corrupted(self._data, last_ts, scale) for scale in _SCALES]
        return [await self._run(start, stop, DataCatalog(_frames(data))) for data in later]

    async def _run(self, start: int, stop: int, catalog: DataCatalog) -> Ran:
        lifecycle = LifecycleManager(
            registry=self._registry, resources=Resources(catalog, self._modules)
        )
        storage = MemoryStorage()
        results = ResultStore(storage, "check").window(self._phase.name)
        window = lifecycle.window(self._spec(start, stop), results)
        decisions: dict[str, list[Signal]] = {lane.lane_id: [] for lane in self._lanes}
        async with window:
            _listen(window, decisions)
            await window.run()
        paths = await storage.list_files(results.path)
        files = {path: await storage.read(path) for path in paths}
        trails: dict[str, Trail] = {}
        for lane_id, signals in decisions.items():
            path = f"{results.path}/{results_path(_PORTFOLIO + lane_id)}"
            if path in files:  # a lane that refuses its parameters has none
                trails[lane_id] = _trail(files[path], signals)
        return Ran(files, trails)

    def _spec(self, start: int, stop: int) -> WindowSpec:
        settings, data = self._phase.settings, self._data
        config = BacktestConfig(
            data=DataConfig(source="frames", symbols=data.symbols),
            lanes=self._lanes,
            block_size=settings.block_size,
            periods_per_year=settings.periods_per_year,
            benchmark=settings.benchmark,
            start_ts=int(data.ts[start]),
            end_ts=None if stop == data.steps else int(data.ts[stop]),
        )
        return WindowSpec(
            workflow_id="check",
            phase_name=self._phase.name,
            topology=self._phase.topology,
            config=msgspec.Raw(msgspec.json.encode(config)),
            tracing=_TRACING,
            results_storage="memory",
            seed=settings.seed,
        )


def corrupted(data: MarketData, last_ts: int, scale: tuple[float, float]) -> MarketData:
    """Return market data with other prices and volumes after a time; the times stay as they are.

    Args:
        data: The real bars.
        last_ts: Time of the last bar that stays as it is, ns UTC.
        scale: Least and greatest of the random factors that take the closes to other prices.
    """
    symbols = (*data.symbols, *data.extra_symbols)
    bars = [_corrupted(data.bars(name), last_ts, row, scale) for row, name in enumerate(symbols)]
    traded = len(data.symbols)
    return MarketData(bars[:traded], extras=bars[traded:], timeframe=data.timeframe)


def _corrupted(bars: Bars, last_ts: int, row: int, scale: tuple[float, float]) -> Bars:
    later = bars.ts > last_ts
    count = int(later.sum())
    rng = np.random.default_rng([_ENTROPY, row])
    prices = rng.uniform(*scale, (count, 4)) * bars.close[later][:, None]
    made = {
        "open": prices[:, 0],
        "high": prices.max(axis=1),
        "low": prices.min(axis=1),
        "close": prices[:, 1],
        "volume": rng.uniform(0.0, 1e6, count),
    }
    columns: dict[str, Any] = {}
    for name, values in made.items():
        columns[name] = np.array(getattr(bars, name))
        columns[name][later] = values
    return Bars(bars.symbol, bars.ts, **columns)


def _frames(data: MarketData) -> dict[str, pl.DataFrame]:
    import polars as pl

    frames: dict[str, pl.DataFrame] = {}
    for symbol in (*data.symbols, *data.extra_symbols):
        bars = data.bars(symbol)
        columns = {name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")}
        times = pl.Series(bars.ts).cast(pl.Datetime("ns", "UTC"))
        frames[symbol] = pl.DataFrame({"timestamp": times, **columns})
    return frames


def _listen(window: ExecutionWindow, decisions: Mapping[str, list[Signal]]) -> None:
    """Have the signals of each lane noted."""
    for container in window.containers:
        if container.role == "strategy":
            note = decisions[container.id.removeprefix(_STRATEGY)].append
            container.scope.subscribe(Signal, note, name="look-ahead check")


class _Portfolio(msgspec.Struct, frozen=True):
    """What is compared of a portfolio's result file."""

    error: str | None
    trades: tuple[Trade, ...]
    equity_curve: EquityCurve


def _trail(content: bytes, decisions: Sequence[Signal]) -> Trail:
    found = msgspec.json.decode(content, type=_Portfolio)
    return Trail(tuple(decisions), found.trades, found.equity_curve, found.error or "")

"""The topology ``backtest``: data and features at the root, and a scope for each lane."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from admf.containers.allocation import keep_freed_memory
from admf.containers.catalog import DataCatalog
from admf.containers.config import BacktestConfig
from admf.containers.data import DataContainer
from admf.containers.features import FeaturesContainer, FeatureStore
from admf.containers.lane_builder import LaneBuilder, strategy_finder
from admf.containers.market import Market
from admf.containers.market_data import MarketData
from admf.containers.portfolio import PortfolioContainer
from admf.containers.pruning import Pruner
from admf.containers.report import LaneReport, WindowReport, refused_lane
from admf.containers.times import iso_utc
from admf.engine.errors import ConfigError, DataError, UserCodeError
from admf.engine.topology import TopologyBuilder

__all__ = ["BacktestTopology"]

_BLOCK = 32_768
"""Time steps of which bars are made into single events at once, some 9 MB of them."""

_COLUMNAR_BLOCK = 131_072
"""Time steps in a block if no single bars are made of it: each block costs some 100 numpy calls."""


class BacktestTopology:
    """Runs lanes side by side on the same bars; a lane that fails does so alone."""

    def build(self, builder: TopologyBuilder) -> None:
        """Add the containers of a `BacktestConfig`.

        A lane that cannot be built stands in the window's report as failed, as long as there is
        another one.

        Raises:
            ConfigError: No lane can be built, the first one because its strategy is unknown or
                refuses its parameters; or the rule of pruning cannot be used.
            DataError: The data cannot be used, or has no bars in the window.
            UserCodeError: No lane can be built, the first one because its strategy cannot say which
                features it needs.
        """
        keep_freed_memory()
        config = msgspec.json.decode(builder.spec.config, type=BacktestConfig)
        catalog = builder.resources.find(DataCatalog) or DataCatalog()
        market = _market(_features(catalog, config), config)
        lanes = _lanes(builder, config, market)
        built = [lane for lane in lanes if isinstance(lane, LaneBuilder)]
        specs = [spec for lane in built for spec in lane.features]
        features = FeaturesContainer(
            "features", scope=builder.bus, store=market.features, specs=specs
        )
        names = [builder.add(features).id]
        reported: list[PortfolioContainer | LaneReport] = []
        for lane in lanes:
            if isinstance(lane, LaneReport):
                reported.append(lane)
            else:
                portfolio, last = lane.add()
                reported.append(portfolio)
                names.append(last)
        builder.add_report(WindowReport(reported, series=config.series))
        steps = (market.start_step, market.stop_step)
        builder.describe(lanes=len(lanes), bars=len(market.ts))
        builder.add(
            DataContainer(
                "data",
                market.data,
                steps,
                config.block_size or _block_size(built),
                scope=builder.bus,
                depends_on=names,
            )
        )


def _features(catalog: DataCatalog, config: BacktestConfig) -> FeatureStore:
    """Return the features of the data set, or of the path that takes its place."""
    if config.price_path is None:
        return catalog.load(config.data, config.benchmark)
    return catalog.load_path(config.data, config.price_path, config.benchmark)


def _market(store: FeatureStore, config: BacktestConfig) -> Market:
    """Return the window, and of what lies before it what indicators are to see."""
    data = store.market_data
    start, stop = _steps(data, config)
    first = 0 if config.warmup is None else max(0, start - config.warmup)
    if config.warmup is not None and (first, stop) != (0, data.steps):
        store = FeatureStore(data.part(first, stop))
    return Market(data, store, start_step=start, stop_step=stop, benchmark=config.benchmark)


def _lanes(
    builder: TopologyBuilder, config: BacktestConfig, market: Market
) -> list[LaneBuilder | LaneReport]:
    """Return what each lane is made of, or why it cannot be made.

    Raises:
        ConfigError: None can be made, and this is why the first cannot; UserCodeError likewise.
    """
    steps = market.stop_step - market.start_step
    pruner = None if config.pruning is None else Pruner(config.pruning, steps)
    find = strategy_finder(builder)
    lanes: list[LaneBuilder | LaneReport] = []
    errors: list[ConfigError | UserCodeError] = []
    for lane in config.lanes:
        try:
            lanes.append(LaneBuilder(builder, config, lane, market, find, pruner))
        except (ConfigError, UserCodeError) as error:
            errors.append(error)
            lanes.append(refused_lane(lane, error))
    if len(errors) == len(lanes):
        raise errors[0]
    return lanes


def _block_size(lanes: Sequence[LaneBuilder]) -> int:
    return _COLUMNAR_BLOCK if all(lane.is_columnar for lane in lanes) else _BLOCK


def _steps(data: MarketData, config: BacktestConfig) -> tuple[int, int]:
    start, stop = data.step_range(config.start_ts, config.end_ts)
    if start == stop:
        begin = "their beginning" if config.start_ts is None else iso_utc(config.start_ts)
        end = "their end" if config.end_ts is None else f"before {iso_utc(config.end_ts)}"
        raise DataError(
            f"there are no bars of {', '.join(data.symbols)} in the window from {begin} to {end}; "
            f"they reach from {iso_utc(int(data.ts[0]))} to {iso_utc(int(data.ts[-1]))}"
        )
    return start, stop

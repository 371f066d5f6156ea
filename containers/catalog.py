"""What the windows of one host share: market data that is loaded once, and the user's modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from admf.containers.config import DataConfig
from admf.containers.features import FeatureStore
from admf.containers.market_data import MarketData
from admf.containers.price_path import PricePathConfig, resampled
from admf.containers.readers import load_market_data

__all__ = ["DataCatalog", "UserModules"]

_KEPT_PATHS = 2


class DataCatalog:
    """Loads each data set once, with the features computed on it.

    Args:
        frames: Data frames by symbol, for ``source: frames``.
    """

    def __init__(self, frames: Mapping[str, object] | None = None) -> None:
        self._frames = frames
        self._stores: dict[tuple[DataConfig, str | None], FeatureStore] = {}
        self._paths: dict[tuple[DataConfig, str | None, PricePathConfig], FeatureStore] = {}

    def load(self, config: DataConfig, benchmark: str | None = None) -> FeatureStore:
        """Return the features of a data set, which hold its market data; reads it if need be.

        Raises:
            DataError: The data cannot be used.
        """
        key = (config, benchmark)
        if key not in self._stores:
            extra = () if benchmark is None or benchmark in config.symbols else (benchmark,)
            data = load_market_data(config, frames=self._frames, extra_symbols=extra)
            self._stores[key] = FeatureStore(data)
        return self._stores[key]

    def knows(self, config: DataConfig, benchmark: str | None = None) -> bool:
        """Whether a data set has been loaded."""
        return (config, benchmark) in self._stores

    def put(self, config: DataConfig, benchmark: str | None, data: MarketData) -> None:
        """Have market data that somebody else has loaded."""
        self._stores[config, benchmark] = FeatureStore(data)

    def load_path(
        self, config: DataConfig, path: PricePathConfig, benchmark: str | None = None
    ) -> FeatureStore:
        """Return the features of a price path drawn from a data set.

        The last two paths are kept, since the windows of a sequence on one path come one after the
        other; earlier ones are drawn again, to the same bits, when somebody asks.

        Raises:
            DataError: The data cannot be used, or the path not be drawn.
        """
        key = (config, benchmark, path)
        store = self._paths.pop(key, None)
        if store is None:
            store = FeatureStore(resampled(self.load(config, benchmark).market_data, path))
        self._paths[key] = store  # to the end: the last one to go
        while len(self._paths) > _KEPT_PATHS:
            del self._paths[next(iter(self._paths))]
        return store


class UserModules:
    """Where the user's own strategies are found.

    Args:
        folder: Folder of the experiment file; None for what Python finds by itself.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

"""Indicators: computed once per symbol and parameters, and shared by all lanes and windows."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from anyio import to_thread
from numpy.typing import NDArray

from admf.containers.events import Bar, Features
from admf.containers.indicators import Indicator, resolve_indicator
from admf.containers.market_data import MarketData
from admf.engine.block import Block, Column, DictionaryColumn, LateColumn
from admf.engine.bus import Bus
from admf.engine.container import Container
from admf.engine.errors import DataError
from admf.engine.tracer import EventTracer

__all__ = ["FeatureColumns", "FeatureSpec", "FeatureStore", "FeatureWindow", "FeaturesContainer"]

Outputs = tuple[NDArray[np.float64], ...]
_Rows = slice | NDArray[np.intp]

_LEAST_BYTES = 16 * 2**20


class FeatureSpec(msgspec.Struct, frozen=True):
    """An indicator as a strategy asks for it.

    Args:
        function: TA-Lib's name in lower case, e.g. ``sma``.
        params: Leading parameters in TA-Lib's order; the others keep TA-Lib's defaults.
        on: Column to read instead of the close, e.g. ``high``.
        output: Which output, if there are several, e.g. ``macdsignal``.
    """

    function: str
    params: tuple[float, ...] = ()
    on: str | None = None
    output: str | None = None

    @property
    def name(self) -> str:
        """For example ``sma_10``, ``max_20_high`` or ``macd_12_26_9_macdsignal``."""
        params = (repr(float(value)).removesuffix(".0") for value in self.params)
        return "_".join((self.function, *params, *filter(None, (self.on, self.output))))

    def resolve(self) -> tuple[Indicator, int]:
        """Return the indicator, and which of its outputs is meant.

        Raises:
            ConfigError: There is no such indicator, or it does not take these arguments.
        """
        indicator = resolve_indicator(self.function, self.params, self.on)
        return indicator, indicator.output_index(self.output)


class FeatureStore:
    """Computes indicators over whole data sets and keeps the columns for all who ask.

    A column covers the data from its first bar, so that what a window sees does not depend on where
    the window begins; see `Indicator.chunks`. Columns are kept up to a bound; beyond it those that
    were not asked for longest go, and are computed again (to the same bits) when somebody asks. May
    be used from several threads.

    Args:
        market_data: The bars.
        max_bytes: Bound on the columns that are kept; those in use live on with their users. Twice
            the bytes of the bars if not given, and at least 16 MiB.
    """

    def __init__(self, market_data: MarketData, *, max_bytes: int | None = None) -> None:
        self.market_data = market_data
        if max_bytes is None:
            max_bytes = max(_LEAST_BYTES, 2 * market_data.nbytes)
        self._max_bytes = max_bytes
        self._kept: dict[tuple[str, Indicator], Outputs] = {}
        self._kept_bytes = 0
        self._lock = threading.Lock()

    @property
    def kept_bytes(self) -> int:
        """Bytes of the columns that are kept."""
        return self._kept_bytes

    def column(self, symbol: str, spec: FeatureSpec) -> NDArray[np.float64]:
        """Return an indicator of a symbol over all its bars.

        Returns:
            float64 (n_bars,), read-only, NaN while the indicator warms up.

        Raises:
            ConfigError: There is no such indicator, or it does not take these arguments.
            DataError: There is no such symbol.
        """
        indicator, output = spec.resolve()
        outputs = self._take((symbol, indicator))
        if outputs is None:
            outputs = self._keep((symbol, indicator), self._compute(symbol, indicator))
        return outputs[output]

    def window(self, symbol: str, start: int, stop: int) -> FeatureWindow:
        """Return the features of a symbol's bars from index ``start`` to before ``stop``."""
        return FeatureWindow(self, symbol, slice(start, stop))

    def _compute(self, symbol: str, indicator: Indicator) -> Outputs:
        bars = self.market_data.bars(symbol)
        with ExitStack() as stack:
            new_column = self.market_data.new_column
            columns = [stack.enter_context(closing(new_column())) for _ in indicator.outputs]
            for context, start, stop in indicator.chunks(len(bars)):
                outputs = indicator.compute(
                    {name: getattr(bars, name)[context:stop] for name in indicator.inputs}
                )
                for column, output in zip(columns, outputs, strict=True):
                    column.append(output[start - context :])
                self.market_data.drop()
            return tuple(column.array() for column in columns)

    def _take(self, key: tuple[str, Indicator]) -> Outputs | None:
        with self._lock:
            outputs = self._kept.pop(key, None)
            if outputs is not None:
                self._kept[key] = outputs  # to the end: the last one to go
            return outputs

    def _keep(self, key: tuple[str, Indicator], outputs: Outputs) -> Outputs:
        with self._lock:
            kept = self._kept.setdefault(key, outputs)
            if kept is outputs:  # and no other thread was faster
                self._kept_bytes += _size(outputs)
            while self._kept_bytes > self._max_bytes:
                oldest = next(iter(self._kept))
                self._kept_bytes -= _size(self._kept.pop(oldest))
            return kept


class FeatureColumns(Protocol):
    """Has indicators by symbol."""

    def column(self, symbol: str, spec: FeatureSpec) -> NDArray[np.float64]:
        """Return an indicator of a symbol over all its bars, float64 (n_bars,)."""
        ...


class FeatureWindow:
    """The features of one symbol over one window; called as strategies call it.

    Example::

        features = store.window("GOOG", 0, 250)
        features("sma", 10)  # float64 (250,), a read-only view of the shared column
    """

    __slots__ = ("_columns", "_rows", "_store", "_symbol")

    def __init__(self, store: FeatureColumns, symbol: str, rows: slice) -> None:
        self._store = store
        self._symbol = symbol
        self._rows = rows
        self._columns: dict[object, NDArray[np.float64]] = {}

    def __call__(
        self, function: str, *params: float, on: str | None = None, output: str | None = None
    ) -> NDArray[np.float64]:
        """Return an indicator over the window, float64 (n,), as `FeatureView` describes it."""
        key = (function, params, on, output)
        column = self._columns.get(key)
        if column is None:
            whole = self._store.column(self._symbol, FeatureSpec(function, params, on, output))
            column = self._columns[key] = whole[self._rows]
        return column


class _Place(NamedTuple):
    """Where rows of a block stand among the bars of a symbol."""

    symbol: str
    rows: _Rows
    positions: _Rows


class FeaturesContainer(Container):
    """Publishes a block of features after each block of bars, row by row the same.

    A FEATURES block says that its bars are closed, so it is published even if it has no values.
    These are put together when somebody reads them: lanes seldom do, and many lanes have many.

    Args:
        container_id: Id.
        scope: Where the bars arrive and the features go.
        store: The features of the bars' data set.
        specs: What to publish, in this order; what comes twice is published once.
        tracer: Traces the container.
        depends_on: Ids of containers that start before.

    Raises:
        ConfigError: On start, if an indicator does not exist or does not take its parameters.
    """

    def __init__(
        self,
        container_id: str,
        *,
        scope: Bus,
        store: FeatureStore,
        specs: Iterable[FeatureSpec] = (),
        tracer: EventTracer | None = None,
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(
            container_id, "features", scope=scope, tracer=tracer, depends_on=depends_on
        )
        self._store = store
        self._specs = tuple(dict.fromkeys(specs))
        self._names: tuple[str, ...] = ()

    async def on_start(self) -> None:
        """Compute the features in a thread, since whole columns take long, and wait for bars."""
        await to_thread.run_sync(self._compute)
        self.subscribe((Bar,), self._on_bars, blocks=True)

    def _compute(self) -> None:
        """Have the store compute what it can keep, so that nobody has to wait for it later."""
        self._names = tuple(spec.name for spec in self._specs)
        for symbol in self._store.market_data.symbols:
            for spec in self._specs:
                self._store.column(symbol, spec)

    def _on_bars(self, bars: Block[Bar]) -> None:
        places: list[_Place] = []
        if self._specs:
            for symbol, rows in _rows_by_symbol(bars):
                places.append(_Place(symbol, rows, self._positions(symbol, bars.ts[rows])))
        columns: dict[str, Column] = {
            "ts": bars.ts,
            "symbol": bars.columns["symbol"],
            "names": self._names,
            "values": LateColumn(len(bars), partial(self._values, len(bars), places)),
        }
        self.scope.publish(Block(Features, columns), source=self.id)

    def _values(self, bars: int, places: Sequence[_Place]) -> NDArray[np.float64]:
        """Return float64 (bars, features), one column after the other in memory."""
        values = np.empty((bars, len(self._specs)), order="F")
        for symbol, rows, positions in places:
            for index, spec in enumerate(self._specs):
                values[rows, index] = self._store.column(symbol, spec)[positions]
        return values

    def _positions(self, symbol: str, ts: NDArray[np.int64]) -> _Rows:
        """Find bars by their time; as a slice if they follow each other, which is much faster."""
        times = self._store.market_data.bars(symbol).ts
        first = int(np.searchsorted(times, int(ts[0])))
        if np.array_equal(times[first : first + len(ts)], ts):
            return slice(first, first + len(ts))
        positions = np.searchsorted(times, ts)
        if not np.array_equal(times[np.minimum(positions, len(times) - 1)], ts):
            raise DataError(f"{self.id}: bars of {symbol} are not those the features are made from")
        return positions


def _rows_by_symbol(bars: Block[Bar]) -> Iterator[tuple[str, _Rows]]:
    symbols = bars.columns["symbol"]
    if isinstance(symbols, str):
        yield symbols, slice(None)
        return
    if not isinstance(symbols, DictionaryColumn):
        values, codes = np.unique(bars.column("symbol"), return_inverse=True)
        symbols = DictionaryColumn(codes, values.tolist())
    for code, symbol in enumerate(symbols.values):
        rows = np.flatnonzero(symbols.codes == code)
        if len(rows):
            yield symbol, rows


def _size(outputs: Outputs) -> int:
    return sum(column.nbytes for column in outputs)

"""What a per-bar strategy is given: its lane's state, the features, and a way to act."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.account import Account
from admf.containers.bar_table import BarTable
from admf.containers.events import Bar, OrderType, Side, Signal, TimeInForce
from admf.containers.features import FeatureWindow
from admf.containers.lane_events import LaneEvents
from admf.containers.market import Market, Quotes
from admf.engine.errors import did_you_mean

__all__ = ["BarContext"]

Columns: TypeAlias = defaultdict[object, dict[object, list[float]]]
"""An indicator at a symbol's bars of the block, by its function and how strategies ask for it."""


class BarContext:
    """The `Context` of one lane; the strategy's container moves it from bar to bar.

    It is asked at every bar, so what is asked for most has the shortest way: indicators are plain
    numbers in lists, made once for a block.

    Args:
        events: Where signals go.
        source: Id under which they are published.
        account: The lane's cash and positions.
        market: The window's market data.
        quotes: The lane's place in it.
        seed: Seed of the lane's generator.

    Attributes:
        acted: Whether a signal was published since this was last set to false.
        bar: The bar.
        place: Its place among its symbol's bars of the block; with one symbol, that is its row.
    """

    bar: Bar

    def __init__(
        self,
        events: LaneEvents,
        source: str,
        *,
        account: Account,
        market: Market,
        quotes: Quotes,
        seed: int,
    ) -> None:
        self.acted = False
        self._events = events
        self._source = source
        self._account = account
        self._held = account.held
        self._market = market
        self._quotes = quotes
        self._rng = np.random.default_rng(seed)
        self._columns_of: dict[str, Columns] = {
            symbol: defaultdict(dict) for symbol in market.symbols
        }
        self._first = dict.fromkeys(market.symbols, 0)
        self._views: dict[str, FeatureWindow] = {}
        self._table: BarTable | None = None
        self._places: Sequence[int] = ()
        self._symbol = market.symbols[0]
        self._columns = self._columns_of[self._symbol]
        self.place = -1

    def begin(self, table: BarTable) -> None:
        """Go on to the next block."""
        if self._table is not None:
            for symbol in self._first:
                self._first[symbol] += len(self._table.rows_of(symbol))
        self._table, self._places = table, table.places
        for columns in self._columns_of.values():
            columns.clear()

    def move_to(self, row: int) -> None:
        """Go on to a row of a block of several symbols."""
        symbol = self.bar.symbol
        if symbol is not self._symbol:
            self._symbol = symbol
            self._columns = self._columns_of[symbol]
        self.place = self._places[row]
        self._quotes.step = self._quotes.here.steps_of_rows[row]

    @property
    def position(self) -> float:
        """Units of the bar's symbol, negative when short."""
        return self._held.get(self._symbol, 0.0)

    @property
    def equity(self) -> float:
        """Cash and positions at the last closes, quote currency."""
        if not self._places:
            self._quotes.step = self.place  # which is not moved at every bar
        return self._account.equity(self._quotes.price)

    @property
    def cash(self) -> float:
        """Quote currency."""
        return self._account.cash

    @property
    def bar_index(self) -> int:
        """Index of this bar among its symbol's bars in the window, from 0."""
        return self._first[self._symbol] + self.place

    @property
    def rng(self) -> np.random.Generator:
        """The lane's own generator, seeded from the experiment."""
        return self._rng

    def feature(
        self, function: str, *params: float, on: str | None = None, output: str | None = None
    ) -> float:
        """Return an indicator at this bar, NaN while it warms up."""
        asked = params if on is None and output is None else (params, on, output)
        column = self._columns[function].get(asked)
        if column is None:
            view = self._view(function, *params, on=on, output=output)
            column = self._columns[function][asked] = self._listed(view, (function, asked))
        return column[self.place]

    def buy(
        self,
        quantity: float | None = None,
        *,
        limit: float | None = None,
        stop: float | None = None,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        time_in_force: TimeInForce = "gtc",
        symbol: str | None = None,
    ) -> None:
        """Ask for a purchase."""
        self._order("buy", quantity, limit, stop, stop_loss, take_profit, time_in_force, symbol)

    def sell(
        self,
        quantity: float | None = None,
        *,
        limit: float | None = None,
        stop: float | None = None,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        time_in_force: TimeInForce = "gtc",
        symbol: str | None = None,
    ) -> None:
        """Ask for a sale."""
        self._order("sell", quantity, limit, stop, stop_loss, take_profit, time_in_force, symbol)

    def close(self, *, symbol: str | None = None) -> None:
        """Flatten the position."""
        self._publish(Signal(self.bar.ts, self._known(symbol), "close"))

    def target(self, exposure: float, *, symbol: str | None = None) -> None:
        """Ask for an exposure, as a multiple of the sizing's full position, negative for short."""
        if not math.isfinite(exposure):
            raise ValueError(f"exposure must be finite, got {exposure}")
        self._publish(Signal(self.bar.ts, self._known(symbol), "target", target=float(exposure)))

    def cancel(self, *, symbol: str | None = None) -> None:
        """Withdraw the symbol's working orders, but for those that protect a position."""
        self._publish(Signal(self.bar.ts, self._known(symbol), "cancel"))

    def _order(
        self,
        side: Side,
        quantity: float | None,
        limit: float | None,
        stop: float | None,
        stop_loss: float | None,
        take_profit: float | None,
        time_in_force: TimeInForce,
        symbol: str | None,
    ) -> None:
        limit, stop = _positive("limit", limit), _positive("stop", stop)
        if time_in_force not in ("gtc", "day"):
            raise ValueError(f"time_in_force must be 'gtc' or 'day', got {time_in_force!r}")
        self._publish(
            Signal(
                self.bar.ts,
                self._known(symbol),
                side,
                quantity=_positive("quantity", quantity),
                type=_order_type(limit, stop),
                limit_price=limit,
                stop_price=stop,
                time_in_force=time_in_force,
                stop_loss=_positive("stop_loss", stop_loss),
                take_profit=_positive("take_profit", take_profit),
            )
        )

    @property
    def _view(self) -> FeatureWindow:
        view = self._views.get(self._symbol)
        if view is None:
            view = self._views[self._symbol] = self._market.feature_window(self._symbol)
        return view

    def _listed(self, column: NDArray[np.float64], asked: object) -> list[float]:
        """Return the block's part of an indicator as plain numbers; the lanes share the lists."""
        symbol, table = self._symbol, self._quotes.here
        listed = table.features.get((symbol, asked))
        if listed is None:
            first = self._first[symbol]
            part: list[float] = column[first : first + len(table.rows_of(symbol))].tolist()
            listed = table.features[symbol, asked] = part
        return listed

    def _known(self, symbol: str | None) -> str:
        if symbol is None:
            return self._symbol
        if symbol not in self._columns_of:
            hint = did_you_mean(symbol, self._columns_of)
            raise ValueError(f"no symbol {symbol!r} in this window{hint}")
        return symbol

    def _publish(self, signal: Signal) -> None:
        self.acted = True
        self._events.publish(signal, self._source)


def _positive(name: str, value: float | None) -> float | None:
    """Return a number of the user's as a plain float."""
    if value is None:
        return None
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return float(value)


def _order_type(limit: float | None, stop: float | None) -> OrderType:
    if stop is not None:
        return "stop" if limit is None else "stop_limit"
    return "market" if limit is None else "limit"

"""The events that signals and fills computed as arrays stand for, as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.array_legs import Legs
from admf.containers.array_trades import Trades
from admf.containers.events import Fill, FillMoment, Order, PositionClose, PositionOpen, Signal
from admf.engine.batch import Arrangement, Batch
from admf.engine.block import Block, Column, DictionaryColumn, LateColumn

__all__ = ["ArrayEvents", "PlacedOrders", "Publishers"]

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]
Columns: TypeAlias = dict[str, Column]

_SIDES = ("buy", "sell")
_POSITION_SIDES = ("long", "short")
_SIGNAL, _ORDER, _FILL, _OPEN, _CLOSE = range(5)


class Publishers(NamedTuple):
    """Ids of the containers whose events they are."""

    strategy: str
    risk: str
    execution: str
    portfolio: str


class PlacedOrders(NamedTuple):
    """Signals, each of which places an order at once.

    Args:
        ts: int64 (k,), ns UTC.
        target: float64 (k,), exposure wanted.
        buys: bool (k,), whether the order is a purchase.
        order_id: int64 (k,).
        waiting: Ids of the orders placed before, which fill first.
    """

    ts: Rows
    target: Floats
    buys: NDArray[np.bool_]
    order_id: Rows
    waiting: Sequence[int]


class ArrayEvents:
    """Makes batches of the events of a lane in one symbol.

    Args:
        symbol: The symbol.
        moment: When in their bars its orders fill.
        publishers: Whose events they are.
    """

    def __init__(self, symbol: str, moment: FillMoment, publishers: Publishers) -> None:
        self._signal = _constant(Signal, symbol=symbol, action="target")
        self._order = _constant(Order, symbol=symbol)
        self._fill = _constant(Fill, symbol=symbol, moment=moment, reason="signal")
        self._open = _constant(PositionOpen, symbol=symbol)
        self._close = _constant(PositionClose, symbol=symbol, exit_reason="signal")
        self._sources = (
            publishers.strategy,
            publishers.risk,
            publishers.execution,
            publishers.portfolio,
            publishers.portfolio,
        )

    def batch(
        self,
        orders: PlacedOrders,
        legs: Legs | None,
        ts: Rows,
        position_ids: Sequence[str],
        trades: Trades | None,
    ) -> Batch:
        """Return the events in their order.

        Args:
            orders: The signals and orders.
            legs: The fills of orders, of those that wait first; None if there are none.
            ts: int64 (bars,), times of the bars that the fills name, ns UTC.
            position_ids: Ids of their positions, of one that was held before first.
            trades: The trades that they close; None if there are none.
        """
        blocks: list[Block[Any]] = [
            Block(Signal, {**self._signal, "ts": orders.ts, "target": orders.target}),
            Block(Order, self._orders(orders)),
        ]
        if legs is not None:
            times, ids = ts[legs.row], self._position_ids(legs, position_ids)
            order_id = np.concatenate((np.array(orders.waiting, np.int64), orders.order_id))
            order_id = order_id[legs.order]
            blocks.append(Block(Fill, self._fills(legs, times, order_id, ids)))
            blocks.append(Block(PositionOpen, self._opens(legs, times, order_id, ids)))
            if trades is not None:
                blocks.append(self._closes(legs, times, trades, ids))
        kept = [code for code, block in enumerate(blocks) if len(block)]
        return Batch.arranged_later(
            [blocks[code] for code in kept],
            partial(_arrangement, len(orders.ts), len(orders.waiting), legs, kept),
            sources=[self._sources[code] for code in kept],
            in_turn=True,
        )

    def _orders(self, orders: PlacedOrders) -> Columns:
        return {
            **self._order,
            "ts": orders.ts,
            "order_id": orders.order_id,
            "side": _sides(orders.buys, _SIDES),
            "target": orders.target,
        }

    def _fills(self, legs: Legs, ts: Rows, order_id: Rows, ids: DictionaryColumn) -> Columns:
        return {
            **self._fill,
            "ts": ts,
            "order_id": order_id,
            "position_id": ids,
            "side": _sides(legs.sign > 0.0, _SIDES),
            "quantity": legs.quantity,
            "price": legs.price,
            "commission": legs.commission,
            "slippage": np.abs(legs.price - legs.reference) * legs.quantity,
        }

    def _opens(self, legs: Legs, ts: Rows, order_id: Rows, ids: DictionaryColumn) -> Columns:
        rows = legs.opening
        return {
            **self._open,
            "ts": ts[rows],
            "position_id": ids[rows],
            "order_id": order_id[rows],
            "side": _sides(legs.sign[rows] > 0.0, _POSITION_SIDES),
            "quantity": legs.quantity[rows],
            "price": legs.price[rows],
            "commission": legs.commission[rows],
        }

    def _closes(
        self, legs: Legs, ts: Rows, trades: Trades, ids: DictionaryColumn
    ) -> Block[PositionClose]:
        columns = trades._asdict()
        direction, excursions = columns.pop("direction"), columns.pop("excursions")
        closed_ts = ts[legs.closing]
        count = len(closed_ts)
        closes: Columns = {
            **self._close,
            **columns,
            "ts": closed_ts,
            "position_id": ids[legs.closing],
            "side": _sides(direction > 0.0, _POSITION_SIDES),
            "mae": LateColumn(count, lambda: excursions()[0]),
            "mfe": LateColumn(count, lambda: excursions()[1]),
        }
        return Block(PositionClose, closes)

    @staticmethod
    def _position_ids(legs: Legs, position_ids: Sequence[str]) -> DictionaryColumn:
        """Return the id of each fill's position: two fills each, but for one held before."""
        codes = np.arange(len(legs.row)) + (0 if legs.opens else 1)
        return DictionaryColumn(codes // 2, position_ids)


def _constant(cls: type[Any], **values: Column) -> Columns:
    """Return the columns of a block that are the same for all rows; the others are yet to come."""
    names, defaults = cls.__struct_fields__, cls.__struct_defaults__
    columns: Columns = dict.fromkeys(names)
    columns.update(zip(names[len(names) - len(defaults) :], defaults, strict=True))
    return columns | values


def _sides(first: NDArray[np.bool_], names: tuple[str, str]) -> DictionaryColumn:
    return DictionaryColumn((~first).astype(np.uint8), names)


def _arrangement(signals: int, waiting: int, legs: Legs | None, kept: Sequence[int]) -> Arrangement:
    """Return which kind of event comes when, and what causes each.

    They come in pairs: a signal and its order, or a fill and the opening or closing that it is. The
    fills of an order follow it, and those of one that waited come first.

    Args:
        signals: How many there are.
        waiting: Orders placed before.
        legs: The fills; None if there are none.
        kept: The kinds that there are.
    """
    fills = np.zeros(signals + waiting, dtype=np.int64)
    if legs is not None:
        counts = np.bincount(legs.order)
        fills[: len(counts)] = counts
    pairs = signals + int(fills.sum())
    is_signal = np.zeros(pairs, dtype=np.bool_)
    before = np.cumsum(fills) - fills
    is_signal[before[waiting:] + np.arange(signals)] = True
    order = np.empty(2 * pairs, dtype=np.uint8)
    order[0::2] = np.where(is_signal, _SIGNAL, _FILL)
    second = order[1::2]
    second[is_signal] = _ORDER
    if legs is not None:
        kinds = np.full(len(legs.row), _CLOSE, dtype=np.uint8)
        kinds[legs.opening] = _OPEN
        second[~is_signal] = kinds
    causes = np.full(2 * pairs, -1, dtype=np.int64)
    causes[1::2] = np.arange(0, 2 * pairs, 2)
    codes = np.zeros(_CLOSE + 1, dtype=np.uint8)
    codes[kept] = np.arange(len(kept))
    return Arrangement(codes[order], causes)

"""The fills of a columnar strategy's market orders in one symbol, computed as arrays.

An order for an exposure closes what is held in the other direction, or at all, and opens what it
asks for. So the fills of one symbol are by turns the opening and the closing of a position, and
from them all else follows without looking at the bars in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.config import RiskConfig, SizingConfig
from admf.containers.costs import Costs

__all__ = ["Legs", "Orders", "is_sized_at_once", "legs_of"]

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]

TOLERANCE = 1e-9
"""By which fraction a limit may be exceeded."""


class Orders(NamedTuple):
    """Orders for an exposure, each of which fills before the next is placed.

    Args:
        target: float64 (m,), exposure wanted, as a multiple of the full position.
        row: int64 (m,), bar whose price fills the order.
        price: float64 (m,), that price, without slippage.
    """

    target: Floats
    row: Rows
    price: Floats


class Legs(NamedTuple):
    """Fills, by turns of the opening and the closing kind.

    Args:
        opens: Whether the first one opens a position; otherwise it closes the one that was held.
        order: int64 (n,), index of the order that each belongs to.
        row: int64 (n,), its bar.
        sign: float64 (n,), 1 for a purchase and -1 for a sale.
        quantity: float64 (n,), units, positive.
        price: float64 (n,), slippage included.
        reference: float64 (n,), without it.
        commission: float64 (n,), quote currency.
        cash: float64 (n + 1,), before the first one and after each.
    """

    opens: bool
    order: Rows
    row: Rows
    sign: Floats
    quantity: Floats
    price: Floats
    reference: Floats
    commission: Floats
    cash: Floats

    @property
    def opening(self) -> slice:
        """The fills that open a position."""
        return _opening(opens_first=self.opens)

    @property
    def closing(self) -> slice:
        """The fills that close one."""
        return _closing(opens_first=self.opens)


Size: TypeAlias = Callable[[float, float, float, int], float]
"""Returns the units of a position from cash, price, exposure and bar, if equity decides them."""


def legs_of(
    orders: Orders,
    held: float,
    cash: float,
    *,
    costs: Costs,
    sizing: SizingConfig,
    risk: RiskConfig,
    size: Size,
) -> Legs | None:
    """Return the fills of orders.

    Args:
        orders: The orders.
        held: Units held before, negative when short.
        cash: Before, quote currency.
        costs: Commission and slippage.
        sizing: How large a full position is.
        risk: What may refuse a position; it protects none.
        size: Sizes a position where equity decides.

    Returns:
        None if an order would enlarge or shrink a position, do nothing, or be refused, which is not
        computed here.
    """
    fills = _fills_of(orders, held, costs)
    if fills is None:
        return None
    exposure = np.abs(orders.target[fills.order[_opening(opens_first=fills.opens)]])
    if is_sized_at_once(sizing):
        sized = _sized_at_once(fills, exposure, abs(held), cash, costs, sizing)
    else:
        sized = _sized_in_turn(fills, exposure, abs(held), cash, costs, size)
    legs = Legs(**fills._asdict(), **sized._asdict())
    return legs if _allowed(legs, risk) else None


def is_sized_at_once(sizing: SizingConfig) -> bool:
    """Whether sizes do not depend on what the fills before have left."""
    return sizing.type in ("fixed_units", "fixed_notional")


class _Fills(NamedTuple):
    """What is known of fills before their sizes are; see `Legs`."""

    opens: bool
    order: Rows
    row: Rows
    sign: Floats
    price: Floats
    reference: Floats


class _Sized(NamedTuple):
    """What follows from the sizes of fills; see `Legs`."""

    quantity: Floats
    commission: Floats
    cash: Floats


def _opening(*, opens_first: bool) -> slice:
    return slice(0 if opens_first else 1, None, 2)


def _closing(*, opens_first: bool) -> slice:
    return slice(1 if opens_first else 0, None, 2)


def _fills_of(orders: Orders, held: float, costs: Costs) -> _Fills | None:
    """Return what orders lead to; None if one would enlarge or shrink a position, or do nothing."""
    before = np.concatenate(([np.sign(held)], np.sign(orders.target[:-1])))
    closes, opens = before != 0.0, orders.target != 0.0
    if np.any(before * orders.target > 0.0) or not np.all(closes | opens):
        return None
    order = np.repeat(np.arange(len(orders.target)), closes.astype(np.int64) + opens)
    if not len(order):
        return None
    opens_first = held == 0.0
    closing = _closing(opens_first=opens_first)
    sign = np.sign(orders.target)[order]
    sign[closing] = -before[order[closing]]
    reference = orders.price[order]
    price = costs.prices(sign, reference)
    return _Fills(opens_first, order, orders.row[order], sign, price, reference)


def _sized_at_once(
    fills: _Fills, exposure: Floats, held: float, cash: float, costs: Costs, sizing: SizingConfig
) -> _Sized:
    """Return the sizes where equity does not decide them; see `Sizer`."""
    opening, closing = _opening(opens_first=fills.opens), _closing(opens_first=fills.opens)
    units = sizing.value * exposure
    if sizing.type == "fixed_notional":
        units = units / fills.price[opening]
    if sizing.whole_units:
        units = np.floor(units + TOLERANCE)
    quantity = np.empty(len(fills.row))
    quantity[opening] = units
    left = units if fills.opens else np.concatenate(([held], units))
    quantity[closing] = left[: len(quantity[closing])]  # what is opened is closed by the next fill
    commission = costs.commissions(quantity, fills.price)
    moved = fills.sign * quantity * fills.price + commission
    return _Sized(quantity, commission, np.subtract.accumulate(np.concatenate(([cash], moved))))


def _sized_in_turn(
    fills: _Fills, exposure: Floats, held: float, cash: float, costs: Costs, size: Size
) -> _Sized:
    """Return the sizes where each depends on the cash that the fills before have left."""
    rows, prices, signs = fills.row.tolist(), fills.price.tolist(), fills.sign.tolist()
    exposures = iter(exposure.tolist())
    quantities: list[float] = []
    commissions: list[float] = []
    known = [cash]
    opens, quantity = fills.opens, held
    for row, price, sign in zip(rows, prices, signs, strict=True):
        if opens:
            quantity = size(cash, price, next(exposures), row)
        commission = costs.commission(quantity, price)
        cash -= sign * quantity * price + commission
        quantities.append(quantity)
        commissions.append(commission)
        known.append(cash)
        opens = not opens
    return _Sized(np.array(quantities), np.array(commissions), np.array(known))


def _allowed(legs: Legs, risk: RiskConfig) -> bool:
    """Whether every position has a size, and none breaks a limit; see `RiskContainer.refusal`."""
    quantity = legs.quantity[legs.opening]
    if not np.all(quantity > 0.0):
        return False
    if risk.max_position is not None and np.any(quantity > risk.max_position * (1 + TOLERANCE)):
        return False
    if risk.max_leverage is None:
        return True
    equity = legs.cash[:-1][legs.opening] - legs.commission[legs.opening]
    most = risk.max_leverage * equity * (1 + TOLERANCE)
    return bool(np.all(quantity * legs.price[legs.opening] <= most))

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

__all__ = ["Legs", "Orders", "legs_of"]

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
        return slice(0 if self.opens else 1, None, 2)

    @property
    def closing(self) -> slice:
        """The fills that close one."""
        return slice(1 if self.opens else 0, None, 2)


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
    before = np.concatenate(([np.sign(held)], np.sign(orders.target[:-1])))
    closes, opens = before != 0.0, orders.target != 0.0
    if np.any(before * orders.target > 0.0) or not np.all(closes | opens):
        return None
    order = np.repeat(np.arange(len(orders.target)), closes.astype(np.int64) + opens)
    if not len(order):
        return None
    first = held == 0.0
    reference = orders.price[order]
    sign = np.sign(orders.target)[order]
    opening = slice(0 if first else 1, None, 2)
    closing = slice(1 if first else 0, None, 2)
    sign[closing] = -before[order[closing]]
    price = costs.prices(sign, reference)
    quantity = np.empty(len(order))
    legs = Legs(first, order, orders.row[order], sign, quantity, price, reference, price, quantity)
    exposure = np.abs(orders.target[order[opening]])
    if sizing.type in ("fixed_units", "fixed_notional"):
        sized = _fixed(sizing, exposure, price[opening])
        _fill_in(legs, sized, abs(held))
        commission = costs.commissions(quantity, price)
        moved = sign * quantity * price + commission
        known = np.subtract.accumulate(np.concatenate(([cash], moved)))
    else:
        commission, known = _sized_in_turn(legs, exposure, abs(held), cash, costs, size)
    legs = legs._replace(commission=commission, cash=known)
    return legs if _allowed(legs, risk) else None


def _fixed(sizing: SizingConfig, exposure: Floats, price: Floats) -> Floats:
    """Return the units of positions whose size equity does not decide; see `Sizer`."""
    units = sizing.value * exposure
    if sizing.type == "fixed_notional":
        units = units / price
    return np.floor(units + TOLERANCE) if sizing.whole_units else units


def _fill_in(legs: Legs, sized: Floats, held: float) -> None:
    """Set the quantities: what is opened is closed by the next fill."""
    legs.quantity[legs.opening] = sized
    closing = legs.quantity[legs.closing]
    if legs.opens:
        closing[:] = sized[: len(closing)]
    else:
        closing[0] = held
        closing[1:] = sized[: len(closing) - 1]


def _sized_in_turn(
    legs: Legs, exposure: Floats, held: float, cash: float, costs: Costs, size: Size
) -> tuple[Floats, Floats]:
    """Set the quantities where each depends on the cash that the fills before have left.

    Returns:
        The commissions, and the cash before the first fill and after each.
    """
    rows, prices, signs = legs.row.tolist(), legs.price.tolist(), legs.sign.tolist()
    exposures = iter(exposure.tolist())
    quantities: list[float] = []
    commissions: list[float] = []
    known = [cash]
    opens, quantity = legs.opens, held
    for row, price, sign in zip(rows, prices, signs, strict=True):
        if opens:
            quantity = size(cash, price, next(exposures), row)
        commission = costs.commission(quantity, price)
        cash -= sign * quantity * price + commission
        quantities.append(quantity)
        commissions.append(commission)
        known.append(cash)
        opens = not opens
    legs.quantity[:] = quantities
    return np.array(commissions), np.array(known)


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

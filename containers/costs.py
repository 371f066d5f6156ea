"""Commission and slippage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from admf.containers.config import ExecutionConfig
from admf.containers.events import Side

__all__ = ["Costs"]


class Costs:
    """What trading costs in one lane.

    Args:
        config: Commission and slippage.
    """

    def __init__(self, config: ExecutionConfig) -> None:
        self._commission = config.commission
        self._slippage = config.slippage_bps / 10_000

    def price(self, side: Side, reference: float) -> float:
        """Return the price of a fill: the reference price moved against the trader."""
        slip = self._slippage if side == "buy" else -self._slippage
        return reference * (1 + slip)

    def prices(
        self, sign: NDArray[np.float64], reference: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the prices of fills, float64 (n,).

        Args:
            sign: float64 (n,), positive for purchases and negative for sales.
            reference: float64 (n,), the prices without slippage.
        """
        slip = np.where(sign > 0.0, self._slippage, -self._slippage)
        prices: NDArray[np.float64] = reference * (1 + slip)
        return prices

    def commissions(
        self, quantity: NDArray[np.float64], price: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the commissions of fills, float64 (n,), quote currency; see `commission`."""
        config = self._commission
        amount = np.full(len(quantity), config.value)
        if config.type != "fixed":
            amount = config.value * quantity
        if config.type == "rate":
            amount = amount * price
        commissions: NDArray[np.float64] = np.maximum(amount, config.minimum)
        return commissions

    def commission(self, quantity: float, price: float) -> float:
        """Return the commission of a fill, quote currency."""
        config = self._commission
        amount = config.value
        if config.type != "fixed":
            amount *= quantity
        if config.type == "rate":
            amount *= price
        return max(amount, config.minimum)

    def affordable(self, budget: float, price: float) -> float:
        """Return the units that a budget pays for, commission included; 0 if it pays for none."""
        config = self._commission
        quantity = {
            "rate": budget / (price * (1 + config.value)),
            "per_unit": budget / (price + config.value),
            "fixed": (budget - config.value) / price,
        }[config.type]
        if self.commission(max(quantity, 0.0), price) <= config.minimum:
            quantity = (budget - config.minimum) / price
        return max(quantity, 0.0)
